package observed

import (
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Counter is a series that counts live connections.
type Counter interface {
	Add(delta int64)
}

// Conn is what the receiver remembers of one observed connection. It belongs
// to the agent instance (or anonymous session) that reports it, and is used by
// one session at a time.
type Conn struct {
	ID     string
	Role   wire.Role
	Shared bool // both ends know the id

	// Inherited attributes, as stated. Conventions are applied by the translator.
	RoleText string
	URL      string // redacted
	Protocol string
	PeerIP   string
	PeerPort int64
	HasPort  bool
	User     []wire.KeyValue

	// Opened says that the opening was observed: the handshake span exists and has these ids.
	Opened         bool
	OpenedAt       int64 // Unix ns, 0: not known
	HandshakeTrace wire.TraceID
	HandshakeSpan  wire.SpanID

	// Closed says that the close event was taken.
	Closed bool

	// Active is the series of ws.connections.active that counts this
	// connection, nil while none does. The aggregator owns it.
	Active Counter
	// PingTimed says that a ping with a round trip was seen; later pong
	// latencies are then not observed. The aggregator owns it.
	PingTimed bool
	// Ended says that the end of the connection was counted. The aggregator owns it.
	Ended bool

	seed    wire.Seed
	live    bool   // declared open or its handshake seen, and not closed: not to be forgotten
	closing uint64 // the generation of the message whose close event is in hand
	retired int64  // Unix ns: when it could be forgotten
}

func newConn(id string) *Conn {
	id = strings.Clone(id)
	return &Conn{ID: id, seed: wire.ConnectionSeed(id)}
}

// inherit remembers what later events of the connection need not repeat.
func (c *Conn) inherit(as *wire.Attrs, allowQuery bool) {
	keep := func(dst *string, a wire.Attr) {
		if as.Has(a) {
			*dst = strings.Clone(as.Str(a))
		}
	}
	keep(&c.Protocol, wire.AttrProtocol)
	keep(&c.PeerIP, wire.AttrPeerIP)
	if as.Has(wire.AttrURL) {
		c.URL = strings.Clone(RedactURL(as.Str(wire.AttrURL), allowQuery))
	}
	if as.Has(wire.AttrPeerPort) {
		c.PeerPort, c.HasPort = as.Int(wire.AttrPeerPort), true
	}
	if as.Has(wire.AttrRole) {
		c.RoleText = strings.Clone(as.Str(wire.AttrRole))
		c.Role = wire.ParseRole(c.RoleText)
	}
	if as.Has(wire.AttrShared) {
		c.Shared = as.Bool(wire.AttrShared)
	}
	if len(as.User) > 0 {
		c.User = CloneUser(as.User)
	}
}

// RedactURL cuts what a URL may hide secrets in: user information and the
// fragment always, the query unless it is allowed.
func RedactURL(url string, allowQuery bool) string {
	if i := strings.IndexByte(url, '#'); i >= 0 {
		url = url[:i]
	}
	path := url
	query := ""
	if i := strings.IndexByte(url, '?'); i >= 0 {
		path, query = url[:i], url[i:]
	}
	if !allowQuery {
		query = ""
	}
	authority := strings.Index(path, "//")
	if authority < 0 {
		return path + query
	}
	authority += len("//")
	end := len(path)
	if i := strings.IndexByte(path[authority:], '/'); i >= 0 {
		end = authority + i
	}
	if at := strings.LastIndexByte(path[authority:end], '@'); at >= 0 {
		path = path[:authority] + path[authority+at+1:]
	}
	return path + query
}
