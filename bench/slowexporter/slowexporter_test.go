package slowexporter

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func TestItTakesItsTime(t *testing.T) {
	f := NewFactory()
	cfg := f.CreateDefaultConfig().(*Config)
	assert.Equal(t, 100*time.Millisecond, cfg.Delay)
	require.NoError(t, cfg.Validate())
	cfg.Delay = 20 * time.Millisecond
	traces, err := f.CreateTraces(t.Context(), exporter.Settings{ID: component.NewID(f.Type())}, cfg)
	require.NoError(t, err)
	metrics, err := f.CreateMetrics(t.Context(), exporter.Settings{ID: component.NewID(f.Type())}, cfg)
	require.NoError(t, err)
	require.NoError(t, traces.Start(t.Context(), componenttest.NewNopHost()))

	began := time.Now()
	require.NoError(t, traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.NoError(t, metrics.ConsumeMetrics(t.Context(), pmetric.NewMetrics()))
	assert.GreaterOrEqual(t, time.Since(began), 40*time.Millisecond)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg.Delay = time.Hour
	slow, err := f.CreateTraces(t.Context(), exporter.Settings{ID: component.NewID(f.Type())}, cfg)
	require.NoError(t, err)
	assert.ErrorIs(t, slow.ConsumeTraces(ctx, ptrace.NewTraces()), context.Canceled)
	require.NoError(t, traces.Shutdown(t.Context()))
}

func TestDelayIsNotNegative(t *testing.T) {
	assert.EqualError(t, (&Config{Delay: -1}).Validate(), "delay: must not be negative")
}
