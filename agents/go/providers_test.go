package wsstats

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// provided is an agent with providers.
type provided struct {
	*Agent
	tracers  *sdktrace.TracerProvider
	exporter *tracetest.InMemoryExporter
	reader   *sdkmetric.ManualReader
}

func newProvided(t *testing.T, tracing []sdktrace.TracerProviderOption, opts ...Option) *provided {
	t.Helper()
	p := &provided{exporter: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	p.tracers = sdktrace.NewTracerProvider(append([]sdktrace.TracerProviderOption{sdktrace.WithSyncer(p.exporter)}, tracing...)...)
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(p.reader))
	p.Agent = newAgent(t, append([]Option{WithTracerProvider(p.tracers), WithMeterProvider(meters)}, opts...)...)
	return p
}

var derivedIDs = sdktrace.WithIDGenerator(IDGenerator{})

// spans are those of a name that were made until now.
func (p *provided) spans(name string) tracetest.SpanStubs {
	return slices.DeleteFunc(p.exporter.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name != name })
}

func (p *provided) span(t *testing.T, name string) *tracetest.SpanStub {
	t.Helper()
	spans := p.spans(name)
	require.Len(t, spans, 1, name)
	return &spans[0]
}

// exemplar is the span of the only exemplar of a histogram's direction.
func (p *provided) exemplar(t *testing.T, name, direction string) trace.SpanID {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, p.reader.Collect(t.Context(), &rm))
	for _, m := range rm.ScopeMetrics[0].Metrics {
		if m.Name != name {
			continue
		}
		for _, point := range m.Data.(metricdata.Histogram[float64]).DataPoints {
			if dir, _ := point.Attributes.Value("ws.direction"); dir.AsString() == direction {
				require.Len(t, point.Exemplars, 1)
				return trace.SpanID(point.Exemplars[0].SpanID)
			}
		}
	}
	require.Fail(t, "no such metric", name)
	return trace.SpanID{}
}

// requireChild checks that both spans are in one trace, one under the other.
func requireChild(t *testing.T, parent, child *tracetest.SpanStub) {
	t.Helper()
	require.Equal(t, parent.SpanContext.TraceID(), child.SpanContext.TraceID(), "%s in the trace of %s", child.Name, parent.Name)
	require.Equal(t, parent.SpanContext.SpanID(), child.Parent.SpanID(), "%s under %s", child.Name, parent.Name)
}

// requireLink checks the span's links of a kind.
func requireLink(t *testing.T, of *tracetest.SpanStub, kind string, to *tracetest.SpanStub) {
	t.Helper()
	for _, l := range of.Links {
		if len(l.Attributes) == 1 && l.Attributes[0].Value.AsString() == kind {
			require.Equal(t, to.SpanContext.TraceID(), l.SpanContext.TraceID())
			require.Equal(t, to.SpanContext.SpanID(), l.SpanContext.SpanID())
			return
		}
	}
	require.Fail(t, "no link", "%s to %s", of.Name, kind)
}

// count is what a point counts: "unit monotonic value", or a histogram's beginning.
func requirePoints(t *testing.T, got map[string]any, want map[string]string) {
	t.Helper()
	for key, value := range want {
		require.Contains(t, got, key)
		assert.True(t, strings.HasPrefix(got[key].(string), value), "%s: want %s, got %s", key, value, got[key])
	}
}

// Red when: with providers at both ends a message's spans are not in one trace, the
// application's own are not in it, or a message, byte, connection or close is not
// counted exactly.
func TestProvidersAtBothEnds(t *testing.T) {
	near, far := newProvided(t, []sdktrace.TracerProviderOption{derivedIDs}), newProvided(t, []sdktrace.TracerProviderOption{derivedIDs})
	server := httptest.NewServer(far.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := new(gorilla.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		conn := ConnectionFromContext(r.Context())
		for {
			typ, data, err := ws.ReadMessage()
			if err != nil {
				return
			}
			ctx, end := conn.Process(r.Context(), conn.Received(MessageType(typ), len(data)))
			_, span := far.tracers.Tracer("application").Start(ctx, "database")
			span.End()
			conn.Sending(ctx)
			_ = ws.WriteMessage(typ, data[:2])
			end(nil)
		}
	})))
	t.Cleanup(server.Close)

	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	ctx, active := near.tracers.Tracer("application").Start(t.Context(), "page")
	ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http"), &websocket.DialOptions{HTTPClient: &http.Client{Transport: near.Transport(base)}})
	require.NoError(t, err)
	active.End()
	answers := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			_, data, err := ws.Read(context.WithoutCancel(t.Context()))
			if err != nil {
				return
			}
			answers <- string(data)
		}
	}()
	require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte("hello")))
	require.Equal(t, "he", <-answers)
	require.NoError(t, ws.Ping(ctx))
	flushed(t, near.Agent)
	requirePoints(t, pointsOf(t, near.reader), map[string]string{`ws.connections.active ws.role="client"`: "{connection} false 1"})
	_ = ws.Close(websocket.StatusNormalClosure, "done")
	<-read
	requireNothingReserved(t, near.Agent, far.Agent)
	require.NoError(t, near.Shutdown(t.Context()))
	require.NoError(t, far.Shutdown(t.Context()))

	ours, theirs := near.span(t, "ws.handshake"), far.span(t, "ws.handshake")
	requireChild(t, near.span(t, "page"), ours)
	requireChild(t, ours, theirs)
	requireChild(t, near.span(t, "ws.send text"), far.span(t, "ws.receive text"))
	requireChild(t, far.span(t, "ws.receive text"), far.span(t, "ws.process text"))
	requireChild(t, far.span(t, "ws.process text"), far.span(t, "database"))
	requireChild(t, far.span(t, "ws.send text"), near.span(t, "ws.receive text"))
	requireLink(t, far.span(t, "ws.send text"), "active", far.span(t, "ws.process text"))
	requireLink(t, far.span(t, "ws.send text"), "handshake", theirs)
	requireLink(t, near.span(t, "ws.close"), "handshake", ours)
	for _, name := range []string{"ws.ping", "ws.pong", "ws.close"} {
		assert.False(t, near.span(t, name).Parent.IsValid(), name)
		assert.False(t, far.span(t, name).Parent.IsValid(), name)
	}

	requirePoints(t, pointsOf(t, near.reader), map[string]string{
		"ws.connections.total ws.protocol=\"ws\"\nws.role=\"client\"":                                       "{connection} true 1",
		`ws.connections.active ws.role="client"`:                                                            "{connection} false 0",
		"ws.connections.closed ws.close.class=\"normal\"\nws.close.code=1000\nws.close.initiator=\"local\"": "{connection} true 1",
		`ws.connection.duration ws.close.class="normal"`:                                                    "s count 1 ",
		"ws.handshake.duration http.status_code=101\nws.role=\"client\"":                                    "s count 1 ",
		"ws.messages.sent ws.message.type=\"text\"\nws.role=\"client\"":                                     "{message} true 1",
		"ws.messages.received ws.message.type=\"text\"\nws.role=\"client\"":                                 "{message} true 1",
		"ws.messages.bytes ws.direction=\"sent\"\nws.message.type=\"text\"\nws.role=\"client\"":             "By true 5",
		"ws.messages.bytes ws.direction=\"received\"\nws.message.type=\"text\"\nws.role=\"client\"":         "By true 2",
		`ws.ping.rtt ws.role="client"`:                                                                      "s count 1 ",
	})
	requirePoints(t, pointsOf(t, far.reader), map[string]string{
		`ws.connections.active ws.role="server"`: "{connection} false 0",
		"ws.connections.closed ws.close.class=\"normal\"\nws.close.code=1000\nws.close.initiator=\"remote\"": "{connection} true 1",
		"ws.messages.bytes ws.direction=\"received\"\nws.message.type=\"text\"\nws.role=\"server\"":          "By true 5",
		"ws.message.size ws.direction=\"sent\"\nws.message.type=\"text\"\nws.role=\"server\"":                "By count 1 sum 2 ",
		`ws.processing.time ws.message.type="text"`:                                                          "s count 1 ",
	})
	assert.Equal(t, far.span(t, "ws.receive text").SpanContext.SpanID(), far.exemplar(t, "ws.message.size", "received"))
	for _, p := range []*provided{near, far} {
		s := p.Stats()
		assert.Equal(t, s.Observed, s.Acknowledged)
		assert.Zero(t, s.Sessions)
	}
}

// talk has so many messages go from one agent to another, whose application
// handles them with a span of its own.
func talk(t *testing.T, from, to *provided, messages int) {
	t.Helper()
	id := "0192f0c17c1e7d5e9b1a3f0d3c0a9e11"
	sender := from.Observe(Opening{Role: RoleClient, ID: id, Shared: true})
	receiver := to.Observe(Opening{Role: RoleServer, ID: id, Shared: true})
	for range messages {
		sender.Sent(TextMessage, 10)
		ctx, end := receiver.Process(t.Context(), receiver.Received(TextMessage, 10))
		_, span := to.tracers.Tracer("application").Start(ctx, "database")
		span.End()
		end(nil)
	}
	flushed(t, from.Agent)
	flushed(t, to.Agent)
	sender.Closed(1000, "", Local)
	receiver.Closed(1000, "", Remote)
}

func traces(spans tracetest.SpanStubs) []trace.TraceID {
	ids := make([]trace.TraceID, 0, len(spans))
	for i := range spans {
		ids = append(ids, spans[i].SpanContext.TraceID())
	}
	slices.SortFunc(ids, func(a, b trace.TraceID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

// Red when: a derived parent is not taken for sampled, the ends of a message are
// sampled differently by what decides by the trace id, or a metric is sampled.
func TestSamplersOfProviders(t *testing.T) {
	half := sdktrace.TraceIDRatioBased(0.5)
	tests := map[string]struct {
		sampler  sdktrace.Sampler
		sent     int  // of 200
		received bool // and what follows: those that were sent; else all
	}{
		"the SDK's default":                {sdktrace.ParentBased(sdktrace.AlwaysSample()), 200, true},
		"ratio":                            {half, 100, true},
		"ratio, of remote parents too":     {sdktrace.ParentBased(half, sdktrace.WithRemoteParentSampled(half)), 100, true},
		"ratio, of traces that begin here": {sdktrace.ParentBased(half), 100, false},
		"none":                             {sdktrace.NeverSample(), 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var logged strings.Builder
			tracing := []sdktrace.TracerProviderOption{derivedIDs, sdktrace.WithSampler(tt.sampler)}
			log := WithLogger(slog.New(slog.NewTextHandler(&logged, nil)))
			from, to := newProvided(t, tracing, log), newProvided(t, tracing)
			talk(t, from, to, 200)
			sent := traces(from.spans("ws.send text"))
			assert.InDelta(t, tt.sent, len(sent), 20)
			for _, name := range []string{"ws.receive text", "ws.process text", "database"} {
				if got := traces(to.spans(name)); tt.received {
					assert.Equal(t, sent, got, name)
				} else {
					assert.Len(t, got, 200, name)
				}
			}
			requirePoints(t, pointsOf(t, to.reader), map[string]string{
				"ws.messages.received ws.message.type=\"text\"\nws.role=\"server\"": "{message} true 200",
			})
			assert.Empty(t, logged.String())
		})
	}
}

// Red when: a handshake's parent that is not sampled is taken for one that is.
func TestSampledFlagOfHandshakes(t *testing.T) {
	for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
		p := newProvided(t, []sdktrace.TracerProviderOption{derivedIDs})
		ctx, parent := activeSpan(t, flags, "vendor=value")
		p.ClientHandshake(upgradeRequest().WithContext(ctx)).Refused(403, "")
		p.ClientHandshake(upgradeRequest().WithContext(ctx)).Opened(http.Header{}, nil).Closed(1000, "", Local)
		flushed(t, p.Agent)
		spans := p.spans("ws.handshake")
		require.Len(t, spans, 2*int(flags))
		for i := range spans {
			assert.Equal(t, trace.SpanID(parent.SpanID), spans[i].Parent.SpanID())
		}
		if len(spans) == 2 {
			assert.Equal(t, "vendor=value", spans[1].SpanContext.TraceState().String())
		}
	}
}

// Red when: a provider that draws its own ids loses spans, is complained about more
// than once, or leaves links to spans that there are not.
func TestProvidersWithoutIDGenerator(t *testing.T) {
	var logged strings.Builder
	log := WithLogger(slog.New(slog.NewTextHandler(&logged, nil)))
	from, to := newProvided(t, nil, log), newProvided(t, nil)
	talk(t, from, to, 3)
	flushed(t, from.Agent)
	assert.Len(t, from.spans("ws.send text"), 3)
	assert.Len(t, to.spans("ws.receive text"), 3)
	assert.Len(t, to.spans("ws.process text"), 3)
	requireLink(t, from.span(t, "ws.close"), "handshake", from.span(t, "ws.handshake"))
	assert.Equal(t, 1, strings.Count(logged.String(), "sdktrace.WithIDGenerator(wsstats.IDGenerator{})"))
	assert.Equal(t, 1, strings.Count(logged.String(), "\n"))
}

// Red when: an agent without a tracer provider names spans that nobody makes, or
// one without a meter provider does not make its spans.
func TestOneProvider(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	a := newAgent(t, WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	ctx, parent := activeSpan(t, 1, "")
	for _, active := range []context.Context{t.Context(), ctx} {
		h := a.ClientHandshake(upgradeRequest().WithContext(active))
		if active == ctx {
			assert.Equal(t, "00-01020300000000000000000000000000-0405000000000000-01", h.Header().Get(traceparentHeader))
		} else {
			assert.NotContains(t, h.Header(), traceparentHeader)
		}
		conn := h.Opened(http.Header{}, nil)
		inner, end := conn.Process(active, conn.Received(TextMessage, 1))
		assert.Equal(t, trace.SpanContextFromContext(active), trace.SpanContextFromContext(inner))
		end(nil)
		conn.Closed(1000, "", Local)
	}
	require.NotZero(t, parent)
	flushed(t, a)
	requirePoints(t, pointsOf(t, reader), map[string]string{
		"ws.messages.received ws.message.type=\"text\"\nws.role=\"client\"": "{message} true 2",
	})

	exporter := tracetest.NewInMemoryExporter()
	a = newAgent(t, WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), derivedIDs)))
	conn := a.Observe(Opening{Role: RoleServer})
	conn.Received(BinaryMessage, 1)
	conn.Closed(1000, "", Local)
	flushed(t, a)
	assert.Len(t, exporter.GetSpans(), 3)
}

// Red when: an agent with providers opens a link, or measures by itself.
func TestProvidersOpenNoLink(t *testing.T) {
	r := newReceiver(t, encodings[EncodingJSON], nil)
	p := newProvided(t, nil, WithEndpoint(r.endpoint()), WithAggregates(1), WithToken("secret"))
	assert.Nil(t, p.meter)
	p.Observe(Opening{Role: RoleServer}).Closed(1000, "", Local)
	require.NoError(t, p.Shutdown(t.Context()))
	assert.Equal(t, uint64(2), p.Stats().Acknowledged)
	assert.Empty(t, r.requests)
}

// Red when: spans of the application get ids that were meant for others, or zero ones.
func TestIDGenerator(t *testing.T) {
	g := IDGenerator{}
	asked := spanIDs{wire.TraceID{1}, wire.SpanID{2}}
	ctx := withIDs(t.Context(), asked)
	traceID, spanID := g.NewIDs(ctx)
	assert.Equal(t, trace.TraceID(asked.trace), traceID)
	assert.Equal(t, trace.SpanID(asked.span), spanID)
	assert.Equal(t, spanID, g.NewSpanID(ctx, traceID))
	assert.NotEqual(t, spanID, g.NewSpanID(ctx, trace.TraceID{3}))
	seen := map[trace.SpanID]bool{}
	for range 100 {
		traceID, spanID = g.NewIDs(t.Context())
		assert.True(t, traceID.IsValid() && spanID.IsValid())
		seen[spanID], seen[g.NewSpanID(t.Context(), traceID)] = true, true
	}
	assert.Len(t, seen, 200)
}
