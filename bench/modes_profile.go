package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/pprof/profile"
)

// part is a part of the receiver's work: what is called by these functions, unless
// they call another part.
type part struct {
	name      string
	functions []string // how their names end
}

// parts are looked for from the inside out.
var parts = []part{
	{"garbage", []string{
		"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.gcStart", "runtime.bgsweep", "runtime.bgscavenge",
		"runtime.wbBufFlush", "runtime.gcWriteBarrier", "runtime.deductSweepCredit",
	}},
	{"allocation", []string{"runtime.mallocgc"}},
	{"reading", []string{"wsstatsreceiver.(*session).read"}},
	{"decoding", []string{"wire.(*Decoder).DecodeProto", "wire.(*Decoder).DecodeJSON"}},
	{"rows", []string{"observed.(*Table).Resolve"}},
	{"spans", []string{"wsstatsreceiver.(*translator).traces"}},
	{"metrics", []string{"aggregate.(*Aggregator).Take"}},
	{"acks", []string{"wsstatsreceiver.(*writer).write"}},
}

// profiled is where the time of the collector went while a peer sent to it.
type profiled struct {
	Peer   string             `json:"peer"`
	CPU    float64            `json:"cpu"`    // ns an event
	Shares map[string]float64 `json:"shares"` // by the name of the part
}

// profileAll profiles what columns and JSON cost, with all spans and with few.
func (r *run) profileAll(ctx context.Context) (err error) {
	data, err := r.payloads(ctx)
	if err != nil {
		return err
	}
	s := newSetup()
	var peers []peer
	for _, variant := range []struct {
		ratio  float64
		layout string
	}{{0.01, layoutFlat}, {1, layoutFlat}, {1, layoutScope}} {
		receiver := fmt.Sprintf("wsstats/%s_%g", variant.layout, variant.ratio)
		s.wsstats(receiver, variant.ratio, variant.layout, "nop", nil)
		peers = append(
			peers,
			wsstatsPeer(s, receiver, named(nameColumns, variant.ratio, variant.layout), data.columns),
			wsstatsPeer(s, receiver, named(nameJSON, variant.ratio, variant.layout), data.json),
		)
	}
	c, err := r.start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	for _, p := range r.chosen(peers) {
		r.progress("profile of " + p.name)
		one, err := r.profileOne(ctx, c, &p)
		if err != nil {
			return err
		}
		r.report.Profiles = append(r.report.Profiles, *one)
	}
	return nil
}

func (r *run) profileOne(ctx context.Context, c *collector, p *peer) (*profiled, error) {
	l, err := startLoop(ctx, p)
	if err != nil {
		return nil, err
	}
	data, w, err := l.profile(ctx, c, r.timing)
	if err := errors.Join(err, l.close()); err != nil {
		return nil, err
	}
	if err := l.count(w); err != nil {
		return nil, err
	}
	if r.profiles != "" {
		name := strings.NewReplacer(" ", "-", ",", "", "%", "percent").Replace(p.name) + ".pprof"
		if err := os.WriteFile(filepath.Join(r.profiles, name), data, 0o600); err != nil {
			return nil, fmt.Errorf("writing a profile: %w", err)
		}
	}
	parsed, err := profile.ParseData(data)
	if err != nil {
		return nil, fmt.Errorf("reading a profile: %w", err)
	}
	return &profiled{Peer: p.name, CPU: float64(w.cpu) / w.events, Shares: shares(parsed)}, nil
}

// profile profiles the collector for one window under the loop's load.
func (l *loop) profile(ctx context.Context, c *collector, t timing) ([]byte, *window, error) {
	if err := pause(ctx, t.warm); err != nil {
		return nil, nil, err
	}
	from, err := l.edge(c)
	if err != nil {
		return nil, nil, err
	}
	data, err := c.profile(ctx, t.window)
	if err != nil {
		return nil, nil, err
	}
	to, err := l.edge(c)
	return data, &window{cpu: to.cpu - from.cpu, begin: from.at, end: to.at}, err
}

// shares are the parts' shares of a CPU profile.
func shares(p *profile.Profile) map[string]float64 {
	total, of := 0.0, make(map[string]float64)
	for _, sample := range p.Sample {
		cpu := float64(sample.Value[len(sample.Value)-1])
		total += cpu
		if name := partOf(sample); name != "" {
			of[name] += cpu
		}
	}
	for name := range of {
		of[name] /= total
	}
	return of
}

// partOf is the innermost part that a sample was taken in, "" where it was in none.
func partOf(sample *profile.Sample) string {
	for _, location := range sample.Location {
		for _, line := range location.Line {
			for _, p := range parts {
				for _, function := range p.functions {
					if strings.HasSuffix(line.Function.Name, function) {
						return p.name
					}
				}
			}
		}
	}
	return ""
}
