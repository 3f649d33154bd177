package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// output is the directory that the file exporters write to: traces.json and
// metrics.json.
type output string

// span is one span that the file exporter wrote, with its resource.
type span struct {
	ptrace.Span
	Resource pcommon.Map
}

// spans are all spans that the file exporter has written so far.
func (o output) spans(t *testing.T) []span {
	t.Helper()
	var spans []span
	for _, line := range o.lines(t, "traces.json") {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		require.NoError(t, err)
		spans = append(spans, spansOf(td)...)
	}
	return spans
}

func spansOf(td ptrace.Traces) []span {
	var spans []span
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				spans = append(spans, span{Span: s, Resource: rs.Resource().Attributes()})
			}
		}
	}
	return spans
}

// awaitSpans waits until the file exporter has written n spans, and returns them.
func (o output) awaitSpans(t *testing.T, n int) []span {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(waitTick) {
		spans := o.spans(t)
		if len(spans) >= n {
			return spans
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d spans expected in traces.json, found %d after %v: %v", n, len(spans), waitTimeout, countNames(spans))
		}
	}
}

// countNames counts spans by name.
func countNames(spans []span) map[string]int {
	counts := make(map[string]int)
	for _, s := range spans {
		counts[s.Name()]++
	}
	return counts
}

// metrics is what the file exporter has written so far, oldest first.
func (o output) metrics(t *testing.T) []pmetric.Metrics {
	t.Helper()
	var all []pmetric.Metrics
	for _, line := range o.lines(t, "metrics.json") {
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
		require.NoError(t, err)
		all = append(all, md)
	}
	return all
}

// totals adds up each metric over its series and resources, as of the newest
// cumulative state of each: the values of sums and the counts of histograms.
func (o output) totals(t *testing.T) map[string]float64 {
	t.Helper()
	latest := make(map[string]map[string]float64) // by metric, then by series
	for _, md := range o.metrics(t) {
		for _, rm := range md.ResourceMetrics().All() {
			resource := key(rm.Resource().Attributes())
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if latest[m.Name()] == nil {
						latest[m.Name()] = make(map[string]float64)
					}
					for series, v := range points(m) {
						latest[m.Name()][resource+series] = v
					}
				}
			}
		}
	}
	totals := make(map[string]float64)
	for name, series := range latest {
		for _, v := range series {
			totals[name] += v
		}
	}
	return totals
}

// points are the values of a sum, or the counts of a histogram, by attributes.
func points(m pmetric.Metric) map[string]float64 {
	values := make(map[string]float64)
	switch m.Type() {
	case pmetric.MetricTypeSum:
		for _, p := range m.Sum().DataPoints().All() {
			values[key(p.Attributes())] = float64(p.IntValue()) + p.DoubleValue()
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			values[key(p.Attributes())] = float64(p.Count())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			values[key(p.Attributes())] = float64(p.Count())
		}
	default:
	}
	return values
}

// key is the same for equal attributes: fmt prints maps sorted.
func key(attributes pcommon.Map) string {
	return fmt.Sprint(attributes.AsRaw())
}

// lines are the complete lines of one of the collector's files; none where it
// does not exist yet.
func (o output) lines(t *testing.T, name string) [][]byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(string(o), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	lines := bytes.Split(content, []byte("\n"))
	return lines[:len(lines)-1] // the last one is empty, or not written whole yet
}

// scrape reads a Prometheus endpoint: the collector's prometheus or telemetry.
func scrape(t *testing.T, endpoint string) map[string]*dto.MetricFamily {
	t.Helper()
	resp, err := get(t.Context(), "http://"+endpoint+"/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	return families
}

// value is the value of the one series of a family that has all of the labels,
// given as name and value in turn. No such series: false.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) (float64, bool) {
	for _, m := range families[name].GetMetric() {
		if !hasLabels(m, labels) {
			continue
		}
		switch families[name].GetType() {
		case dto.MetricType_COUNTER:
			return m.GetCounter().GetValue(), true
		case dto.MetricType_HISTOGRAM:
			return float64(m.GetHistogram().GetSampleCount()), true
		default:
			return m.GetGauge().GetValue(), true
		}
	}
	return 0, false
}

func hasLabels(m *dto.Metric, labels []string) bool {
	have := make(map[string]string)
	for _, l := range m.GetLabel() {
		have[l.GetName()] = l.GetValue()
	}
	for i := 0; i < len(labels); i += 2 {
		if have[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// assertValue checks the value of one series, as value finds it.
func assertValue(t *testing.T, want float64, families map[string]*dto.MetricFamily, name string, labels ...string) {
	t.Helper()
	got, ok := value(families, name, labels...)
	if assert.True(t, ok, "%s %v is not there", name, labels) {
		assert.InDelta(t, want, got, 0, "%s %v", name, labels)
	}
}
