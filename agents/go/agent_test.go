package wsstats

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestQueueFull(t *testing.T) { eachEncoding(t, testQueueFull) }

func testQueueFull(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(WithMaxQueueBytes(minQueueBytes), WithBatch(10_000, 1<<20, time.Hour))
	c := newConn("a81b")
	const room = minQueueBytes / 96 // less than what fits of messages
	recordMessages(a, c, 1, 10*room)
	full := a.Stats()
	assert.Positive(t, full.Dropped["queue_full"])
	assert.Greater(t, full.Held, uint64(room))
	requireBalanced(t, a)

	// What happens once in a connection's life finds its place.
	for range 10 {
		a.record(event(c, wire.KindHandshake))
		a.record(event(c, wire.KindClose))
		requireBalanced(t, a)
	}
	flush := inBackground(t, a.Flush)
	p := r.welcomed(0)
	b := p.batch(1)
	once := 0
	last := int64(0)
	for i := range b.Events {
		if b.Events[i].Kind != wire.KindReceive {
			once++
			continue
		}
		size := b.Events[i].Int(wire.AttrMessageSize)
		assert.Greater(t, size, last) // in order
		last = size
	}
	assert.Equal(t, 20, once)
	assert.Equal(t, a.Stats().Dropped, dropped(b))
	p.ack(1)
	require.NoError(t, <-flush)

	recordMessages(a, c, 1, 1)
	flush = inBackground(t, a.Flush)
	assert.Empty(t, p.batch(2).Dropped) // reported once
	p.ack(2)
	require.NoError(t, <-flush)
}

func TestQueueFullOfLifecycle(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithMaxQueueBytes(minQueueBytes))
	for range 2 * minQueueBytes / rowBytes {
		a.record(event(nil, wire.KindClose))
	}
	assert.EqualValues(t, minQueueBytes/rowBytes, a.Stats().Held)
	requireBalanced(t, a)
}

func TestReportsOfDropsSurviveReconnects(t *testing.T) {
	eachEncoding(t, testReportsOfDropsSurviveReconnects)
}

func testReportsOfDropsSurviveReconnects(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(WithMaxQueueBytes(minQueueBytes), WithBatch(10_000, 1<<20, time.Hour))
	recordMessages(a, nil, 1, 1000)
	want := a.Stats().Dropped
	require.NotEmpty(t, want)
	flush := inBackground(t, a.Flush)
	p := r.welcomed(0)
	assert.Equal(t, want, dropped(p.batch(1)))
	p.cut()
	p = r.welcomed(0)
	assert.Equal(t, want, dropped(p.batch(1))) // it is the number's, like its events
	p.close(websocket.ClosePolicyViolation, "taken over")
	p = r.welcomed(0)
	assert.Equal(t, want, dropped(p.batch(1)))
	p.ack(1)
	require.NoError(t, <-flush)
}

func TestShutdownDeliversAndCloses(t *testing.T) { eachEncoding(t, testShutdownDeliversAndCloses) }

func testShutdownDeliversAndCloses(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(100))
	a.open(newConn("a81b"))
	p := r.welcomed(0)
	p.batch(0)
	recordMessages(a, nil, 1, 3)
	shutdown := inBackground(t, a.Shutdown)
	assert.Len(t, p.batch(1).Events, 3)
	p.ack(1)
	assert.Equal(t, websocket.CloseNormalClosure, p.closeCode())
	require.NoError(t, <-shutdown)
	require.NoError(t, a.Shutdown(t.Context())) // again

	a.record(message(nil, 4))
	a.open(newConn("late"))
	assert.Empty(t, a.conns)
	assert.Equal(t, Stats{Sessions: 1, Observed: 4, Acknowledged: 3, Dropped: map[string]uint64{"shutdown": 1}}, a.Stats())
	require.NoError(t, a.Flush(t.Context()))
}

func TestShutdownAtOnceWhereNothingIsHeld(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), withTiming(func(tm *timing) {
		tm.minBackoff, tm.maxBackoff = time.Hour, time.Hour
	}))
	require.NoError(t, <-inBackground(t, a.Shutdown))
}

// Red when: a shutdown waits for a receiver that does not answer, with nothing to
// tell it.
func TestShutdownDoesNotWaitForAHandshake(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	a := newAgent(t, WithEndpoint("ws://"+l.Addr().String()), withTiming(func(tm *timing) { tm.shutdown = time.Hour }))
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	_, err = http.ReadRequest(bufio.NewReader(c))
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- a.Shutdown(context.Background()) }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		assert.Fail(t, "it waits")
		_ = c.Close()
		require.NoError(t, <-ended)
	}
}

func TestShutdownWithoutADeadlineEnds(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), withTiming(func(tm *timing) { tm.shutdown = 20 * time.Millisecond }))
	recordMessages(a, nil, 1, 3)
	require.ErrorIs(t, a.Shutdown(context.Background()), context.DeadlineExceeded)
	assert.Equal(t, Stats{Observed: 3, Dropped: map[string]uint64{"shutdown": 3}}, a.Stats())
}

func TestConcurrentShutdowns(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)))
	recordMessages(a, nil, 1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { assert.ErrorIs(t, a.Shutdown(ctx), context.DeadlineExceeded) })
	}
	wg.Wait()
}

// A healthy link that is only slow hears a goodbye when the context ends.
func TestShutdownSaysGoodbyeWhenItsContextEnds(t *testing.T) {
	eachEncoding(t, testShutdownSaysGoodbyeWhenItsContextEnds)
}

func testShutdownSaysGoodbyeWhenItsContextEnds(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 1)
	p := r.welcomed(0)
	p.batch(1)
	ctx, cancel := context.WithCancel(t.Context())
	shutdown := make(chan error, 1)
	go func() { shutdown <- a.Shutdown(ctx) }()
	cancel()
	assert.Equal(t, websocket.CloseNormalClosure, p.closeCode())
	require.ErrorIs(t, <-shutdown, context.Canceled)
	assert.Equal(t, map[string]uint64{"shutdown": 1}, a.Stats().Dropped)
}

func TestShutdownDoesNotWaitForAnAnswerToItsGoodbye(t *testing.T) {
	eachEncoding(t, testShutdownDoesNotWaitForAnAnswerToItsGoodbye)
}

func testShutdownDoesNotWaitForAnAnswerToItsGoodbye(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent()
	r.welcomed(0) // and never reads again
	at := time.Now()
	require.NoError(t, <-inBackground(t, a.Shutdown))
	assert.Less(t, time.Since(at), patience/2)
}

func TestTLS(t *testing.T) { eachEncoding(t, testTLS) }

func testTLS(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	server := httptest.NewTLSServer(r.server.Config.Handler)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	a := newAgent(t, batchOf(1), WithEndpoint("ws"+strings.TrimPrefix(server.URL, "http")), WithTLSConfig(&tls.Config{RootCAs: roots}))
	recordMessages(a, nil, 1, 1)
	p := r.welcomed(0)
	p.batch(1)
	p.ack(1)
	flushed(t, a)
}

// Troubles are logged when they begin, change and end, not each time.
func TestLogsChangesOnly(t *testing.T) { eachEncoding(t, testLogsChangesOnly) }

func testLogsChangesOnly(t *testing.T, e encoding) {
	var calls atomic.Int32
	r := newReceiver(t, e, func(w http.ResponseWriter, _ *http.Request) bool {
		switch n := calls.Add(1); {
		case n <= 3:
			w.WriteHeader(http.StatusUnauthorized)
		case n <= 6:
			w.WriteHeader(http.StatusForbidden)
		default:
			return false
		}
		return true
	})
	var log bytes.Buffer
	a := r.agent(batchOf(1), WithToken("secret"), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	recordMessages(a, nil, 1, 1)
	p := r.welcomed(0)
	p.batch(1)
	p.ack(1)
	flushed(t, a)
	require.NoError(t, <-inBackground(t, a.Shutdown))
	assert.Equal(t, 1, strings.Count(log.String(), "401 Unauthorized"), log.String())
	assert.Equal(t, 1, strings.Count(log.String(), "403 Forbidden"))
	assert.Equal(t, 3, strings.Count(log.String(), "\n"), log.String())
	assert.NotContains(t, log.String(), "secret")
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// blackHole accepts connections and says nothing.
func blackHole(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestReceiverAbsentOrBlackHoled(t *testing.T) {
	for name, addr := range map[string]string{"absent": closedPort(t), "black hole": blackHole(t)} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, WithEndpoint("ws://"+addr))
			recordMessages(a, nil, 1, 10)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, a.Flush(ctx), context.DeadlineExceeded)
			at := time.Now()
			require.ErrorIs(t, a.Shutdown(ctx), context.DeadlineExceeded)
			assert.Less(t, time.Since(at), 2*time.Second)
			assert.Equal(t, map[string]uint64{"shutdown": 10}, a.Stats().Dropped)
		})
	}
}

func TestRefusedUpgradeIsTriedAgain(t *testing.T) { eachEncoding(t, testRefusedUpgradeIsTriedAgain) }

func testRefusedUpgradeIsTriedAgain(t *testing.T, e encoding) {
	tests := map[string]struct {
		status int
		header string
		least  time.Duration
	}{
		"503 with Retry-After": {http.StatusServiceUnavailable, "1", time.Second},
		"429":                  {http.StatusTooManyRequests, "", 0},
		"401":                  {http.StatusUnauthorized, "", 100 * time.Millisecond},
		"500":                  {http.StatusInternalServerError, "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			r := newReceiver(t, e, func(w http.ResponseWriter, _ *http.Request) bool {
				if calls.Add(1) > 1 {
					return false
				}
				if tt.header != "" {
					w.Header().Set("Retry-After", tt.header)
				}
				w.WriteHeader(tt.status)
				return true
			})
			at := time.Now()
			r.agent(withTiming(func(tm *timing) { tm.maxBackoff = 200 * time.Millisecond }))
			r.accept()
			assert.GreaterOrEqual(t, time.Since(at), tt.least)
		})
	}
}

func TestIsOwn(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)))
	own := *a.cfg.url
	assert.True(t, a.isOwn(&own))
	assert.False(t, a.isOwn(&url.URL{Host: own.Host, Path: "/chat"}))
	assert.False(t, a.isOwn(&url.URL{Host: "example.com", Path: own.Path}))
}

// Whatever the receiver does, an event is delivered, dropped or held, and what
// is counted as acknowledged was delivered.
func TestBalanceWithConcurrentRecordersAndAMoodyReceiver(t *testing.T) {
	eachEncoding(t, func(t *testing.T, e encoding) {
		for _, aggregates := range []int{0, 100} {
			t.Run(fmt.Sprintf("aggregates=%d", aggregates), func(t *testing.T) {
				testBalanceWithConcurrentRecordersAndAMoodyReceiver(t, e, aggregates)
			})
		}
	})
}

func testBalanceWithConcurrentRecordersAndAMoodyReceiver(t *testing.T, e encoding, aggregates int) {
	r := newReceiver(t, e, nil)
	a := r.agent(WithMaxQueueBytes(64<<10), WithBatch(20, 1<<20, time.Millisecond), WithAggregates(aggregates))
	quit := make(chan struct{})
	var moody sync.WaitGroup
	var calm atomic.Bool
	var taken atomic.Uint64 // of this instance
	delivered := map[int64]bool{}
	var measured atomic.Uint64 // messages in stats, those of refused numbers too
	moody.Go(func() {
		for {
			select {
			case ws := <-r.accepted:
				serveMoodily(ws, &calm, &taken, &measured, delivered)
				_ = ws.Close()
			case <-quit:
				return
			}
		}
	})

	var recorders sync.WaitGroup
	for i := range 4 {
		c := newConn(string(rune('a' + i)))
		a.open(c)
		recorders.Go(func() {
			for n := range int64(2000) {
				m := message(c, int64(i)<<32|n+1)
				m.seq = n + 1
				a.record(m)
				if n%100 == 0 {
					requireBalanced(t, a)
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	recorders.Wait()
	calm.Store(true)
	flushed(t, a)
	requireBalanced(t, a)
	require.NoError(t, <-inBackground(t, a.Shutdown))
	close(quit)
	moody.Wait()
	s := a.Stats()
	if aggregates > 0 {
		assert.EqualValues(t, 8000, measured.Load(), "whatever became of the events")
		assert.Positive(t, s.Unsampled)
	} else {
		assert.EqualValues(t, 8000, s.Observed)
	}
	assert.Zero(t, s.Dropped["shutdown"])
	assert.GreaterOrEqual(t, uint64(len(delivered))+s.Unsampled, s.Acknowledged-(s.Observed-8000))
	assert.Positive(t, s.Acknowledged)
	t.Logf("%+v", s)
}

// serveMoodily takes numbers, and where it is not calm also nacks, refuses and
// breaks off as it likes.
func serveMoodily(ws *websocket.Conn, calm *atomic.Bool, taken, measured *atomic.Uint64, delivered map[int64]bool) {
	say := func(r wire.Reply) { _ = ws.WriteMessage(websocket.TextMessage, wire.AppendReply(nil, &r)) }
	var nacked uint64
	var d wire.Decoder
	e := encodingOf(ws)
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if seq := e.peekSeq(data); nacked > 0 && seq > nacked {
			continue // what it defines is ignored too
		}
		m := wire.Message{}
		if err := e.decode(&d, data, &m); err != nil {
			panic(err)
		}
		if m.Form == wire.FormHello {
			say(wire.Reply{Welcome: &wire.Welcome{ResumeAfter: taken.Load(), SamplingThreshold: "8", WindowBytes: 16 << 10, MaxMessageBytes: 8 << 10, MaxEvents: 10 + rand.IntN(20)}})
			continue
		}
		seq := m.Batch.Seq
		if seq == 0 {
			continue
		}
		nacked = 0
		if seq <= taken.Load() {
			say(wire.Reply{Ack: taken.Load(), Duplicate: true})
			continue
		}
		mood := rand.IntN(20)
		if calm.Load() {
			mood = 20
		}
		switch mood {
		case 0:
			return // cut, not taken
		case 1:
			nacked = seq
			d.Definitions = nil
			say(wire.Reply{Nack: seq, Retryable: true, RetryAfterMs: 1, Code: wire.CodeUndefined})
			continue
		case 2:
			taken.Store(seq)
			measured.Add(messagesIn(&m.Batch))
			say(wire.Reply{Nack: seq, Code: wire.CodeRefused})
			continue
		}
		for i := range m.Batch.Events {
			delivered[m.Batch.Events[i].Int(wire.AttrMessageSize)] = true
		}
		taken.Store(seq)
		measured.Add(messagesIn(&m.Batch))
		switch mood {
		case 3:
			return // taken, the ack is lost
		case 4:
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second))
			return
		}
		say(wire.Reply{Ack: seq})
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+blackHole(t)), WithMaxQueueBytes(64<<10))
	c := newConn("a81b")
	recordMessages(a, c, 1, 2000) // the ring has its size
	assert.Zero(t, testing.AllocsPerRun(1000, func() { a.record(message(c, 1)) }))
}

func BenchmarkRecord(b *testing.B) {
	c := newConn("a81b")
	b.Run("full", func(b *testing.B) { // every message is dropped
		a := benchmarkAgent(b, 64<<10)
		b.ReportAllocs()
		for b.Loop() {
			a.record(message(c, 1))
		}
	})
	b.Run("held", func(b *testing.B) { // every message gets in and out of the ring
		a := benchmarkAgent(b, defaultQueueBytes)
		free := 0
		b.ReportAllocs()
		for b.Loop() {
			a.record(message(c, 1))
			if free++; free == 512 {
				a.mu.Lock()
				a.ring.remove(0, a.ring.take(512, 1<<30))
				a.mu.Unlock()
				free = 0
			}
		}
	})
}

func benchmarkAgent(b *testing.B, queue int, opts ...Option) *Agent {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	a, err := NewAgent(append(opts, WithEndpoint("ws://"+l.Addr().String()), WithMaxQueueBytes(queue))...)
	require.NoError(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.Shutdown(ctx)
		_ = l.Close()
	})
	return a
}
