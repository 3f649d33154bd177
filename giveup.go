package wsstatsreceiver

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
)

// maxOrphans bounds the anonymous sessions whose end a refusing pipeline has
// not heard of.
const maxOrphans = 10_000

// giveUp ends the connections of an agent that is gone. It tells whether the
// next consumer took what follows from it. Where this is the last try, the
// series are right afterwards even if no consumer hears of it.
func (r *wsstatsReceiver) giveUp(ctx context.Context, a *agent, leave, last bool) bool {
	conns := append(a.lost, a.table.Abandon(r.now().UnixNano())...)
	a.lost = nil
	r.telemetry.ReceiverWsstatsConnections.Add(ctx, -int64(a.counted))
	a.counted = 0
	if !r.lose(ctx, a, conns, leave, last) {
		a.lost = conns
		return false
	}
	return true
}

// lose takes connections out of the active gauge and, unless they only leave,
// counts them as closed with their agent.
func (r *wsstatsReceiver) lose(ctx context.Context, a *agent, conns []*observed.Conn, leave, last bool) bool {
	if len(conns) == 0 || r.nextMetrics == nil {
		return true
	}
	return r.aggregator.Lost(a.resource, conns, leave, func(md pmetric.Metrics) error {
		if err := r.consumeMetrics(ctx, md, new(time.Duration)); !last {
			return err
		}
		return nil
	}) == nil
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
	if r.giveUp(ctx, a, leave, last) {
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
