package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	slowSink     = 100 * time.Millisecond // for each call; calls do not wait for each other
	slowClients  = 64
	slowInterval = 50 * time.Millisecond // between two batches of a client: twice as fast as one after the other
	// slowCalls is how many calls of a client wait at a time: the consumers that the
	// queue of the collector's own exporters has by default.
	slowCalls = 10
)

// slowResult is what a receiver did with more than the pipeline took.
type slowResult struct {
	Peer    string  `json:"peer"`
	Offered int64   `json:"offered"` // batches that there were to send
	Held    int64   `json:"held"`    // of these, those that the client did not send: the window was used up, or too many calls waited
	Refused int64   `json:"refused"` // answers that said: not now
	Taken   int64   `json:"taken"`   // batches that were acknowledged
	Events  int     `json:"events"`  // a batch
	Idle    float64 `json:"idle"`    // resident bytes before
	Peak    float64 `json:"peak"`    // resident bytes at the most
	P50     float64 `json:"p50"`     // s to the acknowledgement
	P99     float64 `json:"p99"`
}

// tally counts what many clients see.
type tally struct {
	offered, held, refused, taken atomic.Int64

	mu        sync.Mutex
	latencies []float64
}

func (t *tally) took(began time.Time) {
	t.taken.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latencies = append(t.latencies, time.Since(began).Seconds())
}

// compareSlow offers more than a slow sink takes of one client, which sends on
// while it waits, as far as it may.
func (r *run) compareSlow(ctx context.Context) error {
	data, err := r.payloads(ctx)
	if err != nil {
		return err
	}
	s := newSetup()
	s.exporters["slow"] = settings{"delay": slowSink.String()}
	s.otlp("otlp")
	s.pipeline("traces/otlp", "otlp", nil, []string{"slow"})
	s.wsstats("wsstats", 1, "", "slow", nil)

	agents := func(sc *script) func(context.Context, int, *tally) error {
		return func(ctx context.Context, i int, t *tally) error {
			return floodAgent(ctx, s.addresses["wsstats"], sc, i, t)
		}
	}
	for _, one := range []struct {
		name  string
		flood func(ctx context.Context, i int, t *tally) error
	}{
		{nameGRPC, func(ctx context.Context, i int, t *tally) error {
			return floodGRPC(ctx, s.addresses["otlp/grpc"], data.otlp, i, t)
		}},
		{named(nameJSON, 1, layoutFlat), agents(data.json)},
		{named(nameColumns, 1, layoutFlat), agents(data.columns)},
	} {
		r.progress(one.name)
		result, err := r.flood(ctx, s, one.flood)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		result.Peer = one.name
		r.report.Slow = append(r.report.Slow, *result)
	}
	return nil
}

// flood lets all clients send, for the time of two windows.
func (r *run) flood(ctx context.Context, s *setup, client func(context.Context, int, *tally) error) (*slowResult, error) {
	col, err := r.start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer col.kill() // it would first finish what it has in hand, which takes minutes
	idle, err := col.resident(ctx)
	if err != nil {
		return nil, err
	}
	if err := resetPeak(col.cmd.Process.Pid); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*r.timing.window)
	defer cancel()
	var t tally
	var wg sync.WaitGroup
	errs := make([]error, slowClients)
	for i := range slowClients {
		wg.Go(func() { errs[i] = client(ctx, i, &t) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, col.logs.String())
	}
	m, err := memoryOf(col.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	return &slowResult{
		Offered: t.offered.Load(), Held: t.held.Load(), Refused: t.refused.Load(), Taken: t.taken.Load(), Events: usual.events,
		Idle: idle, Peak: float64(m.peak), P50: percentile(t.latencies, 0.5), P99: percentile(t.latencies, 0.99),
	}, nil
}

// floodGRPC calls at each tick, unless too many calls wait.
func floodGRPC(ctx context.Context, address string, bodies [][]byte, i int, t *tally) (err error) {
	c, err := dialGRPC(address, bodies, new(meter), i, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var wg sync.WaitGroup
	defer wg.Wait()
	calls := make(chan struct{}, slowCalls)
	for n := i; pause(ctx, slowInterval) == nil; n++ {
		t.offered.Add(1)
		select {
		case calls <- struct{}{}:
		default:
			t.held.Add(1)
			continue
		}
		wg.Go(func() {
			defer func() { <-calls }()
			began := time.Now()
			switch err := c.export(context.WithoutCancel(ctx), bodies[n%len(bodies)]); {
			case err == nil:
				t.took(began)
			case status.Code(errors.Unwrap(err)) == codes.Unavailable, status.Code(errors.Unwrap(err)) == codes.ResourceExhausted:
				t.refused.Add(1)
			}
		})
	}
	return nil
}

// flooding is an agent that sends without waiting, within its window.
type flooding struct {
	*agent
	mu     sync.Mutex
	window int64
	flying []flight // unanswered, in the order of their numbers
	bytes  int64    // of these
	again  time.Time
	tally  *tally
}

// flight is a batch under way.
type flight struct {
	seq   uint64
	size  int64
	began time.Time
}

func floodAgent(ctx context.Context, address string, sc *script, i int, t *tally) error {
	a, err := dialAgent(ctx, address, sc, fmt.Sprintf("flood-%d", i), new(meter), nil)
	if err != nil {
		return err
	}
	f := &flooding{agent: a, window: a.windowBytes, tally: t}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		f.listen()
	}()
	var failed error
	for pause(ctx, slowInterval) == nil && failed == nil {
		t.offered.Add(1)
		failed = f.offer()
	}
	f.mu.Lock()
	closed := a.close()
	f.mu.Unlock()
	<-heard // ends with the connection
	return errors.Join(failed, closed)
}

// offer sends the next batch if the window has room and no refusal is to be waited for.
func (f *flooding) offer() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := int64(len(f.script.payload(f.seq+1-f.base, f.shift).rest)) + 16
	if f.bytes+size > f.window || time.Now().Before(f.again) {
		f.tally.held.Add(1)
		return nil
	}
	if err := f.write(); err != nil {
		return err
	}
	f.flying = append(f.flying, flight{f.seq, size, time.Now()})
	f.bytes += size
	return nil
}

// listen handles what the receiver says until the connection ends.
func (f *flooding) listen() {
	for {
		reply, err := f.read()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.handle(&reply)
		f.mu.Unlock()
	}
}

func (f *flooding) handle(reply *wire.Reply) {
	answered := reply.Ack
	if reply.Nack != 0 {
		answered = reply.Nack - 1
	}
	for len(f.flying) > 0 && f.flying[0].seq <= answered {
		f.tally.took(f.flying[0].began)
		f.bytes -= f.flying[0].size
		f.flying = f.flying[1:]
	}
	if reply.Nack != 0 {
		// Go back to that number; what was defined behind it is not known.
		f.tally.refused.Add(1)
		f.flying, f.bytes = nil, 0
		f.seq, f.base = reply.Nack-1, reply.Nack-1
		f.again = time.Now().Add(time.Duration(reply.RetryAfterMs) * time.Millisecond)
	}
	if reply.Flow != nil && reply.Flow.WindowBytes != nil {
		f.window = *reply.Flow.WindowBytes
	}
}
