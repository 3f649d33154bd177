package wsstatsreceiver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/metric"

	"github.com/wsstats/wsstatsreceiver/internal/aggregate"
	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

var errStopped = errors.New("the receiver is shut down")

// agent is who reports: an agent instance, an anonymous session or one POST.
type agent struct {
	instance   string
	table      *observed.Table
	resource   *observed.Resource
	aggregates bool
	session    bool // false for a POST
	counted    int  // connections that self-observation has counted
	// lost are connections that were given up and that no consumer has heard of yet.
	lost []*observed.Conn
}

func (r *wsstatsReceiver) newAgent(instance string) *agent {
	return &agent{
		instance: instance,
		table:    observed.NewTable(&r.resolve, instance),
		resource: observed.NewResource(nil, instance),
		session:  true,
	}
}

// incoming is a decoded message.
type incoming struct {
	*wire.Message
	arrival     time.Time
	size        int   // bytes that came
	reserved    int64 // memory that was taken for it, at first by translationBytes
	tracesTaken bool  // its spans were handed on before
}

// outcome is what became of a message.
type outcome struct {
	err         error // nil: taken
	permanent   bool  // of err
	tracesTaken bool  // though err is set
	rejected    wire.Rejected
	consuming   time.Duration // in the next consumers
}

// take hands a decoded message on: traces first, then metrics. Where metrics
// are refused after traces were taken, the repeat of the message says so with
// tracesTaken, and only the rest is done.
func (r *wsstatsReceiver) take(ctx context.Context, a *agent, in *incoming) outcome {
	b := &in.Batch
	resolved := resolvedPool.Get().(*observed.Resolved)
	defer putResolved(resolved)
	a.table.Resolve(in.Message, in.arrival.UnixNano(), resolved)

	out := outcome{rejected: b.Rejected}
	paid, err := r.settle(in, resolved)
	defer r.budget.Release(paid)
	if out.fail(err) {
		r.refused(ctx, a, in.arrival, out)
		return out
	}
	merge(&out.rejected, resolved.Rejected)
	aggregates := a.aggregates || b.Aggregates && !a.session
	stats := b.Stats
	if !aggregates && len(stats) > 0 {
		merge(&out.rejected, wire.Rejected{
			Count: len(stats),
			First: fmt.Sprintf("stats[%d]: the session did not say \"aggregates\": true in its hello", stats[0].Index),
		})
		stats = nil
	}
	resource := a.resource
	if b.HasResource {
		resource = observed.NewResource(b.Resource, a.instance)
	}

	if r.nextTraces != nil && resolved.Spans > 0 && !in.tracesTaken {
		td := r.translator.traces(resource, resolved)
		if out.fail(r.consumeTraces(ctx, td, &out.consuming)) {
			r.refused(ctx, a, in.arrival, out)
			return out
		}
	}
	if r.nextMetrics != nil {
		err := r.aggregator.Take(&observed.Batch{
			Resource: resource, Rows: resolved.Rows, Opened: resolved.Opened, Stats: stats, Dropped: b.Dropped,
			Aggregates: aggregates, Session: a.session,
		}, func(md pmetric.Metrics) error { return r.consumeMetrics(ctx, md, &out.consuming) })
		if out.fail(err) {
			out.tracesTaken = true
			r.refused(ctx, a, in.arrival, out)
			return out
		}
	}
	a.table.Commit(in.arrival.UnixNano())
	r.noteConnections(ctx, a)
	r.noteTaken(ctx, b, resolved)
	return out
}

// refused ends what a message closes even though it is refused for good: its
// connections leave the gauge, uncounted otherwise.
func (r *wsstatsReceiver) refused(ctx context.Context, a *agent, arrival time.Time, out outcome) {
	if out.permanent {
		r.lose(ctx, []aggregate.Loss{{Resource: a.resource, Conns: a.table.Closing(), Leave: true}}, true)
		a.table.Commit(arrival.UnixNano())
	}
}

func (o *outcome) fail(err error) bool {
	o.err, o.permanent = err, consumererror.IsPermanent(err)
	return err != nil
}

// refusal is how an agent hears of what failed.
func (o *outcome) refusal() (code, message string) {
	switch {
	case errors.Is(o.err, errOverMemory):
		return wire.CodeTooLarge, overMemory
	case errors.Is(o.err, errOverBudget):
		return wire.CodeUnavailable, overBudget
	case o.permanent:
		return wire.CodeRefused, "the pipeline refused the data for good"
	}
	return wire.CodeUnavailable, "the pipeline refuses data now"
}

func merge(into *wire.Rejected, r wire.Rejected) {
	if into.Count == 0 {
		into.First = r.First
	}
	into.Count += r.Count
}

func (r *wsstatsReceiver) consumeTraces(ctx context.Context, td ptrace.Traces, took *time.Duration) error {
	if !r.gate.open() {
		return errStopped
	}
	spans := td.SpanCount()
	start := time.Now()
	obsCtx := r.obs.StartTracesOp(ctx)
	err := r.nextTraces.ConsumeTraces(obsCtx, td)
	r.obs.EndTracesOp(obsCtx, metadata.Type.String(), spans, err)
	*took += r.noteConsumed(ctx, consumeTraces, start, err)
	return err
}

func (r *wsstatsReceiver) consumeMetrics(ctx context.Context, md pmetric.Metrics, took *time.Duration) error {
	if !r.gate.open() {
		return errStopped
	}
	points := md.DataPointCount()
	start := time.Now()
	obsCtx := r.obs.StartMetricsOp(ctx)
	err := r.nextMetrics.ConsumeMetrics(obsCtx, md)
	r.obs.EndMetricsOp(obsCtx, metadata.Type.String(), points, err)
	*took += r.noteConsumed(ctx, consumeMetrics, start, err)
	return err
}

func (r *wsstatsReceiver) noteConsumed(ctx context.Context, signal metric.MeasurementOption, start time.Time, err error) time.Duration {
	took := time.Since(start)
	r.telemetry.ReceiverWsstatsConsumeDuration.Record(ctx, took.Seconds(), signal)
	r.status.report(err)
	return took
}

// noteTaken counts the events of a message that was taken.
func (r *wsstatsReceiver) noteTaken(ctx context.Context, b *wire.Batch, resolved *observed.Resolved) {
	for k, n := range resolved.Kinds {
		if n > 0 {
			r.telemetry.ReceiverWsstatsEvents.Add(ctx, int64(n), eventOptions[k])
		}
	}
	if r.nextTraces != nil && resolved.Spans < len(resolved.Rows) {
		r.telemetry.ReceiverWsstatsSampledOut.Add(ctx, int64(len(resolved.Rows)-resolved.Spans))
	}
	adjusted := func(n int, opt metric.MeasurementOption) {
		if n > 0 {
			r.telemetry.ReceiverWsstatsAdjustments.Add(ctx, int64(n), opt)
		}
	}
	adjusted(resolved.TimesAdjusted, adjustFutureTime)
	adjusted(b.ValuesCut, adjustValueCut)
	adjusted(b.TraceparentsIgnored, adjustTraceparent)
}

// noteConnections brings the count of remembered connections up to date.
func (r *wsstatsReceiver) noteConnections(ctx context.Context, a *agent) {
	if n := a.table.Len(); n != a.counted && a.session {
		r.telemetry.ReceiverWsstatsConnections.Add(ctx, int64(n-a.counted))
		a.counted = n
	}
}
