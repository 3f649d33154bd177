package wsstats

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestBatchesBySizeAndByTime(t *testing.T) { eachEncoding(t, testBatchesBySizeAndByTime) }

func testBatchesBySizeAndByTime(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	t.Run("events", func(t *testing.T) {
		a := r.agent(WithBatch(3, 1<<20, time.Hour))
		recordMessages(a, nil, 1, 7)
		p := r.welcomed(0)
		assert.Equal(t, []int64{1, 2, 3}, sizes(p.batch(1)))
		assert.Equal(t, []int64{4, 5, 6}, sizes(p.batch(2)))
		p.nothing()
	})
	t.Run("bytes", func(t *testing.T) {
		a := r.agent(WithBatch(1000, 500, time.Hour)) // a message counts 224 bytes
		recordMessages(a, nil, 1, 5)
		p := r.welcomed(0)
		assert.Equal(t, []int64{1, 2}, sizes(p.batch(1)))
		assert.Equal(t, []int64{3, 4}, sizes(p.batch(2)))
		p.nothing()
	})
	t.Run("time", func(t *testing.T) {
		a := r.agent(WithBatch(1000, 1<<20, 20*time.Millisecond))
		p := r.welcomed(0)
		recordMessages(a, nil, 1, 1)
		assert.Equal(t, []int64{1}, sizes(p.batch(1)))
		p.ack(1)
		recordMessages(a, nil, 2, 3)
		seen := sizes(p.batch(2))
		if len(seen) == 1 { // the first of the two may have come too early for the second
			seen = append(seen, sizes(p.batch(3))...)
		}
		assert.Equal(t, []int64{2, 3}, seen)
	})
	t.Run("receiver's events", func(t *testing.T) {
		a := r.agent(batchOf(6))
		recordMessages(a, nil, 1, 6)
		p := r.accept()
		p.welcome(func(w *wire.Welcome) { w.MaxEvents = 4 })
		assert.Equal(t, []int64{1, 2, 3, 4}, sizes(p.batch(1)))
		p.nothing()
	})
	t.Run("receiver's events and time", func(t *testing.T) {
		const delay = 300 * time.Millisecond
		a := r.agent(WithBatch(20, 1<<20, delay))
		p := r.accept()
		p.welcome(func(w *wire.Welcome) { w.MaxEvents = 4 })
		recordMessages(a, nil, 1, 10)
		p.batch(1)
		at := time.Now()
		p.batch(2)
		assert.Less(t, time.Since(at), delay/2)
		assert.Len(t, p.batch(3).Events, 2)
		p.ack(3)
		flushed(t, a)
	})
	t.Run("receiver's bytes and time", func(t *testing.T) {
		const delay = 300 * time.Millisecond
		a := r.agent(WithBatch(20, 1<<20, delay))
		for range 3 { // each fits alone, but the estimate says that all do
			e := event(nil, wire.KindError)
			e.extra = &wire.Event{}
			e.extra.SetStr(wire.AttrErrorType, longText(2500))
			a.record(e)
		}
		p := r.accept()
		p.welcome(func(w *wire.Welcome) { w.MaxMessageBytes = 4000 })
		p.batch(1)
		at := time.Now()
		p.batch(2)
		p.batch(3)
		assert.Less(t, time.Since(at), delay)
		p.ack(3)
		flushed(t, a)
	})
}

func TestMessageLimitHalvesBatches(t *testing.T) { eachEncoding(t, testMessageLimitHalvesBatches) }

func testMessageLimitHalvesBatches(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(WithBatch(100, 1<<20, time.Hour))
	c := newConn("a81b")
	for range 8 {
		e := event(c, wire.KindError)
		e.extra = &wire.Event{}
		e.extra.SetStr(wire.AttrErrorMessage, longText(700)) // counts 2,4 KB, is 0.9 KB
		a.record(e)
	}
	huge := event(c, wire.KindError)
	huge.extra = &wire.Event{}
	huge.extra.SetStr(wire.AttrErrorType, longText(9000)) // not estimated
	a.record(huge)
	flush := inBackground(t, a.Flush)
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.MaxMessageBytes = 4000 })
	events, seq := 0, uint64(0)
	for events < 8 {
		seq++
		b := p.batch(seq)
		events += len(b.Events)
		p.ack(seq)
	}
	seq++
	b := p.batch(seq)
	assert.Empty(t, b.Events) // the number of the event that fits in no message
	p.ack(seq)
	require.NoError(t, <-flush)
	assert.Equal(t, map[string]uint64{"oversize": 1}, a.Stats().Dropped)
}

func longText(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}

func TestWindow(t *testing.T) { eachEncoding(t, testWindow) }

func testWindow(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.WindowBytes = 0 })
	recordMessages(a, nil, 1, 4)
	window := func(n int64) { p.reply(wire.Reply{Flow: &wire.Flow{WindowBytes: &n}}) }

	window(1) // any message fills it
	p.batch(1)
	p.ack(1)
	p.batch(2)
	window(0)
	p.ack(2)
	require.Eventually(t, func() bool { return a.Stats().Acknowledged == 2 }, patience, time.Millisecond)
	window(1 << 20)
	p.batch(3)
	p.batch(4)
	p.ack(4)
	flushed(t, a)
}

func TestClosedWindowSendsNothing(t *testing.T) { eachEncoding(t, testClosedWindowSendsNothing) }

func testClosedWindowSendsNothing(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 4)
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.WindowBytes = 1 })
	p.batch(1)
	p.nothing() // the second would be over the window
}

func TestClosedWindowResendsNothing(t *testing.T) { eachEncoding(t, testClosedWindowResendsNothing) }

func testClosedWindowResendsNothing(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 1)
	p := r.welcomed(0)
	p.batch(1)
	p.text(`{"flow":{"window_bytes":0}}`)
	p.reply(wire.Reply{Nack: 1, Retryable: true})
	p.nothing()
}

func TestSmallerLimitsOfANewSession(t *testing.T) { eachEncoding(t, testSmallerLimitsOfANewSession) }

func testSmallerLimitsOfANewSession(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(4))
	recordMessages(a, nil, 1, 8)
	p := r.welcomed(0)
	p.batch(1)
	p.batch(2)
	flush := inBackground(t, a.Flush)
	p.cut()

	q := r.accept()
	q.welcome(func(w *wire.Welcome) { w.MaxEvents = 3 })
	assert.Empty(t, q.batch(1).Events)
	assert.Empty(t, q.batch(2).Events)
	assert.Equal(t, []int64{1, 2, 3}, sizes(q.batch(3)))
	assert.Equal(t, []int64{4, 5, 6}, sizes(q.batch(4)))
	assert.Equal(t, []int64{7, 8}, sizes(q.batch(5)))
	q.ack(5)
	require.NoError(t, <-flush)
	assert.EqualValues(t, 8, a.Stats().Acknowledged)
}

// Red when: what was encoded to measure it is taken for what is to be sent.
func TestSmallerLimitsThatSomeNumbersKeep(t *testing.T) {
	eachEncoding(t, testSmallerLimitsThatSomeNumbersKeep)
}

func testSmallerLimitsThatSomeNumbersKeep(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(4))
	c := newConn("a81b")
	recordMessages(a, c, 1, 2)
	flush := inBackground(t, a.Flush)
	p := r.welcomed(0)
	p.batch(1)
	recordMessages(a, c, 3, 6)
	p.batch(2)
	p.cut()
	q := r.accept()
	q.welcome(func(w *wire.Welcome) { w.MaxEvents = 3 })
	assert.Len(t, entries(q.batch(0)), 1)
	assert.Equal(t, []int64{1, 2}, sizes(q.batch(1)))
	assert.Empty(t, q.batch(2).Events)
	assert.Equal(t, []int64{3, 4, 5}, sizes(q.batch(3)))
	q.ack(3)
	require.NoError(t, <-flush)
}

// What was sent in the binary form may be too long in JSON: its numbers are
// emptied, and its events follow under new ones, in their order.
func TestNumbersTooLongInAnotherEncoding(t *testing.T) {
	r := binaryReceiver(t)
	a := r.agent(batchOf(20))
	recordMessages(a, newConn("a81b"), 1, 60)
	p := r.welcomed(0)
	for seq := range uint64(3) {
		p.batch(seq + 1)
		assert.Less(t, len(p.data), 1500)
	}
	flush := inBackground(t, a.Flush)
	r.knows(wire.SubprotocolJSON)
	p.cut()

	q := r.accept()
	q.welcome(func(w *wire.Welcome) { w.MaxMessageBytes = 1500 })
	q.batch(0)
	var all []int64
	for seq := uint64(1); len(all) < 60; seq++ {
		b := q.batch(seq)
		assert.LessOrEqual(t, len(q.data), 1500)
		assert.Equal(t, seq > 3, len(b.Events) > 0)
		all = append(all, sizes(b)...)
		q.ack(seq)
	}
	assert.True(t, slices.IsSorted(all))
	require.NoError(t, <-flush)
	assert.EqualValues(t, 60, a.Stats().Acknowledged)
}

// The same where a nack has a message declare more than it did before.
func TestNumberTooLongWithItsDeclarations(t *testing.T) {
	eachEncoding(t, testNumberTooLongWithItsDeclarations)
}

func testNumberTooLongWithItsDeclarations(t *testing.T, e encoding) {
	const limit = 5000
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(20))
	conns := make([]*conn, 20)
	for i := range conns {
		conns[i] = newConn(fmt.Sprintf("%032d", i))
		conns[i].attributes = []Attribute{String("tenant", longText(100))}
	}
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.MaxMessageBytes = limit })
	seq := uint64(0)
	twenty := func() {
		t.Helper()
		for events := 0; events < 20; {
			seq++
			events += len(p.batch(seq).Events)
			assert.LessOrEqual(t, len(p.data), limit)
		}
		p.ack(seq)
	}
	record20 := func() <-chan error {
		for _, c := range conns {
			a.record(message(c, 1))
		}
		return inBackground(t, a.Flush)
	}
	flush := record20()
	twenty()
	require.NoError(t, <-flush)
	require.Greater(t, seq, uint64(1), "with all declarations it is too long for one message")
	flush = record20()
	seq++
	assert.Len(t, p.batch(seq).Events, 20)
	p.reply(wire.Reply{Nack: seq, Retryable: true})
	assert.Empty(t, p.batch(seq).Events)
	twenty()
	require.NoError(t, <-flush)
	assert.EqualValues(t, 40, a.Stats().Acknowledged)
}
