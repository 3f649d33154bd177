package wsstatsreceiver

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
)

// maxOrphans bounds the anonymous sessions whose end a refusing pipeline has
// not heard of.
const maxOrphans = 10_000

// handOn hands metrics to the next consumer. Where this is the last try, what
// follows is right afterwards even if the consumer refuses.
func (r *wsstatsReceiver) handOn(ctx context.Context, last bool) func(pmetric.Metrics) error {
	return func(md pmetric.Metrics) error {
		if err := r.consumeMetrics(ctx, md, new(time.Duration)); !last {
			return err
		}
		return nil
	}
}

// giveUp ends the connections of an agent that is gone. It tells whether the
// consumer took what follows from it.
func (r *wsstatsReceiver) giveUp(ctx context.Context, a *agent, leave bool, consume func(pmetric.Metrics) error) bool {
	conns := append(a.lost, a.table.Abandon(r.now().UnixNano())...)
	a.lost = nil
	r.telemetry.ReceiverWsstatsConnections.Add(ctx, -int64(a.counted))
	a.counted = 0
	if !r.lose(a, conns, leave, consume) {
		a.lost = conns
		return false
	}
	return true
}

// lose takes connections out of the active gauge and, unless they only leave,
// counts them as closed with their agent.
func (r *wsstatsReceiver) lose(a *agent, conns []*observed.Conn, leave bool, consume func(pmetric.Metrics) error) bool {
	if len(conns) == 0 || r.nextMetrics == nil {
		return true
	}
	return r.aggregator.Lost(a.resource, conns, leave, consume) == nil
}

// leaveAll takes the connections of all agents out of the gauge at shutdown: in
// one hand-over, since a fleet's worth of them would outlast the deadline.
func (r *wsstatsReceiver) leaveAll(ctx context.Context) {
	all := pmetric.NewMetrics()
	collect := func(md pmetric.Metrics) error {
		md.ResourceMetrics().MoveAndAppendTo(all.ResourceMetrics())
		return nil
	}
	for _, i := range r.instances.All() {
		r.giveUp(ctx, i.State, true, collect)
	}
	if all.DataPointCount() > 0 {
		if err := r.consumeMetrics(ctx, all, new(time.Duration)); err != nil {
			r.logger.Warn("the last metrics were refused", zap.Error(err))
		}
	}
}

// orphans are anonymous sessions that ended while the pipeline refused: nobody
// comes back for them, so they are tried again in the background.
type orphans struct {
	mu  sync.Mutex
	all []orphan
}

type orphan struct {
	agent *agent
	leave bool
}

// giveUpAnonymous ends the connections of an anonymous session.
func (r *wsstatsReceiver) giveUpAnonymous(ctx context.Context, a *agent, leave bool) {
	r.orphans.mu.Lock()
	last := len(r.orphans.all) >= maxOrphans
	r.orphans.mu.Unlock()
	if r.giveUp(ctx, a, leave, r.handOn(ctx, last)) {
		return
	}
	r.orphans.mu.Lock()
	defer r.orphans.mu.Unlock()
	r.orphans.all = append(r.orphans.all, orphan{a, leave})
}

func (r *wsstatsReceiver) sweepOrphans(ctx context.Context) {
	r.orphans.mu.Lock()
	all := r.orphans.all
	r.orphans.all = nil
	r.orphans.mu.Unlock()
	for _, o := range all {
		r.giveUpAnonymous(ctx, o.agent, o.leave)
	}
}
