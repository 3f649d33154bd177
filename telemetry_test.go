package wsstatsreceiver

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/wsstats/wsstatsreceiver/internal/metadatatest"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// plain ignores what a test cannot know of a point.
var plain = []metricdatatest.Option{metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars()}

// count is the one point of a counter without attributes.
func count(n int64) []metricdata.DataPoint[int64] { return []metricdata.DataPoint[int64]{{Value: n}} }

func TestTelemetryOfASession(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{tel: tel, config: func(cfg *Config) {
		cfg.Limits.ValueBytes = 8
		cfg.Traces.Sampling.Ratio = 0
		cfg.Metrics.Temporality = delta
	}})
	a, _ := r.greet("i1")
	messages := []string{
		`{"seq":1,"events":[
			{"event":"handshake","ws.connection.id":"c","ws.role":"client","ws.handshake.success":true},
			{"event":"send","ws.connection.id":"c"},{"event":"receive","ws.connection.id":"c"},{"event":"process","ws.connection.id":"c"},
			{"event":"message"},{"event":"ping"},{"event":"pong"},{"event":"error"},{"event":"protocol_error"},
			{"event":"broadcast","ws.broadcast.recipients":2},{"event":"batch_send"},{"event":"receive"}]}`,
		`{"seq":2,"events":[{"event":"error","room.id":"the lobby","time":"2200-01-01T00:00:00Z","traceparent":"00-x"}]}`,
		`{"seq":5,"connections":[{"ws.connection.id":"d"}]}`, // 3 and 4 are left out
		`{"seq":5}`, // again
		`{"seq":6,"events":[{"event":"close","ws.connection.id":"c"}]}`,
	}
	hello := `{"hello":{"instance":"i1","resource":{"service.name":"chat"}}}`
	bytes := len(hello)
	for _, m := range messages {
		a.send(m)
		require.NotZero(t, a.reply().Ack)
		bytes += len(m)
	}
	post := `{"event":"send"}`
	require.Equal(t, 200, r.post("text/plain", post).status)

	metadatatest.AssertEqualReceiverWsstatsEvents(t, tel, countsBy("event", map[string]int64{
		"handshake": 1, "send": 2, "receive": 2, "process": 1, "message": 1, "ping": 1, "pong": 1, "close": 1,
		"error": 2, "protocol_error": 1, "broadcast": 1, "batch_send": 1,
	}), plain...)
	metadatatest.AssertEqualReceiverWsstatsSampledOut(t, tel, count(8), plain...)
	metadatatest.AssertEqualReceiverWsstatsAdjustments(t, tel, countsBy("adjustment", map[string]int64{
		"future_time": 1, "value_cut": 1, "traceparent_ignored": 1,
	}), plain...)
	metadatatest.AssertEqualReceiverWsstatsGaps(t, tel, count(2), plain...)
	metadatatest.AssertEqualReceiverWsstatsDuplicates(t, tel, count(1), plain...)
	metadatatest.AssertEqualReceiverWsstatsMessages(t, tel, countsBy("via", map[string]int64{"websocket": int64(1 + len(messages)), "post": 1}), plain...)
	metadatatest.AssertEqualReceiverWsstatsReceivedSize(t, tel, countsBy("via", map[string]int64{"websocket": int64(bytes), "post": int64(len(post))}), plain...)
	metadatatest.AssertEqualReceiverWsstatsConnections(t, tel, count(2), plain...)
	metadatatest.AssertEqualReceiverWsstatsInstances(t, tel, count(1), plain...)
	metadatatest.AssertEqualReceiverWsstatsSessions(t, tel, count(1), plain...)
	metadatatest.AssertEqualReceiverWsstatsSessionsLimit(t, tel, count(10000), plain...)
	metadatatest.AssertEqualReceiverWsstatsBudgetLimit(t, tel, count(64<<20), plain...)
	metadatatest.AssertEqualReceiverWsstatsBudgetUsed(t, tel, count(0), plain...)
	series, _ := r.aggregator.Held()
	require.NotZero(t, series)
	metadatatest.AssertEqualReceiverWsstatsSeries(t, tel, count(int64(series)), plain...)

	// What the pipeline got: of each message that has something for it.
	assert.Equal(t, map[string]uint64{"traces": 3, "metrics": 5}, observations(t, tel, "otelcol_receiver_wsstats_consume_duration", "signal"))
	assert.Equal(t, map[string]uint64{"": 5}, observations(t, tel, "otelcol_receiver_wsstats_processing_duration", ""), "a repeat is not processed")
	assert.EqualValues(t, r.traces.SpanCount(), counter(t, tel, "otelcol_receiver_accepted_spans"))
	assert.EqualValues(t, r.metrics.DataPointCount(), counter(t, tel, "otelcol_receiver_accepted_metric_points"))
	assert.Zero(t, counter(t, tel, "otelcol_receiver_refused_spans"))
}

// observations are how many values a histogram has, by the attribute.
func observations(t *testing.T, tel *componenttest.Telemetry, name, key string) map[string]uint64 {
	t.Helper()
	m, err := tel.GetMetric(name)
	require.NoError(t, err)
	counts := make(map[string]uint64)
	for _, dp := range m.Data.(metricdata.Histogram[float64]).DataPoints {
		value, _ := dp.Attributes.Value(attribute.Key(key))
		counts[value.AsString()] += dp.Count
		assert.GreaterOrEqual(t, dp.Sum, 0.0)
	}
	return counts
}

// counter is the sum of all points of a counter.
func counter(t *testing.T, tel *componenttest.Telemetry, name string) int64 {
	t.Helper()
	m, err := tel.GetMetric(name)
	require.NoError(t, err)
	var sum int64
	for _, dp := range m.Data.(metricdata.Sum[int64]).DataPoints {
		sum += dp.Value
		transport, _ := dp.Attributes.Value("transport")
		assert.Equal(t, "websocket", transport.AsString())
	}
	return sum
}

func TestTelemetryOfRefusedData(t *testing.T) {
	tel := componenttest.NewTelemetry()
	now, forGood := errors.New("full"), consumererror.NewPermanent(errors.New("bad"))
	r := startReceiver(t, testOptions{
		tel:     tel,
		traces:  &scriptedConsumer{errs: []error{now, forGood, nil}},
		metrics: &scriptedConsumer{errs: []error{now}},
		config:  func(cfg *Config) { cfg.Metrics.Temporality = delta },
	})
	a := r.dial(nil)
	two := `[{"event":"send"},{"event":"send"}]`
	for _, code := range []string{wire.CodeUnavailable, wire.CodeRefused, wire.CodeUnavailable} {
		a.send(two)
		assert.Equal(t, code, a.reply().Error.Code)
	}
	assert.EqualValues(t, 4, counter(t, tel, "otelcol_receiver_refused_spans"))
	assert.EqualValues(t, 2, counter(t, tel, "otelcol_receiver_accepted_spans"))
	assert.EqualValues(t, 1, counter(t, tel, "otelcol_receiver_refused_metric_points"))
	metadatatest.AssertEqualReceiverWsstatsDropped(t, tel, countsBy("reason", map[string]int64{"unavailable": 4, "refused": 2}), plain...)
}

func TestTelemetryOfDroppedEvents(t *testing.T) {
	tel := componenttest.NewTelemetry()
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{tel: tel, traces: gate, config: func(cfg *Config) {
		cfg.Limits.MessageBytes, cfg.Delivery.BudgetBytes = 1024, 1024
	}})
	a, _ := r.greet("i1")
	a.send(`x`)
	require.Equal(t, wire.CodeMalformed, a.reply().Error.Code)
	a.send(`[{"event":"sent"},{"event":"received"}]`)
	require.Equal(t, wire.CodeRejected, a.reply().Error.Code)
	require.Eventually(t, func() bool { return r.budget.Used() == 0 }, waitFor, pollEvery)
	a.send(`{"seq":1,"events":[{"event":"send","filler":"` + strings.Repeat("x", 965) + `"}]}`)
	<-gate.entered
	other := r.dial(nil)
	other.send(`{"event":"send","filler":"` + strings.Repeat("x", 60) + `"}`) // over the budget
	require.Equal(t, wire.CodeUnavailable, other.reply().Error.Code)

	done := make(chan struct{})
	go func() { defer close(done); r.stopNow() }()
	require.NotNil(t, a.reply().GoAway)
	a.send(`{"event":"send"}`)
	require.Eventually(t, func() bool { return r.received(1, 5) }, waitFor, pollEvery)
	metadatatest.AssertEqualReceiverWsstatsDropped(t, tel, countsBy("reason", map[string]int64{
		"malformed": 1, "rejected": 2, "budget": 1, "shutdown": 1,
	}), plain...)
	gate.release <- nil
	a.expectClose(websocket.CloseGoingAway)
	<-done
}

func TestTelemetryOfSessionEnds(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{tel: tel})
	leaves, _ := r.greet("i1")
	require.NoError(t, leaves.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(waitFor)))
	leaves.expectClose(1000)
	wrong, _ := r.greet("i2")
	wrong.send(`{"hello":{"instance":"i2"}}`)
	wrong.expectClose(1008)
	require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
	metadatatest.AssertEqualReceiverWsstatsSessionEnds(t, tel, []metricdata.DataPoint[int64]{
		{Attributes: attribute.NewSet(attribute.Int("close_code", 0)), Value: 1},
		{Attributes: attribute.NewSet(attribute.Int("close_code", 1008)), Value: 1},
	}, plain...)
	metadatatest.AssertEqualReceiverWsstatsInstances(t, tel, count(2), plain...)
}
