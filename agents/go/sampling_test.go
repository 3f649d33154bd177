package wsstats

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func contextThatIsOver() (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
}

// Above the rate, what the receiver's threshold would not keep is left out and
// counts all the same; below it everything is sent.
func TestUnsampledAreLeftOut(t *testing.T) { eachEncoding(t, testUnsampledAreLeftOut) }

func testUnsampledAreLeftOut(t *testing.T, e encoding) {
	const limit, n, threshold = 10, 800, "c"
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(10_000), WithAggregates(limit))
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.SamplingThreshold = threshold })
	awaitKnown(t, a)
	c := newConn("a81b")
	seed := wire.ConnectionSeed(c.id)
	least, _ := wire.ParseThreshold(threshold)
	var want []int64
	at := message(c, 0).time
	recordMany := func(perSecond int64) {
		for i := range int64(n) {
			m := message(c, i)
			m.seq, m.time = i+1, at
			at += int64(time.Second) / perSecond
			a.record(m)
			busy := perSecond > limit && i >= limit
			if !busy || wire.TraceRandomness(seed.TraceID(uint64(m.seq), wire.SlotClientData)) >= least {
				want = append(want, i)
			}
		}
	}

	recordMany(n)
	flushing := inBackground(t, a.Flush)
	b := p.batch(1)
	assert.True(t, b.HasThreshold)
	assert.Equal(t, least, b.Threshold)
	assert.Equal(t, want, sizes(b))
	assert.InDelta(t, n/4, len(want), n/16)
	assert.EqualValues(t, n, messagesIn(b))
	p.ack(1)
	require.NoError(t, <-flushing)
	s := a.Stats()
	assert.EqualValues(t, n-len(want), s.Unsampled)
	assert.EqualValues(t, n+1, s.Acknowledged, "with the stat")

	// The next second begins as busy as the last one was, and is not.
	want = nil
	at += int64(5 * time.Second)
	recordMany(limit)
	flushing = inBackground(t, a.Flush)
	b = p.batch(2)
	p.ack(2)
	require.NoError(t, <-flushing)
	require.Equal(t, want, sizes(b))
	assert.Len(t, b.Events, n)

	recordMessages(a, c, 1, 1)
	flushing = inBackground(t, a.Flush)
	b = p.batch(3)
	assert.False(t, b.HasThreshold, "nothing was left out since the last one")
	p.ack(3)
	require.NoError(t, <-flushing)
}

// A flow changes the threshold. A number is as it was, whatever comes after it.
func TestThresholdOfANumber(t *testing.T) { eachEncoding(t, testThresholdOfANumber) }

func testThresholdOfANumber(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(10_000), WithAggregates(1))
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.SamplingThreshold = "8" })
	awaitKnown(t, a)
	c := newConn("a81b")
	recordSome := func() {
		for i := range int64(100) {
			m := message(c, i)
			m.seq = i + 1
			a.record(m)
		}
	}
	threshold := func() uint64 {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.meter.threshold
	}
	flushing := inBackground(t, func(ctx context.Context) error { recordSome(); return a.Flush(ctx) })
	b := p.batch(1)
	assert.EqualValues(t, 8<<52, b.Threshold)
	first := sizes(b)
	p.text(`{"flow":{"sampling_ratio":0.1,"sampling_threshold":"e666"}}`)
	requireSoon(t, func() bool { return threshold() == 0xe666<<40 })
	p.text(`{"flow":{"window_bytes":1000000,"sampling_threshold":"much"}}`)
	p.cut()

	p = r.accept()
	p.welcome(func(w *wire.Welcome) { w.SamplingThreshold = "0" })
	p.batch(0)
	b = p.batch(1)
	assert.EqualValues(t, 8<<52, b.Threshold)
	assert.Equal(t, first, sizes(b))
	p.ack(1)
	require.NoError(t, <-flushing)
	recordSome()
	flushing = inBackground(t, a.Flush)
	b = p.batch(2)
	assert.Len(t, b.Events, 100, "at a ratio of 1 nothing is left out")
	p.ack(2)
	require.NoError(t, <-flushing)
}

// An agent decides as the receiver does, and leaves to it what it cannot know.
func TestSamplingDecisions(t *testing.T) {
	c := newConn("0123456789abcdef0123456789abcdef")
	seed := wire.ConnectionSeed(c.id)
	of := wire.TraceRandomness
	ordinal := func(r record, seq int64) record { r.seq = seq; return r }
	stated := func(change func(*wire.Event)) record {
		r := ordinal(message(c, 1), 7)
		r.extra = &wire.Event{}
		change(r.extra)
		return r
	}
	in := *newConn(c.id)
	in.traceID = wire.TraceID{15: 5, 14: 9}
	client := *newConn(c.id)
	client.role = wire.RoleClient
	unknown := *newConn(c.id)
	unknown.role = wire.RoleUnknown
	const each, together = "message", "connection"
	tests := map[string]struct {
		scope, mode string
		record      record
		want        uint64 // randomness; 0: the receiver decides
	}{
		"received by a server": {each, each, ordinal(message(c, 1), 7), of(seed.TraceID(7, wire.SlotClientData))},
		"received by a client": {each, each, ordinal(message(&client, 1), 7), of(seed.TraceID(7, wire.SlotServerData))},
		"received by somebody": {each, each, ordinal(message(&unknown, 1), 7), of(seed.TraceID(7, wire.SlotReceived))},
		"sent by a server": {each, each, func() record {
			r := ordinal(message(c, 1), 7)
			r.kind = wire.KindSend
			return r
		}(), of(seed.TraceID(7, wire.SlotServerData))},
		"processed": {each, each, func() record {
			r := ordinal(message(c, 1), 7)
			r.kind, r.duration = wire.KindProcess, 1
			return r
		}(), of(seed.TraceID(7, wire.SlotClientData))},
		"attributes":       {each, each, withAttributes(ordinal(message(c, 1), 7), String("room.id", "a")), of(seed.TraceID(7, wire.SlotClientData))},
		"scope connection": {together, each, ordinal(message(c, 1), 7), seed.Randomness()},
		"one trace":        {each, together, ordinal(message(c, 1), 7), of(seed.TraceID(0, wire.SlotHandshake))},
		"one foreign":      {each, together, ordinal(message(&in, 1), 7), of(in.traceID)},
		"both":             {together, together, ordinal(message(c, 1), 7), seed.Randomness()},
		"both, foreign":    {together, together, ordinal(message(&in, 1), 7), of(in.traceID)},
		"no ordinal":       {each, each, message(c, 1), 0},
		"no connection":    {each, each, ordinal(message(nil, 1), 7), 0},
		"error":            {each, each, withAttributes(ordinal(message(c, 1), 7), String("error.type", "boom")), 0},
		"stated trace":     {each, each, stated(func(e *wire.Event) { e.TraceID = wire.TraceID{1} }), 0},
		"stated parent":    {each, each, stated(func(e *wire.Event) { e.Parent = wire.TraceContext{TraceID: wire.TraceID{1}} }), 0},
		"tracestate":       {each, each, stated(func(e *wire.Event) { e.Tracestate = "ot=rv:00000000000001" }), 0},
		"stated span":      {each, each, stated(func(e *wire.Event) { e.SpanID = wire.SpanID{1} }), of(seed.TraceID(7, wire.SlotClientData))},
		"ping":             {each, each, event(c, wire.KindPing), 0},
		"broadcast":        {each, each, withAttributes(ordinal(event(c, wire.KindBroadcast), 7), Int("ws.broadcast.recipients", 2)), 0},
		"tells nothing":    {each, each, ordinal(event(c, wire.KindProcess), 7), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			leftAt := func(threshold uint64) bool {
				m := newMeter(1, 1<<20, new(spanRules))
				welcomed(m, &wire.Welcome{SamplingThreshold: wire.FormatThreshold(threshold), SamplingScope: tt.scope, TraceMode: tt.mode}, &ring{})
				assert.False(t, m.take(&tt.record), "the rate is not high yet")
				return m.take(&tt.record)
			}
			if tt.want == 0 {
				assert.False(t, leftAt(wire.NeverSampled))
				return
			}
			assert.False(t, leftAt(tt.want), "R >= T keeps")
			assert.True(t, leftAt(tt.want+1))
			assert.True(t, leftAt(wire.NeverSampled))
			assert.False(t, leftAt(0))
		})
	}
}

// Red when: a clock that is set back, or a gap, has the rate taken for another.
func TestRate(t *testing.T) {
	s := sampling{spanRules: &spanRules{threshold: 1}, limit: 3}
	second := int64(time.Second)
	steps := []struct {
		at      int64
		leaving bool
	}{
		{100 * second, false},
		{100*second + 1, false},
		{100*second + 2, false},
		{100*second + 3, true}, // the fourth
		{100*second - 5, true}, // an earlier one that is told of later
		{101 * second, true},   // the second before was busy
		{102 * second, false},  // and this one is not
		{102*second + 1, false},
		{102*second + 2, false},
		{102*second + 3, true},
		{105 * second, false}, // long after
		{50 * second, false},  // set back
		{50 * second, false},
		{50 * second, false},
		{50 * second, true},
	}
	for i, step := range steps {
		s.count(step.at)
		assert.Equal(t, step.leaving, s.leaving, "step %d", i)
	}
}

// A second number of a batch that was cut says the threshold of the first.
func TestThresholdOfWhatIsPutBack(t *testing.T) {
	m := newMeter(1, 1<<20, new(spanRules))
	m.threshold, m.applied = 5, 5
	assert.EqualValues(t, 5, m.numbered(false))
	assert.EqualValues(t, 5, m.numbered(true))
	assert.Zero(t, m.numbered(true))
	m.putBack(4)
	assert.EqualValues(t, 4, m.numbered(false), "its records are in the queue again")
	m.leaving = true
	assert.EqualValues(t, 4, m.numbered(true))
	assert.EqualValues(t, 5, m.numbered(true), "there may be no record of what was left out meanwhile")
	(*meter)(nil).putBack(1)
	assert.Zero(t, (*meter)(nil).numbered(true))
}

// Red when: measuring or leaving out allocates.
func TestMeasuringDoesNotAllocate(t *testing.T) {
	for name, attributes := range map[string][]Attribute{"plain": nil, "dimension": {String("room.id", "lobby"), Int("ws.queue.size", 2)}} {
		for _, threshold := range []string{"0", wire.FormatThreshold(wire.NeverSampled)} {
			t.Run(name+" "+threshold, func(t *testing.T) {
				a := newAgent(t, WithEndpoint("ws://"+blackHole(t)), WithMaxQueueBytes(64<<10), WithAggregates(1))
				a.mu.Lock()
				welcomed(a.meter, &wire.Welcome{SamplingThreshold: threshold, Dimensions: []string{"room.id"}}, &a.ring)
				a.mu.Unlock()
				m := withAttributes(message(newConn("a81b"), 1), attributes...)
				m.seq = 1
				for range 2000 { // the ring has its size
					a.record(m)
				}
				assert.Zero(t, testing.AllocsPerRun(1000, func() { a.record(m) }))
			})
		}
	}
}

// BenchmarkMeasure reports what a message costs that is measured: kept in the
// queue, or left out.
func BenchmarkMeasure(b *testing.B) {
	for _, dimensions := range []int{0, 1} {
		for _, left := range []bool{false, true} {
			b.Run(fmt.Sprintf("dimensions=%d/left=%t", dimensions, left), func(b *testing.B) {
				a := benchmarkAgent(b, defaultQueueBytes, WithAggregates(1))
				w := wire.Welcome{SamplingThreshold: "0"}
				if left {
					w.SamplingThreshold = wire.FormatThreshold(wire.NeverSampled)
				}
				c := newConn("a81b")
				if dimensions > 0 {
					w.Dimensions, c.attributes = []string{"room.id"}, []Attribute{String("room.id", "lobby")}
				}
				a.mu.Lock()
				welcomed(a.meter, &w, &a.ring)
				a.mu.Unlock()
				m := message(c, 1)
				free := 0
				b.ReportAllocs()
				for b.Loop() {
					m.seq++
					m.size = m.seq & 1023
					a.record(m)
					if free++; free == 512 {
						a.mu.Lock()
						a.ring.remove(0, a.ring.take(512, 1<<30))
						a.mu.Unlock()
						free = 0
					}
				}
			})
		}
	}
}

// What was left out beside a number's records was so whatever number they get.
// Red when: numbers that are made anew, of another instance or of a receiver with
// smaller limits, say that nothing was.
func TestThresholdOfNewNumbers(t *testing.T) { eachEncoding(t, testThresholdOfNewNumbers) }

func testThresholdOfNewNumbers(t *testing.T, e encoding) {
	for name, next := range map[string]func(*receiver, *peer) (*peer, uint64){
		"taken over": func(r *receiver, p *peer) (*peer, uint64) {
			p.close(websocket.ClosePolicyViolation, "taken over")
			p = r.accept()
			p.welcome(nil)
			return p, 1
		},
		"smaller limits": func(r *receiver, p *peer) (*peer, uint64) {
			p.close(websocket.CloseGoingAway, "")
			p = r.accept()
			p.welcome(func(w *wire.Welcome) { w.MaxEvents = 20 })
			return p, 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, e, nil)
			a := r.agent(batchOf(1000), WithAggregates(1))
			p := r.accept()
			p.welcome(func(w *wire.Welcome) { w.SamplingThreshold = "8" })
			awaitKnown(t, a)
			c := newConn("a81b")
			a.open(c)
			for i := range int64(100) {
				m := message(c, i)
				m.seq = i + 1
				a.record(m)
			}
			late := event(c, wire.KindPing) // long after: nothing is left out any more
			late.time += int64(time.Hour)
			a.record(late)
			a.mu.Lock()
			a.meter.leaving = false
			a.mu.Unlock()

			flushing := inBackground(t, a.Flush)
			p.batch(1)
			p, seq := next(r, p)
			p.batch(0)
			if seq == 2 {
				assert.Empty(t, p.batch(1).Events)
			}
			b := p.batch(seq)
			assert.NotEmpty(t, b.Events)
			assert.EqualValues(t, 8<<52, b.Threshold)
			for messages := messagesIn(b); messages < 100; messages += messagesIn(b) {
				seq++
				b = p.batch(seq)
			}
			p.ack(seq)
			require.NoError(t, <-flushing)
		})
	}
}

// Red when: Flush does not wait for what stats alone tell of.
func TestFlushOfStatsAlone(t *testing.T) { eachEncoding(t, testFlushOfStatsAlone) }

func testFlushOfStatsAlone(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1000), WithAggregates(1))
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.SamplingThreshold = wire.FormatThreshold(wire.NeverSampled) })
	awaitKnown(t, a)
	m := message(newConn("a81b"), 1)
	m.seq = 1
	a.record(m)
	flushing := inBackground(t, a.Flush)
	assert.Len(t, p.batch(1).Events, 1)
	p.ack(1)
	require.NoError(t, <-flushing)

	a.record(m)
	flushing = inBackground(t, a.Flush)
	b := p.batch(2)
	assert.Empty(t, b.Events)
	assert.EqualValues(t, 1, messagesIn(b))
	select {
	case err := <-flushing:
		require.FailNow(t, "flushed before the ack", "%v", err)
	default:
	}
	p.ack(2)
	require.NoError(t, <-flushing)
}

// Red when: the second half of a batch that was too long says that nothing was
// left out beside it.
func TestThresholdOfHalves(t *testing.T) { eachEncoding(t, testThresholdOfHalves) }

func testThresholdOfHalves(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1000), WithAggregates(1))
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.SamplingThreshold, w.MaxMessageBytes = "8", 8000 })
	awaitKnown(t, a)
	const n = 20
	for i := range int64(n) {
		c := newConn(fmt.Sprintf("c%d", i))
		c.url = longText(1500) // is not estimated
		m := message(c, i)
		m.seq = 1
		a.record(m)
	}
	a.mu.Lock()
	a.meter.leaving = false
	a.mu.Unlock()
	flushing := inBackground(t, a.Flush)
	var messages, seq uint64
	for messages < n {
		seq++
		b := p.batch(seq)
		assert.EqualValues(t, 8<<52, b.Threshold)
		messages += messagesIn(b)
	}
	assert.Greater(t, seq, uint64(1))
	p.ack(seq)
	require.NoError(t, <-flushing)
}
