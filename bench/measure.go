package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// timing is how long things are measured.
type timing struct {
	warm   time.Duration // before the first window of a peer
	settle time.Duration // before each later one
	window time.Duration
	rounds int // windows of a peer, in an order that changes
}

// clients is how many connections a closed loop has, each with one batch under way.
const clients = 4

// window is one measurement of a peer.
type window struct {
	events    float64
	cpu       time.Duration // of the collector
	sent      int64         // bytes on the sockets, by the clients
	received  int64
	latencies []float64 // from sending to the acknowledgement, in seconds
	allocated float64   // bytes, by the collector
	peak      int64     // resident bytes of the collector

	begin, end time.Time
}

// sending is one batch that was taken.
type sending struct{ began, ended time.Time }

// loop keeps the clients of a peer busy.
type loop struct {
	peer   *peer
	meter  *meter
	conns  []client
	stop   chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex
	taken  [][]sending // by client, complete when the loop has stopped
	failed error       // the first one
}

// startLoop connects and begins to send.
func startLoop(ctx context.Context, p *peer) (*loop, error) {
	l := &loop{peer: p, meter: new(meter), stop: make(chan struct{}), taken: make([][]sending, clients)}
	for i := range clients {
		c, err := p.dial(ctx, l.meter, i)
		if err != nil {
			_ = l.close()
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		l.conns = append(l.conns, c)
	}
	for i, c := range l.conns {
		l.wg.Go(func() {
			for ctx.Err() == nil && l.running() {
				began := time.Now()
				if err := c.send(ctx); err != nil {
					l.fail(fmt.Errorf("%s: %w", p.name, err))
					return
				}
				l.taken[i] = append(l.taken[i], sending{began, time.Now()})
			}
		})
	}
	return l, nil
}

func (l *loop) running() bool {
	select {
	case <-l.stop:
		return false
	default:
		return true
	}
}

func (l *loop) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

// close stops sending and disconnects.
func (l *loop) close() error {
	close(l.stop)
	l.wg.Wait()
	for _, c := range l.conns {
		l.mu.Lock()
		l.failed = errors.Join(l.failed, c.close())
		l.mu.Unlock()
	}
	return l.failed
}

// measure loads the collector with one peer and measures one window.
func measure(ctx context.Context, c *collector, p *peer, settle, length time.Duration) (_ *window, err error) {
	if err := c.collectGarbage(ctx); err != nil {
		return nil, err
	}
	if err := resetPeak(c.cmd.Process.Pid); err != nil {
		return nil, err
	}
	before, err := c.telemetry(ctx)
	if err != nil {
		return nil, err
	}
	l, err := startLoop(ctx, p)
	if err != nil {
		return nil, err
	}
	w, err := l.measure(ctx, c, settle, length)
	if err := errors.Join(err, l.close()); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.logs.String())
	}
	if err := l.count(w); err != nil {
		return nil, err
	}
	return w, l.account(ctx, c, before)
}

// account compares what was sent and acknowledged with what the receiver says
// that it took: nobody is fast by leaving out work.
func (l *loop) account(ctx context.Context, c *collector, before telemetry) error {
	batches := len(l.conns) * l.peer.first
	for _, taken := range l.taken {
		batches += len(taken)
	}
	want, got := float64(batches*l.peer.events), 0.0
	for range 50 { // counters may come after acknowledgements
		after, err := c.telemetry(ctx)
		if err != nil {
			return err
		}
		counter := l.peer.counter
		got = after.sum(counter.metric, counter.labels...) - before.sum(counter.metric, counter.labels...)
		if got == want {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %.0f events were acknowledged, and the receiver says that it took %.0f", l.peer.name, want, got)
}

// edge is where a window begins or ends.
type edge struct {
	at             time.Time
	cpu            time.Duration
	sent, received int64
}

func (l *loop) edge(c *collector) (edge, error) {
	cpu, err := cpuTime(c.cmd.Process.Pid)
	return edge{time.Now(), cpu, l.meter.sent.Load(), l.meter.received.Load()}, err
}

func (l *loop) measure(ctx context.Context, c *collector, settle, length time.Duration) (*window, error) {
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	// Asking the collector costs it time, and is therefore outside of the window.
	before, err := c.telemetry(ctx)
	if err != nil {
		return nil, err
	}
	from, err := l.edge(c)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, length); err != nil {
		return nil, err
	}
	to, err := l.edge(c)
	if err != nil {
		return nil, err
	}
	after, err := c.telemetry(ctx)
	if err != nil {
		return nil, err
	}
	m, err := memoryOf(c.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	const allocated = "otelcol_process_runtime_total_alloc_bytes"
	return &window{
		cpu:  to.cpu - from.cpu,
		sent: to.sent - from.sent, received: to.received - from.received,
		allocated: after.sum(allocated) - before.sum(allocated), peak: m.peak,
		begin: from.at, end: to.at,
	}, nil
}

// count adds what was taken within the window.
func (l *loop) count(w *window) error {
	for _, taken := range l.taken {
		for _, s := range taken {
			if s.ended.After(w.begin) && !s.ended.After(w.end) {
				w.events += float64(l.peer.events)
				w.latencies = append(w.latencies, s.ended.Sub(s.began).Seconds())
			}
		}
	}
	if w.events == 0 {
		return fmt.Errorf("%s: nothing was taken within %v", l.peer.name, w.end.Sub(w.begin))
	}
	return nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// compare measures all peers in rounds. Each round has its own order, so that what
// changes with time, such as the machine's other work, is nobody's advantage.
func compare(ctx context.Context, c *collector, peers []peer, t timing, rng *rand.Rand, progress func(string)) ([]result, error) {
	windows := make([][]*window, len(peers))
	for round := range t.rounds {
		for _, i := range rng.Perm(len(peers)) {
			settle := t.settle
			if round == 0 {
				settle = t.warm
			}
			progress(fmt.Sprintf("round %d of %d: %s", round+1, t.rounds, peers[i].name))
			w, err := measure(ctx, c, &peers[i], settle, t.window)
			if err != nil {
				return nil, err
			}
			windows[i] = append(windows[i], w)
		}
	}
	results := make([]result, len(peers))
	for i := range peers {
		results[i] = resultOf(&peers[i], windows[i])
	}
	return results, nil
}
