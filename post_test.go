package wsstatsreceiver

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
)

func (tr *testReceiver) post(contentType, body string) answer {
	tr.t.Helper()
	header := http.Header{}
	if contentType != "" {
		header.Set("Content-Type", contentType)
	}
	return tr.request(http.MethodPost, tr.cfg.Path, header, body)
}

func TestPost(t *testing.T) {
	r := startReceiver(t, testOptions{})
	spans := 0
	for _, tt := range []struct {
		name, contentType, body, answer string
		spans                           int
	}{
		{"event", "application/json", `{"event":"send"}`, `{"accepted":1,"rejected":{"count":0}}`, 1},
		{"plain text", "text/plain;charset=UTF-8", `[{"event":"send"},{"event":"receive"}]`, `{"accepted":2,"rejected":{"count":0}}`, 2},
		{"number", "application/json; charset=utf-8", batch(1, "c", 1), `{"accepted":1,"rejected":{"count":0}}`, 1},
		{"number again", "application/json", batch(1, "c", 1), `{"accepted":1,"rejected":{"count":0}}`, 1},
		{
			"rejected by decoding", "application/json", `{"events":[{"event":"send"},{"event":"sent"},{"event":7}]}`,
			`{"accepted":1,"rejected":{"count":2,"first":"events[1].event: unknown kind \"sent\", did you mean \"send\"?"}}`, 1,
		},
		{
			"rejected later", "application/json",
			`{"events":[{"event":"close","ws.connection.id":"c"},{"event":"close","ws.connection.id":"c"},{"event":"sent"}]}`,
			`{"accepted":1,"rejected":{"count":2,"first":"events[2].event: unknown kind \"sent\", did you mean \"send\"?"}}`, 1,
		},
		{
			"stats without aggregates", "application/json",
			`{"stats":[{"metric":"ws.queue.size","start":1,"time":2,"count":1,"sum":1,"scale":0,"zero_count":0,"offset":0,"bucket_counts":[1]}]}`,
			`{"accepted":0,"rejected":{"count":1,"first":"stats[0]: the session did not say \"aggregates\": true in its hello"}}`, 0,
		},
		{"nothing", "application/json", `[]`, `{"accepted":0,"rejected":{"count":0}}`, 0},
	} {
		got := r.post(tt.contentType, tt.body)
		assert.Equal(t, http.StatusOK, got.status, "%s: %s", tt.name, got.body)
		assert.Equal(t, "application/json", got.header.Get("Content-Type"), tt.name)
		assert.JSONEq(t, tt.answer, got.body, tt.name)
		spans += tt.spans
		assert.Equal(t, spans, r.traces.SpanCount(), tt.name)
	}
}

func TestPostErrors(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{tel: tel, config: func(cfg *Config) { cfg.Limits.MessageBytes = 1024 }})
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		text                    string
	}{
		{"no type", "", `{"event":"send"}`, http.StatusUnsupportedMediaType, "send application/json or text/plain\n"},
		{"form", "application/x-www-form-urlencoded", `{"event":"send"}`, http.StatusUnsupportedMediaType, "send application/json or text/plain\n"},
		{"bad type", "application/", `{"event":"send"}`, http.StatusUnsupportedMediaType, "send application/json or text/plain\n"},
		{"too large", "application/json", `{"event":"send","x":"` + strings.Repeat("x", 1024) + `"}`, http.StatusRequestEntityTooLarge, "the message is over the limit of 1024 bytes\n"},
		{"empty", "application/json", ``, http.StatusBadRequest, ""},
		{"no JSON", "application/json", `hello`, http.StatusBadRequest, ""},
		{"duplicate key", "application/json", `{"event":"send","event":"send"}`, http.StatusBadRequest, ""},
		{"no UTF-8", "application/json", "{\"event\":\"send\",\"x\":\"\xff\"}", http.StatusBadRequest, "invalid UTF-8\n"},
		{"hello", "application/json", `{"hello":{"instance":"i1"}}`, http.StatusBadRequest, "hello opens a session: send it over a WebSocket\n"},
	} {
		got := r.post(tt.contentType, tt.body)
		assert.Equal(t, tt.status, got.status, tt.name)
		if tt.text != "" {
			assert.Equal(t, tt.text, got.body, tt.name)
		} else {
			assert.NotEmpty(t, got.body, tt.name)
		}
	}
	assert.Zero(t, r.traces.SpanCount())
	assert.Zero(t, r.budget.Used())
	assertRefused(t, tel, map[string]int64{"media_type": 3, "too_large": 1})
}

func TestPostCompressed(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Limits.MessageBytes = 1024 }})
	for filler, status := range map[int]int{10: http.StatusOK, 1 << 20: http.StatusRequestEntityTooLarge} {
		var body bytes.Buffer
		zip := gzip.NewWriter(&body)
		_, err := zip.Write([]byte(`{"event":"send","x":"` + strings.Repeat("x", filler) + `"}`))
		require.NoError(t, err)
		require.NoError(t, zip.Close())
		header := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
		assert.Equal(t, status, r.request(http.MethodPost, r.cfg.Path, header, body.String()).status)
	}
	assert.Equal(t, 1, r.traces.SpanCount())
}

func TestPostBodyThatBreaksOff(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{tel: tel})
	header := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	_, err := zip.Write([]byte(`{"event":"send"}`))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	got := r.request(http.MethodPost, r.cfg.Path, header, body.String()[:20])
	assert.Equal(t, http.StatusBadRequest, got.status)
	assert.Equal(t, "the body cannot be read\n", got.body)
	assertRefused(t, tel, map[string]int64{"malformed": 1})
}

func TestPostOverTheBudget(t *testing.T) {
	r := startReceiver(t, testOptions{})
	require.True(t, r.budget.Acquire(r.budget.Limit()))
	got := r.post("application/json", `{"event":"send"}`)
	r.budget.Release(r.budget.Limit())
	assert.Equal(t, http.StatusTooManyRequests, got.status)
	assert.Equal(t, "5", got.header.Get("Retry-After"))
	assert.Equal(t, http.StatusOK, r.post("application/json", `{"event":"send"}`).status)
	assert.Zero(t, r.budget.Used())
}

func TestPostThatThePipelineRefuses(t *testing.T) {
	now, forGood := errors.New("full"), consumererror.NewPermanent(errors.New("bad"))
	for _, tt := range []struct {
		name            string
		traces, metrics error
		status          int
		retryAfter      string
		text            string
	}{
		{"traces now", now, nil, http.StatusServiceUnavailable, "5", "the pipeline refuses data now\n"},
		{"traces for good", forGood, nil, http.StatusBadRequest, "", "the pipeline refused the data for good\n"},
		{"metrics now", nil, now, http.StatusServiceUnavailable, "5", "the pipeline refuses data now\n"},
		{"metrics for good", nil, forGood, http.StatusBadRequest, "", "the pipeline refused the data for good\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startReceiver(t, testOptions{
				traces: &scriptedConsumer{errs: []error{tt.traces}}, metrics: &scriptedConsumer{errs: []error{tt.metrics}},
				config: func(cfg *Config) { cfg.Metrics.Temporality = delta },
			})
			got := r.post("application/json", `{"event":"send"}`)
			assert.Equal(t, tt.status, got.status)
			assert.Equal(t, tt.retryAfter, got.header.Get("Retry-After"))
			assert.Equal(t, tt.text, got.body)
			assert.Equal(t, http.StatusOK, r.post("application/json", `{"event":"send"}`).status)
		})
	}
}

// A POST counts and has no session: it never moves the gauge.
func TestPostMetrics(t *testing.T) {
	for _, temporality := range []string{cumulative, delta} {
		t.Run(temporality, func(t *testing.T) {
			sink := new(consumertest.MetricsSink)
			r := startReceiver(t, testOptions{metrics: sink, config: func(cfg *Config) { cfg.Metrics.Temporality = temporality }})
			got := r.post("application/json", `{"aggregates":true,
				"connections":[{"ws.connection.id":"c1","ws.role":"server"}],
				"events":[{"event":"handshake","ws.connection.id":"c2","ws.role":"server","ws.handshake.success":true},{"event":"send"}],
				"stats":[{"metric":"ws.message.size","start":1767225590000000000,"time":1767225600000000000,
					"attributes":{"ws.direction":"sent","ws.message.type":"text","ws.role":"server"},
					"count":94,"sum":2310,"min":12,"max":31,"scale":0,"zero_count":0,"offset":3,"bucket_counts":[4,90]}]}`)
			require.Equal(t, http.StatusOK, got.status, got.body)
			assert.JSONEq(t, `{"accepted":4,"rejected":{"count":0}}`, got.body)
			r.stopNow()
			all := sink.AllMetrics()
			assert.EqualValues(t, 94, sumOf(all, "ws.messages.sent"), "of the stat alone: the event makes a span only")
			assert.EqualValues(t, 2310, sumOf(all, "ws.messages.bytes"))
			assert.EqualValues(t, 1, sumOf(all, "ws.connections.total"))
			assert.False(t, hasMetric(all, "ws.connections.active"))
			assert.False(t, hasMetric(all, "ws.connections.closed"))
			assert.Equal(t, 2, r.traces.SpanCount())
		})
	}
}

// A POST speaks for the resource that it states, else for an unknown one.
func TestPostResource(t *testing.T) {
	r := startReceiver(t, testOptions{})
	require.Equal(t, http.StatusOK, r.post("application/json", `{"resource":{"service.name":"page"},"events":[{"event":"send"}]}`).status)
	require.Equal(t, http.StatusOK, r.post("application/json", `{"event":"send"}`).status)
	all := r.traces.AllTraces()
	require.Len(t, all, 2)
	for i, want := range []string{"page", "unknown_service"} {
		name, _ := all[i].ResourceSpans().At(0).Resource().Attributes().Get("service.name")
		assert.Equal(t, want, name.Str())
	}
	r.stopNow()
	assert.EqualValues(t, 2, sumOf(r.metrics.AllMetrics(), "ws.messages.sent"))
}

func TestPostArrivalIsTheTimeOfAnEventWithoutOne(t *testing.T) {
	r := startReceiver(t, testOptions{})
	before := time.Now()
	require.Equal(t, http.StatusOK, r.post("application/json", `{"event":"send"}`).status)
	assert.WithinRange(t, spansOf(r.traces.AllTraces())[0].StartTimestamp().AsTime(), before.Add(-time.Microsecond), time.Now())
}
