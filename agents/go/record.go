package wsstats

import (
	"sync/atomic"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// conn is a connection of the application that is observed. Its fields do not
// change after Agent.open, but for closed, what Agent.record keeps here, and the link's own.
type conn struct {
	id         string // 32 lower-case hex digits from 128 random bits
	role       wire.Role
	shared     bool // both ends know id
	url        string
	protocol   string // "ws" or "wss"
	peerIP     string
	peerPort   int
	openedAt   int64       // Unix ns, 0: the opening was not seen
	attributes []Attribute // of every event
	closed     atomic.Bool // the close was recorded

	// The ids of its handshake span where that states its own; zero: derived.
	traceID wire.TraceID
	spanID  wire.SpanID

	// What the ids of its messages are derived from, once derive was called: by
	// Agent.record where the agent aggregates, else by the providers' goroutine.
	seed   wire.Seed
	seeded bool

	// The series that its messages counted in last, received and sent.
	recent [2]recentSeries

	// The link's own: the session that knows this connection, and the message
	// that mentioned it last.
	declared  uint64
	mentioned uint64

	// The providers' own: its handshake span where a provider gave it other ids.
	madeSpan *spanIDs
}

// derive is what the ids of the connection's messages are derived from.
func (c *conn) derive() wire.Seed {
	if !c.seeded {
		c.seed, c.seeded = wire.ConnectionSeed(c.id), true
	}
	return c.seed
}

// spanIDs names a span.
type spanIDs struct {
	trace wire.TraceID
	span  wire.SpanID
}

// record is one event as the ring holds it, or a stat: small, without pointers of
// its own for a message.
type record struct {
	stat       *stat // not nil: a stat, of which the rest tells nothing
	conn       *conn
	extra      *wire.Event  // of the rare kinds: further attributes, ids and parents of a handshake, close or error; nil for messages
	attributes *[]Attribute // of the application; nil: none
	active     *spanIDs     // that a send is linked to; nil: none
	time       int64        // Unix ns: when the event began
	duration   int64        // ns, -1: none
	seq        int64        // ordinal from 1, 0: none
	size       int64        // payload bytes, -1: not known
	frames     int32        // 0: not stated
	compressed bool         // size is that of the compressed payload
	kind       wire.Kind
	typ        wire.MessageType
	dir        wire.Direction
}

// inherited are the attributes of the user that an event has of its connection.
func (r *record) inherited() []Attribute {
	if r.conn == nil {
		return nil
	}
	return r.conn.attributes
}

// weight is how many observed things end with the record: a stat takes with it
// the messages that nothing else tells of.
func (r *record) weight() uint64 {
	if r.stat == nil {
		return 1
	}
	return 1 + r.stat.left
}
