package wsstatsreceiver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const waitFor, pollEvery = 30 * time.Second, 2 * time.Millisecond

// testReceiver is a receiver on a free port with sinks behind it.
type testReceiver struct {
	*wsstatsReceiver
	t        testing.TB
	encoding encoding
	traces   *consumertest.TracesSink
	metrics  *consumertest.MetricsSink
}

type testOptions struct {
	encoding encoding // of its agents; by default encodings[0]
	config   func(*Config)
	traces   consumer.Traces
	metrics  consumer.Metrics
	host     component.Host
	tel      *componenttest.Telemetry
	logger   *zap.Logger
	now      func() time.Time
}

func startReceiver(t testing.TB, o testOptions) *testReceiver {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.NetAddr.Endpoint = "127.0.0.1:0"
	if o.config != nil {
		o.config(cfg)
	}
	require.NoError(t, cfg.Validate())
	set := receivertest.NewNopSettings(metadata.Type)
	if o.tel != nil {
		set.TelemetrySettings = o.tel.NewTelemetrySettings()
	}
	if o.logger != nil {
		set.Logger = o.logger
	}
	if o.host == nil {
		o.host = componenttest.NewNopHost()
	}
	if o.encoding.encode == nil {
		o.encoding = encodings[0]
	}
	tr := &testReceiver{t: t, encoding: o.encoding, traces: new(consumertest.TracesSink), metrics: new(consumertest.MetricsSink)}
	if o.traces == nil {
		o.traces = tr.traces
	}
	if o.metrics == nil {
		o.metrics = tr.metrics
	}
	first, err := NewFactory().CreateTraces(t.Context(), set, cfg, o.traces)
	require.NoError(t, err)
	second, err := NewFactory().CreateMetrics(t.Context(), set, cfg, o.metrics)
	require.NoError(t, err)
	require.Same(t, first, second, "one receiver serves both signals")
	tr.wsstatsReceiver = first.(*wsstatsReceiver)
	if o.now != nil {
		tr.now = o.now
	}
	require.NoError(t, first.Start(t.Context(), o.host))
	require.NoError(t, second.Start(t.Context(), o.host))
	t.Cleanup(tr.stopNow)
	return tr
}

// stopNow shuts down and fails the test where that does not work.
func (tr *testReceiver) stopNow() {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitFor)
	defer cancel()
	assert.NoError(tr.t, tr.Shutdown(ctx))
}

func (tr *testReceiver) url() string {
	return "ws://" + tr.sessions.addr.String() + tr.cfg.Path
}

// testAgent is a hand-driven agent.
type testAgent struct {
	t        testing.TB
	conn     *websocket.Conn
	encoding encoding
}

func (tr *testReceiver) dial(header http.Header, subprotocols ...string) *testAgent {
	tr.t.Helper()
	dialer := websocket.Dialer{Subprotocols: subprotocols}
	conn, resp, err := dialer.Dial(tr.url(), header)
	require.NoError(tr.t, err)
	_ = resp.Body.Close()
	tr.t.Cleanup(func() { _ = conn.Close() })
	e := encodings[0]
	if conn.Subprotocol() == tr.encoding.subprotocol {
		e = tr.encoding
	}
	return &testAgent{t: tr.t, conn: conn, encoding: e}
}

// join connects in the encoding of the receiver's test.
func (tr *testReceiver) join() *testAgent {
	tr.t.Helper()
	return tr.dial(nil, tr.encoding.subprotocol)
}

// greet says hello and returns the welcome.
func (tr *testReceiver) greet(instance string) (*testAgent, *wire.Welcome) {
	tr.t.Helper()
	a := tr.join()
	a.send(`{"hello":{"instance":"` + instance + `","resource":{"service.name":"chat"}}}`)
	welcome := a.reply().Welcome
	require.NotNil(tr.t, welcome)
	return a, welcome
}

// send sends a message that is written in JSON here, in the agent's encoding. In
// JSON it may be what no encoder makes.
func (a *testAgent) send(message string) {
	a.t.Helper()
	require.NoError(a.t, a.conn.WriteMessage(a.encode(message)))
}

func (a *testAgent) encode(message string) (kind int, data []byte) {
	a.t.Helper()
	if a.encoding.opcode == opBinary {
		return websocket.BinaryMessage, a.encoding.transcode(a.t, message)
	}
	return websocket.TextMessage, []byte(message)
}

// reply returns the next reply that is no heartbeat.
func (a *testAgent) reply() wire.Reply {
	a.t.Helper()
	require.NoError(a.t, a.conn.SetReadDeadline(time.Now().Add(waitFor))) // for all heartbeats together
	for {
		_, data, err := a.conn.ReadMessage()
		require.NoError(a.t, err)
		reply, err := wire.DecodeReply(data)
		require.NoError(a.t, err)
		if reply.Flow == nil {
			return reply
		}
	}
}

// expectClose reads up to the close and returns what came before it.
func (a *testAgent) expectClose(code int) []wire.Reply {
	a.t.Helper()
	var replies []wire.Reply
	for {
		require.NoError(a.t, a.conn.SetReadDeadline(time.Now().Add(waitFor)))
		_, data, err := a.conn.ReadMessage()
		if err != nil {
			var closed *websocket.CloseError
			require.ErrorAs(a.t, err, &closed)
			assert.Equal(a.t, code, closed.Code, closed.Text)
			return replies
		}
		reply, err := wire.DecodeReply(data)
		require.NoError(a.t, err)
		replies = append(replies, reply)
	}
}

func spansOf(all []ptrace.Traces) []ptrace.Span {
	var spans []ptrace.Span
	for _, td := range all {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					spans = append(spans, span)
				}
			}
		}
	}
	return spans
}

// sumOf adds up the points of a sum, of all resources: all deltas, and of
// cumulative ones the newest of each resource.
func sumOf(all []pmetric.Metrics, name string) int64 {
	var sum int64
	newest := make(map[string]int64)
	for _, md := range all {
		for _, rm := range md.ResourceMetrics().All() {
			resource := fmt.Sprint(rm.Resource().Attributes().AsRaw())
			for _, m := range metricsOf(rm, name) {
				var points int64
				for _, dp := range m.Sum().DataPoints().All() {
					points += dp.IntValue()
				}
				if m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityCumulative {
					newest[resource] = points
				} else {
					sum += points
				}
			}
		}
	}
	for _, n := range newest {
		sum += n
	}
	return sum
}

func metricsOf(rm pmetric.ResourceMetrics, name string) []pmetric.Metric {
	var found []pmetric.Metric
	for _, sm := range rm.ScopeMetrics().All() {
		for _, m := range sm.Metrics().All() {
			if m.Name() == name {
				found = append(found, m)
			}
		}
	}
	return found
}

func hasMetric(all []pmetric.Metrics, name string) bool {
	for _, md := range all {
		for _, rm := range md.ResourceMetrics().All() {
			if len(metricsOf(rm, name)) > 0 {
				return true
			}
		}
	}
	return false
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}
