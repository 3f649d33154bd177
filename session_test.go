package wsstatsreceiver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// batch is a numbered message with one send of a connection.
func batch(seq int, conn string, ordinal int) string {
	return fmt.Sprintf(`{"seq":%d,"events":[{"event":"send","ws.connection.id":%q,"ws.role":"client","ws.message.type":"text","ws.message.size":5,"ws.message.seq":%d}]}`, seq, conn, ordinal)
}

func TestOneLineTypedByHandMakesASpan(t *testing.T) {
	r := startReceiver(t, testOptions{})
	a := r.dial(nil)
	a.send(`{"event":"send","ws.connection.id":"demo","ws.message.type":"text","ws.message.size":5}`)
	require.Eventually(t, func() bool { return r.traces.SpanCount() == 1 }, waitFor, pollEvery)
	span := spansOf(r.traces.AllTraces())[0]
	assert.Equal(t, "ws.send text", span.Name())
	assert.Equal(t, ptrace.SpanKindProducer, span.Kind())
	r.stopNow()
	assert.EqualValues(t, 1, sumOf(r.metrics.AllMetrics(), "ws.messages.sent"))
}

func TestAcknowledgements(t *testing.T) {
	r := startReceiver(t, testOptions{})
	a, welcome := r.greet("i1")
	assert.Zero(t, welcome.ResumeAfter)
	assert.Equal(t, []string{"traces", "metrics"}, welcome.Signals)

	a.send(batch(1, "c", 1))
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	a.send(batch(1, "c", 1))
	assert.Equal(t, wire.Reply{Ack: 1, Duplicate: true}, a.reply())
	a.send(`{"seq":2,"events":[{"event":"send"},{"event":"recieve"}]}`)
	assert.Equal(t, wire.Reply{Ack: 2, Rejected: &wire.Rejected{
		Count: 1, First: `events[1].event: unknown kind "recieve", did you mean "receive"?`,
	}}, a.reply())
	a.send(`{"seq":3,"events":[{"event":"send","event":"send"}]}`)
	nack := a.reply()
	assert.EqualValues(t, 3, nack.Nack)
	assert.False(t, nack.Retryable)
	assert.Equal(t, wire.CodeMalformed, nack.Code)
	a.send(batch(9, "c", 2)) // a gap is taken
	assert.Equal(t, wire.Reply{Ack: 9}, a.reply())
	assert.Equal(t, 3, r.traces.SpanCount())

	_ = a.conn.Close()
	_, welcome = r.greet("i1")
	assert.EqualValues(t, 9, welcome.ResumeAfter, "numbers survive a reconnect")
	_, welcome = r.greet("i2")
	assert.Zero(t, welcome.ResumeAfter, "and are of one instance")
}

func TestAnonymousNumbersAreNotRemembered(t *testing.T) {
	eachEncoding(t, testAnonymousNumbersAreNotRemembered)
}

func testAnonymousNumbersAreNotRemembered(t *testing.T, e encoding) {
	r := startReceiver(t, testOptions{encoding: e})
	a := r.join()
	for range 2 {
		a.send(batch(7, "c", 1))
		assert.Equal(t, wire.Reply{Ack: 7}, a.reply())
	}
	assert.Equal(t, 2, r.traces.SpanCount())
}

func TestErrorsOfUnnumberedMessages(t *testing.T) {
	r := startReceiver(t, testOptions{})
	a := r.dial(nil)
	for i, tt := range []struct{ message, code, text string }{
		{`{"event":"sent"}`, wire.CodeRejected, `event: unknown kind "sent", did you mean "send"?`},
		{`{"event":"send","ws.message.size":"big"}`, wire.CodeRejected, `ws.message.size: expected an integer, got "big"`},
		{`[{"event":"send"},{"event":"send","time":true}]`, wire.CodeRejected, `[1].time: `},
		{`{"what":1}`, wire.CodeMalformed, ``},
		{`{"event":`, wire.CodeMalformed, ``},
		{`{"stats":[{"metric":"ws.queue.size"}]}`, wire.CodeRejected, `stats[0]`},
	} {
		a.send(tt.message)
		reply := a.reply()
		require.NotNil(t, reply.Error, tt.message)
		assert.Equal(t, tt.code, reply.Error.Code, tt.message)
		assert.Contains(t, reply.Error.Message, tt.text)
		assert.EqualValues(t, i+1, reply.Error.Index)
	}
	a.send(`{"event":"send"}`)
	require.Eventually(t, func() bool { return r.traces.SpanCount() == 2 }, waitFor, pollEvery, "the session goes on")
}

func TestViolationsEndTheSession(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(a *testAgent)
		code int
	}{
		{"second hello", func(a *testAgent) { a.send(`{"hello":{"instance":"i1"}}`) }, 1008},
		{"unreadable after a number", func(a *testAgent) { a.send(batch(1, "c", 1)); a.reply(); a.send(`{"seq`) }, 1008},
		{"invalid UTF-8 after a number", func(a *testAgent) { a.send(batch(1, "c", 1)); a.reply(); a.send("{\"\xff\":1}") }, 1007},
		{"binary message", func(a *testAgent) { _ = a.conn.WriteMessage(websocket.BinaryMessage, []byte("x")) }, 1003},
		{"too big", func(a *testAgent) { a.send(`{"x":"` + strings.Repeat("x", 2048) + `"}`) }, 1009},
		{"too many malformed", func(a *testAgent) {
			for range 4 {
				a.send(`x`)
			}
		}, 1008},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startReceiver(t, testOptions{config: func(cfg *Config) {
				cfg.Limits.MessageBytes = 1024
				cfg.Limits.MalformedMessages = 3
			}})
			a, _ := r.greet("i1")
			a.t = t
			tt.do(a)
			a.expectClose(tt.code)
		})
	}
}

func TestNumberBeforeTheWelcome(t *testing.T) { eachEncoding(t, testNumberBeforeTheWelcome) }

func testNumberBeforeTheWelcome(t *testing.T, e encoding) {
	// The older session's message is in hand, so the welcome of the newer one waits.
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate})
	older, _ := r.greet("i1")
	older.send(batch(1, "c", 1))
	<-gate.entered
	newer := r.join()
	newer.send(`{"hello":{"instance":"i1"}}`)
	older.expectClose(1008)
	newer.send(batch(2, "c", 2))
	require.Eventually(t, func() bool { return r.received(2, 2) }, waitFor, pollEvery)
	gate.release <- nil
	newer.expectClose(1008)
}

// received tells whether so many sessions have received n messages.
func (tr *testReceiver) received(sessions int, n uint64) bool {
	for _, s := range tr.sessions.all() {
		s.mu.Lock()
		if s.received == n {
			sessions--
		}
		s.mu.Unlock()
	}
	return sessions == 0
}

func TestTakeover(t *testing.T) { eachEncoding(t, testTakeover) }

func testTakeover(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate, config: func(cfg *Config) { cfg.Keepalive.Heartbeat = 100 * time.Millisecond }})
	older, _ := r.greet("i1")
	older.send(batch(1, "c", 1))
	<-gate.entered
	older.send(batch(2, "c", 2))
	newer := r.join()
	newer.send(`{"hello":{"instance":"i1"}}`)
	older.expectClose(1008)

	_, data, err := newer.conn.ReadMessage()
	require.NoError(t, err)
	assert.JSONEq(t, `{"flow":{"window_bytes":0}}`, string(data), "heartbeats while the older one's message is in hand")
	gate.release <- nil
	welcome := newer.reply().Welcome
	require.NotNil(t, welcome)
	assert.EqualValues(t, 1, welcome.ResumeAfter, "what was in hand counts, what waited does not")
}

func TestRefusals(t *testing.T) { eachEncoding(t, testRefusals) }

func testRefusals(t *testing.T, e encoding) {
	for _, tt := range []struct {
		name string
		err  error
		want wire.Reply
	}{
		{"now", errors.New("full"), wire.Reply{Nack: 1, Retryable: true, RetryAfterMs: 500, Code: wire.CodeUnavailable, Message: "the pipeline refuses data now"}},
		{"for good", consumererror.NewPermanent(errors.New("bad")), wire.Reply{Nack: 1, Code: wire.CodeRefused, Message: "the pipeline refused the data for good"}},
	} {
		t.Run("traces "+tt.name, func(t *testing.T) {
			r := startReceiver(t, testOptions{encoding: e, traces: &scriptedConsumer{errs: []error{tt.err}}})
			a, _ := r.greet("i1")
			a.send(batch(1, "c", 1))
			assert.Equal(t, tt.want, a.reply())
			a.send(batch(1, "c", 1))
			assert.Equal(t, wire.Reply{Ack: 1, Duplicate: !tt.want.Retryable}, a.reply())
		})
		t.Run("metrics "+tt.name, func(t *testing.T) {
			r := startReceiver(t, testOptions{encoding: e, metrics: &scriptedConsumer{errs: []error{tt.err}}, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
			a, _ := r.greet("i1")
			a.send(batch(1, "c", 1))
			assert.Equal(t, tt.want, a.reply())
			a.send(batch(1, "c", 1))
			assert.Equal(t, wire.Reply{Ack: 1, Duplicate: !tt.want.Retryable}, a.reply())
			assert.Equal(t, 1, r.traces.SpanCount(), "the repeat finishes the missing half only")
		})
	}
}

func TestGoBackN(t *testing.T) { eachEncoding(t, testGoBackN) }

func testGoBackN(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	<-gate.entered
	a.send(batch(2, "c", 2))
	a.send(batch(3, "c", 3))
	require.Eventually(t, func() bool { return r.received(1, 4) }, waitFor, pollEvery)
	gate.release <- errors.New("full")
	assert.EqualValues(t, 1, a.reply().Nack)
	a.send(batch(3, "c", 3)) // ignored until 1 comes again
	a.send(batch(1, "c", 1))
	<-gate.entered
	a.send(batch(2, "c", 2)) // not ignored: 1 is there again, though not yet taken
	require.Eventually(t, func() bool { return r.received(1, 7) }, waitFor, pollEvery)
	gate.release <- nil
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	<-gate.entered
	gate.release <- nil
	assert.Equal(t, wire.Reply{Ack: 2}, a.reply())
}

// Red when: an attribute of a bare event is taken for the number of a batch.
func TestABareEventHasNoNumber(t *testing.T) {
	r := startReceiver(t, testOptions{traces: &scriptedConsumer{errs: []error{errors.New("full")}}})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	require.EqualValues(t, 1, a.reply().Nack)
	a.send(batch(8, "c", 2)) // ignored until 1 comes again; what has no number is not
	for _, message := range []string{
		`{"event":"send","seq":7,"ws.message.size":"big"}`,
		`{"seq":7,"event":"send","ws.message.size":"big"}`,
		`{"seq":7,"links":[],"event":"send","ws.message.size":"big"}`,
	} {
		a.send(message)
		reply := a.reply()
		require.NotNil(t, reply.Error, message)
		assert.Equal(t, wire.CodeRejected, reply.Error.Code)
	}
	s := r.sessions.all()[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Zero(t, s.unanswered, "in the window")
}

func TestWindow(t *testing.T) { eachEncoding(t, testWindow) }

func testWindow(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate, config: func(cfg *Config) {
		cfg.Limits.MessageBytes, cfg.Delivery.WindowBytes = 1024, 1024
	}})
	a, welcome := r.greet("i1")
	assert.EqualValues(t, 1024, welcome.WindowBytes)
	a.send(batch(1, "c", 1))
	<-gate.entered
	for i := range 40 { // more than fit in, in any encoding
		a.send(batch(i+2, "c", i+2))
	}
	a.expectClose(1008)
	gate.release <- nil
}

func TestBudget(t *testing.T) { eachEncoding(t, testBudget) }

func testBudget(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate, config: func(cfg *Config) {
		cfg.Limits.MessageBytes, cfg.Delivery.BudgetBytes = 1024, 1024
	}})
	first, _ := r.greet("i1")
	require.Eventually(t, func() bool { return r.budget.Used() == 0 }, waitFor, pollEvery) // of the hello
	first.send(`{"seq":1,"events":[{"event":"send","filler":"` + strings.Repeat("x", 965) + `"}]}`)
	<-gate.entered
	second, _ := r.greet("i2")
	second.send(`{"seq":1,"connections":[{"ws.connection.id":"c2"}],"events":[{"event":"send"}]}`)
	nack := second.reply()
	assert.EqualValues(t, 1, nack.Nack)
	assert.True(t, nack.Retryable)
	second.send(`{"event":"send"}`)
	assert.Equal(t, wire.CodeUnavailable, second.reply().Error.Code)
	gate.release <- nil
	assert.Equal(t, wire.Reply{Ack: 1}, first.reply())
	assert.Zero(t, r.budget.Used())
	r.stopNow()
	assert.NotNil(t, r.metrics.AllMetrics())
}

func TestHeartbeatsWhileThePipelineBlocks(t *testing.T) {
	eachEncoding(t, testHeartbeatsWhileThePipelineBlocks)
}

func testHeartbeatsWhileThePipelineBlocks(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate, config: func(cfg *Config) { cfg.Keepalive.Heartbeat = 100 * time.Millisecond }})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	<-gate.entered
	_, data, err := a.conn.ReadMessage()
	require.NoError(t, err)
	assert.JSONEq(t, `{"flow":{"window_bytes":4194304}}`, string(data))
	gate.release <- nil
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
}

// Red when: an agent that waits for its answer during a drain hears nothing.
func TestHeartbeatsGoOnAfterAGoAway(t *testing.T) { eachEncoding(t, testHeartbeatsGoOnAfterAGoAway) }

func testHeartbeatsGoOnAfterAGoAway(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate, config: func(cfg *Config) { cfg.Keepalive.Heartbeat = 100 * time.Millisecond }})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	<-gate.entered
	go r.sessions.all()[0].goAway("shutdown")
	require.NotNil(t, a.reply().GoAway)
	require.NoError(t, a.conn.SetReadDeadline(time.Now().Add(waitFor)))
	_, data, err := a.conn.ReadMessage()
	require.NoError(t, err)
	assert.JSONEq(t, `{"flow":{"window_bytes":0}}`, string(data))
	close(gate.release)
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	a.expectClose(websocket.CloseGoingAway)
}

func TestMaxConnectionAge(t *testing.T) { eachEncoding(t, testMaxConnectionAge) }

func testMaxConnectionAge(t *testing.T, e encoding) {
	r := startReceiver(t, testOptions{encoding: e, config: func(cfg *Config) {
		cfg.Keepalive.MaxConnectionAge = 50 * time.Millisecond
		cfg.Keepalive.Heartbeat = 100 * time.Millisecond
	}})
	a, _ := r.greet("i1")
	replies := a.expectClose(1001)
	require.NotEmpty(t, replies)
	assert.Equal(t, "max_connection_age", replies[len(replies)-1].GoAway.Reason)
}

func TestDeadAgentIsFound(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) {
		cfg.Keepalive.PingInterval, cfg.Keepalive.PongTimeout = 40*time.Millisecond, 40*time.Millisecond
	}})
	_, _ = r.greet("i1") // and never reads again, so that no ping is answered
	require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
}

// Nothing is consumed after Shutdown returns, and what was acknowledged is in
// the sink. Red when: the session acknowledges before the consumer took the
// message, or Shutdown does not wait for the worker.
func TestShutdownWithAgentsSending(t *testing.T) { eachEncoding(t, testShutdownWithAgentsSending) }

func testShutdownWithAgentsSending(t *testing.T, e encoding) {
	r := startReceiver(t, testOptions{encoding: e, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	var wg sync.WaitGroup
	var acked [4]atomic.Uint64
	for i := range acked {
		a, _ := r.greet(fmt.Sprintf("i%d", i))
		conn := a.conn
		window := make(chan struct{}, 100) // unanswered messages
		gone := make(chan struct{})
		wg.Go(func() {
			for seq := 1; ; seq++ {
				select {
				case window <- struct{}{}:
				case <-gone:
					return
				}
				kind, data := a.encode(batch(seq, fmt.Sprintf("c%d", i), seq))
				if conn.WriteMessage(kind, data) != nil {
					return
				}
			}
		})
		wg.Go(func() {
			defer close(gone)
			for {
				_, data, err := conn.ReadMessage()
				if err != nil {
					_ = conn.Close()
					return
				}
				if reply, err := wire.DecodeReply(data); err == nil {
					for n := acked[i].Load(); n < reply.Ack; n = acked[i].Add(1) {
						<-window
					}
				}
			}
		})
	}
	require.Eventually(t, func() bool {
		least := uint64(math.MaxUint64)
		for i := range acked {
			least = min(least, acked[i].Load())
		}
		return least > 100
	}, waitFor, pollEvery)
	r.stopNow()
	spans := r.traces.SpanCount()
	sent := sumOf(r.metrics.AllMetrics(), "ws.messages.sent")
	wg.Wait()
	assert.Equal(t, spans, r.traces.SpanCount(), "nothing is consumed after Shutdown")
	inSink := make(map[string]bool)
	for _, span := range spansOf(r.traces.AllTraces()) {
		conn, _ := span.Attributes().Get("ws.connection.id")
		ordinal, _ := span.Attributes().Get("ws.message.seq")
		inSink[fmt.Sprintf("%s/%d", conn.Str(), ordinal.Int())] = true
	}
	assert.Len(t, inSink, spans, "no event is there twice")
	for i := range acked {
		for ordinal := range acked[i].Load() {
			id := fmt.Sprintf("c%d/%d", i, ordinal+1)
			require.True(t, inSink[id], "%s was acknowledged", id)
		}
	}
	assert.EqualValues(t, spans, sent, "and in the metrics")
}

func TestShutdownHonoursItsDeadline(t *testing.T) { eachEncoding(t, testShutdownHonoursItsDeadline) }

func testShutdownHonoursItsDeadline(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	<-gate.entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, r.Shutdown(ctx))
	r.stopOnce = sync.Once{} // the cleanup shuts down again
	gate.release <- nil
	require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
	r.wsstatsReceiver.server = nil
}

func TestGoAwayOnShutdown(t *testing.T) { eachEncoding(t, testGoAwayOnShutdown) }

func testGoAwayOnShutdown(t *testing.T, e encoding) {
	r := startReceiver(t, testOptions{encoding: e})
	a, _ := r.greet("i1")
	done := make(chan struct{})
	go func() { defer close(done); r.stopNow() }()
	replies := a.expectClose(1001)
	require.Len(t, replies, 1)
	assert.Equal(t, "shutdown", replies[0].GoAway.Reason)
	<-done
}

// gatedConsumer holds each call until the test says what comes of it.
type gatedConsumer struct {
	entered chan struct{}
	release chan error
}

func newGatedConsumer() *gatedConsumer {
	return &gatedConsumer{entered: make(chan struct{}, 100), release: make(chan error)}
}

func (*gatedConsumer) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (g *gatedConsumer) ConsumeTraces(context.Context, ptrace.Traces) error {
	g.entered <- struct{}{}
	return <-g.release
}

// scriptedConsumer answers its first calls with these errors.
type scriptedConsumer struct {
	mu   sync.Mutex
	errs []error
}

func (*scriptedConsumer) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *scriptedConsumer) next() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.errs) == 0 {
		return nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return err
}

func (s *scriptedConsumer) ConsumeTraces(context.Context, ptrace.Traces) error { return s.next() }

func (s *scriptedConsumer) ConsumeMetrics(context.Context, pmetric.Metrics) error { return s.next() }

// Red when: what was read before the agent's close is thrown away.
func TestEventsBeforeTheAgentsCloseCount(t *testing.T) {
	eachEncoding(t, testEventsBeforeTheAgentsCloseCount)
}

func testEventsBeforeTheAgentsCloseCount(t *testing.T, e encoding) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{encoding: e, traces: gate})
	a := r.join()
	a.send(`{"event":"send"}`)
	<-gate.entered
	a.send(`{"event":"receive"}`)
	require.NoError(t, a.conn.Close())
	require.Eventually(t, func() bool {
		all := r.sessions.all()
		all[0].mu.Lock()
		defer all[0].mu.Unlock()
		return all[0].ended
	}, waitFor, pollEvery)
	gate.release <- nil
	<-gate.entered
	gate.release <- nil
	require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
}
