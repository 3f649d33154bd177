package wsstats

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// WithTracerProvider has the agent make its spans itself, through tp, in place of
// a link to a receiver: the same spans, but that tp's sampler decides which are
// kept. It is made with [IDGenerator], so that both ends of a message are in one
// trace. Shutdown hands over what is left; it does not shut tp down.
//
// With this option or [WithMeterProvider] no link is opened, and the options and
// the environment of a link, of a resource and of aggregates have no effect: the
// resource is the providers', and metrics count all events anyway. A nil tp is none.
func WithTracerProvider(tp trace.TracerProvider) Option {
	return func(c *config) { c.tracers = tp }
}

// WithMeterProvider has the agent make its metrics itself, through mp, in place of
// a link: see [WithTracerProvider]. Without that option no spans are made.
func WithMeterProvider(mp metric.MeterProvider) Option {
	return func(c *config) { c.meters = mp }
}

// maxUntold is how many events the providers may have taken that the ring still
// holds: to lock it for each would be in the way of the application.
const maxUntold = 64

// linked tells whether the agent reports over a link.
func (c *config) linked() bool { return c.tracers == nil && c.meters == nil }

// providers hands an agent's ring to the application's own OpenTelemetry
// providers, from a goroutine of its own: however long they take, the application
// does not wait.
type providers struct {
	agent   *Agent
	spans   *otelSpans   // nil: none are made
	metrics *otelMetrics // nil: none are made

	since   time.Time // when the oldest record began to wait, zero: none does
	scratch []record
	seen    occurrence
	open    map[wire.Role]int64 // open connections
}

func newProviders(a *Agent) (*providers, error) {
	p := &providers{agent: a, open: map[wire.Role]int64{}}
	if tp := a.cfg.tracers; tp != nil {
		p.spans = newOTelSpans(tp, a.cfg.logger)
	}
	a.rules.none = p.spans == nil
	if mp := a.cfg.meters; mp != nil {
		var err error
		if p.metrics, err = newOTelMetrics(mp); err != nil {
			return nil, fmt.Errorf("meter provider: %w", err)
		}
	}
	return p, nil
}

// run hands over batch after batch until Shutdown.
func (p *providers) run(context.Context) {
	a := p.agent
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !p.stopped() {
		after, due := p.due(time.Now())
		if due {
			p.handOver()
			continue
		}
		if p.drained() {
			p.leave()
			return
		}
		timer.Reset(after)
		select {
		case <-a.wake:
		case <-a.drain:
		case <-a.stop:
		case <-timer.C:
		}
	}
}

// stopped tells whether Shutdown does not wait any longer.
func (p *providers) stopped() bool {
	select {
	case <-p.agent.stop:
		return true
	default:
		return false
	}
}

// due tells whether a batch is to be handed over now, and else when to look again.
func (p *providers) due(now time.Time) (after time.Duration, due bool) {
	a := p.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ring.waits() && !a.ring.unreported() {
		p.since = time.Time{}
		return time.Hour, false
	}
	if p.since.IsZero() {
		p.since = now
	}
	after = p.since.Add(a.cfg.maxDelay).Sub(now)
	return after, a.closing || a.ring.urgent > 0 || a.full() || after <= 0
}

// drained tells whether Shutdown was called and all was handed over.
func (p *providers) drained() bool {
	a := p.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closing && !a.ring.waits() && !a.ring.unreported()
}

// handOver hands over a batch: its events are in the ring, and count as held, until
// the providers have taken them.
func (p *providers) handOver() {
	a := p.agent
	a.mu.Lock()
	n := a.ring.take(a.cfg.maxEvents, a.cfg.maxBytes)
	p.scratch = a.ring.copyTo(p.scratch[:0], 0, n)
	dropped := a.ring.report()
	for role, n := range a.roles {
		p.open[role] = n
	}
	if !a.ring.waits() {
		p.since = time.Time{} // else what is left is no younger, and follows at its time
	}
	a.mu.Unlock()

	if p.metrics != nil {
		p.metrics.lose(dropped)
		for role, n := range p.open {
			p.metrics.follow(role, n)
		}
	}
	observed := 0
	for i := range p.scratch {
		if p.stopped() {
			break
		}
		p.observe(&p.scratch[i])
		if observed++; observed == maxUntold {
			p.tell(observed)
			observed = 0
		}
	}
	p.tell(observed)
	clear(p.scratch) // lets go of connections
	p.seen = occurrence{}
}

// tell takes the events out of the ring that the providers have taken.
func (p *providers) tell(observed int) {
	a := p.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ring.acknowledge(min(observed, a.ring.numbered)) // Shutdown may have dropped them meanwhile
}

// leave takes the connections off the gauge that are still open: nobody would
// ever tell of their ends.
func (p *providers) leave() {
	if p.metrics == nil {
		return
	}
	for role := range p.open {
		p.metrics.follow(role, 0)
	}
}

// observe makes the span of an event, and measures it.
func (p *providers) observe(r *record) {
	ctx := context.Background()
	p.seen.see(r)
	if p.spans != nil {
		ctx = p.spans.make(&p.seen)
	}
	if p.metrics != nil {
		p.metrics.take(ctx, &p.seen)
	}
}
