package wsstats

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Agent takes what the taps observe and delivers it to a receiver over one
// link, which it keeps up by itself, or to the application's own OpenTelemetry
// providers. All methods are safe for concurrent use.
type Agent struct {
	cfg *config

	mu      sync.Mutex // short: never held while waiting or encoding
	ring    ring
	meter   *meter              // nil: it does not aggregate
	conns   map[*conn]struct{}  // the open ones
	roles   map[wire.Role]int64 // how many of them are of each role
	closing bool                // Shutdown was called
	rules   spanRules           // of the receiver

	unsampled uint64 // messages left out
	sessions  uint64 // welcomed
	nacks     uint64 // retryable

	wake   chan struct{} // the ring has something new for the link
	drain  chan struct{} // closed: Shutdown was called
	stop   chan struct{} // closed: Shutdown does not wait any longer
	done   chan struct{} // closed: the link has ended
	cancel context.CancelFunc

	recording *recording // nil: none

	finished    chan struct{} // closed: Shutdown has ended
	shutdownErr error         // valid once finished
}

// Stats are an agent's own counts since it was made. At any time
// Observed = Acknowledged + the sum of Dropped + Held. A message that aggregates
// alone tell of goes where its aggregate goes.
type Stats struct {
	Observed     uint64            // events recorded, and aggregates made of them (WithAggregates)
	Unsampled    uint64            // of Observed: messages that aggregates alone tell of
	Acknowledged uint64            // taken by the receiver, those in Rejected too, or by the providers
	Rejected     uint64            // of Acknowledged: refused by the receiver one by one
	Held         uint64            // not sent, or not acknowledged
	Dropped      map[string]uint64 // lost, by reason: queue_full, oversize, refused, poison, shutdown

	Sessions uint64 // that the receiver welcomed: the first one, and reconnects
	Nacks    uint64 // batches that it refused for the moment: they are sent again

	Unrecorded uint64 // events that are missing in what WithRecorder wrote
}

// NewAgent starts an agent. It never waits for the network: a receiver that
// cannot be reached is tried again and again. An error is about an option.
func NewAgent(opts ...Option) (*Agent, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &Agent{
		cfg:      cfg,
		ring:     ring{maxBytes: cfg.queueBytes, outcome: cfg.outcome},
		conns:    map[*conn]struct{}{},
		roles:    map[wire.Role]int64{},
		wake:     make(chan struct{}, 1),
		drain:    make(chan struct{}),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		cancel:   cancel,
		finished: make(chan struct{}),
	}
	if cfg.aggregates > 0 {
		a.meter = newMeter(cfg.aggregates, cfg.queueBytes/4, &a.rules)
		a.ring.meter = a.meter
	}
	deliver := newLink(a).run
	if !cfg.linked() {
		p, err := newProviders(a)
		if err != nil {
			cancel()
			return nil, err
		}
		deliver = p.run
	}
	go func() {
		defer close(a.done)
		deliver(ctx)
	}()
	if cfg.recorder != nil {
		a.recording = newRecording(cfg.recorder, cfg.logger, cfg.resource)
		go a.recording.run(a.drain)
	}
	return a, nil
}

// open notes a connection that is to be observed until its close is recorded.
func (a *Agent) open(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closing && !c.closed.Load() {
		a.conns[c] = struct{}{}
		a.roles[c.role]++
	}
}

// record puts an event into the queue, or drops it. It waits for nothing but a
// short lock.
func (a *Agent) record(r record) {
	a.mu.Lock()
	if r.kind == wire.KindClose && r.conn != nil {
		r.conn.closed.Store(true)
		if _, open := a.conns[r.conn]; open {
			delete(a.conns, r.conn)
			a.roles[r.conn.role]--
		}
	}
	if a.closing {
		a.ring.observed++
		a.ring.lose(&r, reasonShutdown)
		a.mu.Unlock()
		return
	}
	if a.recording != nil {
		a.recording.take(&r)
	}
	waited, full := a.waits(), a.full()
	if a.meter != nil && a.meter.take(&r) {
		a.ring.observed++
		a.unsampled++
	} else {
		a.ring.push(&r)
	}
	wake := !waited && a.waits() || !full && a.full()
	a.mu.Unlock()
	if wake {
		a.notify()
	}
}

// waits tells whether there is anything that no number stands for.
func (a *Agent) waits() bool { return a.ring.waits() || a.meter.waits() }

// seal puts what is measured into the queue, as far as there is room, and tells
// whether that was all.
func (a *Agent) seal() bool {
	return !a.meter.waits() || a.meter.seal(&a.ring, time.Now().UnixNano())
}

// full tells whether a whole batch waits.
func (a *Agent) full() bool {
	return a.ring.n-a.ring.numbered >= a.cfg.maxEvents || a.ring.waiting >= a.cfg.maxBytes
}

func (a *Agent) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// spanRules are what the receiver said last of the spans that it makes.
func (a *Agent) spanRules() spanRules {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rules
}

// isOwn tells whether a URL is the receiver's, so that an observed dialer or
// transport leaves alone what goes there.
func (a *Agent) isOwn(u *url.URL) bool {
	return u.Host == a.cfg.url.Host && u.Path == a.cfg.url.Path
}

// wants tells whether all filters let a request pass.
func (a *Agent) wants(r *http.Request) bool {
	for _, filter := range a.cfg.filters {
		if !filter(r) {
			return false
		}
	}
	return true
}

// Flush sends what waits at once, and returns when all that was recorded
// before is acknowledged or dropped. The error is the context's.
func (a *Agent) Flush(ctx context.Context) error {
	for {
		a.mu.Lock()
		all := a.seal()
		f := a.ring.flush()
		a.mu.Unlock()
		a.notify()
		if err := a.await(ctx, f); all || err != nil {
			return err
		}
	}
}

// await waits for a flush.
func (a *Agent) await(ctx context.Context, f *flush) error {
	select {
	case <-f.done:
		return nil
	default:
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		a.mu.Lock()
		a.ring.forget(f)
		a.mu.Unlock()
		return ctx.Err()
	}
}

// Shutdown delivers what is held, closes the link and stops the agent; from
// its call on, nothing more is recorded. When the context ends (or 5 s where it
// has no deadline), what is left is dropped, and the error is the context's.
// Later calls wait for the first one and return the same.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	first := !a.closing
	a.closing = true
	a.mu.Unlock()
	if first {
		a.shutdown(ctx)
	}
	select {
	case <-a.finished:
		return a.shutdownErr
	default:
	}
	select {
	case <-a.finished:
		return a.shutdownErr
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Agent) shutdown(ctx context.Context) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.cfg.timing.shutdown)
		defer cancel()
	}
	close(a.drain)
	a.notify()
	select {
	case <-a.done:
	case <-ctx.Done():
		// A link that is free to answer says goodbye; one that hangs is cut.
		close(a.stop)
		select {
		case <-a.done:
		case <-time.After(a.cfg.timing.closing / 4):
		}
	}
	a.cancel()
	if a.cfg.linked() { // a span processor that hangs cannot be cut
		<-a.done
	}
	recorded := a.recording == nil || a.recording.ended(ctx, a.cfg.timing.closing/4)

	a.mu.Lock()
	defer a.mu.Unlock()
	lost := a.ring.discard() || !recorded
	if a.meter.waits() {
		lost = true
		a.ring.dropped[reasonShutdown] += a.meter.discard()
	}
	if lost {
		a.shutdownErr = ctx.Err()
	}
	clear(a.conns)
	close(a.finished)
}

// Stats returns the agent's own counts.
func (a *Agent) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Stats{
		Observed:     a.ring.observed,
		Acknowledged: a.ring.acknowledged,
		Rejected:     a.ring.rejected,
		Held:         uint64(a.ring.n) + a.ring.left,
		Unsampled:    a.unsampled,
		Dropped:      map[string]uint64{},
		Sessions:     a.sessions,
		Nacks:        a.nacks,
	}
	if a.recording != nil {
		s.Unrecorded = a.recording.unrecorded()
	}
	if a.meter != nil {
		s.Held += a.meter.left
	}
	for why, count := range a.ring.dropped {
		if count > 0 {
			s.Dropped[reasonNames[why]] = count
		}
	}
	return s
}
