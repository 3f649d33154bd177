package wsstats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// Message is a message that the application has received. The zero value is the
// one that [Connection.Received] told of last.
type Message struct {
	seq    int64 // ordinal on its connection, from 1
	typ    MessageType
	parent spanIDs // of its process span, where its trace is not the derived one
}

// Received records a message that was received. The size is that of its payload
// after inflation, in bytes; negative: not known. Where a tap sees the
// connection it records nothing, and counts: there it is called for each message
// that the application has read, in this order, if for any.
func (c *Connection) Received(t MessageType, size int, attributes ...Attribute) Message {
	return c.ReceivedContext(context.Background(), t, size, attributes...)
}

// ReceivedContext is [Connection.Received] for a message that names the span which
// it was sent under: with a context of [Extract] it is in that span's trace.
func (c *Connection) ReceivedContext(ctx context.Context, t MessageType, size int, attributes ...Attribute) Message {
	if c == nil {
		return Message{}
	}
	stated := statedSpan(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done && !c.tapped { // a tap sees the close before the application has read what came before
		return Message{}
	}
	m := Message{seq: c.received.message(int64(max(size, 0))), typ: t, parent: stated}
	if c.tapped {
		c.last = m
		return m
	}
	r := c.momentRecord(wire.KindReceive, wire.DirectionReceived, attributes)
	r.typ, r.seq, r.size = t, m.seq, int64(max(size, -1))
	if stated != (spanIDs{}) {
		r.extra = &wire.Event{TraceID: stated.trace, ParentSpanID: stated.span}
		m.parent.span = c.seed().SpanID(uint64(m.seq), c.slot(), wire.KindReceive, c.conn.role)
	}
	c.last = m
	c.rec.record(r)
	return m
}

// Process begins the handling of a received message. The returned context has
// the message's process span as its remote parent, so that the spans of all that
// is called with it are in the message's trace; they are sampled as the receiver
// samples the message, and have the tracestate of its process span, which says how
// many one stands for. The returned function ends the handling, once: with an
// error the span has its error.type (the error's own, if it has a method
// ErrorType() string; its text is not recorded). It may be called after the close.
// A span of an error is always kept, which nobody knows when its children begin.
//
// A message is handled once; if it is again, that is a span beside the first one.
// Is ctx one of [Extract], the span is a child of the extracted one.
func (c *Connection) Process(ctx context.Context, m Message, attributes ...Attribute) (context.Context, func(error)) {
	if c == nil {
		return ctx, func(error) {}
	}
	rules := rulesOf(c.rec)
	c.mu.Lock()
	defer c.mu.Unlock()
	if m == (Message{}) {
		m = c.last
	}
	if m.parent == (spanIDs{}) {
		m.parent = statedSpan(ctx)
	}
	r := c.momentRecord(wire.KindProcess, wire.DirectionReceived, attributes)
	r.typ, r.seq = m.typ, m.seq
	began := c.now
	ids, shared := c.identify(&r, m, rules.handshakeTraces)
	if !rules.none {
		state, kept := rules.sample(ids.trace, shared, &c.ids)
		ctx = remoteSpan(context.WithValue(ctx, statedKey{}, nil), ids, state, kept)
	}
	var once sync.Once
	return ctx, func(err error) {
		once.Do(func() { c.processed(&r, began, err) })
	}
}

// identify finds the ids of a process span, and states in its record what the
// receiver would not derive. It tells whether both ends derive the trace.
func (c *Connection) identify(r *record, m Message, handshakeTraces bool) (ids spanIDs, shared bool) {
	seed, slot, n := c.seed(), c.slot(), uint64(m.seq)
	var derived wire.TraceID
	switch {
	case handshakeTraces:
		derived = seed.TraceID(0, wire.SlotHandshake)
	case m.seq > 0:
		derived = seed.TraceID(n, slot)
	}
	ids.trace = derived
	if handshakeTraces && c.conn.traceID != (wire.TraceID{}) {
		ids.trace = c.conn.traceID
	}
	if m.parent != (spanIDs{}) {
		ids.trace = m.parent.trace
		r.extra = &wire.Event{TraceID: m.parent.trace, ParentSpanID: m.parent.span}
	}
	shared = ids.trace == derived && derived != (wire.TraceID{})
	if m.seq > 0 && c.handled.add(m.seq) {
		ids.span = seed.SpanID(n, slot, wire.KindProcess, c.conn.role)
		return ids, shared
	}
	if r.extra == nil {
		r.extra = &wire.Event{}
	}
	_, _ = rand.Read(ids.span[:]) // never fails
	if ids.trace == (wire.TraceID{}) {
		_, _ = rand.Read(ids.trace[:])
		r.extra.TraceID = ids.trace
	}
	r.extra.SpanID = ids.span
	return ids, shared
}

// seed is what the ids of the connection's messages are derived from.
func (c *Connection) seed() wire.Seed {
	if !c.seeded {
		c.ids, c.seeded = wire.ConnectionSeed(c.conn.id), true
	}
	return c.ids
}

// slot is that of received messages.
func (c *Connection) slot() wire.Slot {
	slot, _ := conventions.DataSlot(c.conn.role, wire.DirectionReceived)
	return slot
}

func (c *Connection) processed(r *record, began time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.duration = int64(c.clock.now() - began)
	if err != nil {
		if r.extra == nil {
			r.extra = &wire.Event{}
		}
		r.extra.SetStr(wire.AttrErrorType, clean(errorType(err), 256))
	}
	c.rec.record(*r)
}

// errorType is an error.type without the error's text, which may hold payload:
// what the error says itself, else the name of the innermost type that tells
// anything, else OpenTelemetry's fallback.
func errorType(err error) string {
	var typed interface {
		error
		ErrorType() string
	}
	var netErr net.Error
	switch {
	case errors.As(err, &typed):
		return typed.ErrorType()
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &netErr) && netErr.Timeout(): // context.DeadlineExceeded too
		return "timeout"
	}
	name := ""
	for ; err != nil; err = errors.Unwrap(err) {
		switch s := strings.TrimLeft(fmt.Sprintf("%T", err), "*"); s {
		case "errors.errorString", "errors.joinError", "fmt.wrapError", "fmt.wrapErrors":
		default:
			name = s
		}
	}
	if name == "" {
		return "_OTHER"
	}
	return name
}
