package wsstatsreceiver

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/wire"
)

func testConfig() *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.NetAddr.Endpoint = "127.0.0.1:0"
	return cfg
}

func createBoth(t *testing.T, set receiver.Settings, cfg *Config) (traces, metrics component.Component) {
	t.Helper()
	traces, err := NewFactory().CreateTraces(t.Context(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	metrics, err = NewFactory().CreateMetrics(t.Context(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	return traces, metrics
}

func TestOneReceiverOfAConfiguration(t *testing.T) {
	set := receivertest.NewNopSettings(metadata.Type)
	cfg, other := testConfig(), testConfig()
	traces, metrics := createBoth(t, set, cfg)
	assert.Same(t, traces, metrics)
	otherTraces, otherMetrics := createBoth(t, set, other)
	assert.Same(t, otherTraces, otherMetrics)
	assert.NotSame(t, traces, otherTraces, "an equal configuration of another receiver is another one")

	require.NoError(t, traces.Shutdown(t.Context()))
	again, _ := createBoth(t, set, cfg)
	assert.NotSame(t, traces, again, "shutdown lets go of the receiver")
	for _, c := range []component.Component{again, otherTraces} {
		require.NoError(t, c.Shutdown(t.Context()))
	}
	assert.Empty(t, shared.receivers)
}

// The agent is told which signals are there.
func TestOneSignal(t *testing.T) {
	for signal, create := range map[string]func(receiver.Settings, *Config) (component.Component, error){
		"traces": func(set receiver.Settings, cfg *Config) (component.Component, error) {
			return NewFactory().CreateTraces(t.Context(), set, cfg, new(consumertest.TracesSink))
		},
		"metrics": func(set receiver.Settings, cfg *Config) (component.Component, error) {
			return NewFactory().CreateMetrics(t.Context(), set, cfg, new(consumertest.MetricsSink))
		},
	} {
		t.Run(signal, func(t *testing.T) {
			c, err := create(receivertest.NewNopSettings(metadata.Type), testConfig())
			require.NoError(t, err)
			require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
			r := &testReceiver{wsstatsReceiver: c.(*wsstatsReceiver), t: t}
			t.Cleanup(r.stopNow)
			a, welcome := r.greet("i1")
			assert.Equal(t, []string{signal}, welcome.Signals)
			a.send(batch(1, "c", 1))
			assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
		})
	}
}

func TestShutdownFreesThePort(t *testing.T) {
	cfg := testConfig()
	cfg.HTTP.NetAddr.Endpoint = freeAddress(t)
	for range 3 {
		traces, metrics := createBoth(t, receivertest.NewNopSettings(metadata.Type), cfg)
		require.NoError(t, traces.Start(t.Context(), componenttest.NewNopHost()))
		require.NoError(t, metrics.Start(t.Context(), componenttest.NewNopHost()))
		conn, resp, err := websocket.DefaultDialer.Dial("ws://"+cfg.HTTP.NetAddr.Endpoint+cfg.Path, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		_ = resp.Body.Close()
		_ = conn.Close()
		require.NoError(t, traces.Shutdown(t.Context()))
		require.NoError(t, metrics.Shutdown(t.Context()), "a second time")
	}
}

func TestShutdownBeforeStart(t *testing.T) {
	traces, metrics := createBoth(t, receivertest.NewNopSettings(metadata.Type), testConfig())
	require.NoError(t, traces.Shutdown(t.Context()))
	require.NoError(t, metrics.Shutdown(t.Context()))
	assert.Empty(t, shared.receivers)
}

// A start that fails leaves nothing behind, and says where it failed.
func TestStartOnATakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig()
	cfg.HTTP.NetAddr.Endpoint = listener.Addr().String()
	traces, metrics := createBoth(t, receivertest.NewNopSettings(metadata.Type), cfg)
	err = traces.Start(t.Context(), componenttest.NewNopHost())
	require.ErrorContains(t, err, `listen on http::endpoint "`+listener.Addr().String()+`": `)
	assert.Equal(t, err, metrics.Start(t.Context(), componenttest.NewNopHost()), "for both signals")
	require.NoError(t, traces.Shutdown(t.Context()))
	require.NoError(t, metrics.Shutdown(t.Context()))

	require.NoError(t, listener.Close())
	traces, _ = createBoth(t, receivertest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, traces.Start(t.Context(), componenttest.NewNopHost()), "the port is free and so is the configuration")
	require.NoError(t, traces.Shutdown(t.Context()))
}

func TestStartWithoutTheAuthenticator(t *testing.T) {
	cfg := testConfig()
	authenticate(cfg)
	traces, _ := createBoth(t, receivertest.NewNopSettings(metadata.Type), cfg)
	require.ErrorContains(t, traces.Start(t.Context(), componenttest.NewNopHost()), "build the http server: ")
	require.NoError(t, traces.Shutdown(t.Context()))
}

// The receiver is one for both signals: its telemetry must not name one.
func TestTelemetryNamesNoSignal(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	var dropped []string
	set := receivertest.NewNopSettings(metadata.Type)
	set.Logger = zap.New(&injectedCore{Core: core.With([]zapcore.Field{zap.String(signalKey, "traces")}), plain: core, dropped: &dropped})
	set.TracerProvider = injectedTracers{dropped: &dropped}
	set.MeterProvider = injectedMeters{dropped: &dropped}
	traces, _ := createBoth(t, set, testConfig())
	require.NoError(t, traces.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, traces.Shutdown(context.Background()))
	assert.Equal(t, []string{signalKey, signalKey, signalKey}, dropped)
	require.NotZero(t, logs.Len())
	for _, entry := range logs.All() {
		assert.NotContains(t, entry.ContextMap(), signalKey)
	}
}

// injectedCore stands for the collector's own core, which adds the signal.
type injectedCore struct {
	zapcore.Core
	plain   zapcore.Core
	dropped *[]string
}

func (c *injectedCore) DropInjectedAttributes(keys ...string) zapcore.Core {
	*c.dropped = append(*c.dropped, keys...)
	return c.plain
}

type injectedTracers struct {
	tracenoop.TracerProvider
	dropped *[]string
}

func (p injectedTracers) DropInjectedAttributes(keys ...string) trace.TracerProvider {
	*p.dropped = append(*p.dropped, keys...)
	return p.TracerProvider
}

type injectedMeters struct {
	metricnoop.MeterProvider
	dropped *[]string
}

func (p injectedMeters) DropInjectedAttributes(keys ...string) metric.MeterProvider {
	*p.dropped = append(*p.dropped, keys...)
	return p.MeterProvider
}
