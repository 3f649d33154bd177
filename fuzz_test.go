package wsstatsreceiver

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// FuzzSession sends messages, split at zero bytes, through all that follows the
// socket, or each by a POST. The first byte chooses this and the configuration.
// Whatever is sent, spans and metrics are valid and of the conventions.
func FuzzSession(f *testing.F) {
	for i, session := range vectorSessions(f) {
		f.Add(append([]byte{0}, session...))
		f.Add(append([]byte{byte(i)}, session...))
	}
	f.Add([]byte("\x00" + `[{"event":"error","error.message":"a` + strings.Repeat("é", 32) + `","room.id":["a` + strings.Repeat("é", 32) + `"]}]`))
	receivers := make(map[byte]*wsstatsReceiver)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		choice, post := data[0]>>1, data[0]&1 == 1
		r := receivers[choice]
		if r == nil {
			r = fuzzReceiver(t, choice)
			receivers[choice] = r
		}
		check := &checkingConsumer{t: t}
		r.nextTraces, r.nextMetrics = check, check
		r.prepare()
		if messages := bytes.Split(data[1:], []byte{0}); post {
			fuzzPosts(t, r, messages)
		} else {
			fuzzMessages(t, r, messages)
		}
		r.flush(t.Context())
	})
}

// vectorSessions are the messages of the cases in protocol/vectors.
func vectorSessions(f *testing.F) [][]byte {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join(vectorDir, "*", "*.json"))
	require.NoError(f, err)
	require.NotEmpty(f, paths)
	var sessions [][]byte
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(f, err)
		var v vector
		require.NoError(f, json.Unmarshal(text, &v))
		var messages [][]byte
		for _, m := range v.Messages {
			var raw struct {
				Raw *string `json:"raw"`
			}
			_ = json.Unmarshal(m, &raw) // an array has none
			if raw.Raw != nil {
				m = json.RawMessage(*raw.Raw)
			}
			messages = append(messages, m)
		}
		sessions = append(sessions, bytes.Join(messages, []byte{0}))
	}
	return sessions
}

// fuzzReceiver is a receiver that does not listen, of the chosen configuration.
func fuzzReceiver(t *testing.T, choice byte) *wsstatsReceiver {
	pick := func(n byte) byte {
		defer func() { choice /= n }()
		return choice % n
	}
	cfg := createDefaultConfig().(*Config)
	cfg.Conventions = []Conventions{ConventionsWS, ConventionsDup, ConventionsSemconv}[pick(3)]
	cfg.Traces.Mode = []string{scopeMessage, scopeConnection}[pick(2)]
	cfg.Metrics.Temporality = []string{cumulative, delta}[pick(2)]
	cfg.Metrics.Histogram = []string{explicit, exponential}[pick(2)]
	cfg.Traces.Sampling.Scope = []string{scopeMessage, scopeConnection}[pick(2)]
	cfg.Traces.Sampling.Ratio = []float64{1, 0.5}[pick(2)]
	cfg.Traces.Layout = []string{layoutFlat, layoutScope}[pick(2)]
	cfg.Metrics.Dimensions = []string{"room.id"}
	cfg.Metrics.CardinalityLimit = 4
	cfg.Limits.Connections = 8
	cfg.Limits.ValueBytes = 64
	require.NoError(t, cfg.Validate())
	r, err := newReceiver(cfg, receivertest.NewNopSettings(metadata.Type))
	require.NoError(t, err)
	r.status.host = componenttest.NewNopHost()
	r.now = func() time.Time { return time.Unix(1767225600, 0) }
	return r
}

func fuzzMessages(t *testing.T, r *wsstatsReceiver, messages [][]byte) {
	t.Helper()
	ctx := t.Context()
	a := r.newAgent("")
	decoder, m := r.newDecoder(), new(wire.Message)
	for _, text := range messages {
		if !utf8.Valid(text) || decoder.DecodeJSON(text, m) != nil {
			continue
		}
		if m.Form == wire.FormHello {
			a = r.newAgent(strings.Clone(m.Hello.Instance))
			a.aggregates = m.Hello.Aggregates
			continue
		}
		out := r.take(ctx, a, &incoming{Message: m, arrival: r.now()})
		require.NoError(t, out.err)
		require.Equal(t, out.rejected.Count > 0, out.rejected.First != "")
	}
	require.True(t, r.giveUp(ctx, []departed{{agent: a}}, false))
	require.LessOrEqual(t, a.table.Len(), r.cfg.Limits.Connections)
}

// fuzzPosts posts the messages, and checks that the answers keep the books.
func fuzzPosts(t *testing.T, r *wsstatsReceiver, messages [][]byte) {
	t.Helper()
	e := &endpoint{r: r}
	decoder, m := r.newDecoder(), new(wire.Message)
	for _, text := range messages {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, r.cfg.Path, bytes.NewReader(text))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		e.post(w, req)
		if !utf8.Valid(text) || decoder.DecodeJSON(text, m) != nil || m.Form == wire.FormHello {
			require.Equal(t, http.StatusBadRequest, w.Code)
			require.True(t, utf8.ValidString(w.Body.String()))
			continue
		}
		require.Equal(t, http.StatusOK, w.Code, "%s", w.Body)
		var answer postAnswer
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		require.Equal(t, rowCount(&m.Batch)+m.Batch.Rejected.Count, answer.Accepted+answer.Rejected.Count)
		require.Equal(t, answer.Rejected.Count > 0, answer.Rejected.First != "")
	}
}

// checkingConsumer fails the test where data is not valid.
type checkingConsumer struct{ t *testing.T }

func (checkingConsumer) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (c *checkingConsumer) ConsumeTraces(_ context.Context, td ptrace.Traces) error {
	require.NotZero(c.t, td.SpanCount())
	for _, rs := range td.ResourceSpans().All() {
		checkAttributes(c.t, rs.Resource().Attributes())
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				checkSpan(c.t, span)
			}
		}
	}
	return nil
}

func checkSpan(t *testing.T, span ptrace.Span) {
	t.Helper()
	require.False(t, span.TraceID().IsEmpty())
	require.False(t, span.SpanID().IsEmpty())
	require.LessOrEqual(t, span.StartTimestamp(), span.EndTimestamp())
	require.LessOrEqual(t, span.EndTimestamp(), pcommon.Timestamp(math.MaxInt64))
	require.NotEqual(t, ptrace.SpanKindUnspecified, span.Kind())
	require.Contains(t, fuzzSpanNames, span.Name())
	require.True(t, utf8.ValidString(span.TraceState().AsRaw()) && utf8.ValidString(span.Status().Message()))
	for _, link := range span.Links().All() {
		require.False(t, link.TraceID().IsEmpty())
		require.False(t, link.SpanID().IsEmpty())
		require.True(t, utf8.ValidString(link.TraceState().AsRaw()))
		checkAttributes(t, link.Attributes())
	}
	for _, key := range []string{"ws.url", "http.url", "url.full"} {
		if v, ok := span.Attributes().Get(key); ok && v.Type() == pcommon.ValueTypeStr {
			require.False(t, strings.ContainsAny(v.Str(), "?#"), "%s", v.Str())
		}
	}
	checkAttributes(t, span.Attributes())
}

// fuzzSpanNames are the names of the conventions.
var fuzzSpanNames = func() map[string]bool {
	names := make(map[string]bool)
	for _, kind := range []string{"handshake", "send", "receive", "process", "message", "ping", "pong", "close", "error", "protocol_error", "broadcast", "batch_send"} {
		names["ws."+kind] = true
	}
	for _, kind := range []string{"send", "receive", "process", "message"} {
		for _, typ := range []string{"text", "binary", "ping", "pong", "close"} {
			names["ws."+kind+" "+typ] = true
		}
	}
	return names
}()

// checkAttributes checks that no key comes twice and that texts are UTF-8.
func checkAttributes(t *testing.T, m pcommon.Map) {
	t.Helper()
	seen := make(map[string]bool, m.Len())
	for k, v := range m.All() {
		require.False(t, seen[k], "%q comes twice", k)
		seen[k] = true
		require.True(t, utf8.ValidString(k))
		checkValue(t, v)
	}
}

func checkValue(t *testing.T, v pcommon.Value) {
	t.Helper()
	switch v.Type() {
	case pcommon.ValueTypeStr:
		require.True(t, utf8.ValidString(v.Str()))
	case pcommon.ValueTypeSlice:
		for _, element := range v.Slice().All() {
			checkValue(t, element)
		}
	case pcommon.ValueTypeDouble:
		require.False(t, math.IsNaN(v.Double()) || math.IsInf(v.Double(), 0))
	case pcommon.ValueTypeBool, pcommon.ValueTypeInt:
	case pcommon.ValueTypeEmpty, pcommon.ValueTypeMap, pcommon.ValueTypeBytes:
		require.Fail(t, "unexpected type", v.Type().String())
	}
}

func (c *checkingConsumer) ConsumeMetrics(_ context.Context, md pmetric.Metrics) error {
	require.NotZero(c.t, md.DataPointCount())
	for _, rm := range md.ResourceMetrics().All() {
		checkAttributes(c.t, rm.Resource().Attributes())
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				checkMetric(c.t, m)
			}
		}
	}
	return nil
}

func checkMetric(t *testing.T, m pmetric.Metric) {
	t.Helper()
	require.True(t, strings.HasPrefix(m.Name(), "ws."), m.Name())
	require.NotEmpty(t, m.Unit())
	seen := make(map[string]bool)
	check := func(p point, start pcommon.Timestamp) {
		require.LessOrEqual(t, start, p.Timestamp(), m.Name())
		require.LessOrEqual(t, p.Timestamp(), pcommon.Timestamp(math.MaxInt64))
		checkAttributes(t, p.Attributes())
		set := sortMap(p.Attributes())
		require.False(t, seen[set], "%s has two points with %s", m.Name(), set)
		seen[set] = true
		for _, e := range p.Exemplars().All() {
			require.False(t, e.TraceID().IsEmpty() || e.SpanID().IsEmpty())
			checkAttributes(t, e.FilteredAttributes())
		}
	}
	switch m.Type() {
	case pmetric.MetricTypeSum:
		require.Equal(t, m.Name() != "ws.connections.active", m.Sum().IsMonotonic())
		for _, p := range m.Sum().DataPoints().All() {
			check(p, p.StartTimestamp())
			require.GreaterOrEqual(t, p.IntValue(), int64(0), m.Name())
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			check(p, p.StartTimestamp())
			require.Equal(t, p.ExplicitBounds().Len()+1, p.BucketCounts().Len())
			checkHistogram(t, p, 0, p.BucketCounts())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			check(p, p.StartTimestamp())
			require.LessOrEqual(t, p.Positive().BucketCounts().Len(), 160)
			require.Zero(t, p.Negative().BucketCounts().Len())
			checkHistogram(t, p, p.ZeroCount(), p.Positive().BucketCounts())
		}
	case pmetric.MetricTypeEmpty, pmetric.MetricTypeGauge, pmetric.MetricTypeSummary:
		require.Fail(t, "unexpected type", m.Type().String())
	}
}

func checkHistogram(t *testing.T, p interface {
	Count() uint64
	Sum() float64
	Min() float64
	Max() float64
	HasMin() bool
	HasMax() bool
}, counted uint64, buckets pcommon.UInt64Slice,
) {
	t.Helper()
	for _, n := range buckets.All() {
		counted += n
	}
	require.Equal(t, p.Count(), counted)
	require.False(t, math.IsNaN(p.Sum()) || math.IsInf(p.Sum(), 0) || p.Sum() < 0)
	if p.HasMin() && p.HasMax() {
		require.LessOrEqual(t, p.Min(), p.Max())
	}
}
