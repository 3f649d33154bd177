package wsstatsreceiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/wsstats/wsstatsreceiver/internal/delivery"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// The promises of docs/protocol.md about delivery that no other test keeps.

// orderedConsumer notes which signal came when.
type orderedConsumer struct {
	consumertest.Consumer
	seen chan string
}

func (o orderedConsumer) ConsumeTraces(context.Context, ptrace.Traces) error {
	o.seen <- "traces"
	return nil
}

func (o orderedConsumer) ConsumeMetrics(context.Context, pmetric.Metrics) error {
	o.seen <- "metrics"
	return nil
}

// Red when: metrics are handed on before traces, so that a refusal of traces
// would leave metrics counted twice.
func TestTracesAreHandedOnFirst(t *testing.T) {
	o := orderedConsumer{consumertest.NewNop(), make(chan string, 100)}
	r := startReceiver(t, testOptions{traces: o, metrics: o, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	a, _ := r.greet("i1")
	a.take(batch(1, "c", 1))
	assert.Equal(t, "traces", <-o.seen)
	assert.Equal(t, "metrics", <-o.seen)
}

// Red when: cumulative metrics make the ack wait for their consumer.
func TestCumulativeMetricsAreTakenInMemory(t *testing.T) {
	refuse := &scriptedMetrics{errs: scriptedConsumer{errs: []error{errors.New("full")}}}
	r := startReceiver(t, testOptions{metrics: refuse, config: func(cfg *Config) { cfg.Metrics.FlushInterval = 10 * time.Millisecond }})
	a, _ := r.greet("i1")
	a.take(batch(1, "c", 1))
	require.Eventually(t, func() bool { return sumOf(refuse.AllMetrics(), "ws.messages.sent") == 1 }, waitFor, pollEvery, "the next flush has them")
}

// What is half taken is remembered of the instance, not of the session.
// Red when: a new session takes the traces again, or never the metrics.
func TestHalfTakenIsFinishedInTheNextSession(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		t.Run(fmt.Sprintf("takeover %v", takeover), func(t *testing.T) {
			metrics := &scriptedMetrics{errs: scriptedConsumer{errs: []error{errors.New("full")}}}
			r := startReceiver(t, testOptions{metrics: metrics, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
			a, _ := r.greet("i1")
			a.send(batch(1, "c", 1))
			require.EqualValues(t, 1, a.reply().Nack)
			if !takeover {
				require.NoError(t, a.conn.Close())
				require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
			}
			b, welcome := r.greet("i1")
			assert.Zero(t, welcome.ResumeAfter, "it is not taken yet")
			b.take(batch(1, "c", 1))
			assert.Equal(t, 1, r.traces.SpanCount())
			assert.EqualValues(t, 1, sumOf(metrics.AllMetrics(), "ws.messages.sent"))
		})
	}
}

// An agent tells a takeover from a mistake of its own by this reason.
func TestTakeoverNamesItsReason(t *testing.T) {
	r := startReceiver(t, testOptions{})
	older, _ := r.greet("i1")
	r.greet("i1")
	require.NoError(t, older.conn.SetReadDeadline(time.Now().Add(waitFor)))
	_, _, err := older.conn.ReadMessage()
	var closed *websocket.CloseError
	require.ErrorAs(t, err, &closed)
	assert.Equal(t, websocket.CloseError{Code: 1008, Text: "taken over"}, *closed)
}

// Red when: the welcome tells a default in place of an option.
func TestWelcomeTellsTheOptions(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) {
		cfg.Limits.MessageBytes, cfg.Limits.Events = 2048, 17
		cfg.Delivery.WindowBytes = 4096
		cfg.Keepalive.Heartbeat = 1500 * time.Millisecond
	}})
	_, w := r.greet("i1")
	assert.Equal(t, []any{int64(2048), 17, int64(4096), 1.5}, []any{w.MaxMessageBytes, w.MaxEvents, w.WindowBytes, w.HeartbeatS})
}

// Red when: the time between heartbeats, or the window that they tell, is another
// than the option's, or a session whose pipeline blocks does not read on.
func TestHeartbeatsComeInTime(t *testing.T) {
	const heartbeat = 200 * time.Millisecond
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{traces: gate, config: func(cfg *Config) {
		cfg.Keepalive.Heartbeat, cfg.Delivery.WindowBytes = heartbeat, 5<<20
	}})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	<-gate.entered
	ponged := make(chan string, 1)
	a.conn.SetPongHandler(func(data string) error { ponged <- data; return nil })
	require.NoError(t, a.conn.WriteControl(websocket.PingMessage, []byte("there?"), time.Now().Add(waitFor)))
	began := time.Now()
	const beats = 6
	for range beats {
		require.NoError(t, a.conn.SetReadDeadline(time.Now().Add(5*heartbeat))) // a slow machine's
		_, data, err := a.conn.ReadMessage()
		require.NoError(t, err)
		require.JSONEq(t, `{"flow":{"window_bytes":5242880}}`, string(data))
	}
	assert.Less(t, time.Since(began), beats*heartbeat*3/2)
	assert.Equal(t, "there?", <-ponged, "pings are answered")
	gate.release <- nil
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
}

// Bytes in hand are those after inflation: on the wire these messages are tiny.
func TestWindowAndBudgetCountInflatedBytes(t *testing.T) {
	const size, most = 30 << 10, 64 << 10
	blocked := func(t *testing.T, set func(*DeliveryConfig)) (*testReceiver, *gatedConsumer, *testAgent) {
		t.Helper()
		gate := newGatedConsumer()
		r := startReceiver(t, testOptions{traces: gate, config: func(cfg *Config) {
			cfg.Compression = true
			cfg.Limits.MessageBytes = most
			set(&cfg.Delivery)
		}})
		a := r.dialWith(&websocket.Dialer{EnableCompression: true})
		a.send(`{"hello":{"instance":"i1"}}`)
		require.NotNil(t, a.reply().Welcome)
		require.Eventually(t, func() bool { return r.budget.Used() == 0 }, waitFor, pollEvery) // of the hello
		a.send(sized(1, size))
		<-gate.entered
		return r, gate, a
	}
	t.Run("window", func(t *testing.T) {
		_, gate, a := blocked(t, func(d *DeliveryConfig) { d.WindowBytes = most })
		a.send(sized(2, size))
		a.send(sized(3, most-2*size+1))
		a.expectClose(websocket.ClosePolicyViolation)
		gate.release <- nil
	})
	for _, n := range []int{2 << 10, size} { // paid for at the end, and while it comes
		t.Run(fmt.Sprintf("budget, %d", n), func(t *testing.T) {
			r, gate, a := blocked(t, func(d *DeliveryConfig) { d.BudgetBytes = most })
			seq := 2
			for ; r.budget.Used()+int64(n) <= r.budget.Limit(); seq++ {
				a.send(sized(seq, n))
				require.Eventually(t, func() bool { return r.received(1, uint64(seq+1)) }, waitFor, pollEvery)
			}
			require.Less(t, seq, 100)
			a.send(sized(seq, n))
			require.Eventually(t, func() bool { return r.received(1, uint64(seq+1)) }, waitFor, pollEvery)
			close(gate.release)
			for {
				reply := a.reply()
				if reply.Nack != 0 {
					assert.EqualValues(t, seq, reply.Nack)
					assert.True(t, reply.Retryable)
					break
				}
				require.Less(t, reply.Ack, uint64(seq), "over the budget")
			}
		})
	}
}

// An agent that waits for the nack may fill the whole window again, at once.
// Red when: what a refusal gives back is given back after it is sent, or never.
func TestRetryableNackEmptiesTheWindow(t *testing.T) {
	refuse := &scriptedConsumer{errs: make([]error, 300)}
	for i := range refuse.errs {
		refuse.errs[i] = errors.New("full")
	}
	r := startReceiver(t, testOptions{traces: refuse, config: func(cfg *Config) {
		cfg.Limits.MessageBytes, cfg.Delivery.WindowBytes = 1024, 2048
	}})
	a, _ := r.greet("i1")
	for range refuse.errs {
		a.send(sized(1, 1024))
		a.send(sized(2, 1024)) // in the queue, or ignored
		require.EqualValues(t, 1, a.reply().Nack)
	}
	a.take(sized(1, 1024))
}

// Red when: the delay is another than the option's, or an ack waits for ever.
func TestAckDelay(t *testing.T) {
	for _, delay := range []time.Duration{0, 400 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			gate := newGatedConsumer()
			r := startReceiver(t, testOptions{traces: gate, config: func(cfg *Config) { cfg.Delivery.AckDelay = delay }})
			a, _ := r.greet("i1")
			for seq := 1; seq <= 3; seq++ {
				a.send(batch(seq, "c", seq))
			}
			<-gate.entered
			require.Eventually(t, func() bool { return r.received(1, 4) }, waitFor, pollEvery)
			began := time.Now()
			gate.release <- nil
			<-gate.entered
			gate.release <- nil
			<-gate.entered // the third blocks
			if delay == 0 {
				assert.EqualValues(t, 2, lastAck(a, 2))
			} else {
				assert.Equal(t, wire.Reply{Ack: 2}, a.reply(), "merged")
				assert.GreaterOrEqual(t, time.Since(began), delay)
			}
			gate.release <- nil
			assert.Equal(t, wire.Reply{Ack: 3}, a.reply())
		})
	}
}

// Red when: an ack waits although nothing else does.
func TestAnAckDoesNotWaitForNothing(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Delivery.AckDelay = time.Second }})
	a, _ := r.greet("i1")
	began := time.Now()
	for seq := 1; seq <= 4; seq++ {
		a.take(batch(seq, "c", seq))
	}
	assert.Less(t, time.Since(began), 2*time.Second, "four delays")
}

// Red when: an error overtakes an ack that waits.
func TestAcksComeBeforeAnError(t *testing.T) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{traces: gate, config: func(cfg *Config) { cfg.Delivery.AckDelay = time.Second }})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	<-gate.entered
	a.send(`{"event":"snd"}`)
	require.Eventually(t, func() bool { return r.received(1, 3) }, waitFor, pollEvery)
	gate.release <- nil
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	assert.NotNil(t, a.reply().Error)
}

// A retryable nack concerns numbers alone.
// Red when: messages without a number are ignored, or forgotten, with what follows it.
func TestRefusalLeavesUnnumberedMessages(t *testing.T) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{traces: gate})
	a, _ := r.greet("i1")
	a.take(`{"seq":1}`)
	a.send(batch(2, "c", 2))
	<-gate.entered
	a.send(`{"event":"send"}`) // in the queue when 2 is refused
	a.send(batch(3, "c", 3))
	require.Eventually(t, func() bool { return r.received(1, 5) }, waitFor, pollEvery)
	gate.release <- errors.New("full")
	require.EqualValues(t, 2, a.reply().Nack)
	<-gate.entered
	gate.release <- nil
	a.send(`{"event":"receive"}`) // after it
	<-gate.entered
	gate.release <- nil
	a.send(`{"seq":1}`)
	assert.Equal(t, wire.Reply{Ack: 1, Duplicate: true}, a.reply(), "a lower one is a duplicate")
	a.send(batch(3, "c", 3)) // ignored, unanswered
	a.send(batch(2, "c", 2))
	<-gate.entered
	gate.release <- nil
	assert.Equal(t, wire.Reply{Ack: 2}, a.reply())
	assert.Empty(t, gate.entered)
}

// Red when: the goaway gives up what is in the queue, or the close does not
// wait for its acks.
func TestGoAwayAnswersWhatIsInHand(t *testing.T) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{traces: gate})
	a, _ := r.greet("i1")
	for seq := 1; seq <= 3; seq++ {
		a.send(batch(seq, "c", seq))
	}
	<-gate.entered
	require.Eventually(t, func() bool { return r.received(1, 4) }, waitFor, pollEvery)
	go r.sessions.all()[0].goAway("max_connection_age")
	require.NotNil(t, a.reply().GoAway)
	close(gate.release)
	replies := a.expectClose(websocket.CloseGoingAway)
	require.NotEmpty(t, replies)
	assert.EqualValues(t, 3, replies[len(replies)-1].Ack)
}

// Red when: a fleet that is sent away comes back at once, or all together.
func TestGoAwaySpreadsTheFleet(t *testing.T) {
	const agents = 40
	r := startReceiver(t, testOptions{})
	fleet := make([]*testAgent, agents)
	for i := range fleet {
		fleet[i], _ = r.greet(fmt.Sprintf("i%d", i))
	}
	done := make(chan struct{})
	go func() { defer close(done); r.stopNow() }()
	least, most := int64(1<<62), int64(0)
	for _, a := range fleet {
		after := a.reply().GoAway.ReconnectAfterMs
		least, most = min(least, after), max(most, after)
		a.expectClose(websocket.CloseGoingAway)
	}
	<-done
	assert.GreaterOrEqual(t, least, int64(500))
	assert.Less(t, most, int64(1500))
	assert.Greater(t, most-least, int64(300))
}

// Red when: the jitter is another than the option's, or of one side only.
func TestMaxConnectionAgeJitter(t *testing.T) {
	const age = time.Hour
	for _, jitter := range []float64{0, 0.1, 0.5} {
		r := startReceiver(t, testOptions{config: func(cfg *Config) {
			cfg.Keepalive.MaxConnectionAge, cfg.Keepalive.MaxConnectionAgeJitter = age, jitter
		}})
		least, most := 2*age, time.Duration(0)
		for range 400 {
			s := newSession(r.wsstatsReceiver, new(websocket.Conn), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), "")
			least, most = min(least, s.maxAge), max(most, s.maxAge)
			s.cancel()
		}
		part := time.Duration(jitter * float64(age))
		assert.InDelta(t, age-part, least, float64(part)/5, "%v", jitter)
		assert.InDelta(t, age+part, most, float64(part)/5, "%v", jitter)
	}
}

// A session outlives the credentials that it began with; max_connection_age
// asks for them again.
// Red when: a new session does not authenticate anew.
func TestMaxConnectionAgeAuthenticatesAnew(t *testing.T) {
	var asked atomic.Int32
	once := extensionauth.ServerAuthenticateFunc(func(ctx context.Context, _ map[string][]string) (context.Context, error) {
		if asked.Add(1) > 1 {
			return ctx, errors.New("expired")
		}
		info := client.FromContext(ctx)
		info.Auth = authData{"subject": "alice"}
		return client.NewContext(ctx, info), nil
	})
	r := startReceiver(t, testOptions{host: &authHost{extension: once}, config: func(cfg *Config) {
		authenticate(cfg)
		cfg.Keepalive.MaxConnectionAge, cfg.Keepalive.Heartbeat = 50*time.Millisecond, 100*time.Millisecond
	}})
	a, _ := r.greet("i1")
	a.expectClose(websocket.CloseGoingAway)
	assert.Equal(t, http.StatusUnauthorized, r.refusedDial(nil).status)
	assert.EqualValues(t, 2, asked.Load())
}

// Red when: the number of an agent that is away is remembered for another time
// than the option's.
func TestDedupeTTL(t *testing.T) {
	var clock jumpingClock
	r := startReceiver(t, testOptions{now: clock.now, config: func(cfg *Config) {
		cfg.Delivery.DedupeTTL, cfg.Delivery.ResumeGrace = 2*time.Minute, 20*time.Millisecond
	}})
	visit := func() (resumeAfter uint64) {
		a, welcome := r.greet("i1")
		if welcome.ResumeAfter == 0 {
			a.take(batch(1, "c", 1))
		}
		require.NoError(t, a.conn.Close())
		require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
		return welcome.ResumeAfter
	}
	require.Zero(t, visit())
	sweep := func() {
		r.sweep(t.Context())
	}
	clock.jump(2*time.Minute - 10*time.Second)
	sweep()
	assert.EqualValues(t, 1, visit())
	clock.jump(2*time.Minute + time.Second)
	sweep()
	assert.Zero(t, r.instances.Len())
	assert.Zero(t, visit())
}

// Red when: a closed connection is remembered for another time than dedupe_ttl:
// what is told late of it is not known to be late.
func TestClosedConnectionsAreRememberedForTheDedupeTTL(t *testing.T) {
	var clock jumpingClock
	r := startReceiver(t, testOptions{now: clock.now, config: func(cfg *Config) {
		cfg.Delivery.DedupeTTL = 2 * time.Minute
	}})
	a, _ := r.greet("i1")
	a.take(handshake(1, "c"))
	a.take(closing(2, "c"))
	clock.jump(time.Minute)
	a.send(closing(3, "c"))
	require.NotNil(t, a.reply().Rejected, "a second close")
	clock.jump(2 * time.Minute)
	a.take(handshake(4, "d")) // makes it look
	a.take(closing(5, "c"))
}

// Red when: the memory for agents that are away is not bounded.
func TestAgentsThatAreAwayAreBounded(t *testing.T) {
	r := startReceiver(t, testOptions{})
	for n := range maxAwayInstances + 10 {
		i := r.instances.Claim(delivery.Key{Instance: fmt.Sprint(n)}, nil)
		r.instances.Release(i, false, r.now())
	}
	r.sweep(t.Context())
	assert.LessOrEqual(t, r.instances.Len(), maxAwayInstances)
}

// Red when: messages without a number, which no window bounds, fill the queue
// of a session without end.
func TestQueueOfUnnumberedMessagesIsBounded(t *testing.T) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{traces: gate, config: func(cfg *Config) {
		cfg.Limits.MessageBytes, cfg.Delivery.WindowBytes = 1024, 1024
	}})
	a := r.dial(nil)
	bare := `{"event":"send","x":"` + strings.Repeat("x", 900) + `"}`
	a.send(bare)
	<-gate.entered
	for range 2 {
		a.send(bare)
	}
	require.Equal(t, wire.CodeUnavailable, a.reply().Error.Code, "twice the window is in hand")
	assert.Positive(t, r.budget.Limit()-r.budget.Used()-2048)
	close(gate.release)
}

// Red when: limits.connections is another than the option's, in one message or
// in what is remembered.
func TestConnectionLimits(t *testing.T) {
	r := startReceiver(t, limits(func(l *LimitsConfig) { l.Connections = 2 }))
	a, _ := r.greet("i1")
	entry := func(id string) string { return fmt.Sprintf(`{"ws.connection.id":%q,"ws.role":"client"}`, id) }
	a.send(`{"seq":1,"connections":[` + entry("a") + `,` + entry("b") + `,` + entry("c") + `]}`)
	nack := a.reply()
	assert.Equal(t, []any{uint64(1), false, wire.CodeTooLarge}, []any{nack.Nack, nack.Retryable, nack.Code})
	a.take(`{"seq":2,"connections":[` + entry("a") + `,` + entry("b") + `]}`)
	a.send(`{"seq":3,"connections":[` + entry("c") + `]}`)
	assert.Equal(t, &wire.Rejected{Count: 1, First: "connections[0]: over the limit of 2 remembered connections"}, a.reply().Rejected)
}

// Pings come as often as ping_interval says, and either side's control frames
// keep a session that has nothing to report.
// Red when: pings are not sent, or another time than the option's passes
// between them; or a pong, or an agent's own ping, is no sign of life.
func TestPingsKeepASilentSession(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("pongs %v", answers), func(t *testing.T) {
			const interval, timeout = 100 * time.Millisecond, 500 * time.Millisecond
			r := startReceiver(t, testOptions{config: func(cfg *Config) {
				cfg.Keepalive.PingInterval, cfg.Keepalive.PongTimeout = interval, timeout
			}})
			a := r.dial(nil)
			var pings atomic.Int32
			pong := a.conn.PingHandler()
			a.conn.SetPingHandler(func(data string) error {
				pings.Add(1)
				if !answers {
					return nil
				}
				return pong(data)
			})
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, _, _ = a.conn.ReadMessage()
			}()
			const lasts = 2 * (interval + timeout)
			for began := time.Now(); time.Since(began) < lasts; time.Sleep(interval / 2) {
				if !answers {
					require.NoError(t, a.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(waitFor)))
				}
			}
			assert.Equal(t, 1, r.sessions.len())
			assert.GreaterOrEqual(t, pings.Load(), int32(lasts/interval/2))
			require.NoError(t, a.conn.Close())
			<-gone
		})
	}
}

// Red when: an agent is not told that what had no number is lost.
func TestRefusedBareEventsAreAnswered(t *testing.T) {
	r := startReceiver(t, testOptions{traces: &scriptedConsumer{errs: []error{errors.New("full"), consumererror.NewPermanent(errors.New("bad"))}}})
	a := r.dial(nil)
	for i, code := range []string{wire.CodeUnavailable, wire.CodeRefused} {
		a.send(`{"event":"send"}`)
		reply := a.reply()
		require.NotNil(t, reply.Error)
		assert.Equal(t, code, reply.Error.Code)
		assert.EqualValues(t, i+1, reply.Error.Index)
	}
}

// Red when: the message in hand at the deadline is handed on after it.
func TestNothingIsConsumedAfterTheDeadline(t *testing.T) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{traces: gate, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	a, _ := r.greet("i1")
	a.send(handshake(1, "c"))
	<-gate.entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.Shutdown(ctx), context.DeadlineExceeded)
	gate.release <- nil // its metrics would follow
	require.Eventually(t, func() bool { return r.sessions.places() == 0 }, waitFor, pollEvery)
	assert.Empty(t, r.metrics.AllMetrics())
	r.stopErr = nil // the cleanup shuts down again
}

// A session whose upgrade was under way when the drain began is sent away too.
// Red when: it is not, so that the drain waits for it to its deadline.
func TestSessionThatBeginsDuringADrain(t *testing.T) {
	r := startReceiver(t, testOptions{})
	const address = "192.0.2.1"
	require.Empty(t, r.sessions.reserve(address, r.cfg.Limits))
	done := make(chan struct{})
	go func() { defer close(done); r.stopNow() }()
	require.Eventually(t, r.sessions.draining, waitFor, pollEvery)
	var upgrader websocket.Upgrader
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if conn, err := upgrader.Upgrade(w, req, nil); assert.NoError(t, err) {
			newSession(r.wsstatsReceiver, conn, req, address).start()
		}
	}))
	t.Cleanup(server.Close)
	conn, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	require.NoError(t, err)
	_ = resp.Body.Close()
	a := &testAgent{t: t, conn: conn}
	require.NotNil(t, a.reply().GoAway)
	a.expectClose(websocket.CloseGoingAway)
	require.NoError(t, conn.Close())
	<-done
}
