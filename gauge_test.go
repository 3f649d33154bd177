package wsstatsreceiver

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// gaugeCase is a receiver of one temporality whose agents come and go.
type gaugeCase struct{ *testReceiver }

func forBothTemporalities(t *testing.T, set func(*Config), test func(*testing.T, gaugeCase)) {
	for _, temporality := range []string{cumulative, delta} {
		t.Run(temporality, func(t *testing.T) {
			test(t, gaugeCase{startReceiver(t, testOptions{config: func(cfg *Config) {
				cfg.Metrics.Temporality = temporality
				cfg.Metrics.FlushInterval = 10 * time.Millisecond
				set(cfg)
			}})})
		})
	}
}

// gone makes agents that are away be given up soon.
func gone(cfg *Config) { cfg.Delivery.ResumeGrace = 20 * time.Millisecond }

// patient makes them be waited for.
func patient(cfg *Config) { cfg.Delivery.ResumeGrace = time.Minute }

func handshake(seq int, conn string) string {
	return fmt.Sprintf(`{"seq":%d,"events":[{"event":"handshake","ws.connection.id":%q,"ws.role":"server","ws.handshake.success":true}]}`, seq, conn)
}

func closing(seq int, conn string) string {
	return fmt.Sprintf(`{"seq":%d,"events":[{"event":"close","ws.connection.id":%q,"ws.close.code":1000}]}`, seq, conn)
}

// take sends a numbered message and waits until it is taken.
func (a *testAgent) take(message string) {
	a.t.Helper()
	a.send(message)
	reply := a.reply()
	require.NotZero(a.t, reply.Ack, "%+v", reply)
	require.Nil(a.t, reply.Rejected)
}

// eventually waits for the gauge, the opened and the closed connections.
func (g gaugeCase) eventually(active, total int64, closed map[string]int64) {
	g.t.Helper()
	var got []any
	ok := assert.Eventually(g.t, func() bool {
		all := g.metrics.AllMetrics()
		got = []any{sumOf(all, "ws.connections.active"), sumOf(all, "ws.connections.total"), closedBy(all)}
		return assert.ObjectsAreEqual([]any{active, total, closed}, got)
	}, 2*time.Second, pollEvery)
	if !ok {
		g.t.Fatalf("active, opened, closed: %v", got)
	}
}

// stays is for what must not change: it looks again after some flushes and sweeps.
func (g gaugeCase) stays(active, total int64, closed map[string]int64) {
	g.t.Helper()
	g.eventually(active, total, closed)
	time.Sleep(60 * time.Millisecond)
	g.eventually(active, total, closed)
}

// closedBy are the closed connections of each class.
func closedBy(all []pmetric.Metrics) map[string]int64 {
	counts := make(map[string]int64)
	for _, md := range all {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range metricsOf(rm, "ws.connections.closed") {
				for _, dp := range m.Sum().DataPoints().All() {
					class, _ := dp.Attributes().Get("ws.close.class")
					if m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityCumulative {
						counts[class.Str()] = 0 // one resource has each class in these tests
					}
					counts[class.Str()] += dp.IntValue()
				}
			}
		}
	}
	return counts
}

func TestGaugeOfAnAgentThatVanishes(t *testing.T) { eachEncoding(t, testGaugeOfAnAgentThatVanishes) }

func testGaugeOfAnAgentThatVanishes(t *testing.T, e encoding) {
	forBothTemporalities(t, gone, func(t *testing.T, g gaugeCase) {
		a, _ := g.greet("i1")
		a.take(handshake(1, "c1"))
		a.take(handshake(2, "c2"))
		a.take(closing(3, "c2"))
		_ = a.conn.NetConn().Close()
		g.stays(0, 2, map[string]int64{"normal": 1, "agent_lost": 1})
		assert.Equal(t, 3, g.traces.SpanCount(), "the loss is of the metrics alone")

		// It was not lost after all: its close makes a span and no second count.
		a, welcome := g.greet("i1")
		assert.EqualValues(t, 3, welcome.ResumeAfter)
		a.take(closing(4, "c1"))
		assert.Equal(t, 4, g.traces.SpanCount())
		g.stays(0, 2, map[string]int64{"normal": 1, "agent_lost": 1})
	})
}

func TestGaugeOfAnAgentThatComesBack(t *testing.T) { eachEncoding(t, testGaugeOfAnAgentThatComesBack) }

func testGaugeOfAnAgentThatComesBack(t *testing.T, e encoding) {
	forBothTemporalities(t, patient, func(t *testing.T, g gaugeCase) {
		a, _ := g.greet("i1")
		a.take(handshake(1, "c1"))
		_ = a.conn.NetConn().Close()
		g.stays(1, 1, map[string]int64{})
		a, _ = g.greet("i1")
		a.send(`{"connections":[{"ws.connection.id":"c1","ws.role":"server","opened_at":1}]}`)
		a.take(closing(2, "c1"))
		g.stays(0, 1, map[string]int64{"normal": 1})
	})
}

func TestGaugeOfAnAgentThatRestarts(t *testing.T) { eachEncoding(t, testGaugeOfAnAgentThatRestarts) }

func testGaugeOfAnAgentThatRestarts(t *testing.T, e encoding) {
	forBothTemporalities(t, gone, func(t *testing.T, g gaugeCase) {
		a, _ := g.greet("i1")
		a.take(handshake(1, "c1"))
		_ = a.conn.NetConn().Close()
		a, _ = g.greet("i2")
		a.take(handshake(1, "c2"))
		g.stays(1, 2, map[string]int64{"agent_lost": 1})
	})
}

func TestGaugeOfAnAnonymousAgent(t *testing.T) { eachEncoding(t, testGaugeOfAnAnonymousAgent) }

func testGaugeOfAnAnonymousAgent(t *testing.T, e encoding) {
	forBothTemporalities(t, patient, func(t *testing.T, g gaugeCase) {
		a := g.dial(nil)
		a.take(handshake(1, "c1"))
		g.stays(1, 1, map[string]int64{})
		_ = a.conn.NetConn().Close()
		g.stays(0, 1, map[string]int64{"agent_lost": 1})
		assert.Equal(t, 1, g.traces.SpanCount())
	})
}

// An agent that the receiver itself sent away goes on elsewhere: its
// connections are not lost.
func TestGaugeAfterGoAway(t *testing.T) { eachEncoding(t, testGaugeAfterGoAway) }

func testGaugeAfterGoAway(t *testing.T, e encoding) {
	old := func(cfg *Config) {
		gone(cfg)
		cfg.Keepalive.MaxConnectionAge, cfg.Keepalive.MaxConnectionAgeJitter = 200*time.Millisecond, 0
		cfg.Keepalive.Heartbeat = 100 * time.Millisecond
	}
	for _, name := range []string{"instance", "anonymous"} {
		t.Run(name, func(t *testing.T) {
			forBothTemporalities(t, old, func(t *testing.T, g gaugeCase) {
				a := g.dial(nil)
				if name == "instance" {
					a.send(`{"hello":{"instance":"i1"}}`)
					require.NotNil(t, a.reply().Welcome)
				}
				a.take(handshake(1, "c1"))
				a.expectClose(websocket.CloseGoingAway)
				g.stays(0, 1, map[string]int64{})
			})
		})
	}
	t.Run("shutdown", func(t *testing.T) {
		forBothTemporalities(t, patient, func(t *testing.T, g gaugeCase) {
			away, _ := g.greet("i1")
			away.take(handshake(1, "c1"))
			_ = away.conn.NetConn().Close()
			here, _ := g.greet("i2")
			here.take(handshake(1, "c2"))
			_ = here.conn.NetConn().Close()
			g.stopNow()
			all := g.metrics.AllMetrics()
			assert.Zero(t, sumOf(all, "ws.connections.active"))
			assert.Empty(t, closedBy(all))
		})
	})
}

// The pipeline may refuse the news of a loss: it is told again until it takes it.
func TestLossThatThePipelineRefuses(t *testing.T) { eachEncoding(t, testLossThatThePipelineRefuses) }

func testLossThatThePipelineRefuses(t *testing.T, e encoding) {
	for _, hello := range []bool{true, false} {
		t.Run(fmt.Sprintf("hello %v", hello), func(t *testing.T) {
			metrics := &scriptedMetrics{errs: scriptedConsumer{errs: []error{nil, errors.New("full"), errors.New("full")}}}
			r := startReceiver(t, testOptions{encoding: e, metrics: metrics, config: func(cfg *Config) {
				cfg.Metrics.Temporality = delta
				gone(cfg)
			}})
			a := r.join()
			if hello {
				a.send(`{"hello":{"instance":"i1"}}`)
				require.NotNil(t, a.reply().Welcome)
			}
			a.send(handshake(1, "c1"))
			require.Equal(t, wire.Reply{Ack: 1}, a.reply())
			_ = a.conn.NetConn().Close()
			require.Eventually(t, func() bool { return len(metrics.AllMetrics()) == 2 }, waitFor, pollEvery)
			assert.Zero(t, sumOf(metrics.AllMetrics(), "ws.connections.active"))
			assert.Equal(t, map[string]int64{"agent_lost": 1}, closedBy(metrics.AllMetrics()))
		})
	}
}

// scriptedMetrics is a sink that answers its first calls with these errors.
type scriptedMetrics struct {
	consumertest.MetricsSink
	errs scriptedConsumer
}

func (s *scriptedMetrics) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	if err := s.errs.next(); err != nil {
		return err
	}
	return s.MetricsSink.ConsumeMetrics(ctx, md)
}
