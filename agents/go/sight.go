package wsstats

import "github.com/wsstats/wsstatsreceiver/wire"

// sight is what the receiver would measure of an event. Quantities are negative
// where there is none.
type sight struct {
	kind       wire.Kind
	role       wire.Role
	dir        wire.Direction
	typ        wire.MessageType
	messages   uint64
	size       float64 // of each of them
	seconds    float64
	recipients int64
	queue      int64

	seq    int64       // ordinal, 0: none
	stated bool        // more than the ratio decides about its span
	user   []Attribute // of the event itself
}

// look sees what a record tells, as the receiver does. Of what a tap records that
// is at hand; else the event is made, so that there is one place which knows
// what goes before what.
func (m *meter) look(r *record) {
	s := &m.seen // field by field: to copy one costs more than the rest of this
	s.kind, s.role, s.dir, s.typ = r.kind, wire.RoleUnknown, r.dir, r.typ
	s.messages, s.size, s.seconds, s.recipients, s.queue = 0, -1, -1, -1, -1
	s.seq, s.stated, s.user = r.seq, false, nil
	if r.conn != nil {
		s.role = r.conn.role
	}
	if r.size >= 0 && !r.compressed {
		s.size = float64(r.size)
	}
	switch r.kind {
	case wire.KindSend:
		s.messages, s.dir = 1, wire.DirectionSent
	case wire.KindReceive:
		s.messages, s.dir = 1, wire.DirectionReceived
	case wire.KindMessage:
		s.messages = 1
	case wire.KindProcess:
		s.dir = wire.DirectionReceived
		if r.duration >= 0 {
			s.seconds = float64(r.duration) / 1e9
		}
	case wire.KindBroadcast, wire.KindBatchSend:
		s.dir = wire.DirectionSent
	}
	if r.attributes != nil || r.extra != nil {
		m.lookCloser(r)
	}
}

func (m *meter) lookCloser(r *record) {
	s, e := &m.seen, &m.event
	*e = wire.Event{}
	fillEvent(e, r)
	s.user = e.User
	s.seq = e.Int(wire.AttrMessageSeq)
	s.stated = e.Has(wire.AttrErrorType) || e.TraceID != (wire.TraceID{}) || e.Parent.TraceID != (wire.TraceID{}) || e.Tracestate != ""
	if e.Has(wire.AttrRole) {
		s.role = wire.ParseRole(e.Str(wire.AttrRole))
	}
	s.typ = wire.ParseMessageType(e.Str(wire.AttrMessageType))
	if r.kind == wire.KindMessage {
		s.dir = wire.ParseDirection(e.Str(wire.AttrDirection))
	}
	quantity := func(a wire.Attr) int64 {
		if !e.Has(a) {
			return -1
		}
		return e.Int(a)
	}
	s.size = float64(quantity(wire.AttrMessageSize))
	s.queue = quantity(wire.AttrQueueSize)
	switch r.kind {
	case wire.KindBroadcast:
		s.recipients = quantity(wire.AttrBroadcastRecipients)
		s.messages = uint64(max(s.recipients, 0))
	case wire.KindBatchSend:
		s.messages = uint64(max(quantity(wire.AttrBatchSize), 0))
	case wire.KindProcess:
		if s.seconds < 0 && e.Has(wire.AttrProcessingTime) {
			s.seconds = e.Double(wire.AttrProcessingTime) / 1e3
		}
	}
	switch s.typ {
	case wire.MessagePing, wire.MessagePong, wire.MessageClose:
		s.messages = 0
		if r.kind == wire.KindSend || r.kind == wire.KindReceive { // that makes it another kind, which events count
			s.queue = -1
		}
	}
}
