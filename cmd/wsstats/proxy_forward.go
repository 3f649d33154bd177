package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	// Shorter than what servers keep idle connections for (gunicorn 2 s, Node.js
	// 5 s): a request on a connection that is just being closed would fail.
	targetIdleTimeout = time.Second
	targetIdle        = 256 // connections
)

// connectionHeader tells both ends the id of a connection. This proxy ends one
// connection and begins another, which it does not observe: an application with
// an agent of its own must not take the id of the first for the second.
const connectionHeader = "Wsstats-Connection"

// forwardedHeaders say whose request a proxy forwards.
var forwardedHeaders = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// forwarder hands requests to the target and its answers back.
type forwarder struct {
	httputil.ReverseProxy
	transport *http.Transport
	log       *slog.Logger
	lingering time.Duration
	failing   atomic.Bool // the last request was not forwarded
}

func newForwarder(o *proxyOptions) *forwarder {
	tlsConfig := o.outgoing.Clone()
	tlsConfig.InsecureSkipVerify = o.insecure
	f := &forwarder{log: o.log, lingering: lingering, transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // what the client accepts is its own affair
		MaxIdleConnsPerHost: targetIdle,
		IdleConnTimeout:     targetIdleTimeout,
	}}
	f.ReverseProxy = httputil.ReverseProxy{
		Transport:      f.transport,
		Rewrite:        func(r *httputil.ProxyRequest) { rewrite(r, o) },
		FlushInterval:  -1, // nothing waits here
		ModifyResponse: f.answered,
		ErrorHandler:   f.failed,
		ErrorLog:       slog.NewLogLogger(o.log.Handler(), slog.LevelWarn),
	}
	return f
}

// ServeHTTP implements http.Handler.
func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		w = upgrading{w, f.lingering}
	}
	f.ReverseProxy.ServeHTTP(w, r)
}

// rewrite addresses a request to the target. All else stays, but for what HTTP
// has a proxy change.
func rewrite(r *httputil.ProxyRequest, o *proxyOptions) {
	r.Out.URL.Scheme, r.Out.URL.Host = o.url.Scheme, o.url.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy takes out what it cannot parse
	r.Out.Header.Del(connectionHeader)
	if !o.trustForwarded {
		r.SetXForwarded()
		return
	}
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"] // is appended to
	r.SetXForwarded()
	for _, key := range forwardedHeaders {
		if values, ok := r.In.Header[key]; ok && key != "X-Forwarded-For" {
			r.Out.Header[key] = values
		}
	}
}

// answered tells of the first request that is forwarded again.
func (f *forwarder) answered(*http.Response) error {
	if f.failing.CompareAndSwap(true, false) {
		f.log.Info("requests are forwarded again")
	}
	return nil
}

// failed answers a request that cannot be forwarded. Of many in a row the
// first one is told.
func (f *forwarder) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil && f.failing.CompareAndSwap(false, true) {
		f.log.Warn("request not forwarded", "error", err)
	}
	http.Error(w, http.StatusText(http.StatusBadGateway), http.StatusBadGateway)
}

// inFlight counts requests. A WaitGroup does not allow new ones while one waits.
type inFlight struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n is 0 again; nil: nobody waits
}

func (f *inFlight) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
}

func (f *inFlight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.zero != nil {
		close(f.zero)
		f.zero = nil
	}
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// beginBelow begins one unless there are so many already.
func (f *inFlight) beginBelow(most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n >= most {
		return false
	}
	f.n++
	return true
}

// wait tells whether there is none before the context ends.
func (f *inFlight) wait(ctx context.Context) bool {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return true
	}
	if f.zero == nil {
		f.zero = make(chan struct{})
	}
	zero := f.zero
	f.mu.Unlock()
	select {
	case <-zero:
		return true
	case <-ctx.Done():
		return false
	}
}
