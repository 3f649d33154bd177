package wsstatsreceiver

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Attributes of the receiver's own metrics, made once.
var (
	adjustFutureTime  = option("adjustment", "future_time")
	adjustValueCut    = option("adjustment", "value_cut")
	adjustTraceparent = option("adjustment", "traceparent_ignored")

	consumeTraces  = option("signal", "traces")
	consumeMetrics = option("signal", "metrics")

	viaWebSocket = option("via", "websocket")
	viaPost      = option("via", "post")

	droppedMalformed   = option("reason", "malformed")
	droppedRejected    = option("reason", "rejected")
	droppedBudget      = option("reason", "budget")
	droppedUnavailable = option("reason", "unavailable")
	droppedRefused     = option("reason", "refused")
	droppedShutdown    = option("reason", "shutdown")

	eventOptions = func() (options [wire.KindBatchSend + 1]metric.MeasurementOption) {
		for k := range options {
			options[k] = option("event", wire.Kind(k).String())
		}
		return options
	}()
)

func option(key, value string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
}

// observeSelf reports what the receiver holds now beside what it may hold.
func (r *wsstatsReceiver) observeSelf() error {
	t := r.telemetry
	gauge := func(value func() int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(value())
			return nil
		}
	}
	t.ReceiverWsstatsBudgetLimit.Record(context.Background(), r.budget.Limit())
	t.ReceiverWsstatsSessionsLimit.Record(context.Background(), int64(r.cfg.Limits.Sessions))
	for _, register := range []struct {
		with  func(metric.Int64Callback) error
		value func() int64
	}{
		{t.RegisterReceiverWsstatsBudgetUsedCallback, r.budget.Used},
		{t.RegisterReceiverWsstatsInstancesCallback, func() int64 { return int64(r.instances.Len()) }},
		{t.RegisterReceiverWsstatsSeriesCallback, func() int64 { series, _ := r.aggregator.Held(); return int64(series) }},
		{t.RegisterReceiverWsstatsSessionsCallback, func() int64 { return int64(r.sessions.len()) }},
	} {
		if err := register.with(gauge(register.value)); err != nil {
			return err
		}
	}
	return nil
}

// noteReceived counts a message that came.
func (r *wsstatsReceiver) noteReceived(ctx context.Context, size int, via metric.MeasurementOption) {
	r.telemetry.ReceiverWsstatsMessages.Add(ctx, 1, via)
	r.telemetry.ReceiverWsstatsReceivedSize.Add(ctx, int64(size), via)
}

// noteDropped counts events that were received and not handed on.
func (r *wsstatsReceiver) noteDropped(ctx context.Context, n int, reason metric.MeasurementOption) {
	if n > 0 {
		r.telemetry.ReceiverWsstatsDropped.Add(ctx, int64(n), reason)
	}
}

// noteProcessed measures the receiver's own work on a message.
func (r *wsstatsReceiver) noteProcessed(ctx context.Context, began time.Time, out outcome) {
	r.telemetry.ReceiverWsstatsProcessingDuration.Record(ctx, (time.Since(began) - out.consuming).Seconds())
}
