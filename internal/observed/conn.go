package observed

import (
	"container/list"
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
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
	members  int // of User

	// Opened says that the opening was observed: the handshake span exists and has these ids.
	Opened         bool
	OpenedAt       int64 // Unix ns, 0: not known
	HandshakeTrace wire.TraceID
	HandshakeSpan  wire.SpanID

	// Closing says that the message in hand closes the connection, Closed that
	// such a message was taken.
	Closing, Closed bool

	// Active is the series of ws.connections.active that counts this
	// connection, nil while none does. The aggregator owns it.
	Active Counter
	// Labels are those of the series that the connection's last event counted in,
	// which the next one's probably are. The aggregator owns it.
	Labels any
	// PingTimed says that a ping with a round trip was seen; later pong
	// latencies are then not observed. The aggregator owns it.
	PingTimed bool
	// Ended says that the end of the connection was counted: it was closed, or
	// its agent vanished. The aggregator owns it.
	Ended bool

	seed wire.Seed
	grouped
	forgotten bool // by the table
	// place is in Table.retired, nil while the connection is live: declared
	// open or its handshake seen, and not closed.
	place   *list.Element
	retired int64 // Unix ns: when it came there
}

// grouped is the place in Resolved.Groups in that message.
type grouped struct {
	group   int
	message uint64
}

func (c *Conn) live() bool { return c.place == nil }

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
		c.URL = strings.Clone(conventions.RedactURL(as.Str(wire.AttrURL), allowQuery))
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
		c.members = members(c.User)
	}
}
