package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"
)

// relay stands between the agents and the receiver, so that their links can be
// cut at will. What it carries it does not look at.
type relay struct {
	listener net.Listener
	target   string // host:port

	mu    sync.Mutex
	open  map[net.Conn]struct{} // both sides of each link
	ended bool
	wg    sync.WaitGroup
}

// newRelay listens on a loopback port until close.
func newRelay(endpoint *url.URL) (*relay, error) {
	port := endpoint.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[endpoint.Scheme]
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	r := &relay{listener: l, target: net.JoinHostPort(endpoint.Hostname(), port), open: map[net.Conn]struct{}{}}
	r.wg.Go(r.accept)
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		if !r.add(near) {
			return
		}
		r.wg.Go(func() { r.serve(near) })
	}
}

// serve carries one link until either side ends it. Dial and copies end with
// the relay: cut closes what they wait for.
func (r *relay) serve(near net.Conn) {
	defer r.remove(near)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.target)
	if err != nil {
		return
	}
	if !r.add(far) {
		return
	}
	defer r.remove(far)
	var wg sync.WaitGroup
	wg.Go(func() { carry(near, far) })
	wg.Go(func() { carry(far, near) })
	wg.Wait()
}

func carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	// Either end of a link ends all of it.
	_ = to.Close()
	_ = from.Close()
}

// add tells whether the relay is still there to carry a connection.
func (r *relay) add(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		_ = c.Close()
		return false
	}
	r.open[c] = struct{}{}
	return true
}

func (r *relay) remove(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

// cut breaks all links, by a reset.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (r *relay) close() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	_ = r.listener.Close()
	r.cut()
	r.wg.Wait()
}
