package wsstatsreceiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/delivery"
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	handshakeBatch = `{"seq":1,"events":[{"event":"handshake","ws.connection.id":"c","ws.role":"server","ws.handshake.success":true}]}`
	closeBatch     = `{"seq":2,"events":[{"event":"close","ws.connection.id":"c","ws.close.code":1000}]}`
)

// Red when: a message that is refused for good leaves its connections open.
func TestCloseThatIsRefusedForGoodLeavesTheGauge(t *testing.T) {
	eachEncoding(t, testCloseThatIsRefusedForGoodLeavesTheGauge)
}

func testCloseThatIsRefusedForGoodLeavesTheGauge(t *testing.T, e encoding) {
	for _, temporality := range []string{cumulative, delta} {
		t.Run(temporality, func(t *testing.T) {
			r := startReceiver(t, testOptions{
				encoding: e,
				traces:   &scriptedConsumer{errs: []error{nil, consumererror.NewPermanent(errors.New("bad"))}},
				config:   func(cfg *Config) { cfg.Metrics.Temporality = temporality },
			})
			a, _ := r.greet("i1")
			a.send(handshakeBatch)
			assert.EqualValues(t, 1, a.reply().Ack)
			r.flush(t.Context())
			assert.EqualValues(t, 1, sumOf(r.metrics.AllMetrics(), "ws.connections.active"))
			a.send(closeBatch)
			assert.Equal(t, wire.CodeRefused, a.reply().Code)
			r.flush(t.Context())
			assert.Zero(t, sumOf(r.metrics.AllMetrics(), "ws.connections.active"))
			assert.Zero(t, sumOf(r.metrics.AllMetrics(), "ws.connections.closed"), "the agent counts it as dropped")
		})
	}
}

// Red when: each agent's leaving is a hand-over of its own.
func TestAllAgentsLeaveInOneHandOver(t *testing.T) { eachEncoding(t, testAllAgentsLeaveInOneHandOver) }

func testAllAgentsLeaveInOneHandOver(t *testing.T, e encoding) {
	r := startReceiver(t, testOptions{encoding: e, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	for i := range 3 {
		a, _ := r.greet(fmt.Sprintf("i%d", i))
		a.send(handshakeBatch)
		assert.EqualValues(t, 1, a.reply().Ack)
		assert.NoError(t, a.conn.Close())
	}
	before := len(r.metrics.AllMetrics())
	r.stopNow()
	last := r.metrics.AllMetrics()[before:]
	assert.Len(t, last, 1)
	assert.Equal(t, 3, last[0].ResourceMetrics().Len())
	assert.Zero(t, sumOf(last, "ws.connections.active"))
}

// Red when: each agent that stays away is a hand-over of its own, or one that is
// refused is not tried again.
func TestAgentsThatStayAwayAreGivenUpInOneHandOver(t *testing.T) {
	eachEncoding(t, testAgentsThatStayAwayAreGivenUpInOneHandOver)
}

func testAgentsThatStayAwayAreGivenUpInOneHandOver(t *testing.T, e encoding) {
	const agents = 20
	clock := &jumpingClock{}
	lost := &lostConsumer{refusals: 2}
	r := startReceiver(t, testOptions{encoding: e, now: clock.now, metrics: lost, config: func(cfg *Config) {
		cfg.Metrics.Temporality = delta
		cfg.Delivery.ResumeGrace, cfg.Delivery.DedupeTTL = time.Hour, 10*time.Hour
	}})
	for i := range agents {
		a, _ := r.greet(fmt.Sprintf("i%d", i))
		a.send(handshakeBatch)
		assert.EqualValues(t, 1, a.reply().Ack)
		assert.NoError(t, a.conn.Close())
	}
	require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
	clock.jump(2 * time.Hour)
	require.Eventually(t, func() bool { return sumOf(lost.AllMetrics(), "ws.connections.closed") == agents }, waitFor, pollEvery)
	assert.Equal(t, []int{agents, agents, agents}, lost.agents(), "of each hand-over: two are refused, and all come again")
	assert.Zero(t, sumOf(lost.AllMetrics(), "ws.connections.active"))
}

// A fleet's worth of agents is handed over in parts of a size that a backend takes.
// Red when: a hand-over has no bound, or what is beyond it is forgotten.
func TestAHandOverIsBounded(t *testing.T) {
	lost := &lostConsumer{}
	r := startReceiver(t, testOptions{metrics: lost, config: func(cfg *Config) {
		cfg.Metrics.Temporality = delta
		cfg.Metrics.MaxResources = 10_000
	}})
	var m wire.Message
	require.NoError(t, r.newDecoder().DecodeJSON([]byte(handshakeBatch), &m))
	for i := range maxTogether + 1 {
		inst := r.instances.Claim(delivery.Key{Instance: fmt.Sprint(i)}, nil)
		inst.Hold() <- struct{}{}
		require.NoError(t, r.take(t.Context(), inst.State, &incoming{Message: &m, arrival: r.now()}).err)
		r.instances.Release(inst, true, r.now())
	}
	r.stopNow()
	assert.Equal(t, []int{maxTogether, 1}, lost.agents())
	assert.Zero(t, sumOf(lost.AllMetrics(), "ws.connections.active"))
}

// Red when: what is refused for good is tried for ever.
func TestALossThatIsRefusedForGoodIsNotTriedAgain(t *testing.T) {
	refuse := &scriptedConsumer{}
	r := startReceiver(t, testOptions{metrics: refuse, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	a := r.newAgent("i1")
	var m wire.Message
	require.NoError(t, r.newDecoder().DecodeJSON([]byte(handshakeBatch), &m))
	require.NoError(t, r.take(t.Context(), a, &incoming{Message: &m, arrival: r.now()}).err)
	refuse.errs = []error{consumererror.NewPermanent(errors.New("bad"))}
	assert.True(t, r.giveUp(t.Context(), []departed{{agent: a}}, false))
	assert.Empty(t, refuse.errs)
	assert.Empty(t, a.lost)
}

// Red when: a session is gone for a shutdown while another goroutine still hands
// on what it left.
func TestShutdownWaitsForWhatASessionLeaves(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var handedOn atomic.Bool
	slow, err := consumer.NewMetrics(func(_ context.Context, md pmetric.Metrics) error {
		if sumOf([]pmetric.Metrics{md}, "ws.connections.total") == 0 {
			close(entered)
			<-release
			handedOn.Store(true)
		}
		return nil
	})
	require.NoError(t, err)
	r := startReceiver(t, testOptions{metrics: slow, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	a := r.dial(nil)
	a.send(handshakeBatch)
	assert.EqualValues(t, 1, a.reply().Ack)
	go func() {
		<-entered
		_ = a.conn.Close() // which ends the session's reader
		time.Sleep(50 * time.Millisecond)
		close(release)
	}()
	r.stopNow()
	assert.True(t, handedOn.Load())
}

// lostConsumer remembers the metrics of agents that are gone, and refuses some at first.
type lostConsumer struct {
	consumertest.MetricsSink
	mu       sync.Mutex
	refusals int
	sizes    []int // agents of each hand-over
}

func (c *lostConsumer) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sumOf([]pmetric.Metrics{md}, "ws.connections.total") > 0 {
		return c.MetricsSink.ConsumeMetrics(ctx, md)
	}
	c.sizes = append(c.sizes, md.ResourceMetrics().Len())
	if c.refusals > 0 {
		c.refusals--
		return errors.New("full")
	}
	return c.MetricsSink.ConsumeMetrics(ctx, md)
}

func (c *lostConsumer) agents() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sizes)
}

// Red when: what no consumer took on the last try stays on the gauge.
func TestTheLastTryToGiveUpIsRightWithoutAConsumer(t *testing.T) {
	refuse := &scriptedConsumer{}
	r := startReceiver(t, testOptions{metrics: refuse, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	agent, arrival := r.newAgent("i1"), r.now()
	var m wire.Message
	assert.NoError(t, r.newDecoder().DecodeJSON([]byte(handshakeBatch), &m))
	assert.NoError(t, r.take(context.Background(), agent, &incoming{Message: &m, arrival: arrival}).err)
	var open observed.Counter
	for _, c := range agent.table.Abandon(arrival.UnixNano()) {
		open = c.Active
		agent.lost = append(agent.lost, c)
	}
	assert.NotNil(t, open)
	refuse.errs = []error{errors.New("full"), errors.New("full")}
	conns := agent.lost
	assert.False(t, r.giveUp(t.Context(), []departed{{agent: agent}}, false))
	assert.NotNil(t, conns[0].Active, "tried again later")
	assert.True(t, r.giveUp(t.Context(), []departed{{agent: agent}}, true))
	assert.Nil(t, conns[0].Active)
	assert.Empty(t, agent.lost)
}
