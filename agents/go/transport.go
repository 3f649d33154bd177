package wsstats

import (
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// Transport returns a RoundTripper that observes the WebSocket connections that
// are opened through base (nil: [http.DefaultTransport]), for clients that dial
// by an http.Client. The handshake's span is the child of the one that is active
// in the request's context. Other requests go straight to base.
func (a *Agent) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{a, base}
}

// transport observes the WebSocket connections that are dialled through base.
type transport struct {
	rec  recorder
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !upgradeRequested(r) || t.rec.isOwn(r.URL) || !t.rec.wants(r) {
		return t.base.RoundTrip(r)
	}
	var remote atomic.Pointer[net.Addr]
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			addr := info.Conn.RemoteAddr()
			remote.Store(&addr)
		},
	})
	up := newClientUpgrade(t.rec, r, r.URL.Scheme == "https" || r.URL.Scheme == "wss", nil)
	r = r.Clone(ctx)
	for name, values := range up.requestHeader() {
		r.Header[name] = values
	}

	resp, err := t.base.RoundTrip(r)
	if addr := remote.Load(); addr != nil {
		up.peer = addrPort(*addr)
	}
	if err != nil {
		cause := "no_answer"
		if isTimeout(err) {
			cause = "timeout"
		}
		up.fail(0, cause)
		return resp, err
	}
	body, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		up.fail(resp.StatusCode, "")
		return resp, nil
	}
	s := openStream(body, up.succeed(resp.Header))
	if made, ok := ctx.Value(dialledKey{}).(*dialled); ok {
		made.stream.Store(s)
	}
	resp.Body = newBody(body, s)
	return resp, nil
}

// CloseIdleConnections closes those of base, for http.Client's method of that name.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// halfBody is the body of a 101 that can end the sending direction.
type halfBody struct {
	*stream
	half halfCloser
}

func (b halfBody) CloseWrite() error { return b.closeWrite(b.half) }

func newBody(raw io.ReadWriteCloser, s *stream) io.ReadWriteCloser {
	if half, ok := raw.(halfCloser); ok {
		return halfBody{s, half}
	}
	return s
}
