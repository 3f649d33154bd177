package wsstats

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// MessageID returns the attribute ws.message.id: the application's own name of a message.
func MessageID(id string) Attribute { return String(wire.AttrMessageID.String(), id) }

// QueueSize returns the attribute ws.queue.size: how many messages wait to be
// sent on the connection. It makes the metric of that name.
func QueueSize(messages int) Attribute { return Int(wire.AttrQueueSize.String(), messages) }

// activeLink are the attributes of a link from a send to what was active then.
var activeLink = []Attribute{String("ws.link.kind", "active")}

// sending is what the application has told of the messages to be sent next.
type sending struct {
	attributes *[]Attribute
	active     *spanIDs
	began      time.Duration // 0: not told
	unrecorded int           // how many a broadcast or a batch tells of
}

// Sending tells of the next message that is sent on the connection what neither
// its bytes nor [Connection.Sent] say: attributes, and the span that is active in
// ctx, which becomes a link of the send. It is called just before the message is
// written, by the one that writes. If it is called again before that, the send
// began then, and what is given takes the place of what was.
func (c *Connection) Sending(ctx context.Context, attributes ...Attribute) {
	if c == nil {
		return
	}
	active := spanIn(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	var r record
	r.setAttributes(attributes)
	if r.attributes != nil {
		c.sending.attributes = r.attributes
	}
	if active != nil {
		c.sending.active = active
	}
	c.sending.began = c.clock.now()
}

// SendingBroadcast tells that the next message that is sent on the connection is
// part of a broadcast ([Agent.Broadcast]): it counts in the connection's summary,
// and has no span and no metrics of its own. It is called just before the message
// is written, by the one that writes.
func (c *Connection) SendingBroadcast() { c.leaveOut(1) }

// SendingBatch records a batch: one span with ws.batch.size in place of one for
// each of the next messages that are sent on the connection. They are of one
// type, and size is that of a payload in bytes, the mean one where they differ;
// negative: not known. It is called just before the first one is written, by the one that writes.
func (c *Connection) SendingBatch(ctx context.Context, t MessageType, messages, size int, attributes ...Attribute) {
	if c == nil || messages <= 0 {
		return
	}
	active := spanIn(ctx)
	c.leaveOut(messages)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	r := c.momentRecord(wire.KindBatchSend, wire.DirectionSent, attributes)
	r.typ, r.size, r.active = t, int64(max(size, -1)), active
	r.extra = &wire.Event{}
	r.extra.SetInt(wire.AttrBatchSize, int64(messages))
	c.rec.record(r)
}

func (c *Connection) leaveOut(messages int) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done {
		c.sending.unrecorded += messages
	}
}

// Broadcast records a message that a server sends on several connections: one
// span with ws.broadcast.recipients in place of one for each. Whoever writes it
// to one of them says so before ([Connection.SendingBroadcast]), or it counts
// twice. The span that is active in ctx becomes a link.
func (a *Agent) Broadcast(ctx context.Context, t MessageType, size, recipients int, attributes ...Attribute) {
	broadcast(ctx, a, t, size, recipients, attributes)
}

func broadcast(ctx context.Context, rec recorder, t MessageType, size, recipients int, attributes []Attribute) {
	r := record{
		kind: wire.KindBroadcast, dir: wire.DirectionSent, typ: t, time: time.Now().UnixNano(), duration: -1,
		size: int64(max(size, -1)), active: spanIn(ctx), extra: &wire.Event{},
	}
	r.extra.SetInt(wire.AttrBroadcastRecipients, int64(max(recipients, 0)))
	r.extra.SetStr(wire.AttrRole, "server")
	r.setAttributes(attributes)
	rec.record(r)
}

// tell puts into the record of a sent message what was told of it, and tells
// whether it is to be recorded.
func (s *sending) tell(r *record, attributes []Attribute) bool {
	if s.unrecorded > 0 {
		s.unrecorded--
		return false
	}
	r.active = s.active
	if s.attributes != nil {
		attributes = append(*s.attributes, attributes...) // nobody else has it
	}
	r.setAttributes(attributes)
	s.attributes, s.active, s.began = nil, nil, 0
	return true
}

// spanIn names the span that is active in a context; nil: none.
func spanIn(ctx context.Context) *spanIDs {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return nil
	}
	return &spanIDs{wire.TraceID(sc.TraceID()), wire.SpanID(sc.SpanID())}
}
