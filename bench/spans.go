package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/wsstats/wsstatsreceiver"
)

// spans are what the receiver makes of the events, a batch each: the receiver
// runs in this process, an agent sends it the events, and a sink keeps the spans.
// So the peers get the same spans, with the same ids and attributes.
func spans(ctx context.Context, s *script, settings map[string]any) (_ []ptrace.Traces, err error) {
	factory := wsstatsreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	conf := confmap.NewFromStringMap(settings)
	if err := conf.Merge(confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": address}})); err != nil {
		return nil, fmt.Errorf("configuring the receiver: %w", err)
	}
	if err := conf.Unmarshal(cfg); err != nil {
		return nil, fmt.Errorf("configuring the receiver: %w", err)
	}
	if err := cfg.(*wsstatsreceiver.Config).Validate(); err != nil {
		return nil, fmt.Errorf("configuring the receiver: %w", err)
	}
	sink := new(consumertest.TracesSink)
	receiver, err := factory.CreateTraces(ctx, receivertest.NewNopSettings(factory.Type()), cfg, sink)
	if err != nil {
		return nil, fmt.Errorf("making the receiver: %w", err)
	}
	if err := receiver.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, fmt.Errorf("starting the receiver: %w", err)
	}
	defer func() { err = errors.Join(err, receiver.Shutdown(context.WithoutCancel(ctx))) }()

	a, err := dialAgent(ctx, address, s, "spans", new(meter), nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	return slices.Clone(sink.AllTraces()), nil
}
