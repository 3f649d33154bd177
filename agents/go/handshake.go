package wsstats

import (
	"net"
	"net/http"
	"net/netip"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Handshake is an opening handshake (RFC 6455 section 4) that an adapter for a
// library observes by its HTTP request and answer. Opened or Refused ends it.
type Handshake struct {
	up   *upgrade // nil: not to be recorded here
	made func() *Connection
}

// ServerHandshake begins the handshake of a request that a server got. The
// attributes are recorded with every event of its connection. Below
// [Agent.Handler], which observes it already, nothing is recorded twice, and where a
// filter of [WithFilter] leaves it alone, nothing at all.
func (a *Agent) ServerHandshake(r *http.Request, attributes ...Attribute) *Handshake {
	return serverHandshake(a, r, attributes)
}

func serverHandshake(rec recorder, r *http.Request, attributes []Attribute) *Handshake {
	if _, below := r.Context().Value(acceptanceKey{}).(*acceptance); below {
		return &Handshake{made: func() *Connection { return ConnectionFromContext(r.Context()) }}
	}
	if !rec.wants(r) {
		return &Handshake{}
	}
	u := newServerUpgrade(rec, r)
	u.attributes = append(u.attributes, attributes...)
	return &Handshake{up: u}
}

// ClientHandshake begins the handshake of a request that a client is about to
// send: its URL, headers and context count. The attributes are recorded with
// every event of its connection. The agent's own link is not observed, nor is what
// a filter of [WithFilter] leaves alone.
func (a *Agent) ClientHandshake(r *http.Request, attributes ...Attribute) *Handshake {
	return clientHandshake(a, r, attributes)
}

func clientHandshake(rec recorder, r *http.Request, attributes []Attribute) *Handshake {
	if rec.isOwn(r.URL) || !rec.wants(r) {
		return &Handshake{}
	}
	u := newClientUpgrade(rec, r, r.URL.Scheme == "wss" || r.URL.Scheme == "https", nil)
	u.attributes, u.token = append(u.attributes, attributes...), "websocket"
	return &Handshake{up: u}
}

// Header returns what is to be set in the client's request, or the server's
// answer, in place of headers of the same names: it lets both ends share the
// connection's id.
func (h *Handshake) Header() http.Header {
	switch {
	case h.up == nil:
		return http.Header{}
	case h.up.role == wire.RoleClient:
		return h.up.requestHeader()
	case h.up.answer:
		return h.up.answerHeader()
	}
	return http.Header{}
}

// Opened records that the handshake opened a connection, and returns it. Answer
// is the header of the 101; of a server's, Sec-WebSocket-Protocol is enough.
// Remote is the other end, nil where it is not known, or a server's.
func (h *Handshake) Opened(answer http.Header, remote net.Addr) *Connection {
	if h.up == nil {
		if h.made == nil {
			return nil
		}
		return h.made()
	}
	if h.up.role == wire.RoleClient {
		h.up.adopt(answer.Get(connectionHeader))
	}
	if peer := addrPort(remote); peer != (netip.AddrPort{}) {
		h.up.peer = peer
	}
	c, opened := h.up.open(answer.Get("Sec-Websocket-Protocol"))
	return h.up.observed(c, opened)
}

// Refused records that the handshake opened no connection. The status is the
// HTTP answer's, 0 where there was none; errorType (error.type, such as
// "timeout") may be empty and is then the status.
func (h *Handshake) Refused(status int, errorType string) {
	if h.up != nil {
		h.up.fail(status, clean(errorType, 256))
	}
}
