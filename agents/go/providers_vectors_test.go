package wsstats

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// The vectors of what an agent records, and what of them it cannot.
var (
	sharedVectors   = []string{"attributes/*", "close/*", "handshake/*", "ids/*", "inherit/*", "kinds/*", "metrics/*", "mode/message-links", "urls/*", "time/*"}
	unsharedVectors = map[string]string{
		"ids/random":                "an agent says hello",
		"metrics/ping-rtt":          "an agent's pongs have no attributes",
		"ids/anonymous-derived":     "an agent says hello",
		"ids/tracestate-alone":      "an agent states none without a parent",
		"ids/tracestate-stated":     "an agent states none without a parent",
		"ids/traceparent-parent-th": "an SDK leaves the tracestate to its sampler",
		"metrics/active-declared":   "the link's",
		"metrics/agent-lost":        "the link's",
		"metrics/batch-resources":   "the resource is the provider's",
		"metrics/resent-close":      "the link's",
		"time/absent":               "an agent states all times",
		"time/absent-with-duration": "an agent states all times",
		"time/far-future":           "an agent's clock is the application's",
	}
)

// Red when: what an agent makes of its events through providers is not what the
// receiver makes of them: a name, kind, id, parent, link, status, attribute, time,
// count or bucket.
func TestProvidersMakeWhatTheReceiverMakes(t *testing.T) {
	var spans, points int
	left := maps.Clone(unsharedVectors)
	for _, pattern := range sharedVectors {
		paths, err := filepath.Glob("../../protocol/vectors/messages/" + pattern + ".json")
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			name := filepath.Base(filepath.Dir(path)) + "/" + strings.TrimSuffix(filepath.Base(path), ".json")
			t.Run(name, func(t *testing.T) {
				v := readVector(t, path)
				delete(left, name)
				if why := unsharedVectors[name]; why != "" {
					t.Skip(why)
				}
				if v.Config != nil {
					t.Skip("the receiver's configuration")
				}
				s, p := v.compare(t)
				spans, points = spans+s, points+p
			})
		}
	}
	assert.Empty(t, left, "not among the vectors")
	assert.Greater(t, spans, 140)
	assert.Greater(t, points, 90)
}

// providersVector is a case of protocol/vectors/messages.
type providersVector struct {
	Config   json.RawMessage
	Messages []json.RawMessage
	Expected struct {
		Traces  *struct{ ResourceSpans []otlpResource }
		Metrics *struct{ ResourceMetrics []otlpResource }
	}
}

func readVector(t *testing.T, path string) *providersVector {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	v := &providersVector{}
	require.NoError(t, json.Unmarshal(data, v))
	return v
}

// compare has the events of the case observed, and compares what comes of them. It
// returns how many spans and points there are.
func (v *providersVector) compare(t *testing.T) (spans, points int) {
	t.Helper()
	exporter, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	var opts []Option
	if v.Expected.Traces != nil {
		opts = append(opts, WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithIDGenerator(IDGenerator{}))))
	}
	if v.Expected.Metrics != nil {
		opts = append(opts, WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	}
	a := newAgent(t, append(opts, batchOf(1000))...)
	o := &observer{agent: a, conns: map[string]*conn{}, random: map[string]bool{}}
	for _, text := range v.Messages {
		o.message(t, text)
	}
	require.NoError(t, a.Shutdown(t.Context()))

	if v.Expected.Traces != nil {
		want, got := []otlpSpan{}, spansOf(exporter.GetSpans())
		for _, r := range v.Expected.Traces.ResourceSpans {
			want = append(want, r.ScopeSpans[0].Spans...)
		}
		require.Len(t, got, len(want))
		for i := range want {
			o.forgetRandom(t, &want[i], &got[i])
			assert.Equal(t, want[i].plain(), got[i].plain(), "span %d", i)
		}
		spans = len(want)
	}
	if v.Expected.Metrics != nil {
		want, got := map[string]any{}, pointsOf(t, reader)
		for _, r := range v.Expected.Metrics.ResourceMetrics {
			for _, m := range r.ScopeMetrics[0].Metrics {
				m.points(want)
			}
		}
		assert.Equal(t, want, got)
		points = len(want)
	}
	return spans, points
}

// observer records the events of messages as an agent would have.
type observer struct {
	agent    *Agent
	instance string
	conns    map[string]*conn
	random   map[string]bool // ids that the receiver derives from the message, and the agent draws
}

func (o *observer) message(t *testing.T, text []byte) {
	t.Helper()
	var exact struct{ Raw string }
	if require.NoError(t, json.Unmarshal(text, &exact)); exact.Raw != "" {
		text = []byte(exact.Raw)
	}
	m := new(wire.Message)
	require.NoError(t, new(wire.Decoder).DecodeJSON(text, m))
	if m.Form == wire.FormHello {
		o.instance = m.Hello.Instance
		return
	}
	for i := range m.Batch.Connections {
		e := &m.Batch.Connections[i]
		c := o.conn(&e.Attrs)
		if e.HasOpenedAt {
			c.openedAt, c.traceID, c.spanID = e.OpenedAt, e.TraceID, e.SpanID
		}
		o.agent.open(c)
	}
	for i := range m.Batch.Events {
		o.event(m.Batch.Seq, &m.Batch.Events[i])
	}
	for _, d := range m.Batch.Dropped {
		o.agent.mu.Lock()
		if why := slices.Index(reasonNames[:], d.Reason); why >= 0 {
			o.agent.ring.dropped[why] += d.Count
			o.agent.ring.observed += d.Count
		}
		o.agent.mu.Unlock()
	}
}

func (o *observer) event(seq uint64, e *wire.Event) {
	seed, n := wire.InstanceSeed(o.instance), seq<<16|uint64(e.Index)
	o.random[trace.TraceID(seed.TraceID(n, wire.SlotOther)).String()] = true
	for kind := wire.KindHandshake; kind <= wire.KindBatchSend; kind++ {
		for role := wire.RoleUnknown; role <= wire.RoleServer; role++ {
			o.random[trace.SpanID(seed.SpanID(n, wire.SlotOther, kind, role)).String()] = true
		}
	}
	r := record{kind: e.Kind, extra: e, time: e.Time, duration: -1, size: -1}
	if e.HasDuration {
		r.duration = e.Duration
	}
	if id := e.Str(wire.AttrConnectionID); id != "" {
		known := o.conns[id]
		if r.conn = known; known == nil {
			r.conn = o.named(id)
		}
		var seen occurrence
		if seen.see(&r); seen.kind == wire.KindHandshake && !seen.refused {
			r.conn = o.conn(&e.Attrs)
			r.conn.openedAt = e.Time + e.Duration
			r.conn.traceID, r.conn.spanID = seen.statedTrace(), e.SpanID
			o.agent.open(r.conn)
		}
	}
	o.agent.record(r)
}

func (o *observer) named(id string) *conn {
	if o.conns[id] == nil {
		o.conns[id] = &conn{id: id}
	}
	return o.conns[id]
}

// conn is the connection of a row that says what its events inherit.
func (o *observer) conn(as *wire.Attrs) *conn {
	c := o.named(as.Str(wire.AttrConnectionID))
	c.role, c.shared = wire.ParseRole(as.Str(wire.AttrRole)), as.Bool(wire.AttrShared)
	c.url, c.protocol = as.Str(wire.AttrURL), as.Str(wire.AttrProtocol)
	c.peerIP, c.peerPort = as.Str(wire.AttrPeerIP), int(as.Int(wire.AttrPeerPort))
	c.attributes = as.User
	return c
}

// forgetRandom takes out of both spans the ids that are random.
func (o *observer) forgetRandom(t *testing.T, want, got *otlpSpan) {
	t.Helper()
	for _, id := range [...]struct{ want, got *string }{{&want.TraceID, &got.TraceID}, {&want.SpanID, &got.SpanID}} {
		if o.random[*id.want] || strings.HasPrefix(*id.want, "eeeeeeee") {
			assert.NotEmpty(t, strings.Trim(*id.got, "0"))
			*id.want, *id.got = "random", "random"
		}
	}
}

// What the vectors have of OTLP's JSON form.
type (
	otlpResource struct {
		ScopeSpans   []struct{ Spans []otlpSpan }
		ScopeMetrics []struct{ Metrics []otlpMetric }
	}
	otlpSpan struct {
		TraceID, SpanID, ParentSpanID, Name, TraceState string
		StartTimeUnixNano, EndTimeUnixNano              string
		Kind                                            int
		Attributes                                      []otlpAttribute
		Links                                           []otlpLink
		Status                                          struct{ Code int }
	}
	otlpLink struct {
		TraceID, SpanID string
		Attributes      []otlpAttribute
	}
	otlpAttribute struct {
		Key   string
		Value otlpValue
	}
	otlpValue struct {
		StringValue *string
		IntValue    *string
		DoubleValue *float64
		BoolValue   *bool
		ArrayValue  *struct{ Values []otlpValue }
	}
	otlpMetric struct {
		Name, Unit string
		Sum        *struct {
			IsMonotonic bool
			DataPoints  []struct {
				Attributes []otlpAttribute
				AsInt      string
			}
		}
		Histogram *struct {
			DataPoints []struct {
				Attributes     []otlpAttribute
				Count          string
				Sum, Min, Max  float64
				BucketCounts   []string
				ExplicitBounds []float64
			}
		}
	}
)

func (v otlpValue) plain() string {
	switch {
	case v.StringValue != nil:
		return strconv.Quote(*v.StringValue)
	case v.IntValue != nil:
		return *v.IntValue
	case v.DoubleValue != nil:
		return fmt.Sprintf("double %v", *v.DoubleValue)
	case v.BoolValue != nil:
		return strconv.FormatBool(*v.BoolValue)
	case v.ArrayValue != nil:
		elements := make([]string, len(v.ArrayValue.Values))
		for i, e := range v.ArrayValue.Values {
			elements[i] = e.plain()
		}
		return "[" + strings.Join(elements, " ") + "]"
	}
	return "empty"
}

func plainAttributes(kvs []otlpAttribute) string {
	texts := make([]string, len(kvs))
	for i, kv := range kvs {
		texts[i] = kv.Key + "=" + kv.Value.plain()
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

// plain is the span in a form to be compared.
func (s *otlpSpan) plain() string {
	text := fmt.Sprintf("trace %s span %s parent %s state %q\n%s kind %d %s to %s status %d\n%s",
		s.TraceID, s.SpanID, s.ParentSpanID, s.TraceState, s.Name, s.Kind, s.StartTimeUnixNano, s.EndTimeUnixNano, s.Status.Code, plainAttributes(s.Attributes))
	for _, l := range s.Links {
		text += fmt.Sprintf("\nlink %s %s %s", l.TraceID, l.SpanID, plainAttributes(l.Attributes))
	}
	return text
}

// points adds the points of a metric, by name and attributes.
func (m *otlpMetric) points(dst map[string]any) {
	if m.Sum != nil {
		for _, p := range m.Sum.DataPoints {
			dst[m.Name+" "+plainAttributes(p.Attributes)] = fmt.Sprintf("%s %t %s", m.Unit, m.Sum.IsMonotonic, p.AsInt)
		}
	}
	if m.Histogram != nil {
		for _, p := range m.Histogram.DataPoints {
			dst[m.Name+" "+plainAttributes(p.Attributes)] = fmt.Sprintf("%s count %s sum %v min %v max %v bounds %v counts %v",
				m.Unit, p.Count, p.Sum, p.Min, p.Max, p.ExplicitBounds, p.BucketCounts)
		}
	}
}

// spansOf are the spans of an SDK in the form of the vectors.
func spansOf(stubs tracetest.SpanStubs) []otlpSpan {
	spans := make([]otlpSpan, len(stubs))
	for i := range stubs {
		from, to := &stubs[i], &spans[i]
		to.TraceID, to.SpanID = from.SpanContext.TraceID().String(), from.SpanContext.SpanID().String()
		to.TraceState = from.SpanContext.TraceState().String()
		if from.Parent.HasSpanID() {
			to.ParentSpanID = from.Parent.SpanID().String()
		}
		to.Name, to.Kind = from.Name, int(from.SpanKind)
		to.StartTimeUnixNano, to.EndTimeUnixNano = unixNano(from.StartTime), unixNano(from.EndTime)
		to.Attributes = attributesOf(from.Attributes)
		if from.Status.Code != 0 {
			to.Status.Code = map[string]int{"Error": 2, "Ok": 1}[from.Status.Code.String()]
		}
		for _, l := range from.Links {
			to.Links = append(to.Links, otlpLink{l.SpanContext.TraceID().String(), l.SpanContext.SpanID().String(), attributesOf(l.Attributes)})
		}
	}
	return spans
}

func unixNano(at time.Time) string { return strconv.FormatInt(at.UnixNano(), 10) }

func attributesOf(kvs []attribute.KeyValue) []otlpAttribute {
	all := make([]otlpAttribute, len(kvs))
	for i, kv := range kvs {
		all[i] = otlpAttribute{string(kv.Key), valueOf(kv.Value.AsInterface())}
	}
	return all
}

func valueOf(v any) (to otlpValue) {
	array := func(n int, at func(int) any) {
		to.ArrayValue = &struct{ Values []otlpValue }{}
		for i := range n {
			to.ArrayValue.Values = append(to.ArrayValue.Values, valueOf(at(i)))
		}
	}
	switch v := v.(type) {
	case string:
		to.StringValue = &v
	case int64:
		text := strconv.FormatInt(v, 10)
		to.IntValue = &text
	case float64:
		to.DoubleValue = &v
	case bool:
		to.BoolValue = &v
	case []string:
		array(len(v), func(i int) any { return v[i] })
	case []int64:
		array(len(v), func(i int) any { return v[i] })
	case []float64:
		array(len(v), func(i int) any { return v[i] })
	case []bool:
		array(len(v), func(i int) any { return v[i] })
	}
	return to
}

// pointsOf are the points of an SDK in the form of the vectors.
func pointsOf(t *testing.T, reader sdkmetric.Reader) map[string]any {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &rm))
	points := map[string]any{}
	for _, sm := range rm.ScopeMetrics {
		assert.Equal(t, scopeName, sm.Scope.Name)
		assert.Equal(t, Version, sm.Scope.Version)
		for _, m := range sm.Metrics {
			assert.NotEmpty(t, m.Description)
			maps.Copy(points, metricPoints(t, m))
		}
	}
	return points
}

func metricPoints(t *testing.T, m metricdata.Metrics) map[string]any {
	t.Helper()
	points := map[string]any{}
	key := func(set attribute.Set) string { return m.Name + " " + plainAttributes(attributesOf(set.ToSlice())) }
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			points[key(p.Attributes)] = fmt.Sprintf("%s %t %d", m.Unit, data.IsMonotonic, p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			least, _ := p.Min.Value()
			most, _ := p.Max.Value()
			points[key(p.Attributes)] = fmt.Sprintf("%s count %d sum %v min %v max %v bounds %v counts %v",
				m.Unit, p.Count, p.Sum, least, most, p.Bounds, p.BucketCounts)
		}
	default:
		require.Fail(t, "unexpected", "%s: %T", m.Name, data)
	}
	return points
}
