package wsstatsreceiver

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// jumpingClock is a system clock that somebody sets.
type jumpingClock struct{ offset atomic.Int64 }

func (c *jumpingClock) now() time.Time {
	return time.Now().Add(time.Duration(c.offset.Load()))
}

func (c *jumpingClock) jump(d time.Duration) { c.offset.Add(int64(d)) }

// TestClockJumps sets the receiver's clock between messages: nothing is lost,
// no span ends before it begins, and no point lies before its stream's previous
// one, but where a clock that was set back lets cumulative streams begin anew.
func TestClockJumps(t *testing.T) {
	const (
		day           = 24 * time.Hour
		startedIn1970 = "started in 1970"
	)
	epoch := time.Duration(time.Now().UnixNano()) - time.Second // as long ago as 1970
	tests := map[string][]time.Duration{
		"no jump":                    {0},
		"a day ahead":                {day},
		"a day back":                 {-day},
		"ahead and back":             {day, -day},
		"back and ahead":             {-day, day},
		"to 1970":                    {-epoch},
		"to 1970 and back":           {-epoch, epoch},
		startedIn1970:                {epoch},
		"again and again":            {day, -2 * day, -epoch / 2, day, epoch / 2, time.Second, -time.Second},
		"a little back, as NTP does": {-time.Millisecond, -time.Second, -time.Microsecond},
	}
	for name, jumps := range tests {
		for _, temporality := range []string{cumulative, delta} {
			t.Run(name+"/"+temporality, func(t *testing.T) {
				clock := &jumpingClock{}
				if name == startedIn1970 {
					clock.jump(-epoch)
				}
				r := startReceiver(t, testOptions{now: clock.now, config: func(cfg *Config) {
					cfg.Metrics.Temporality = temporality
					cfg.Metrics.FlushInterval = 5 * time.Millisecond
				}})
				a, _ := r.greet("i-1")
				a.take(handshake(1, "c-1"))
				messages := int64(0)
				send := func() {
					messages++
					a.take(fmt.Sprintf(`{"seq":%d,"events":[{"event":"receive","ws.connection.id":"c-1","ws.message.type":"text","ws.message.seq":%d,"ws.message.size":5,"time":%d}]}`,
						messages+1, messages, time.Now().UnixNano()))
					r.awaitMetric(t, "ws.messages.received", messages)
				}
				send()
				for _, d := range jumps {
					clock.jump(d)
					send()
					send()
				}
				a.take(closing(int(messages)+2, "c-1"))
				require.NoError(t, a.conn.Close())
				r.stopNow()

				spans := spansOf(r.traces.AllTraces())
				assert.Len(t, spans, int(messages)+2)
				for _, s := range spans {
					assert.GreaterOrEqual(t, s.EndTimestamp(), s.StartTimestamp(), s.Name())
					assert.Positive(t, s.StartTimestamp(), s.Name())
				}
				all := r.metrics.AllMetrics()
				totals, restarts := totalsOf(t, all)
				if temporality == cumulative {
					assert.LessOrEqual(t, restarts, len(jumps))
					assert.Less(t, timeOf(all[len(all)-1]), clock.now().Add(time.Second), "in the future, though not for long")
				} else {
					assert.Zero(t, restarts)
				}
				assert.Equal(t, messages, totals["ws.messages.received"])
				assert.Equal(t, int64(1), totals["ws.connections.total"])
				assert.Equal(t, int64(1), totals["ws.connections.closed"])
				assert.Zero(t, sumOf(all, "ws.connections.active"))
			})
		}
	}
}

// awaitMetric waits until the sum's points add up to n, those of before a
// restart of its series included.
func (tr *testReceiver) awaitMetric(t *testing.T, name string, n int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		totals, _ := totalsOf(t, tr.metrics.AllMetrics())
		return totals[name] == n
	}, waitFor, pollEvery, "%s %d", name, n)
}

// timeOf is the time of a first point.
func timeOf(md pmetric.Metrics) time.Time {
	return md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints().At(0).Timestamp().AsTime()
}

// totalsOf adds up sums: all deltas, and of a cumulative series the last point
// of each of its starts. It checks the times of each stream, and returns how
// often at most one began anew at a time that lies before its last point.
func totalsOf(t *testing.T, all []pmetric.Metrics) (totals map[string]int64, restarts int) {
	t.Helper()
	type stream struct{ name, attributes string }
	type run struct {
		stream
		start pcommon.Timestamp
	}
	last := make(map[stream]pmetric.NumberDataPoint)
	latest := make(map[run]int64)
	setBack := make(map[stream]int)
	totals = make(map[string]int64)
	for _, md := range all {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if m.Type() != pmetric.MetricTypeSum {
						continue
					}
					isDelta := m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityDelta
					for _, p := range m.Sum().DataPoints().All() {
						of := stream{m.Name(), fmt.Sprint(p.Attributes().AsRaw())}
						require.LessOrEqual(t, p.StartTimestamp(), p.Timestamp(), m.Name())
						if before, ok := last[of]; ok && !isDelta && p.StartTimestamp() != before.StartTimestamp() && p.StartTimestamp() < before.Timestamp() {
							setBack[of]++
							restarts = max(restarts, setBack[of])
						} else if ok {
							require.GreaterOrEqual(t, p.Timestamp(), before.Timestamp(), "time of %s", m.Name())
							require.GreaterOrEqual(t, p.StartTimestamp(), before.StartTimestamp(), "start of %s", m.Name())
							if isDelta || p.StartTimestamp() != before.StartTimestamp() {
								require.GreaterOrEqual(t, p.StartTimestamp(), before.Timestamp(), "%s overlaps", m.Name())
							}
						}
						last[of] = p
						if isDelta {
							totals[m.Name()] += p.IntValue()
						} else {
							latest[run{of, p.StartTimestamp()}] = p.IntValue()
						}
					}
				}
			}
		}
	}
	for r, v := range latest {
		totals[r.name] += v
	}
	return totals, restarts
}
