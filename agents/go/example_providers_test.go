package wsstats_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	gorilla "github.com/gorilla/websocket"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// An application with an OpenTelemetry SDK reports through that, without a receiver.
func ExampleWithTracerProvider() {
	ctx := context.Background()
	spans, metrics := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader() // in place of OTLP exporters

	tracers := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(spans),
		sdktrace.WithIDGenerator(wsstats.IDGenerator{}), // so that both ends of a message are in one trace
	)
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics))
	agent, err := wsstats.NewAgent(wsstats.WithTracerProvider(tracers), wsstats.WithMeterProvider(meters))
	if err != nil {
		slog.Error("no agent", "error", err)
		return
	}
	chat(agent)

	// The agent first: what it has left goes to the providers.
	err = errors.Join(agent.Shutdown(ctx), tracers.ForceFlush(ctx), meters.ForceFlush(ctx))
	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name, span.SpanKind)
	}
	err = errors.Join(err, tracers.Shutdown(ctx), meters.Shutdown(ctx))
	fmt.Println(err)
	// Output:
	// ws.handshake server
	// ws.receive text consumer
	// ws.close consumer
	// <nil>
}

// chat has a client say one thing to an observed server, and waits until it is gone.
func chat(agent *wsstats.Agent) {
	gone := make(chan struct{})
	server := httptest.NewServer(agent.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		var upgrader gorilla.Upgrader
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		for err == nil {
			_, _, err = ws.ReadMessage()
		}
	})))
	defer server.Close()
	ws, _, err := gorilla.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		return
	}
	defer ws.Close()
	_ = ws.WriteMessage(gorilla.TextMessage, []byte("hello"))
	_ = ws.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, ""))
	<-gone
}
