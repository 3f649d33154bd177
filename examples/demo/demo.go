package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"
)

// The services of the chat, server first.
var services = []string{"chat-server", "chat-client"}

// demo is the processes at work and what is shown of them.
type demo struct {
	out *screen
	at  *addresses
	dir string

	collector, server, crowd *process
	up                       time.Time
	traces                   tail
}

// start starts the collector, the chat server and its crowd, each when the one before is ready.
func (d *demo) start(ctx context.Context, collector, chat string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()

	began := time.Now()
	if d.collector, err = startCollector(collector, d.dir, d.at); err != nil {
		return err
	}
	if err := awaitHealthy(ctx, d.collector, d.at.health.value); err != nil {
		return err
	}
	endpoint := "ws://" + d.at.endpoint.value + "/v1/wsstats"
	d.server, err = startProcess("chat server", filepath.Join(d.dir, "chat-server.log"), nil,
		chat, "serve", "--listen", d.at.chat.value, "--collector", endpoint)
	if err != nil {
		return err
	}
	if err := awaitListening(ctx, d.server, d.at.chat.value); err != nil {
		return err
	}
	d.crowd, err = startProcess("chat crowd", filepath.Join(d.dir, "chat-crowd.log"), nil,
		chat, "crowd", "--server", "ws://"+d.at.chat.value+"/chat", "--collector", endpoint)
	if err != nil {
		return err
	}
	d.up = time.Now()
	d.out.line("The collector, a chat server and its clients are up after %s.", short(d.up.Sub(began)))
	d.out.line("What follows is read from what the collector wrote, and from nowhere else.")
	return nil
}

// tell waits until the collector has written the whole story, or for the
// deadline, and shows it. It returns what is missing.
func (d *demo) tell(ctx context.Context, deadline time.Duration) (missing []string, err error) {
	var (
		found   assembler
		told    story
		metrics families
		end     = time.After(deadline)
		poll    = time.NewTicker(pollEvery)
	)
	defer poll.Stop()
	for waiting := true; waiting; {
		if err := d.traces.lines(found.addLine); err != nil {
			return nil, err
		}
		told = found.story()
		missing = told.missing()
		// A scrape may fail while the exporter has nothing yet: the table is then missing.
		if scraped, err := scrape(ctx, d.metricsURL()); err == nil {
			metrics = scraped
		}
		for _, service := range services {
			if !metrics.of(service).complete() {
				missing = append(missing, "the metrics of "+service)
			}
		}
		if len(missing) == 0 {
			break
		}
		select {
		case <-poll.C:
		case <-end:
			waiting = false
		case <-ctx.Done():
			return missing, ctx.Err()
		case <-d.collector.done:
			return missing, d.ended(d.collector)
		case <-d.server.done:
			return missing, d.ended(d.server)
		case <-d.crowd.done:
			return missing, d.ended(d.crowd)
		}
	}

	d.out.story(&told)
	d.out.table(metrics, services...)
	for _, part := range missing {
		d.out.line("%s", d.out.red("   not read: "+part))
	}
	d.out.line("   %s", d.out.dim("read "+short(time.Since(d.up))+" after all were up"))
	d.out.more(d.dir, d.at)
	return missing, nil
}

// watch shows a line on how things stand, again and again, and each span that
// is not of the chat, until ctx ends.
func (d *demo) watch(ctx context.Context) error {
	d.out.line("\n%s", d.out.bold("The clients keep coming and going. Ctrl-C ends."))
	tick, poll := time.NewTicker(refreshEvery), time.NewTicker(pollEvery)
	defer tick.Stop()
	defer poll.Stop()
	d.refresh(ctx)
	for {
		select {
		case <-tick.C:
			d.refresh(ctx)
		case <-poll.C:
			if err := d.welcome(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-d.collector.done:
			return d.ended(d.collector)
		case <-d.server.done:
			return d.ended(d.server)
		case <-d.crowd.done:
			return d.ended(d.crowd)
		}
	}
}

func (d *demo) refresh(ctx context.Context) {
	if metrics, err := scrape(ctx, d.metricsURL()); err == nil {
		d.out.refresh(summary(time.Now(), services[0], metrics.of(services[0])))
	}
}

// maxGuests bounds the spans that are shown at once.
const maxGuests = 10

// welcome shows the new spans that are not of the chat: somebody takes part.
func (d *demo) welcome() error {
	shown := 0
	return d.traces.lines(func(line []byte) error {
		spans, err := readSpans(line)
		if err != nil {
			return err
		}
		for _, s := range spans {
			if shown < maxGuests && !slices.Contains(services, s.service) {
				d.out.guest(s)
				shown++
			}
		}
		return nil
	})
}

// drain ends the crowd, then the server (each flushes its agent), then the
// collector (it flushes its exporters), and says what each drained.
func (d *demo) drain(hurry <-chan struct{}) error {
	var errs []error
	for _, p := range []*process{d.crowd, d.server, d.collector} {
		if p == nil {
			continue
		}
		if err := p.stop(stopTimeout, hurry); err != nil {
			errs = append(errs, err)
			continue
		}
		if p == d.collector {
			d.out.line("collector    drained; what it wrote is in %s", d.dir)
		} else {
			d.out.line("%-12s drained%s", p.name, drained(p.lastLines(1)))
		}
	}
	return errors.Join(errs...)
}

// drained reads the last line of a chat process: what it did, and its agent.
func drained(lastLine []byte) string {
	_, did, _ := bytes.Cut(lastLine, []byte(": "))
	if !bytes.Contains(did, []byte("; agent: ")) {
		return ""
	}
	return ": " + string(did)
}

// ended is the error of a process that was to run on.
func (d *demo) ended(p *process) error {
	if err := p.failure(); err != nil {
		return err
	}
	return errors.New(p.name + " ended by itself\n" + string(p.lastLines(8)))
}

func (d *demo) metricsURL() string { return "http://" + d.at.prometheus.value + "/metrics" }
