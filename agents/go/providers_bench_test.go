package wsstats

import (
	"context"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// nowhere is an exporter that is as fast as none.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

// BenchmarkProviders reports what an event costs the goroutine that hands it to an SDK.
func BenchmarkProviders(b *testing.B) {
	c := newConn("0192f0c17c1e7d5e9b1a3f0d3c0a9e11")
	for name, sampler := range map[string]sdktrace.Sampler{"every span": sdktrace.AlwaysSample(), "1 % of spans": sdktrace.TraceIDRatioBased(0.01)} {
		b.Run(name, func(b *testing.B) {
			tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithBatcher(nowhere{}), derivedIDs)
			b.Cleanup(func() { _ = tracers.Shutdown(context.Background()) })
			a := newAgent(b, WithTracerProvider(tracers), WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
			p, err := newProviders(a)
			if err != nil {
				b.Fatal(err)
			}
			r := message(c, 128)
			b.ReportAllocs()
			for b.Loop() {
				r.seq++
				p.observe(&r)
			}
		})
	}
}
