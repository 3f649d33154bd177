// Package observed turns decoded events into rows that the translator and the
// aggregator read: what an event inherits from its connection, its ids, its
// place in the conventions and the sampling decision, worked out once for both.
package observed

import "github.com/wsstats/wsstatsreceiver/wire"

// Row is one event with all that follows from its connection. It is valid as
// long as the message that it was made from.
type Row struct {
	*wire.Event

	// Conn is the observed connection, nil where the event names none or no
	// more connections can be remembered.
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
	// Refused says that a handshake did not succeed.
	Refused bool
	// CloseClass is the class of a close event, "" for other kinds.
	CloseClass string

	// Span is what is to be known of the row's span beside that, nil where none is
	// made: few rows have one where spans are sampled, and each pass over the rows
	// takes as long as what it has to look at.
	Span *Span
}

// Span is what a row's span has of its own.
type Span struct {
	TraceID    wire.TraceID
	SpanID     wire.SpanID
	ParentID   wire.SpanID // zero: a root
	Tracestate string
	// Group is the place of the row's connection in Resolved.Groups.
	Group int
	// LinkHandshake says that the span links to its connection's handshake span.
	LinkHandshake bool
}

// Batch is one message of an agent, resolved: what the aggregator takes.
type Batch struct {
	Resource *Resource
	Rows     []Row
	// Opened are the connections that the message declares open.
	Opened  []*Conn
	Stats   []wire.Stat
	Dropped []wire.Dropped
	// Aggregates says that send, receive, message, process, broadcast and
	// batch_send events are measured by Stats alone.
	Aggregates bool
	// Session is false for a POST, which counts and never moves the active gauge.
	Session bool
}
