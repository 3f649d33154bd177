package observed

import "github.com/wsstats/wsstatsreceiver/wire"

// place is where a derived id comes from.
type place struct {
	seed wire.Seed
	n    uint64
	slot wire.Slot
}

func (p place) trace() wire.TraceID { return p.seed.TraceID(p.n, p.slot) }

func (p place) span(kind wire.Kind, role wire.Role) wire.SpanID {
	return p.seed.SpanID(p.n, p.slot, kind, role)
}

// identify sets the ids and the parent of a row. It tells whether its trace is
// one that both ends derive.
func (t *Table) identify(row *Row, seq uint64) bool {
	ev, c := row.Event, row.Conn
	p, known := t.placeOnConn(row)
	derivable := known
	if !known && t.instance != "" && seq != 0 {
		p = place{t.seed, seq<<16 | uint64(ev.Index), wire.SlotOther}
		derivable = true
	}

	var trace wire.TraceID
	var span, parent wire.SpanID
	if derivable {
		trace, span = p.trace(), p.span(row.Kind, row.Role)
	} else {
		trace, span = t.randomIDs()
	}
	inHandshake := t.opts.ConnectionTraces && c != nil && row.Kind != wire.KindHandshake
	if inHandshake {
		trace, parent = t.handshakeTrace(c)
		derivable = true
	}
	derived := derivable // also: in the trace of the parent that follows from the rules

	switch {
	case ev.TraceID != (wire.TraceID{}):
		derived = derived && ev.TraceID == trace
		trace = ev.TraceID
	case ev.Parent.TraceID != (wire.TraceID{}):
		derived = derived && ev.Parent.TraceID == trace
		trace = ev.Parent.TraceID
	}
	if ev.SpanID != (wire.SpanID{}) {
		span = ev.SpanID
	}
	switch {
	case ev.ParentSpanID != (wire.SpanID{}):
		parent = ev.ParentSpanID
	case ev.Parent.TraceID != (wire.TraceID{}):
		parent = ev.Parent.SpanID
	case !derived:
		parent = wire.SpanID{}
	case !inHandshake && known:
		parent = derivedParent(row, p)
	}
	row.TraceID, row.SpanID, row.ParentID = trace, span, parent
	row.LinkHandshake = !inHandshake && c != nil && c.Opened && row.Kind != wire.KindHandshake
	return derived && (!inHandshake || trace == c.seed.TraceID(0, wire.SlotHandshake))
}

// randomIDs is apart so that ids only go to the heap where they are random.
func (t *Table) randomIDs() (trace wire.TraceID, span wire.SpanID) {
	t.opts.Random(trace[:])
	t.opts.Random(span[:])
	return trace, span
}

// handshakeTrace is the trace of a connection and, where its opening was
// observed, its handshake span.
func (t *Table) handshakeTrace(c *Conn) (wire.TraceID, wire.SpanID) {
	if c.Opened {
		return c.HandshakeTrace, c.HandshakeSpan
	}
	return c.seed.TraceID(0, wire.SlotHandshake), wire.SpanID{}
}

// placeOnConn is the event's place on its connection, false where it has none.
func (t *Table) placeOnConn(row *Row) (place, bool) {
	c, ev := row.Conn, row.Event
	if c == nil {
		return place{}, false
	}
	switch row.Kind {
	case wire.KindHandshake:
		return place{c.seed, 0, wire.SlotHandshake}, true
	case wire.KindClose:
		return place{c.seed, 0, wire.SlotClose}, true
	case wire.KindSend, wire.KindReceive, wire.KindProcess, wire.KindMessage:
		slot, ok := dataSlot(row.Role, row.Direction)
		switch {
		case !ok:
		case ev.Has(wire.AttrMessageSeq):
			return place{c.seed, uint64(ev.Int(wire.AttrMessageSeq)), slot}, true
		case ev.Has(wire.AttrMessageID) && row.Kind != wire.KindMessage:
			return place{wire.MessageSeed(c.ID, ev.Str(wire.AttrMessageID)), 0, slot}, true
		}
	case wire.KindPing, wire.KindPong:
		byClient, ok := sentByClient(row.Role, row.Direction)
		if !ok || !ev.Has(wire.AttrMessageSeq) {
			break
		}
		slot := wire.SlotServerPing
		switch {
		case row.Kind == wire.KindPing && byClient:
			slot = wire.SlotClientPing
		case row.Kind == wire.KindPong && byClient:
			slot = wire.SlotClientPong
		case row.Kind == wire.KindPong:
			slot = wire.SlotServerPong
		}
		return place{c.seed, uint64(ev.Int(wire.AttrMessageSeq)), slot}, true
	}
	return place{}, false
}

func dataSlot(role wire.Role, dir wire.Direction) (wire.Slot, bool) {
	if byClient, ok := sentByClient(role, dir); ok {
		if byClient {
			return wire.SlotClientData, true
		}
		return wire.SlotServerData, true
	}
	switch dir {
	case wire.DirectionSent:
		return wire.SlotSent, true
	case wire.DirectionReceived:
		return wire.SlotReceived, true
	}
	return 0, false
}

// sentByClient tells which way a message went on the wire.
func sentByClient(role wire.Role, dir wire.Direction) (byClient, ok bool) {
	client, server := role == wire.RoleClient, role == wire.RoleServer
	sent, received := dir == wire.DirectionSent, dir == wire.DirectionReceived
	if !client && !server || !sent && !received {
		return false, false
	}
	return client == sent, true
}

// derivedParent is the parent of a span in the trace that both ends derive.
func derivedParent(row *Row, p place) wire.SpanID {
	shared := row.Conn.Shared || row.Event.Bool(wire.AttrShared)
	peer := row.Role.Peer()
	switch row.Kind {
	case wire.KindProcess:
		return p.span(wire.KindReceive, row.Role)
	case wire.KindReceive:
		if shared && peer != wire.RoleUnknown {
			return p.span(wire.KindSend, peer)
		}
	case wire.KindHandshake:
		if shared && row.Role == wire.RoleServer {
			return p.span(wire.KindHandshake, wire.RoleClient)
		}
	}
	return wire.SpanID{}
}
