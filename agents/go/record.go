package wsstats

import (
	"sync/atomic"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// conn is a connection of the application that is observed. Its fields do not
// change after Agent.open, but for closed and the link's own.
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

	// The link's own: the session that knows this connection, and the message
	// that mentioned it last.
	declared  uint64
	mentioned uint64
}

// record is one event as the ring holds it: small, without pointers of its own
// for a message.
type record struct {
	conn       *conn
	extra      *wire.Event  // of the rare kinds: further attributes, ids and parents of a handshake, close or error; nil for messages
	attributes *[]Attribute // of the application; nil: none
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
