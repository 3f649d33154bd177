package wsstats

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestSending(t *testing.T) {
	rec := newFakeRecorder()
	c := observe(rec, observed)
	ctx, ids := active(t.Context(), 1)
	replaced, _ := active(t.Context(), 2)
	c.Sending(replaced, Int("replaced", 1))
	began := time.Now().UnixNano()
	c.Sending(ctx, MessageID("m-1"), QueueSize(3))
	c.Sending(t.Context()) // as an adapter does
	c.Sent(TextMessage, 10, String("room.id", "lobby"))
	c.Sending(t.Context(), QueueSize(2))
	c.Sent(TextMessage, 10)
	c.Sent(TextMessage, 10)
	sent := rec.of(wire.KindSend)
	require.Len(t, sent, 3)
	assert.Equal(t, &ids, sent[0].active)
	assert.Equal(t, []Attribute{String("ws.message.id", "m-1"), Int("ws.queue.size", 3), String("room.id", "lobby")}, *sent[0].attributes)
	assert.GreaterOrEqual(t, sent[0].time, began)
	assert.GreaterOrEqual(t, sent[0].duration, int64(0))
	assert.Nil(t, sent[1].active)
	assert.Equal(t, []Attribute{Int("ws.queue.size", 2)}, *sent[1].attributes)
	assert.Nil(t, sent[2].attributes)
	assert.Equal(t, int64(-1), sent[2].duration)
}

// A broadcast and a batch are told of in place of their messages, which count on.
func TestBroadcastAndBatch(t *testing.T) {
	rec := newFakeRecorder()
	ctx, ids := active(t.Context(), 1)
	a, b := observe(rec, observed), observe(rec, observed)
	broadcast(ctx, rec, TextMessage, 100, 2, []Attribute{String("room.id", "lobby")})
	for _, c := range []*Connection{a, b} {
		c.SendingBroadcast()
		c.Sent(TextMessage, 100)
	}
	a.SendingBatch(ctx, BinaryMessage, 3, 50, QueueSize(7))
	a.SendingBatch(ctx, BinaryMessage, 0, 50)
	for range 3 {
		a.Sent(BinaryMessage, 50)
	}
	a.Sent(TextMessage, 1)
	assert.Equal(t, []summary{{5, 1, -1, 0, TextMessage}}, summaries(rec.of(wire.KindSend)))

	r := rec.await(t, wire.KindBroadcast, 1)
	assert.Equal(t, int64(2), r.extra.Int(wire.AttrBroadcastRecipients))
	assert.Equal(t, "server", r.extra.Str(wire.AttrRole))
	assert.Equal(t, []summary{{0, 100, -1, 0, TextMessage}}, summaries(rec.of(wire.KindBroadcast)))
	assert.Equal(t, &ids, r.active)
	assert.Nil(t, r.conn)
	r = rec.await(t, wire.KindBatchSend, 1)
	assert.Equal(t, int64(3), r.extra.Int(wire.AttrBatchSize))
	assert.Equal(t, []summary{{0, 50, -1, 0, BinaryMessage}}, summaries(rec.of(wire.KindBatchSend)))
	assert.Equal(t, &ids, r.active)
	assert.Same(t, a.conn, r.conn)

	a.Closed(1000, "", Local)
	end := rec.await(t, wire.KindClose, 1)
	assert.Equal(t, int64(5), end.extra.Int(wire.AttrMessagesSent))
	assert.Equal(t, int64(251), end.extra.Int(wire.AttrBytesSent))
	n := len(rec.all())
	a.SendingBatch(ctx, TextMessage, 1, 1)
	a.SendingBroadcast()
	a.Sending(ctx)
	assert.Len(t, rec.all(), n, "nothing after the close")
}

// What the application tells arrives at the receiver as the conventions name it.
func TestToldOnTheWire(t *testing.T) { eachEncoding(t, testToldOnTheWire) }

func testToldOnTheWire(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(100))
	ctx, ids := active(t.Context(), 1)
	c := a.Observe(observed)
	c.Sending(ctx, MessageID("m-1"), QueueSize(3))
	c.Sent(TextMessage, 10)
	a.Broadcast(ctx, TextMessage, 100, 12)
	c.SendingBatch(t.Context(), BinaryMessage, 3, 50)
	_, end := c.Process(t.Context(), c.Received(TextMessage, 5))
	end(kindOfError{})
	c.PingReceived(4)
	flush := inBackground(t, a.Flush)
	p := r.welcomed(0)
	p.batchRestated()
	b := p.batch(1)
	p.ack(1)
	require.NoError(t, <-flush)

	require.Len(t, b.Events, 7)
	send, all, batch, process, ping := &b.Events[1], &b.Events[2], &b.Events[3], &b.Events[5], &b.Events[6]
	link := []wire.Link{{TraceID: ids.trace, SpanID: ids.span, Attributes: []Attribute{String("ws.link.kind", "active")}}}
	assert.Equal(t, link, send.Links)
	assert.Equal(t, "m-1", send.Str(wire.AttrMessageID))
	assert.Equal(t, int64(3), send.Int(wire.AttrQueueSize))
	assert.Equal(t, wire.KindBroadcast, all.Kind)
	assert.Equal(t, link, all.Links)
	assert.Equal(t, int64(12), all.Int(wire.AttrBroadcastRecipients))
	assert.Equal(t, int64(100), all.Int(wire.AttrMessageSize))
	assert.Empty(t, all.Str(wire.AttrConnectionID))
	assert.Equal(t, wire.KindBatchSend, batch.Kind)
	assert.Equal(t, int64(3), batch.Int(wire.AttrBatchSize))
	assert.Equal(t, c.ID(), batch.Str(wire.AttrConnectionID))
	assert.Empty(t, batch.Links)
	assert.Equal(t, wire.KindProcess, process.Kind)
	assert.Equal(t, "text", process.Str(wire.AttrMessageType))
	assert.Equal(t, int64(1), process.Int(wire.AttrMessageSeq))
	assert.Equal(t, "quota", process.Str(wire.AttrErrorType))
	assert.True(t, process.HasDuration)
	assert.Equal(t, "received", ping.Str(wire.AttrDirection))
	assert.Equal(t, int64(4), ping.Int(wire.AttrMessageSize))
}

// Links of the application's spans count as memory of the queue.
func TestActiveLinksAreBounded(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithMaxQueueBytes(minQueueBytes))
	c := a.Observe(Opening{})
	ctx, _ := active(t.Context(), 1)
	for range 1000 {
		c.Sending(ctx)
		c.Sent(TextMessage, 1)
	}
	assert.LessOrEqual(t, a.Stats().Held, uint64(minQueueBytes/(rowBytes+spanIDsBytes)))
	assert.Positive(t, a.Stats().Dropped["queue_full"])
}
