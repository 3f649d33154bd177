package aggregate

import (
	"math"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// take takes all that a batch holds.
func (r *resource) take(b *observed.Batch) {
	if b.Session {
		for _, c := range b.Opened {
			r.opened(c, r.dimensioned(nil, c))
		}
	}
	for i := range b.Rows {
		r.row(b, &b.Rows[i])
	}
	for i := range b.Stats {
		r.stat(&b.Stats[i])
	}
	for i := range b.Dropped {
		d := &b.Dropped[i]
		if d.Count > 0 {
			r.text.text = appendField(r.text.text[:0], conventions.Token(d.Reason))
			r.label(&r.text, nil)
			r.count(metricKey(agentDropped), &r.text, d.Count, nil)
		}
	}
}

// row takes one event.
func (r *resource) row(b *observed.Batch, row *observed.Row) {
	if b.Aggregates && measuredByStats(row.Kind) {
		return
	}
	r.dimensioned(row.User, row.Conn)
	switch row.Kind {
	case wire.KindSend:
		r.messages(row, wire.DirectionSent, 1)
	case wire.KindReceive:
		r.messages(row, wire.DirectionReceived, 1)
	case wire.KindMessage:
		r.messages(row, row.Direction, 1)
	case wire.KindBroadcast:
		if n, ok := count(row, wire.AttrBroadcastRecipients); ok {
			r.messages(row, wire.DirectionSent, n)
			r.observe(metricKey(broadcastRecipients), &r.dimensions, float64(n), row)
		}
	case wire.KindBatchSend:
		if n, ok := count(row, wire.AttrBatchSize); ok {
			r.messages(row, wire.DirectionSent, n)
		}
	case wire.KindProcess:
		r.processed(row)
	case wire.KindPing:
		r.pinged(row)
	case wire.KindPong:
		r.ponged(row)
	case wire.KindHandshake:
		r.handshake(b, row)
	case wire.KindClose:
		r.closed(b, row)
	case wire.KindError:
		r.failed(row, "")
	case wire.KindProtocolError:
		r.failed(row, "protocol")
	}
	if n, ok := count(row, wire.AttrQueueSize); ok {
		r.observe(metricKey(queueSize).withRole(row.Role), &r.dimensions, float64(n), row)
	}
}

// measuredByStats tells whether an agent that aggregates measures the kind by
// stats alone.
func measuredByStats(k wire.Kind) bool {
	switch k {
	case wire.KindSend, wire.KindReceive, wire.KindMessage, wire.KindProcess, wire.KindBroadcast, wire.KindBatchSend:
		return true
	}
	return false
}

// count reads an attribute that is a number of things, absent where it is negative.
func count(row *observed.Row, a wire.Attr) (uint64, bool) {
	if !row.Has(a) {
		return 0, false
	}
	n := row.Int(a)
	return uint64(n), n >= 0
}

func isControl(t wire.MessageType) bool {
	return t == wire.MessagePing || t == wire.MessagePong || t == wire.MessageClose
}

// messages counts n messages of the size that the row states. Where the
// direction is not known only their sizes are observed.
func (r *resource) messages(row *observed.Row, d wire.Direction, n uint64) {
	if isControl(row.MessageType) || n == 0 {
		return
	}
	attributes := key(0).withRole(row.Role).withType(row.MessageType)
	sized := attributes.withDirection(d)
	m := r.dimensions.messagesOf(sized)
	total, counted := messageCount(d)
	if counted {
		r.add(r.cached(&m.total, metricKey(total)|attributes), n, row)
	}
	size, ok := count(row, wire.AttrMessageSize)
	if !ok {
		return
	}
	if counted {
		r.add(r.cached(&m.bytes, metricKey(messagesBytes)|sized), saturatingMul(n, size), row)
	}
	r.put(r.cached(&m.size, metricKey(messageSize)|sized), float64(size), n, row)
}

// cached finds a series of the row's dimensions, and keeps it unless it is the
// overflow series.
func (r *resource) cached(place **series, k key) *series {
	if *place != nil {
		return *place
	}
	s := r.find(k, &r.dimensions)
	if s.key == k {
		*place = s
	}
	return s
}

// messageCount returns the metric that counts messages of the direction.
func messageCount(d wire.Direction) (m metric, ok bool) {
	switch d {
	case wire.DirectionSent:
		return messagesSent, true
	case wire.DirectionReceived:
		return messagesReceived, true
	}
	return 0, false
}

func (r *resource) processed(row *observed.Row) {
	var seconds float64
	switch {
	case row.HasDuration:
		seconds = float64(row.Duration) / 1e9
	case row.Has(wire.AttrProcessingTime):
		seconds = row.Double(wire.AttrProcessingTime) / 1e3
	default:
		return
	}
	r.observe(metricKey(processingTime).withType(row.MessageType), &r.dimensions, seconds, row)
}

func (r *resource) pinged(row *observed.Row) {
	if !row.HasDuration {
		return
	}
	if c := row.Conn; c != nil && !c.PingTimed {
		r.note(change{conn: c})
		c.PingTimed = true
	}
	r.observe(metricKey(pingRTT).withRole(row.Role), &r.dimensions, float64(row.Duration)/1e9, row)
}

func (r *resource) ponged(row *observed.Row) {
	if !row.Has(wire.AttrPongLatency) || row.Conn != nil && row.Conn.PingTimed {
		return
	}
	r.observe(metricKey(pingRTT).withRole(row.Role), &r.dimensions, row.Double(wire.AttrPongLatency)/1e3, row)
}

func (r *resource) handshake(b *observed.Batch, row *observed.Row) {
	if row.HasDuration {
		k := metricKey(handshakeDuration).withRole(row.Role).withCode(row.Int(wire.AttrStatusCode), 100, 599)
		r.observe(k, &r.dimensions, float64(row.Duration)/1e9, row)
	}
	if row.Refused {
		r.failed(row, "handshake")
		return
	}
	protocol, stated := row.Str(wire.AttrProtocol), row.Has(wire.AttrProtocol)
	if !stated && row.Conn != nil {
		protocol = row.Conn.Protocol
	}
	r.count(metricKey(connectionsTotal).withRole(row.Role).withProtocol(protocol), &r.dimensions, 1, row)
	if b.Session && row.Conn != nil {
		r.opened(row.Conn, &r.dimensions)
	}
}

// opened counts a connection as live, once, and again where it was given up as
// lost and its agent is back with it. Its close, which may be an earlier event
// of the batch, is final: nothing would ever take it off the gauge again.
func (r *resource) opened(c *observed.Conn, dimensions *labelled) {
	if c.Active == nil && !c.Closed && !(c.Ended && c.Closing) {
		r.enter(c, metricKey(connectionsActive).withRole(c.Role), dimensions)
	}
}

func (r *resource) closed(b *observed.Batch, row *observed.Row) {
	c := row.Conn
	if c != nil {
		if b.Session {
			r.leave(c)
		}
		if c.Ended {
			return
		}
		r.note(change{conn: c})
		c.Ended = true
	}
	k := metricKey(connectionsClosed).withClass(row.CloseClass).
		withInitiator(row.Str(wire.AttrCloseInitiator)).withCode(row.Int(wire.AttrCloseCode), 1000, 1015)
	r.count(k, &r.dimensions, 1, row)

	var seconds float64
	switch {
	case row.Has(wire.AttrConnectionDuration):
		seconds = row.Double(wire.AttrConnectionDuration) / 1e3
	case c != nil && c.OpenedAt != 0 && row.Start >= c.OpenedAt:
		seconds = float64(row.Start-c.OpenedAt) / 1e9
	default:
		return
	}
	r.observe(metricKey(connectionDuration).withClass(row.CloseClass), &r.dimensions, seconds, row)
}

// lost ends the connections of an agent that did not come back. Their
// durations are not known: nobody saw when they ended. Connections that were
// not counted as live were not open here and are left alone.
func (r *resource) lost(conns []*observed.Conn, onlyLeave bool) {
	for _, c := range conns {
		if c.Active == nil {
			continue
		}
		r.leave(c)
		if onlyLeave || c.Ended {
			continue
		}
		r.note(change{conn: c})
		c.Ended = true
		r.count(metricKey(connectionsClosed).withClass(classAgentLost), r.dimensioned(nil, c), 1, nil)
	}
}

// failed counts an error. The category is what the row states, else the given
// one, absent where it is empty.
func (r *resource) failed(row *observed.Row, category string) {
	text := r.text.text[:0]
	if row.Has(wire.AttrErrorType) {
		text = appendField(text, conventions.Token(row.Str(wire.AttrErrorType)))
	} else {
		text = appendAbsent(text)
	}
	if row.Has(wire.AttrErrorCategory) {
		category = conventions.Token(row.Str(wire.AttrErrorCategory))
	}
	if category != "" {
		text = appendField(text, category)
	} else {
		text = appendAbsent(text)
	}
	r.text.text = append(text, r.dimensions.text...)
	r.label(&r.text, nil)
	r.count(metricKey(errorsTotal), &r.text, 1, row)
}

// stat takes what an agent aggregated itself. One that the protocol does not
// allow is left out.
func (r *resource) stat(s *wire.Stat) {
	if s.Count == 0 || !validStat(s) {
		return
	}
	r.dimensioned(s.User, nil)
	role := wire.ParseRole(s.Str(wire.AttrRole))
	typ := wire.ParseMessageType(s.Str(wire.AttrMessageType))
	switch s.Metric {
	case wire.MetricMessageSize:
		if !isControl(typ) {
			r.messageStat(s, key(0).withRole(role).withType(typ))
		}
	case wire.MetricProcessingTime:
		r.merge(metricKey(processingTime).withType(typ), s)
	case wire.MetricQueueSize:
		r.merge(metricKey(queueSize).withRole(role), s)
	case wire.MetricBroadcastRecipients:
		r.merge(metricKey(broadcastRecipients), s)
	}
}

// messageStat takes a stat of sizes, which counts messages and bytes too. As in
// an event, a message without a size counts as a message alone.
func (r *resource) messageStat(s *wire.Stat, attributes key) {
	d := wire.ParseDirection(s.Str(wire.AttrDirection))
	total, counted := messageCount(d)
	if counted {
		r.count(metricKey(total)|attributes, &r.dimensions, s.Count, nil)
	}
	if s.Unsized == s.Count {
		return
	}
	sized := *s
	sized.Count, sized.ZeroCount = s.Count-s.Unsized, s.ZeroCount-s.Unsized
	r.merge(metricKey(messageSize).withDirection(d)|attributes, &sized)
	if !counted {
		return
	}
	bytes := uint64(math.MaxInt64)
	if s.Sum < math.MaxInt64 {
		bytes = uint64(math.Round(s.Sum))
	}
	r.count(metricKey(messagesBytes).withDirection(d)|attributes, &r.dimensions, bytes, nil)
}

func (r *resource) merge(k key, stat *wire.Stat) {
	s := r.find(k, &r.dimensions)
	r.touch(s)
	s.hist.merge(stat)
}
