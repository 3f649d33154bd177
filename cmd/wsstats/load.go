package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// waves is how many times a storm breaks everything.
const waves = 5

// load is a run of gen with agents.
type load struct {
	o          *genOptions
	workers    []*worker
	relay      *relay // nil: none
	latencies  histogram
	complaints *complaints
	start      time.Time
	making     time.Duration // how long events were made
}

func runLoad(ctx context.Context, o *genOptions, out io.Writer, p *progress) error {
	l := &load{o: o, complaints: newComplaints()}
	defer l.shutdown() // a second time does nothing
	if err := l.prepare(); err != nil {
		return err
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(done)
	wg.Go(func() { p.run(done, l.line) })

	l.run(ctx)
	l.shutdown()
	p.end()
	s := l.summary()
	s.print(out)
	if o.ledger != "" {
		if err := l.writeLedger(); err != nil {
			return err
		}
	}
	if len(s.faults) > 0 {
		return errFailed
	}
	return nil
}

// prepare makes the agents. They connect by themselves.
func (l *load) prepare() error {
	endpoint := *l.o.url
	var tlsConfig *tls.Config
	if l.o.scenario.storms {
		r, err := newRelay(l.o.url)
		if err != nil {
			return err
		}
		l.relay = r
		tlsConfig = &tls.Config{ServerName: endpoint.Hostname(), MinVersion: tls.VersionTLS12}
		endpoint.Host = r.address()
	}
	for i := range l.o.agents {
		b := newBook(&l.latencies)
		options := []wsstats.Option{
			wsstats.WithEndpoint(endpoint.String()),
			wsstats.WithServiceName(l.o.service),
			wsstats.WithResource(map[string]string{"service.instance.id": instance(i)}),
			wsstats.WithBatch(512, 256<<10, l.o.batchDelay),
			wsstats.WithMaxQueueBytes(l.o.queueBytes),
			wsstats.WithLogger(slog.New(l.complaints)),
			wsstats.WithOutcome(b.note),
			wsstats.WithToken(l.o.token),
			wsstats.WithEncoding(wsstats.Encoding(l.o.encoding)),
		}
		if tlsConfig != nil {
			options = append(options, wsstats.WithTLSConfig(tlsConfig))
		}
		agent, err := wsstats.NewAgent(options...)
		if err != nil {
			return usage("gen: %w", err)
		}
		w := newWorker(i, share(l.o.connections, l.o.agents, i), l.o.seed, agent, b)
		w.ids, w.threshold = l.o.ledger != "", l.o.threshold()
		l.workers = append(l.workers, w)
	}
	return nil
}

// run makes events until the time is over or the context ends.
func (l *load) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var storms, wg sync.WaitGroup
	l.start = time.Now()
	if l.relay != nil {
		storms.Go(func() { l.storm(ctx) })
	}
	for _, w := range l.workers {
		wg.Go(func() { w.run(ctx, &l.o.scenario, l.o.rate/float64(l.o.agents), l.o.duration) })
	}
	wg.Wait()
	l.making = time.Since(l.start)
	cancel()
	storms.Wait()
}

// storm breaks everything, at even times within the run.
func (l *load) storm(ctx context.Context) {
	ticker := time.NewTicker(l.o.duration / (waves + 1))
	defer ticker.Stop()
	for range waves {
		select {
		case <-ticker.C:
			l.relay.cut()
			for _, w := range l.workers {
				w.waves.Add(1)
			}
		case <-ctx.Done():
			return
		}
	}
}

// shutdown waits until everything is acknowledged, for the time of --drain at
// most, and stops the agents.
func (l *load) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), l.o.drain)
	defer cancel()
	var wg sync.WaitGroup
	for _, w := range l.workers {
		wg.Go(func() { _ = w.agent.Shutdown(ctx) }) // what it left is counted as dropped
	}
	wg.Wait()
	if l.relay != nil {
		l.relay.close()
	}
}

func (l *load) writeLedger() error {
	file := ledger{Scenario: l.o.scenario.name, Seed: l.o.seed, Service: l.o.service}
	for _, w := range l.workers {
		file.Agents = append(file.Agents, w.book.ledger(w.index, w.sent.Load()))
	}
	var errs []error
	for i := range file.Agents {
		if err := file.Agents[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("ledger: %w", err))
		}
	}
	return errors.Join(append(errs, file.write(l.o.ledger))...)
}
