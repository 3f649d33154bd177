package wsstatsreceiver

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/wsstats/wsstatsreceiver/internal/aggregate"
	"github.com/wsstats/wsstatsreceiver/internal/delivery"
)

// maxOrphans bounds the anonymous sessions whose end a refusing pipeline has
// not heard of.
const maxOrphans = 10_000

// maxTogether is how many agents are given up in one hand-over at the most, so
// that it stays within what a backend takes at once.
const maxTogether = 1000

// departed is an agent that is gone.
type departed struct {
	agent *agent
	leave bool // the receiver itself sent it away
}

// giveUp ends the connections of agents that are gone, in one hand-over: that of
// each one would hold up what else waits to be handed on when a fleet goes. It
// tells whether they are done with. Where the consumer refuses for now they are
// not, and are the caller's to try again, unless this is the last try.
func (r *wsstatsReceiver) giveUp(ctx context.Context, all []departed, last bool) bool {
	losses := make([]aggregate.Loss, 0, len(all))
	for _, d := range all {
		a := d.agent
		a.lost = append(a.lost, a.table.Abandon(r.now().UnixNano())...)
		r.telemetry.ReceiverWsstatsConnections.Add(ctx, -int64(a.counted))
		a.counted = 0
		if len(a.lost) > 0 {
			losses = append(losses, aggregate.Loss{Resource: a.resource, Conns: a.lost, Leave: d.leave})
		}
	}
	if !r.lose(ctx, losses, last) {
		return false
	}
	for _, d := range all {
		d.agent.lost = nil
	}
	return true
}

// lose takes connections out of the active gauge and, unless they only leave,
// counts them as closed with their agent. It returns false where the consumer
// refuses that for now. Where it refuses for good, or this is the last try,
// what follows is right all the same.
func (r *wsstatsReceiver) lose(ctx context.Context, losses []aggregate.Loss, last bool) bool {
	if len(losses) == 0 || r.nextMetrics == nil {
		return true
	}
	return r.aggregator.Lost(losses, func(md pmetric.Metrics) error {
		err := r.consumeMetrics(ctx, md, new(time.Duration))
		if err == nil || !last && !consumererror.IsPermanent(err) {
			return err
		}
		r.logger.Warn("metrics of agents that are gone were refused", zap.Error(err))
		return nil
	}) == nil
}

// sweep gives up agents that stay away.
func (r *wsstatsReceiver) sweep(ctx context.Context) {
	r.sweepOrphans(ctx)
	r.instances.Sweep(r.now(), maxTogether, func(all []*delivery.Instance[*agent], last bool) bool {
		return r.giveUp(ctx, departedOf(all, false), last)
	})
}

// leaveAll takes the connections of all agents out of the gauge at shutdown.
func (r *wsstatsReceiver) leaveAll(ctx context.Context) {
	for all := range slices.Chunk(r.instances.All(), maxTogether) {
		r.giveUp(ctx, departedOf(all, true), true)
	}
}

func departedOf(instances []*delivery.Instance[*agent], leave bool) []departed {
	all := make([]departed, 0, len(instances))
	for _, i := range instances {
		all = append(all, departed{i.State, leave || i.Leave})
	}
	return all
}

// orphans are anonymous sessions that ended while the pipeline refused: nobody
// comes back for them, so they are tried again in the background.
type orphans struct {
	mu  sync.Mutex
	all []departed
}

// giveUpAnonymous ends the connections of an anonymous session.
func (r *wsstatsReceiver) giveUpAnonymous(ctx context.Context, a *agent, leave bool) {
	r.orphans.mu.Lock()
	last := len(r.orphans.all) >= maxOrphans
	r.orphans.mu.Unlock()
	one := departed{a, leave}
	if r.giveUp(ctx, []departed{one}, last) {
		return
	}
	r.orphans.mu.Lock()
	defer r.orphans.mu.Unlock()
	r.orphans.all = append(r.orphans.all, one)
}

// sweepOrphans tries those again that were there when it began. Nobody else
// takes any away.
func (r *wsstatsReceiver) sweepOrphans(ctx context.Context) {
	r.orphans.mu.Lock()
	all := slices.Clone(r.orphans.all)
	r.orphans.mu.Unlock()
	var refused []departed
	for together := range slices.Chunk(all, maxTogether) {
		if !r.giveUp(ctx, together, false) {
			refused = append(refused, together...)
		}
	}
	r.orphans.mu.Lock()
	defer r.orphans.mu.Unlock()
	r.orphans.all = append(refused, r.orphans.all[len(all):]...)
}
