package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// connecting is how many clients connect at a time.
const connecting = 16

// crowd is many clients of one peer.
type crowd struct {
	peer    *peer
	meter   meter
	clients []client
}

// gather connects clients.
func gather(ctx context.Context, p *peer, n int) (*crowd, error) {
	c := &crowd{peer: p, clients: make([]client, n)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for worker := range connecting {
		wg.Go(func() {
			for i := worker; i < n; i += connecting {
				member, err := p.dial(ctx, &c.meter, i)
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				c.clients[i] = member
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", p.name, failed), c.close())
	}
	return c, nil
}

func (c *crowd) close() error {
	var errs []error
	for _, member := range c.clients {
		if member != nil {
			errs = append(errs, member.close())
		}
	}
	return errors.Join(errs...)
}

// pace lets every client send once an interval, at moments that are spread over
// it, until the context ends.
func (c *crowd) pace(ctx context.Context, interval time.Duration, taken func(sending)) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	begin := time.Now()
	for i, member := range c.clients {
		wg.Go(func() {
			for n := range 1 << 30 {
				due := begin.Add(interval*time.Duration(i)/time.Duration(len(c.clients)) + time.Duration(n)*interval)
				if pause(ctx, time.Until(due)) != nil {
					return
				}
				// From when it was due: what waits behind a slow one has waited, too.
				err := member.send(context.WithoutCancel(ctx))
				mu.Lock()
				if err != nil {
					failed = fmt.Errorf("%s: %w", c.peer.name, err)
				}
				taken(sending{due, time.Now()})
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// inTurn sends from a few clients at a time, each in its turn, as fast as the
// collector takes it, until the context ends.
func (c *crowd) inTurn(ctx context.Context, taken func(sending)) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	workers := min(clients, len(c.clients))
	for worker := range workers {
		wg.Go(func() {
			for i := worker; ctx.Err() == nil; i += workers {
				if i >= len(c.clients) {
					i = worker
				}
				began := time.Now()
				err := c.clients[i].send(context.WithoutCancel(ctx))
				mu.Lock()
				if err != nil {
					failed = fmt.Errorf("%s: %w", c.peer.name, err)
				}
				taken(sending{began, time.Now()})
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// load measures windows of a crowd, after settling.
func (c *crowd) load(ctx context.Context, col *collector, t timing, send func(ctx context.Context, taken func(sending)) error) ([]*window, error) {
	sendings, stop := context.WithCancel(ctx)
	defer stop()
	var all []sending // of send's, until it has returned
	done := make(chan error, 1)
	go func() { done <- send(sendings, func(s sending) { all = append(all, s) }) }()
	l := &loop{peer: c.peer, meter: &c.meter}
	var windows []*window
	var errs []error
	for n := range t.rounds {
		settle := time.Duration(0)
		if n == 0 {
			settle = t.warm
		}
		w, err := l.measure(ctx, col, settle, t.window)
		if err != nil {
			errs = append(errs, err)
			break
		}
		windows = append(windows, w)
	}
	stop()
	errs = append(errs, <-done)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, col.logs.String())
	}
	l.taken = [][]sending{all}
	for _, w := range windows {
		if err := l.count(w); err != nil {
			return nil, err
		}
	}
	return windows, nil
}
