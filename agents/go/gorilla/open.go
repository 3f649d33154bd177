package wsstatsgorilla

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// Upgrader is a [websocket.Upgrader] that observes the connections that it makes.
type Upgrader struct {
	websocket.Upgrader
	Agent *wsstats.Agent // required

	// Attributes returns attributes of all that is recorded of the request's
	// connection. It may be nil.
	Attributes func(*http.Request) []wsstats.Attribute
}

// Upgrade upgrades as [websocket.Upgrader.Upgrade] does.
func (u *Upgrader) Upgrade(w http.ResponseWriter, r *http.Request, responseHeader http.Header) (*Conn, error) {
	var attributes []wsstats.Attribute
	if u.Attributes != nil {
		attributes = u.Attributes(r)
	}
	handshake := u.Agent.ServerHandshake(r, attributes...)
	answer := &refusal{ResponseWriter: w}
	ws, err := u.Upgrader.Upgrade(answer, r, join(responseHeader, handshake.Header()))
	if err != nil {
		cause := ""
		if answer.status == 0 {
			cause = "write_failed" // it was hijacked already
		}
		handshake.Refused(answer.status, cause)
		return nil, err
	}
	return newConn(ws, handshake.Opened(subprotocol(ws), nil)), nil
}

func subprotocol(ws *websocket.Conn) http.Header {
	return http.Header{"Sec-Websocket-Protocol": {ws.Subprotocol()}}
}

// refusal keeps the status of an answer that is not a 101, which gorilla writes
// on the hijacked connection.
type refusal struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *refusal) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Hijack implements http.Hijacker.
func (r *refusal) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// Dialer is a [websocket.Dialer] that observes the connections that it makes.
type Dialer struct {
	websocket.Dialer
	Agent *wsstats.Agent // required
}

// Dial dials as [websocket.Dialer.Dial] does.
func (d *Dialer) Dial(url string, header http.Header) (*Conn, *http.Response, error) {
	return d.DialContext(context.Background(), url, header)
}

// DialContext dials as [websocket.Dialer.DialContext] does. The attributes are
// those of all that is recorded of the connection.
func (d *Dialer) DialContext(ctx context.Context, target string, header http.Header, attributes ...wsstats.Attribute) (*Conn, *http.Response, error) {
	u, err := url.Parse(target)
	if err != nil {
		ws, resp, err := d.Dialer.DialContext(ctx, target, header) // says what is wrong
		return newConn(ws, nil), resp, err
	}
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: header.Get("Host"), Header: join(header, nil)}).WithContext(ctx)
	handshake := d.Agent.ClientHandshake(r, attributes...)
	ws, resp, err := d.Dialer.DialContext(ctx, target, join(header, handshake.Header()))
	if err != nil {
		status := 0
		if resp != nil && errors.Is(err, websocket.ErrBadHandshake) {
			status = resp.StatusCode
		}
		handshake.Refused(status, cause(status, err))
		return nil, resp, err
	}
	return newConn(ws, handshake.Opened(resp.Header, ws.RemoteAddr())), resp, nil
}

// cause is the error.type of a handshake without an answer.
func cause(status int, err error) string {
	var netErr net.Error
	switch {
	case status != 0:
		return ""
	case errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "no_answer"
}

// join returns a header with the fields of another in place of its own.
func join(header, ours http.Header) http.Header {
	joined := header.Clone()
	if joined == nil {
		joined = http.Header{}
	}
	for name, values := range ours {
		joined[name] = values
	}
	return joined
}
