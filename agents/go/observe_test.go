package wsstats

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

var observed = Opening{
	Role: RoleServer, URL: "wss://user:secret@example.com/chat?token=secret#secret", Peer: netip.MustParseAddrPort("192.0.2.7:4711"),
	Subprotocol: "chat.v2", Attributes: []Attribute{String("user.id", "u-17")},
}

func TestObserve(t *testing.T) {
	rec := newFakeRecorder()
	opening := observed
	opening.Start = time.Now().Add(-time.Second)
	c := observe(rec, opening)
	require.Len(t, rec.opened, 1)
	assert.Len(t, c.ID(), 32)
	h := rec.await(t, wire.KindHandshake, 1)
	assert.GreaterOrEqual(t, h.duration, int64(time.Second))
	assert.Equal(t, opening.Start.UnixNano(), h.time)
	assert.Equal(t, "chat.v2", h.extra.Str(wire.AttrSubprotocol))
	assert.Equal(t, int64(101), h.extra.Int(wire.AttrStatusCode))
	assert.True(t, h.extra.Bool(wire.AttrHandshakeSuccess))
	assert.Equal(t, "wss://example.com/chat", h.conn.url)
	assert.Equal(t, "wss", h.conn.protocol)
	assert.Equal(t, "192.0.2.7", h.conn.peerIP)
	assert.Equal(t, 4711, h.conn.peerPort)

	before := time.Now().UnixNano()
	c.Received(TextMessage, 10)
	c.Sent(TextMessage, 100)
	c.Sent(BinaryMessage, -5)
	c.Sent(BinaryMessage, 7, String("ws.message.id", "m-1"))
	assert.Equal(t, []summary{{1, 10, -1, 0, TextMessage}}, summaries(rec.of(wire.KindReceive)))
	sent := rec.of(wire.KindSend)
	assert.Equal(t, []summary{{1, 100, -1, 0, TextMessage}, {2, -1, -1, 0, BinaryMessage}, {3, 7, -1, 0, BinaryMessage}}, summaries(sent))
	assert.GreaterOrEqual(t, sent[0].time, before)
	assert.Equal(t, int64(-1), sent[0].duration)
	assert.Nil(t, sent[0].attributes)
	assert.Equal(t, []Attribute{String("ws.message.id", "m-1")}, *sent[2].attributes)

	before = time.Now().UnixNano()
	c.Pinged(time.Minute)
	c.Pinged(-1)
	pings := rec.of(wire.KindPing)
	assert.Equal(t, int64(time.Minute), pings[0].duration)
	assert.InDelta(t, before-int64(time.Minute), pings[0].time, float64(10*time.Second))
	assert.Equal(t, int64(-1), pings[1].duration)
	assert.Equal(t, int64(2), pings[1].seq)
	assert.Equal(t, wire.DirectionSent, pings[1].dir)

	first, second := c.Pinging(), c.Pinging()
	second(1)
	first(1)
	pings = rec.of(wire.KindPing)
	assert.Equal(t, []int64{4, 3}, []int64{pings[2].seq, pings[3].seq}, "in the order of being sent")

	c.Failed("ECONNRESET", "network", String("error.message", "connection reset"))
	failed := rec.await(t, wire.KindError, 1)
	assert.Equal(t, "ECONNRESET", failed.extra.Str(wire.AttrErrorType))
	assert.Equal(t, "network", failed.extra.Str(wire.AttrErrorCategory))

	c.Closed(4000, "bye", Remote, Bool("ws.close.clean", true))
	r := rec.await(t, wire.KindClose, 1)
	r.extra.SetBool(wire.AttrCloseClean, true) // the encoder takes it from the attributes
	requireClose(t, r, 4000, "bye", "remote", true)
	assert.Equal(t, wire.DirectionReceived, r.dir)
	assert.Equal(t, int64(3), r.extra.Int(wire.AttrMessagesSent))
	assert.Equal(t, int64(1), r.extra.Int(wire.AttrMessagesReceived))
	assert.Equal(t, int64(107), r.extra.Int(wire.AttrBytesSent))
	assert.Equal(t, int64(10), r.extra.Int(wire.AttrBytesReceived))
	requireNothingReserved(t, rec)

	n := len(rec.all())
	c.Sent(TextMessage, 1)
	c.Received(TextMessage, 1)
	c.Pinged(1)
	c.Failed("late", "")
	c.Closed(1000, "", Local)
	assert.Len(t, rec.all(), n, "nothing after the close")
	assert.NotContains(t, rec.String(), "secret")
}

// What an application says is told as it is to the receiver, and what it
// cannot know is left out.
func TestObservedOnTheWire(t *testing.T) { eachEncoding(t, testObservedOnTheWire) }

func testObservedOnTheWire(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(100))
	c := a.Observe(observed)
	attributes := []Attribute{Int("room.id", 3), String("ws.message.id", "m-1")}
	c.Sent(TextMessage, 100, attributes...)
	attributes[0] = Int("room.id", 4) // is the caller's again
	c.Failed("ECONNRESET", "network")
	c.Closed(1006, "", None)
	a.ObserveRefused(observed, 403, "")
	a.ObserveRefused(observed, 0, "timeout")
	flush := inBackground(t, a.Flush)
	p := r.welcomed(0)
	b := p.batch(1)
	p.ack(1)
	require.NoError(t, <-flush)

	require.Len(t, b.Events, 6)
	handshake, send, failed, end, refused, lost := &b.Events[0], &b.Events[1], &b.Events[2], &b.Events[3], &b.Events[4], &b.Events[5]
	assert.False(t, handshake.HasDuration)
	assert.Equal(t, []Attribute{String("user.id", "u-17")}, handshake.User)
	assert.Equal(t, "server", handshake.Str(wire.AttrRole))
	assert.Equal(t, "wss://example.com/chat", handshake.Str(wire.AttrURL))
	assert.Equal(t, c.ID(), send.Str(wire.AttrConnectionID))
	assert.Equal(t, []Attribute{Int("room.id", 3)}, send.User)
	assert.Equal(t, "m-1", send.Str(wire.AttrMessageID))
	assert.Equal(t, int64(1), send.Int(wire.AttrMessageSeq))
	assert.Equal(t, wire.KindError, failed.Kind)
	assert.False(t, end.Bool(wire.AttrCloseClean))
	assert.True(t, end.Has(wire.AttrCloseClean))
	assert.Equal(t, "none", end.Str(wire.AttrCloseInitiator))
	for _, h := range []*wire.Event{refused, lost} {
		assert.Equal(t, wire.KindHandshake, h.Kind)
		assert.False(t, h.Bool(wire.AttrHandshakeSuccess))
		assert.Empty(t, h.Str(wire.AttrConnectionID))
		assert.Equal(t, []Attribute{String("user.id", "u-17")}, h.User)
	}
	assert.Equal(t, int64(403), refused.Int(wire.AttrStatusCode))
	assert.Equal(t, "403", refused.Str(wire.AttrErrorType))
	assert.False(t, lost.Has(wire.AttrStatusCode))
	assert.Equal(t, "timeout", lost.Str(wire.AttrErrorType))
}

// After a reconnect the connection's own attributes are declared again.
func TestObservedIsRestated(t *testing.T) { eachEncoding(t, testObservedIsRestated) }

func testObservedIsRestated(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	c := a.Observe(observed)
	p := r.welcomed(0)
	p.batchRestated()
	p.batch(1)
	p.ack(1)
	flushed(t, a)
	p.cut()
	p = r.welcomed(1)
	b := p.batchRestated()
	require.Len(t, b.Connections, 1)
	assert.Equal(t, c.ID(), b.Connections[0].Str(wire.AttrConnectionID))
	assert.Equal(t, []Attribute{String("user.id", "u-17")}, b.Connections[0].User)
	assert.True(t, b.Connections[0].HasOpenedAt)
	assert.EqualValues(t, 2, a.Stats().Sessions)
}

// batchRestated reads the batch that restates connections.
func (p *peer) batchRestated() *wire.Batch {
	p.t.Helper()
	return p.batch(0)
}

func TestObservedID(t *testing.T) {
	tests := map[string]struct {
		id   string
		kept bool
	}{
		"an application's own": {"user 17/é", true},
		"as long as may be":    {strings.Repeat("a", 128), true},
		"too long":             {strings.Repeat("a", 129), false},
		"not printable":        {"a\nb", false},
		"not UTF-8":            {"a\xff", false},
		"none":                 {"", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rec := newFakeRecorder()
			c := observe(rec, Opening{Role: RoleClient, ID: tt.id, Shared: true})
			defer c.Closed(1000, "", Local)
			assert.Equal(t, tt.kept, c.ID() == tt.id)
			assert.Equal(t, tt.kept, c.conn.shared, "a drawn id is not known to the other end")
			again := observe(rec, Opening{Role: RoleClient, ID: tt.id, Shared: true})
			defer again.Closed(1000, "", Local)
			assert.NotEqual(t, c.ID(), again.ID())
			assert.False(t, again.conn.shared)
		})
	}
}

func TestObservedIDIsNotShared(t *testing.T) {
	c := observe(newFakeRecorder(), Opening{ID: "a81b"})
	assert.Equal(t, "a81b", c.ID())
	assert.False(t, c.conn.shared, "nobody said so")
}

// What an application gives its events counts as memory of the queue.
func TestObservedAttributesAreBounded(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithMaxQueueBytes(minQueueBytes))
	c := a.Observe(Opening{})
	for range 100 {
		c.Sent(TextMessage, 1, String("room.id", longText(1000)))
	}
	assert.LessOrEqual(t, a.Stats().Held, uint64(minQueueBytes/1000))
	assert.Positive(t, a.Stats().Dropped["queue_full"])
}

func TestObservedURL(t *testing.T) {
	for stated, want := range map[string][2]string{
		"ws://example.com":       {"ws://example.com/", "ws"},
		"https://example.com/a":  {"wss://example.com/a", "wss"},
		"ws://example.com/a%2Fb": {"ws://example.com/a%2Fb", "ws"},
		"/only/a/path":           {"", ""},
		"ws://[broken":           {"", ""},
		"":                       {"", ""},
	} {
		c := observe(newFakeRecorder(), Opening{URL: stated})
		assert.Equal(t, want, [2]string{c.conn.url, c.conn.protocol}, stated)
	}
}

// What became of an event is told once, with what the application gave it.
func TestOutcomes(t *testing.T) { eachEncoding(t, testOutcomes) }

func testOutcomes(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	var mu sync.Mutex
	told := map[string]int{}
	a := r.agent(batchOf(2), WithOutcome(func(o Outcome) {
		mu.Lock()
		defer mu.Unlock()
		assert.WithinDuration(t, time.Now(), o.Time, patience)
		key := o.Dropped
		for _, attribute := range o.Attributes {
			key += " " + attribute.Key
		}
		told[key]++
	}))
	c := a.Observe(Opening{Role: RoleServer, Attributes: []Attribute{Int("opening", 1)}})
	a.ObserveRefused(Opening{Attributes: []Attribute{Int("refusal", 1)}}, 403, "")
	p := r.welcomed(0)
	p.batchRestated()
	p.batch(1)
	p.ack(1)
	c.Sent(TextMessage, 1, Int("first", 1))
	c.Sent(TextMessage, 1)
	p.batch(2)
	p.ack(2)
	flushed(t, a)
	c.Sent(TextMessage, 1, Int("second", 1))
	c.Sent(TextMessage, 1)
	p.batch(3)
	p.reply(wire.Reply{Nack: 3, Retryable: true, Code: wire.CodeUnavailable})
	p.batch(3)
	p.reply(wire.Reply{Nack: 3, Code: wire.CodeRefused})
	flushed(t, a)
	assert.EqualValues(t, 1, a.Stats().Nacks)
	c.Sent(TextMessage, 1, Int("third", 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, a.Shutdown(ctx))
	c.Closed(1000, "", Local, Int("fourth", 1))
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, map[string]int{" opening": 1, " refusal": 1, "": 1, " first": 1, "refused second": 1, "refused": 1, "shutdown third": 1, "shutdown fourth": 1}, told)
}

func TestObservedConcurrency(t *testing.T) {
	rec := newFakeRecorder()
	c := observe(rec, observed)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				c.Sent(TextMessage, 1)
				c.Received(TextMessage, 1, Int("n", 1))
				c.Pinged(1)
			}
		})
	}
	wg.Wait()
	c.Closed(1000, "", Local)
	for i, r := range rec.of(wire.KindSend) {
		require.Equal(t, int64(i+1), r.seq)
	}
	assert.Len(t, rec.of(wire.KindReceive), 800)
}

func TestObserveDoesNotAllocate(t *testing.T) {
	c := observe(&discard{}, observed)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		c.Sent(TextMessage, 128)
		c.Received(BinaryMessage, 128)
		c.Pinged(time.Millisecond)
	}))
}

// BenchmarkObserve reports what one message costs the application.
func BenchmarkObserve(b *testing.B) {
	for name, attributes := range map[string][]Attribute{"plain": nil, "attribute": {String("room.id", "lobby")}} {
		b.Run(name, func(b *testing.B) {
			c := observe(&discard{}, observed)
			b.ReportAllocs()
			for b.Loop() {
				c.Sent(TextMessage, 128, attributes...)
			}
		})
	}
}
