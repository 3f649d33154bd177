package wsstatscoder

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// Accept accepts as [websocket.Accept] does, and observes the connection. The
// attributes are those of all that is recorded of it.
func Accept(agent *wsstats.Agent, w http.ResponseWriter, r *http.Request, opts *websocket.AcceptOptions, attributes ...wsstats.Attribute) (*Conn, error) {
	c := newConn()
	var own websocket.AcceptOptions
	if opts != nil {
		own = *opts
	}
	own.OnPingReceived, own.OnPongReceived = c.onPing(own.OnPingReceived), c.onPong(own.OnPongReceived)

	handshake := agent.ServerHandshake(r, attributes...)
	a := &answer{ResponseWriter: w, header: handshake.Header()}
	ws, err := websocket.Accept(a, r, &own)
	if err != nil {
		cause := ""
		if a.status == http.StatusSwitchingProtocols {
			cause = "not_hijacked"
		}
		handshake.Refused(a.status, cause)
		return nil, err
	}
	c.Conn = ws
	c.observed = handshake.Opened(http.Header{"Sec-Websocket-Protocol": {ws.Subprotocol()}}, nil)
	return c, nil
}

// answer adds our headers to a 101, and keeps the status of every answer.
type answer struct {
	http.ResponseWriter
	header http.Header
	status int
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	if status == http.StatusSwitchingProtocols {
		for name, values := range a.header {
			a.ResponseWriter.Header()[name] = values
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is how the library finds the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Dial dials as [websocket.Dial] does, and observes the connection. The
// attributes are those of all that is recorded of it.
func Dial(ctx context.Context, agent *wsstats.Agent, target string, opts *websocket.DialOptions, attributes ...wsstats.Attribute) (*Conn, *http.Response, error) {
	c := newConn()
	var own websocket.DialOptions
	if opts != nil {
		own = *opts
	}
	own.OnPingReceived, own.OnPongReceived = c.onPing(own.OnPingReceived), c.onPong(own.OnPongReceived)
	u, err := url.Parse(target)
	if err != nil {
		_, resp, err := websocket.Dial(ctx, target, &own) // says what is wrong
		return nil, resp, err
	}

	header := own.HTTPHeader.Clone()
	if header == nil {
		header = http.Header{}
	}
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: own.Host, Header: header}).WithContext(ctx)
	handshake := agent.ClientHandshake(r, attributes...)
	for name, values := range handshake.Header() {
		header[name] = values
	}
	own.HTTPHeader = header
	ws, resp, err := websocket.Dial(ctx, target, &own)
	if err != nil {
		status, cause := 0, failure(err)
		if resp != nil {
			status, cause = resp.StatusCode, ""
		} else if cause == "" {
			cause = "no_answer"
		}
		handshake.Refused(status, cause)
		return nil, resp, err
	}
	c.Conn, c.observed = ws, handshake.Opened(resp.Header, nil)
	return c, resp, nil
}

// failure is the error.type of a network that failed, "" for none in particular.
func failure(err error) string {
	var netErr net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &netErr) && netErr.Timeout(): // context.DeadlineExceeded too
		return "timeout"
	}
	return ""
}
