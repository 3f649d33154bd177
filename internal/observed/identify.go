package observed

import (
	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// place is where a derived id comes from.
type place struct {
	seed *wire.Seed
	n    uint64
	slot wire.Slot
}

func (p place) trace() wire.TraceID { return p.seed.TraceID(p.n, p.slot) }

func (p place) span(kind wire.Kind, role wire.Role) wire.SpanID {
	return p.seed.SpanID(p.n, p.slot, kind, role)
}

// identity is what the ids of a row follow from.
type identity struct {
	place
	traceID     wire.TraceID
	pending     bool // the trace was stated, and the rest is not worked out yet
	known       bool // place is on a connection
	derivable   bool // place is anywhere
	inHandshake bool // the row is in its connection's trace
	// derived says that the trace is the one that both ends derive; also: that
	// the parent follows from the rules.
	derived bool
}

// identifyTrace finds the trace of a row, which is all that sampling by message
// needs. What else there is to know of its span comes when it is sure that there
// is one (identifySpan). The identity is not returned: to copy it for each event
// costs more than to fill it.
func (t *Table) identifyTrace(row *Row, seq uint64, id *identity) {
	ev := row.Event
	stated := ev.TraceID
	if stated == (wire.TraceID{}) {
		stated = ev.Parent.TraceID
	}
	if stated != (wire.TraceID{}) {
		id.traceID = stated
		if !t.opts.ConnectionScope {
			id.pending = true
			return
		}
	}
	t.derive(row, seq, id)
	if stated == (wire.TraceID{}) && !id.derived {
		id.traceID = t.randomTrace()
	}
}

// derive finds out where the ids of a row come from, and its trace unless that is
// stated.
func (t *Table) derive(row *Row, seq uint64, id *identity) {
	t.placeOnConn(row, id)
	id.derivable = id.known
	if !id.known && t.instance != "" && seq != 0 {
		id.place = place{&t.seed, seq<<16 | uint64(row.Event.Index), wire.SlotOther}
		id.derivable = true
	}
	id.inHandshake = t.opts.ConnectionTraces && row.Conn != nil && row.Kind != wire.KindHandshake
	id.derived = id.derivable || id.inHandshake
	if !id.derived {
		return
	}
	var trace wire.TraceID
	if id.inHandshake {
		trace, _ = t.handshakeTrace(row.Conn)
	} else {
		trace = id.trace()
	}
	if id.traceID == (wire.TraceID{}) {
		id.traceID = trace
	}
	id.derived = id.traceID == trace
}

// sharedTrace tells whether both ends know the trace that they derive.
func (id *identity) sharedTrace(row *Row) bool {
	return id.derived && (!id.inHandshake || id.traceID == row.Conn.seed.TraceID(0, wire.SlotHandshake))
}

// identifySpan sets the span, its parent and its link.
func (t *Table) identifySpan(row *Row, seq uint64, id *identity) {
	ev, c, span := row.Event, row.Conn, row.Span
	if id.pending {
		t.derive(row, seq, id)
	}
	switch {
	case ev.SpanID != (wire.SpanID{}):
		span.SpanID = ev.SpanID
	case id.derivable:
		span.SpanID = id.span(row.Kind, row.Role)
	default:
		span.SpanID = t.randomSpan()
	}
	switch {
	case ev.ParentSpanID != (wire.SpanID{}):
		span.ParentID = ev.ParentSpanID
	case ev.Parent.TraceID != (wire.TraceID{}):
		span.ParentID = ev.Parent.SpanID
	case !id.derived:
	case id.inHandshake:
		_, span.ParentID = t.handshakeTrace(c)
	case id.known:
		span.ParentID = derivedParent(row, id.place)
	}
	span.LinkHandshake = !id.inHandshake && c != nil && c.Opened && row.Kind != wire.KindHandshake
}

// randomTrace is apart so that ids only go to the heap where they are random.
func (t *Table) randomTrace() (id wire.TraceID) {
	t.opts.Random(id[:])
	return id
}

func (t *Table) randomSpan() (id wire.SpanID) {
	t.opts.Random(id[:])
	return id
}

// handshakeTrace is the trace of a connection and, where its opening was
// observed, its handshake span.
func (t *Table) handshakeTrace(c *Conn) (wire.TraceID, wire.SpanID) {
	if c.Opened {
		return c.HandshakeTrace, c.HandshakeSpan
	}
	return c.seed.TraceID(0, wire.SlotHandshake), wire.SpanID{}
}

// placeOnConn sets the event's place on its connection, where it has one.
func (t *Table) placeOnConn(row *Row, id *identity) {
	c, ev := row.Conn, row.Event
	if c == nil {
		return
	}
	switch basis, n, slot := conventions.Place(ev, row.Kind, row.Role, row.Direction); basis {
	case conventions.ConnectionBasis:
		id.place, id.known = place{&c.seed, n, slot}, true
	case conventions.MessageBasis:
		t.messageSeed = wire.MessageSeed(c.ID, ev.Str(wire.AttrMessageID))
		id.place, id.known = place{&t.messageSeed, n, slot}, true
	case conventions.NoBasis:
	}
}

// derivedParent is the parent of a span in the trace that both ends derive.
func derivedParent(row *Row, p place) wire.SpanID {
	kind, role, ok := conventions.Parent(row.Kind, row.Role, row.Conn.Shared || row.Event.Bool(wire.AttrShared))
	if !ok {
		return wire.SpanID{}
	}
	return p.span(kind, role)
}
