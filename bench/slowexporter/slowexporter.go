// Package slowexporter is a sink that takes its time, for measuring what
// receivers do while the pipeline behind them is slow.
package slowexporter

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Config is the configuration of the exporter.
type Config struct {
	// Delay is how long each call takes before the data is thrown away. Default: 100ms.
	Delay time.Duration `mapstructure:"delay"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// Validate refuses a negative delay.
func (cfg *Config) Validate() error {
	if cfg.Delay < 0 {
		return errors.New("delay: must not be negative")
	}
	return nil
}

// NewFactory returns the factory of the exporter, type slow.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(
		component.MustNewType("slow"),
		func() component.Config { return &Config{Delay: 100 * time.Millisecond} },
		exporter.WithTraces(func(_ context.Context, _ exporter.Settings, cfg component.Config) (exporter.Traces, error) {
			return &slow{delay: cfg.(*Config).Delay}, nil
		}, component.StabilityLevelDevelopment),
		exporter.WithMetrics(func(_ context.Context, _ exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
			return &slow{delay: cfg.(*Config).Delay}, nil
		}, component.StabilityLevelDevelopment),
	)
}

// slow has no queue: the caller waits, as it does behind an exporter whose queue
// blocks. Calls do not wait for each other.
type slow struct {
	component.StartFunc
	component.ShutdownFunc
	delay time.Duration
}

func (*slow) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *slow) ConsumeTraces(ctx context.Context, _ ptrace.Traces) error { return s.wait(ctx) }

func (s *slow) ConsumeMetrics(ctx context.Context, _ pmetric.Metrics) error { return s.wait(ctx) }

func (s *slow) wait(ctx context.Context) error {
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
