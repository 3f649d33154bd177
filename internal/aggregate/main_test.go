package aggregate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/goleak"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event is a short way to write a row.
type event struct {
	kind     wire.Kind
	conn     *observed.Conn
	role     wire.Role
	dir      wire.Direction
	typ      wire.MessageType
	start    int64
	duration time.Duration
	timed    bool
	failed   bool
	class    string
	keep     byte // not 0: sampled, with this as the ids
	attrs    map[wire.Attr]any
	user     []wire.KeyValue
}

func (e event) row() observed.Row {
	w := &wire.Event{Kind: e.kind, HasDuration: e.timed, Duration: int64(e.duration)}
	setAttrs(&w.Attrs, e.attrs)
	w.User = e.user
	r := observed.Row{
		Event: w, Conn: e.conn, Kind: e.kind, Role: e.role, Direction: e.dir, MessageType: e.typ,
		Start: e.start, End: e.start + int64(e.duration), Failed: e.failed, Refused: e.failed, CloseClass: e.class,
	}
	if e.keep != 0 {
		r.Span = &observed.Span{TraceID: wire.TraceID{15: e.keep}, SpanID: wire.SpanID{7: e.keep}}
	}
	return r
}

func setAttrs(dst *wire.Attrs, attrs map[wire.Attr]any) {
	for a, v := range attrs {
		switch v := v.(type) {
		case string:
			dst.SetStr(a, v)
		case int:
			dst.SetInt(a, int64(v))
		case float64:
			dst.SetDouble(a, v)
		case bool:
			dst.SetBool(a, v)
		default:
			panic(fmt.Sprintf("%s: %T", a, v))
		}
	}
}

func user(kvs ...string) []wire.KeyValue {
	var out []wire.KeyValue
	for i := 0; i < len(kvs); i += 2 {
		out = append(out, wire.KeyValue{Key: kvs[i], Value: wire.StringValue(kvs[i+1])})
	}
	return out
}

var chat = observed.NewResource([]wire.KeyValue{{Key: "service.name", Value: wire.StringValue("chat")}}, "")

func session(events ...event) *observed.Batch {
	b := &observed.Batch{Resource: chat, Session: true}
	for _, e := range events {
		b.Rows = append(b.Rows, e.row())
	}
	return b
}

func post(events ...event) *observed.Batch {
	b := session(events...)
	b.Session = false
	return b
}

func opened(conns ...*observed.Conn) *observed.Batch {
	return &observed.Batch{Resource: chat, Session: true, Opened: conns}
}

// clock is a clock that stands still until it is moved.
type clock struct{ at time.Time }

func newClock() *clock                   { return &clock{at: time.Unix(1000, 0)} }
func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

// harness is an aggregator with its clock and what was handed on last.
type harness struct {
	*Aggregator
	*clock
	t    testing.TB
	last pmetric.Metrics
	err  error // what consume returns
}

func newHarness(t testing.TB, cfg Config) *harness {
	c := newClock()
	return &harness{Aggregator: New(cfg, "scope", "v1", c.now), clock: c, t: t, last: pmetric.NewMetrics()}
}

func (h *harness) consume(md pmetric.Metrics) error {
	if !h.cfg.Delta {
		h.t.Error("consume was called")
	}
	h.last = md
	return h.err
}

// take takes the batches and returns the points that there are then: in delta
// mode those of the last batch.
func (h *harness) take(batches ...*observed.Batch) []string {
	h.t.Helper()
	for _, b := range batches {
		h.last = pmetric.NewMetrics()
		require.NoError(h.t, h.Take(b, h.consume))
	}
	return h.points()
}

func (h *harness) points() []string {
	h.t.Helper()
	if h.cfg.Delta {
		return lines(h.last)
	}
	return lines(h.Flush())
}

// lines writes each point in one line, sorted.
func lines(md pmetric.Metrics) []string {
	out := []string{}
	each(md, func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) { out = append(out, m.Name()+p.String()) })
	slices.Sort(out)
	return out
}

// anyPoint is a point of any type.
type anyPoint struct {
	attributes  string
	start, time pcommon.Timestamp
	value       string
	exemplars   pmetric.ExemplarSlice
}

func (p anyPoint) String() string { return "{" + p.attributes + "} " + p.value }

func each(md pmetric.Metrics, f func(pcommon.Resource, pmetric.Metric, anyPoint)) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				switch m.Type() {
				case pmetric.MetricTypeSum:
					for _, p := range m.Sum().DataPoints().All() {
						f(rm.Resource(), m, anyPoint{
							attributesLine(p.Attributes()), p.StartTimestamp(), p.Timestamp(), fmt.Sprint(p.IntValue()), p.Exemplars(),
						})
					}
				case pmetric.MetricTypeHistogram:
					for _, p := range m.Histogram().DataPoints().All() {
						f(rm.Resource(), m, anyPoint{
							attributesLine(p.Attributes()), p.StartTimestamp(), p.Timestamp(),
							fmt.Sprintf("n=%d sum=%.6g min=%.6g max=%.6g", p.Count(), p.Sum(), p.Min(), p.Max()), p.Exemplars(),
						})
					}
				case pmetric.MetricTypeExponentialHistogram:
					for _, p := range m.ExponentialHistogram().DataPoints().All() {
						f(rm.Resource(), m, anyPoint{
							attributesLine(p.Attributes()), p.StartTimestamp(), p.Timestamp(),
							fmt.Sprintf("n=%d sum=%.6g min=%.6g max=%.6g", p.Count(), p.Sum(), p.Min(), p.Max()), p.Exemplars(),
						})
					}
				}
			}
		}
	}
}

func attributesLine(m pcommon.Map) string {
	raw := m.AsRaw()
	var out []string
	for _, k := range slices.Sorted(maps.Keys(raw)) {
		out = append(out, fmt.Sprintf("%s=%v", k, raw[k]))
	}
	return strings.Join(out, ",")
}
