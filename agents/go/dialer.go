package wsstats

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/proxy"
)

// Dialer returns a copy of a gorilla dialer (nil: [websocket.DefaultDialer])
// that observes the connections that it makes, over ws and wss, through proxies
// too. The handshake's span is the child of the one that is active in the context
// of DialContext.
func (a *Agent) Dialer(base *websocket.Dialer) *websocket.Dialer { return gorillaDialer(a, base) }

// gorillaDialer returns a copy of base that observes the connections that it
// makes. gorilla has no hook between TLS and the handshake, so TLS is made
// here, and with it what comes before: the proxy of a wss URL.
func gorillaDialer(rec recorder, base *websocket.Dialer) *websocket.Dialer {
	if base == nil {
		base = websocket.DefaultDialer
	}
	d, old := *base, *base // a copy: the application may put the new one in base's place
	plain := old.NetDialContext
	if plain == nil {
		plain = new(net.Dialer).DialContext
		if old.NetDial != nil {
			plain = func(_ context.Context, network, addr string) (net.Conn, error) { return old.NetDial(network, addr) }
		}
	}
	d.NetDialContext = dialContext(rec, plain)
	if old.NetDialTLSContext != nil {
		d.NetDialTLSContext = dialContext(rec, old.NetDialTLSContext)
		return &d
	}

	secure := secureDialer{dial: plain, proxy: old.Proxy, config: old.TLSClientConfig}
	d.NetDialTLSContext = dialContext(rec, secure.dialContext)
	if old.Proxy != nil {
		d.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme == "https" || r.URL.Scheme == "wss" {
				return nil, nil
			}
			return old.Proxy(r)
		}
	}
	return &d
}

// secureDialer dials the server of a wss URL.
type secureDialer struct {
	dial   dialFunc
	proxy  func(*http.Request) (*url.URL, error) // nil: none
	config *tls.Config                           // nil: the default
}

func (d secureDialer) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := d.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config := d.config.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	conn := tls.Client(raw, config)
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	err = conn.HandshakeContext(ctx)
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(conn.ConnectionState(), err)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// connect makes the connection that TLS runs on.
func (d secureDialer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.proxy == nil {
		return d.dial(ctx, network, addr)
	}
	proxyURL, err := d.proxy(&http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: addr}, Host: addr, Header: http.Header{},
	})
	switch {
	case err != nil:
		return nil, err
	case proxyURL == nil:
		return d.dial(ctx, network, addr)
	case proxyURL.Scheme == "http":
		return d.tunnel(ctx, network, addr, proxyURL)
	}
	through, err := proxy.FromURL(proxyURL, forward{ctx, d.dial})
	if err != nil {
		return nil, err
	}
	return through.Dial(network, addr)
}

// forward is the dial function in the form that package proxy takes.
type forward struct {
	ctx  context.Context
	dial dialFunc
}

// Dial implements proxy.Dialer.
func (f forward) Dial(network, addr string) (net.Conn, error) { return f.dial(f.ctx, network, addr) }

// tunnel has an HTTP proxy connect to addr (RFC 9110 section 9.3.6).
func (d secureDialer) tunnel(ctx context.Context, network, addr string, proxyURL *url.URL) (net.Conn, error) {
	via := proxyURL.Host
	if proxyURL.Port() == "" {
		via = net.JoinHostPort(proxyURL.Hostname(), "80")
	}
	conn, err := d.dial(ctx, network, via)
	if err != nil {
		return nil, err
	}
	if err := requestTunnel(ctx, conn, addr, proxyURL.User); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return conn, nil
}

func requestTunnel(ctx context.Context, conn net.Conn, addr string, user *url.Userinfo) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
		defer func() { _ = conn.SetDeadline(time.Time{}) }()
	}
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if password, ok := user.Password(); ok {
		r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := r.Write(conn); err != nil {
		return err
	}
	// Nothing is lost in the reader's buffer: the server waits for the client's TLS.
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
