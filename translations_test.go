package wsstatsreceiver

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"

	"github.com/wsstats/wsstatsreceiver/internal/delivery"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// spent is a line whose budget lends nothing.
func spent() *translations {
	budget := delivery.NewBudget(8 << 20)
	budget.Acquire(budget.Limit() / 2)
	return newTranslations(budget)
}

// Red when: what the budget has lent is not given back, or more than half is.
func TestTranslationsBorrow(t *testing.T) {
	budget := delivery.NewBudget(16 << 20)
	tr := newTranslations(budget)
	mib := int64(1 << 20)
	for i := range int64(10) { // 2 MiB of its own, and 8 of the budget's
		require.Nil(t, tr.begin(mib, nil))
		assert.Equal(t, max(0, i-1)*mib, budget.Used())
	}
	taken := false
	waiting := tr.begin(mib, func() { taken = true })
	require.NotNil(t, waiting, "half of the budget is for messages that wait")
	tr.end(mib)
	assert.True(t, taken)
	assert.Equal(t, 8*mib, budget.Used())
	for range 8 {
		tr.end(mib)
	}
	assert.Zero(t, budget.Used(), "what is lent is given back first")
	assert.Equal(t, 2*mib, tr.held)
	alone := false
	require.NotNil(t, tr.begin(1<<30, func() { alone = true }), "nothing is lent to what needs more than the share")
	tr.end(mib)
	assert.False(t, alone)
	tr.end(mib)
	assert.True(t, alone)
	tr.end(1 << 30)
	assert.True(t, tr.idle())
}

func TestTranslations(t *testing.T) {
	tr := spent()
	require.EqualValues(t, 1<<20, tr.share, "an eighth")
	var taken []string
	begin := func(name string, bytes int64) *turn {
		return tr.begin(bytes, func() { taken = append(taken, name) })
	}
	require.Nil(t, begin("a", 600<<10))
	require.Nil(t, begin("b", 300<<10))
	huge := begin("huge", 1<<30)
	require.NotNil(t, huge)
	c, d := begin("c", 1), begin("d", 1)
	require.NotNil(t, c, "nobody jumps the line")
	tr.end(300 << 10)
	assert.Empty(t, taken)
	tr.end(600 << 10)
	assert.Equal(t, []string{"huge"}, taken, "alone, though it is larger than the share")
	assert.True(t, tr.cancel(c))
	assert.False(t, tr.cancel(c))
	assert.False(t, tr.cancel(huge), "its memory is taken")
	tr.end(1 << 30)
	assert.Equal(t, []string{"huge", "d"}, taken)
	assert.False(t, tr.cancel(d))
	tr.end(1)
	assert.Zero(t, tr.held)

	tr.force(tr.share)
	require.NotNil(t, begin("e", tr.share))
	f := begin("f", 1)
	tr.force(1) // over the share
	tr.end(tr.share)
	assert.Equal(t, []string{"huge", "d"}, taken)
	tr.end(1)
	assert.Equal(t, []string{"huge", "d", "e"}, taken)
	tr.end(tr.share)
	assert.Equal(t, []string{"huge", "d", "e", "f"}, taken)
	tr.end(f.bytes)
	assert.Zero(t, tr.held)
}

// What is given up in front of the line lets those behind it on.
func TestTranslationsCancelledInFront(t *testing.T) {
	tr := spent()
	tr.force(tr.share / 2)
	large := tr.begin(tr.share, func() { t.Error("given up") })
	taken := false
	require.NotNil(t, tr.begin(1, func() { taken = true }))
	require.True(t, tr.cancel(large))
	assert.True(t, taken)
}

func TestTranslationsWait(t *testing.T) {
	tr := spent()
	require.NoError(t, tr.wait(t.Context(), tr.share))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tr.wait(ctx, 1) }()
	require.Eventually(t, func() bool { tr.mu.Lock(); defer tr.mu.Unlock(); return tr.waiting.Len() == 1 }, waitFor, pollEvery)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	go func() { done <- tr.wait(t.Context(), 1) }()
	require.Eventually(t, func() bool { tr.mu.Lock(); defer tr.mu.Unlock(); return tr.waiting.Len() == 1 }, waitFor, pollEvery)
	tr.end(tr.share)
	require.NoError(t, <-done)
	tr.end(1)
	assert.Zero(t, tr.held)
}

// occupied is a receiver whose memory for translation is taken, and what the
// budget lends, until the test gives it back.
func occupied(t *testing.T, o testOptions) (r *testReceiver, give func()) {
	t.Helper()
	r = startReceiver(t, o)
	r.inHand.force(r.inHand.share)
	require.True(t, r.budget.Acquire(r.budget.Limit()/2))
	return r, func() {
		r.budget.Release(r.budget.Limit() / 2)
		r.inHand.end(r.inHand.share)
	}
}

// inLine waits until so many wait for memory.
func (tr *testReceiver) inLine(n int) {
	tr.t.Helper()
	require.Eventually(tr.t, func() bool {
		tr.inHand.mu.Lock()
		defer tr.inHand.mu.Unlock()
		return tr.inHand.waiting.Len() == n
	}, waitFor, pollEvery)
}

func TestMessagesWaitForMemory(t *testing.T) { eachEncoding(t, testMessagesWaitForMemory) }

func testMessagesWaitForMemory(t *testing.T, e encoding) {
	r, give := occupied(t, testOptions{encoding: e, config: func(cfg *Config) { cfg.Keepalive.Heartbeat = 100 * time.Millisecond }})
	a, _ := r.greet("i1") // which is welcome all the same
	a.send(batch(1, "c", 1))
	a.send(batch(2, "c", 2))
	r.inLine(1)
	_, data, err := a.conn.ReadMessage()
	require.NoError(t, err)
	assert.JSONEq(t, `{"flow":{"window_bytes":4194304}}`, string(data), "with heartbeats")
	assert.Zero(t, r.traces.SpanCount())
	give()
	assert.EqualValues(t, 2, lastAck(a, 2))
	require.Eventually(t, func() bool { return r.inHand.idle() }, waitFor, pollEvery)
	assert.Equal(t, 2, r.traces.SpanCount())
}

// lastAck reads acknowledgements up to a number.
func lastAck(a *testAgent, seq uint64) uint64 {
	for {
		if ack := a.reply().Ack; ack >= seq {
			return ack
		}
	}
}

func (t *translations) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held == 0 && t.lent == 0 && t.waiting.Len() == 0
}

// An agent that is gone is no reason to lose what it sent.
func TestMessagesOfAnAgentThatLeft(t *testing.T) { eachEncoding(t, testMessagesOfAnAgentThatLeft) }

func testMessagesOfAnAgentThatLeft(t *testing.T, e encoding) {
	r, give := occupied(t, testOptions{encoding: e})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	a.send(batch(2, "c", 2))
	r.inLine(1)
	require.NoError(t, a.conn.Close())
	give()
	require.Eventually(t, func() bool { return r.traces.SpanCount() == 2 && r.sessions.places() == 0 }, waitFor, pollEvery)
	require.Eventually(t, func() bool { return r.inHand.idle() }, waitFor, pollEvery)
}

// Red when: a session that is ended does not leave the line, so that the next
// one of its instance waits for it.
func TestTakeoverOfASessionThatWaitsForMemory(t *testing.T) {
	eachEncoding(t, testTakeoverOfASessionThatWaitsForMemory)
}

func testTakeoverOfASessionThatWaitsForMemory(t *testing.T, e encoding) {
	r, give := occupied(t, testOptions{encoding: e})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	r.inLine(1)
	b, welcome := r.greet("i1")
	assert.Zero(t, welcome.ResumeAfter)
	a.expectClose(1008)
	r.inLine(0)
	give()
	b.send(batch(1, "c", 1))
	assert.EqualValues(t, 1, b.reply().Ack)
	assert.Equal(t, 1, r.traces.SpanCount())
	require.Eventually(t, func() bool { return r.inHand.idle() }, waitFor, pollEvery)
}

func TestShutdownWithMessagesThatWaitForMemory(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r, give := occupied(t, testOptions{tel: tel})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	bare := r.dial(nil)
	bare.send(`{"event":"send"}`)
	r.inLine(2)
	posted := make(chan answer)
	go func() {
		header := http.Header{"Content-Type": {"text/plain"}}
		posted <- r.request(http.MethodPost, r.cfg.Path, header, `{"event":"send"}`)
	}()
	r.inLine(3)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.Shutdown(ctx), context.DeadlineExceeded)
	assert.Equal(t, http.StatusServiceUnavailable, (<-posted).status)
	require.Eventually(t, func() bool { return r.sessions.places() == 0 }, waitFor, pollEvery)
	assert.EqualValues(t, 1, shown(t, tel, `dropped{reason="shutdown"}`))
	give()
	assert.True(t, r.inHand.idle())
	assert.Zero(t, r.traces.SpanCount())
	assert.Zero(t, r.budget.Used())
	r.stopErr = nil // the cleanup shuts down again
}

// A sender that goes away while it waits is none that was refused.
// Red when: it counts as refused by a shutdown.
func TestPostThatIsGivenUpWhileItWaits(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r, give := occupied(t, testOptions{tel: tel})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http"+strings.TrimPrefix(r.url(), "ws"), strings.NewReader(`{"event":"send"}`))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "text/plain")
	done := make(chan error)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	r.inLine(1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	r.inLine(0)
	require.Eventually(t, func() bool { return r.budget.Used() == r.budget.Limit()/2 }, waitFor, pollEvery)
	assert.Zero(t, shown(t, tel, `refused_requests{refusal="shutdown"}`))
	give()
}

// setAside is the memory that messages in hand have taken.
func (r *wsstatsReceiver) setAside() int64 {
	r.inHand.mu.Lock()
	defer r.inHand.mu.Unlock()
	return r.inHand.held - r.inHand.lent + r.budget.Used()
}

// rests are messages that become more than they look like, or than the share.
var rests = []struct{ name, message string }{
	{"inherited", `{"seq":1,"connections":[{"ws.connection.id":"c"` + tinyAttributes(64) + `}],"events":[` +
		strings.TrimSuffix(strings.Repeat(`{"event":"send","ws.connection.id":"c"},`, 1024), ",") + `]}`},
	{"large", `{"seq":1,` + repeated(`{"event":"send"},`, 4096) + `}`},
}

func repeated(event string, n int) string {
	return `"events":[` + strings.TrimSuffix(strings.Repeat(event, n), ",") + `]`
}

// Red when: a message goes alone and pays nothing for it, or what events
// inherit is not counted.
func TestMessagesThatNeedMoreThanTheShare(t *testing.T) {
	eachEncoding(t, func(t *testing.T, e encoding) {
		for _, tt := range rests {
			t.Run(tt.name, func(t *testing.T) {
				sink := &blockedConsumer{release: make(chan struct{})}
				r := startReceiver(t, testOptions{encoding: e, traces: sink, config: func(cfg *Config) {
					cfg.Delivery.BudgetBytes = 32 << 20
				}})
				release := sync.OnceFunc(func() { close(sink.release) })
				t.Cleanup(release)
				a, _ := r.greet("i1")
				before := heldBytes()
				require.True(t, r.budget.Acquire(r.budget.Limit()-1<<20))
				a.send(tt.message)
				require.Equal(t, wire.Reply{Nack: 1, Retryable: true, RetryAfterMs: 500, Code: wire.CodeUnavailable, Message: overBudget}, a.reply())
				require.Eventually(t, func() bool { return r.budget.Used() == r.budget.Limit()-1<<20 && r.inHand.idle() }, waitFor, pollEvery)
				r.budget.Release(r.budget.Limit() - 1<<20)

				a.send(tt.message)
				require.Eventually(t, func() bool { return sink.entered.Load() == 1 }, waitFor, pollEvery)
				held, aside := heldBytes()-before, r.setAside()
				t.Logf("%d bytes become %d, %d are set aside", len(tt.message), held, aside)
				assert.Greater(t, aside, r.inHand.share)
				assert.Less(t, held, aside+minBuffer)
				release()
				assert.EqualValues(t, 1, a.reply().Ack)
				require.Eventually(t, func() bool { return r.budget.Used() == 0 && r.inHand.idle() }, waitFor, pollEvery)
			})
		}
	})
}

// Red when: a message that never fits is asked for again and again.
func TestMessagesThatNeedMoreThanThereIs(t *testing.T) {
	eachEncoding(t, func(t *testing.T, e encoding) {
		for _, tt := range rests {
			t.Run(tt.name, func(t *testing.T) {
				tel := componenttest.NewTelemetry()
				r := startReceiver(t, testOptions{encoding: e, tel: tel, config: func(cfg *Config) {
					cfg.Limits.MessageBytes, cfg.Delivery.BudgetBytes, cfg.Delivery.WindowBytes = 1<<20, 1<<20, 1<<20
				}})
				a, _ := r.greet("i1")
				a.send(tt.message)
				require.Equal(t, wire.Reply{Nack: 1, Code: wire.CodeTooLarge, Message: overMemory}, a.reply())
				a.send(batch(2, "c", 1))
				assert.EqualValues(t, 2, a.reply().Ack)
				assert.Equal(t, 1, r.traces.SpanCount())
				if e.subprotocol == wire.SubprotocolJSON {
					assert.Equal(t, http.StatusRequestEntityTooLarge, r.post("application/json", tt.message).status)
					assertRefused(t, tel, map[string]int64{"too_large": 1})
				}
			})
		}
	})
}

func TestPostThatNeedsMoreThanIsLeft(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{tel: tel, config: func(cfg *Config) { cfg.Delivery.BudgetBytes = 32 << 20 }})
	require.True(t, r.budget.Acquire(r.budget.Limit()-1<<20))
	got := r.post("application/json", rests[1].message)
	assert.Equal(t, http.StatusTooManyRequests, got.status)
	assert.Equal(t, "5", got.header.Get("Retry-After"))
	assertRefused(t, tel, map[string]int64{"budget": 1})
	r.budget.Release(r.budget.Limit() - 1<<20)
	assert.Equal(t, http.StatusOK, r.post("application/json", rests[1].message).status)
	assert.Zero(t, r.budget.Used())
}

// What a message becomes must not be larger than what is set aside for it.
func TestTranslationBytes(t *testing.T) { eachEncoding(t, testTranslationBytes) }

func testTranslationBytes(t *testing.T, e encoding) {
	for _, load := range loads {
		t.Run(load.name, func(t *testing.T) {
			sink := &blockedConsumer{release: make(chan struct{})}
			r := startReceiver(t, testOptions{traces: sink, config: func(cfg *Config) { cfg.Delivery.BudgetBytes = 1 << 33 }})
			message := string(e.transcode(t, "{"+load.list))
			const messages = 4
			fleet := make([]*rawClient, messages)
			for i := range fleet {
				fleet[i] = r.rawDial(t, "Sec-WebSocket-Protocol: "+e.subprotocol)
			}
			before := heldBytes()
			for _, c := range fleet {
				c.write(rawFrame(fin|e.opcode, message))
			}
			require.Eventually(t, func() bool { return sink.entered.Load() == messages }, waitFor, pollEvery)
			held, aside := heldBytes()-before, r.setAside()
			t.Logf("%d bytes become %d, %d are set aside", len(message), held/messages, aside/messages)
			assert.Less(t, held, aside+messages*minBuffer)
			close(sink.release)
		})
	}
}

// Red when: what sampling leaves out keeps memory that others wait for.
func TestWhatAMessageDoesNotNeedOthersHave(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Traces.Sampling.Ratio = 0 }})
	message := []byte("{" + loads[0].list)
	size := jsonForm.translationBytes(message)
	require.Nil(t, r.inHand.begin(size, nil))
	m := new(wire.Message)
	require.NoError(t, jsonForm.decode(r.newDecoder(), message, m))
	in := &incoming{Message: m, arrival: r.now(), size: len(message), reserved: size}
	require.NoError(t, r.take(t.Context(), r.newAgent(""), in).err)
	assert.Less(t, in.reserved, size/2)
	assert.Equal(t, in.reserved, r.inHand.held)
	r.inHand.end(in.reserved)
	assert.True(t, r.inHand.idle())
}
