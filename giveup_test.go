package wsstatsreceiver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	handshakeBatch = `{"seq":1,"events":[{"event":"handshake","ws.connection.id":"c","ws.role":"server","ws.handshake.success":true}]}`
	closeBatch     = `{"seq":2,"events":[{"event":"close","ws.connection.id":"c","ws.close.code":1000}]}`
)

// Red when: a message that is refused for good leaves its connections open.
func TestCloseThatIsRefusedForGoodLeavesTheGauge(t *testing.T) {
	for _, temporality := range []string{cumulative, delta} {
		t.Run(temporality, func(t *testing.T) {
			r := startReceiver(t, testOptions{
				traces: &scriptedConsumer{errs: []error{nil, consumererror.NewPermanent(errors.New("bad"))}},
				config: func(cfg *Config) { cfg.Metrics.Temporality = temporality },
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
func TestAllAgentsLeaveInOneHandOver(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
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

// Red when: what no consumer took on the last try stays on the gauge.
func TestTheLastTryToGiveUpIsRightWithoutAConsumer(t *testing.T) {
	refuse := &scriptedConsumer{}
	r := startReceiver(t, testOptions{metrics: refuse, config: func(cfg *Config) { cfg.Metrics.Temporality = delta }})
	agent, arrival := r.newAgent("i1"), r.now()
	var m wire.Message
	assert.NoError(t, r.newDecoder().DecodeJSON([]byte(handshakeBatch), &m))
	assert.NoError(t, r.take(context.Background(), agent, &m, arrival, false).err)
	var open observed.Counter
	for _, c := range agent.table.Abandon(arrival.UnixNano()) {
		open = c.Active
		agent.lost = append(agent.lost, c)
	}
	assert.NotNil(t, open)
	refuse.errs = []error{errors.New("full"), errors.New("full")}
	conns := agent.lost
	assert.False(t, r.giveUp(t.Context(), agent, false, r.handOn(t.Context(), false)))
	assert.NotNil(t, conns[0].Active, "tried again later")
	assert.True(t, r.giveUp(t.Context(), agent, false, r.handOn(t.Context(), true)))
	assert.Nil(t, conns[0].Active)
	assert.Empty(t, agent.lost)
}
