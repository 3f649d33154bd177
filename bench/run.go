package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// run is one run of the program.
type run struct {
	binary string
	seed   uint64
	timing timing
	only   *regexp.Regexp // peers; nil: all

	profiles string // where profiles are kept; "": nowhere

	report report
	out    io.Writer
	began  time.Time

	data *payloads // see payloads
}

// payloads are made once: most modes send the same events.
func (r *run) payloads(ctx context.Context) (*payloads, error) {
	if r.data == nil {
		r.progress("making the events")
		data, err := newPayloads(ctx, newDataset(r.seed, usual, false))
		if err != nil {
			return nil, err
		}
		r.data = data
	}
	return r.data, nil
}

func (r *run) start(ctx context.Context, s *setup) (*collector, error) {
	if s.err != nil {
		return nil, s.err
	}
	return startCollector(ctx, r.binary, s)
}

// progress tells what is being done.
func (r *run) progress(what string) {
	_, _ = fmt.Fprintf(r.out, "%4.0f s  %s\n", time.Since(r.began).Seconds(), what)
}

// measure runs the modes that are named, in the order of modes.
func (r *run) measure(ctx context.Context, names string, args []string) error {
	if err := pinClients(); err != nil {
		return err
	}
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(modes(), func(m mode) bool { return m.name == name }) {
			return fmt.Errorf("-modes: there is no %q", name)
		}
	}
	if err := r.report.describe(ctx, r.binary, args); err != nil {
		return err
	}
	for _, m := range modes() {
		if !slices.Contains(wanted, m.name) {
			continue
		}
		r.progress("== " + m.name)
		if err := m.run(r, ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	r.report.Took = time.Since(r.began)
	return nil
}
