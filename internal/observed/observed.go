// Package observed turns decoded events into rows that the translator and the
// aggregator read: what an event inherits from its connection, its ids, its
// place in the conventions and the sampling decision, worked out once for both.
package observed

import "github.com/wsstats/wsstatsreceiver/wire"

// Row is one event with all that follows from its connection. It is valid as
// long as the message that it was made from.
type Row struct {
	*wire.Event

	// Conn is the observed connection, nil where the event names none.
	Conn *Conn

	// Kind is the event's kind; a send or receive of type ping, pong or close is of that kind.
	Kind        wire.Kind
	Role        wire.Role // after inheritance
	Direction   wire.Direction
	MessageType wire.MessageType

	Start int64 // Unix ns
	End   int64 // Unix ns

	// Failed says that the span's status is Error.
	Failed bool
	// CloseClass is the class of a close event, "" for other kinds.
	CloseClass string

	// Keep says that a span is made; the ids are valid only then.
	Keep       bool
	TraceID    wire.TraceID
	SpanID     wire.SpanID
	ParentID   wire.SpanID // zero: a root
	Tracestate string
	// Derived says that the trace is the one that both ends derive.
	Derived bool
}

// Counter is a series that counts live connections.
type Counter interface {
	Add(delta int64)
}

// Conn is what the receiver remembers of one observed connection. It belongs
// to the agent instance (or anonymous session) that reports it, and is used by
// one session at a time.
type Conn struct {
	ID       string
	Role     wire.Role
	RoleText string // ws.role as stated
	Protocol string // ws.protocol
	URL      string // ws.url, redacted
	PeerIP   string
	PeerPort int64
	HasPort  bool
	Shared   bool // ws.connection.shared
	User     []wire.KeyValue

	// Opened says that the opening was observed: the handshake span exists and has these ids.
	Opened         bool
	OpenedAt       int64 // Unix ns, 0: not known
	HandshakeTrace wire.TraceID
	HandshakeSpan  wire.SpanID

	// Closed says that the close event was taken or the agent declared it closed.
	Closed bool

	// Active is the series of ws.connections.active that counts this
	// connection, nil while none does. The aggregator owns it.
	Active Counter
	// PingTimed says that a ping with a round trip was seen; later pong
	// latencies are then not observed. The aggregator owns it.
	PingTimed bool
	// Ended says that the end of the connection was counted. The aggregator owns it.
	Ended bool

	seed   wire.Seed
	closer closeMark
}

// closeMark names the close event that was taken, so that a resend of it is
// told from a second close.
type closeMark struct {
	seq   uint64
	index int
}
