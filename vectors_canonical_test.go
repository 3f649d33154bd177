package wsstatsreceiver

import (
	"bytes"
	"cmp"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// canonicalTraces reads traces of a case and writes them in the form of traceText.
func canonicalTraces(t *testing.T, data []byte) string {
	t.Helper()
	td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(data)
	require.NoError(t, err)
	return traceText(t, mergeTraces([]ptrace.Traces{td}))
}

// canonicalMetrics reads metrics of a case and writes them in the form of metricText.
func canonicalMetrics(t *testing.T, data []byte) string {
	t.Helper()
	md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(data)
	require.NoError(t, err)
	return metricText(t, mergeMetrics([]pmetric.Metrics{md}))
}

func traceText(t *testing.T, td ptrace.Traces) string {
	t.Helper()
	data, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	return layOut(t, data, 0)
}

func metricText(t *testing.T, md pmetric.Metrics) string {
	t.Helper()
	data, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
	require.NoError(t, err)
	return layOut(t, data, 0)
}

// mergeTraces puts the spans of each resource together, in the order in which
// they came, with sorted attributes and without the scope, which names this
// implementation.
func mergeTraces(all []ptrace.Traces) ptrace.Traces {
	out := ptrace.NewTraces()
	scopes := make(map[string]ptrace.SpanSlice)
	for _, td := range all {
		for _, rs := range td.ResourceSpans().All() {
			key := sortMap(rs.Resource().Attributes())
			spans, ok := scopes[key]
			if !ok {
				merged := out.ResourceSpans().AppendEmpty()
				rs.Resource().CopyTo(merged.Resource())
				spans = merged.ScopeSpans().AppendEmpty().Spans()
				scopes[key] = spans
			}
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					sortMap(span.Attributes())
					for _, link := range span.Links().All() {
						sortMap(link.Attributes())
					}
					span.CopyTo(spans.AppendEmpty())
				}
			}
		}
	}
	return out
}

// mergeMetrics puts the points of each metric of a resource together, sorted by
// name, attributes and time, without descriptions and scope.
func mergeMetrics(all []pmetric.Metrics) pmetric.Metrics {
	out := pmetric.NewMetrics()
	scopes := make(map[string]pmetric.MetricSlice)
	for _, md := range all {
		for _, rm := range md.ResourceMetrics().All() {
			key := sortMap(rm.Resource().Attributes())
			metrics, ok := scopes[key]
			if !ok {
				merged := out.ResourceMetrics().AppendEmpty()
				rm.Resource().CopyTo(merged.Resource())
				metrics = merged.ScopeMetrics().AppendEmpty().Metrics()
				scopes[key] = metrics
			}
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					mergeMetric(metrics, m)
				}
			}
		}
	}
	for _, metrics := range scopes {
		metrics.Sort(func(a, b pmetric.Metric) bool { return a.Name() < b.Name() })
		for _, m := range metrics.All() {
			sortPoints(m)
		}
	}
	return out
}

func mergeMetric(metrics pmetric.MetricSlice, m pmetric.Metric) {
	for _, have := range metrics.All() {
		if have.Name() != m.Name() {
			continue
		}
		switch m.Type() {
		case pmetric.MetricTypeSum:
			m.Sum().DataPoints().MoveAndAppendTo(have.Sum().DataPoints())
		case pmetric.MetricTypeHistogram:
			m.Histogram().DataPoints().MoveAndAppendTo(have.Histogram().DataPoints())
		case pmetric.MetricTypeExponentialHistogram:
			m.ExponentialHistogram().DataPoints().MoveAndAppendTo(have.ExponentialHistogram().DataPoints())
		case pmetric.MetricTypeEmpty, pmetric.MetricTypeGauge, pmetric.MetricTypeSummary:
		}
		return
	}
	merged := metrics.AppendEmpty()
	m.CopyTo(merged)
	merged.SetDescription("")
}

// point is what the points of all types have in common.
type point interface {
	Attributes() pcommon.Map
	Timestamp() pcommon.Timestamp
	Exemplars() pmetric.ExemplarSlice
}

func sortPoints(m pmetric.Metric) {
	switch m.Type() {
	case pmetric.MetricTypeSum:
		points := m.Sum().DataPoints()
		sortAttributes(points.All())
		points.Sort(lessPoint[pmetric.NumberDataPoint])
	case pmetric.MetricTypeHistogram:
		points := m.Histogram().DataPoints()
		sortAttributes(points.All())
		points.Sort(lessPoint[pmetric.HistogramDataPoint])
	case pmetric.MetricTypeExponentialHistogram:
		points := m.ExponentialHistogram().DataPoints()
		sortAttributes(points.All())
		points.Sort(lessPoint[pmetric.ExponentialHistogramDataPoint])
	case pmetric.MetricTypeEmpty, pmetric.MetricTypeGauge, pmetric.MetricTypeSummary:
	}
}

func sortAttributes[P point](points iter.Seq2[int, P]) {
	for _, p := range points {
		sortMap(p.Attributes())
		for _, e := range p.Exemplars().All() {
			sortMap(e.FilteredAttributes())
		}
	}
}

func lessPoint[P point](a, b P) bool {
	return cmp.Or(strings.Compare(mapText(a.Attributes()), mapText(b.Attributes())), cmp.Compare(a.Timestamp(), b.Timestamp())) < 0
}

// mapText is a text that is the same for maps with the same pairs in the same order.
func mapText(m pcommon.Map) string {
	var text strings.Builder
	for k, v := range m.All() {
		text.WriteString(k + "=" + v.AsString() + "\n")
	}
	return text.String()
}

// sortMap sorts the attributes by key and returns their text.
func sortMap(m pcommon.Map) string {
	type pair struct {
		key   string
		value pcommon.Value
	}
	var pairs []pair
	for k, v := range m.All() {
		copied := pcommon.NewValueEmpty()
		v.CopyTo(copied)
		pairs = append(pairs, pair{k, copied})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	m.Clear()
	for _, p := range pairs {
		p.value.CopyTo(m.PutEmpty(p.key))
	}
	return mapText(m)
}

// layOut writes JSON with the order of its keys: on one line what fits there, else indented.
func layOut(t *testing.T, data []byte, indent int) string {
	t.Helper()
	const width = 118
	line := oneLine(t, data)
	data = bytes.TrimSpace(data)
	if indent+len([]rune(line)) <= width || data[0] != '{' && data[0] != '[' || len(line) == 2 {
		return line
	}
	return join(t, data, indent+2, func(v []byte) string { return layOut(t, v, indent+2) })
}

func oneLine(t *testing.T, data []byte) string {
	t.Helper()
	data = bytes.TrimSpace(data)
	if data[0] != '{' && data[0] != '[' {
		return string(data)
	}
	return join(t, data, -1, func(v []byte) string { return oneLine(t, v) })
}

// join writes an object or array with each of its values written by one, on
// lines that are indented so far, or on one line where indent is -1.
func join(t *testing.T, data []byte, indent int, one func([]byte) string) string {
	t.Helper()
	var parts []string
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	require.NoError(t, err)
	for dec.More() {
		prefix := ""
		if start == json.Delim('{') {
			key, err := dec.Token()
			require.NoError(t, err)
			quoted := new(bytes.Buffer)
			enc := json.NewEncoder(quoted)
			enc.SetEscapeHTML(false)
			require.NoError(t, enc.Encode(key))
			prefix = strings.TrimSpace(quoted.String()) + ": "
		}
		var value json.RawMessage
		require.NoError(t, dec.Decode(&value))
		parts = append(parts, prefix+one(value))
	}
	open, end := "[", "]"
	if start == json.Delim('{') {
		open, end = "{", "}"
	}
	if indent < 0 || len(parts) == 0 {
		return open + strings.Join(parts, ", ") + end
	}
	pad := "\n" + strings.Repeat(" ", indent)
	return open + pad + strings.Join(parts, ","+pad) + pad[:len(pad)-2] + end
}
