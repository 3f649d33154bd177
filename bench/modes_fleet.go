package main

import (
	"context"
	"errors"
	"time"
)

const (
	fleetAgents   = 2000
	fleetInterval = time.Second
	crowdWindows  = 3 // at most: it is the numbers of agents that take time
)

// fleetBatch is what a small agent has to say in a second.
var fleetBatch = shape{batches: 16, events: 20, connections: 20}

// crowdResult is what a number of agents cost.
type crowdResult struct {
	result
	Agents      int     `json:"agents"`
	Connections int     `json:"connections,omitempty"` // observed, of all agents
	Idle        float64 `json:"idle"`                  // resident bytes without them, all garbage collected
	Resident    float64 `json:"resident"`              // resident bytes with them, all garbage collected
}

// perAgent is what an agent adds to the memory, in bytes.
func (r *crowdResult) perAgent() float64 { return (r.Resident - r.Idle) / float64(r.Agents) }

// compareFleet loads a collector by many small agents, a peer at a time.
func (r *run) compareFleet(ctx context.Context) error {
	r.progress("making the events of small agents")
	data, err := newPayloads(ctx, newDataset(r.seed, fleetBatch, false))
	if err != nil {
		return err
	}
	s := newSetup()
	s.otlp("otlp")
	s.pipeline("traces/otlp", "otlp", nil, []string{"nop"})
	s.wsstats("wsstats/all", 1, "", "nop", nil)
	s.wsstats("wsstats/one", 0.01, "", "nop", nil)
	base := peer{name: nameGRPC, baseline: true, events: fleetBatch.events}
	for _, p := range []peer{
		newGRPCPeer(base, s.addresses["otlp/grpc"], data.otlp, false),
		wsstatsPeer(s, "wsstats/all", named(nameJSON, 1, layoutFlat), data.json),
		wsstatsPeer(s, "wsstats/all", named(nameColumns, 1, layoutFlat), data.columns),
		wsstatsPeer(s, "wsstats/one", named(nameJSON, 0.01, layoutFlat), data.json),
		wsstatsPeer(s, "wsstats/one", named(nameColumns, 0.01, layoutFlat), data.columns),
	} {
		r.progress(p.name)
		one, err := r.crowd(ctx, s, &p, fleetAgents, func(c *crowd) sender {
			return func(ctx context.Context, taken func(sending)) error { return c.pace(ctx, fleetInterval, taken) }
		})
		if err != nil {
			return err
		}
		r.report.Fleet = append(r.report.Fleet, *one)
	}
	return nil
}

// sender sends until its context ends, and tells what was taken.
type sender = func(ctx context.Context, taken func(sending)) error

// crowd measures a number of clients of a peer against a collector of their own.
func (r *run) crowd(ctx context.Context, s *setup, p *peer, agents int, send func(*crowd) sender) (_ *crowdResult, err error) {
	col, err := r.start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, col.stop()) }()
	idle, err := col.resident(ctx)
	if err != nil {
		return nil, err
	}
	if err := resetPeak(col.cmd.Process.Pid); err != nil {
		return nil, err
	}
	c, err := gather(ctx, p, agents)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t := r.timing
	t.rounds = min(t.rounds, crowdWindows)
	windows, err := c.load(ctx, col, t, send(c))
	if err != nil {
		return nil, err
	}
	resident, err := col.resident(ctx)
	if err != nil {
		return nil, err
	}
	return &crowdResult{result: resultOf(p, windows), Agents: agents, Idle: idle, Resident: resident}, nil
}
