package wsstatsreceiver

import (
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// signalKey is the attribute that the collector gives to the telemetry of a
// component of one signal. The receiver is one for both.
const signalKey = "otelcol.signal"

// shared holds the receivers that are in use. The collector asks for one a
// signal; with the same configuration they are the same.
var shared = sharedReceivers{receivers: make(map[*Config]*wsstatsReceiver)}

type sharedReceivers struct {
	mu        sync.Mutex
	receivers map[*Config]*wsstatsReceiver
}

func (s *sharedReceivers) get(cfg *Config, set receiver.Settings) (*wsstatsReceiver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.receivers[cfg]; ok {
		return r, nil
	}
	set.TelemetrySettings = dropSignal(set.TelemetrySettings)
	r, err := newReceiver(cfg, set)
	if err != nil {
		return nil, err
	}
	s.receivers[cfg] = r
	return r, nil
}

func (s *sharedReceivers) remove(cfg *Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.receivers, cfg)
}

// dropSignal takes the signal out of the telemetry's attributes. The
// collector's own implementations of these interfaces have the method.
func dropSignal(set component.TelemetrySettings) component.TelemetrySettings {
	set.Logger = set.Logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		if c, ok := core.(interface {
			DropInjectedAttributes(keys ...string) zapcore.Core
		}); ok {
			return c.DropInjectedAttributes(signalKey)
		}
		return core
	}))
	if p, ok := set.TracerProvider.(interface {
		DropInjectedAttributes(keys ...string) trace.TracerProvider
	}); ok {
		set.TracerProvider = p.DropInjectedAttributes(signalKey)
	}
	if p, ok := set.MeterProvider.(interface {
		DropInjectedAttributes(keys ...string) metric.MeterProvider
	}); ok {
		set.MeterProvider = p.DropInjectedAttributes(signalKey)
	}
	return set
}
