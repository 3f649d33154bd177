package wsstats

import (
	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// occurrence is an event with all that follows from the conventions, which a
// receiver would work out, for an agent that has none.
type occurrence struct {
	wire.Event
	conn *conn // nil: none is known

	kind       wire.Kind // that it is handled as
	role       wire.Role
	dir        wire.Direction
	typ        wire.MessageType
	failed     bool // the status is Error
	refused    bool // a handshake that did not succeed
	closeClass string
}

// see works out what a record tells.
func (o *occurrence) see(r *record) {
	*o = occurrence{conn: r.conn}
	fillEvent(&o.Event, r)
	o.typ = wire.ParseMessageType(o.Str(wire.AttrMessageType))
	o.dir = conventions.Direction(&o.Event)
	o.kind = conventions.Kind(o.Kind, o.typ)
	o.role = wire.ParseRole(o.Str(wire.AttrRole))
	if o.role == wire.RoleUnknown && o.conn != nil {
		o.role = o.conn.role
	}
	o.failed = o.Has(wire.AttrErrorType)
	switch o.kind {
	case wire.KindError, wire.KindProtocolError:
		o.failed = true
	case wire.KindHandshake:
		o.refused = conventions.Refused(&o.Event)
		o.failed = o.failed || o.refused
	case wire.KindClose:
		class := conventions.CloseClass(&o.Event)
		o.closeClass = class.Name
		o.failed = o.failed || class.Failed
	}
}

// identify finds the ids of the span and of its parent, which is zero for a root.
// What is neither stated nor derived is random.
func (o *occurrence) identify() (ids spanIDs, parent wire.SpanID) {
	if parent = o.ParentSpanID; o.Parent.TraceID != (wire.TraceID{}) {
		parent = o.Parent.SpanID
	}
	stated := o.statedTrace()
	if seed, n, slot, ok := o.place(); ok {
		ids = spanIDs{seed.TraceID(n, slot), seed.SpanID(n, slot, o.kind, o.role)}
		if parent == (wire.SpanID{}) && (stated == ids.trace || stated == (wire.TraceID{})) {
			if kind, role, ok := conventions.Parent(o.kind, o.role, o.conn.shared || o.Bool(wire.AttrShared)); ok {
				parent = seed.SpanID(n, slot, kind, role)
			}
		}
	} else {
		ids = randomIDs()
	}
	if stated != (wire.TraceID{}) {
		ids.trace = stated
	}
	if o.SpanID != (wire.SpanID{}) {
		ids.span = o.SpanID
	}
	return ids, parent
}

func (o *occurrence) statedTrace() wire.TraceID {
	if o.TraceID != (wire.TraceID{}) {
		return o.TraceID
	}
	return o.Parent.TraceID
}

// place is where the ids are derived from, false: nowhere.
func (o *occurrence) place() (seed wire.Seed, n uint64, slot wire.Slot, ok bool) {
	if o.conn == nil {
		return seed, 0, 0, false
	}
	basis, n, slot := conventions.Place(&o.Event, o.kind, o.role, o.dir)
	switch basis {
	case conventions.ConnectionBasis:
		return o.conn.derive(), n, slot, true
	case conventions.MessageBasis:
		return wire.MessageSeed(o.conn.id, o.Str(wire.AttrMessageID)), n, slot, true
	default:
		return seed, 0, 0, false
	}
}

// handshake names the handshake span that the span links to, false: none.
func (o *occurrence) handshake() (ids spanIDs, ok bool) {
	c := o.conn
	if c == nil || c.openedAt == 0 || o.kind == wire.KindHandshake {
		return ids, false
	}
	if c.madeSpan != nil {
		return *c.madeSpan, true
	}
	ids = spanIDs{c.traceID, c.spanID}
	if ids.trace == (wire.TraceID{}) {
		ids.trace = c.derive().TraceID(0, wire.SlotHandshake)
	}
	if ids.span == (wire.SpanID{}) {
		ids.span = c.derive().SpanID(0, wire.SlotHandshake, wire.KindHandshake, c.role)
	}
	return ids, true
}
