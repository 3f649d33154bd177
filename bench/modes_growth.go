package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

const (
	idlePlain = 5000
	idleTLS   = 2000
)

// measureGrowth measures the receiver with more and more agents, and with more
// and more connections that they observe. The load is the same: as many events as
// the core takes, 1 % of them spans.
func (r *run) measureGrowth(ctx context.Context) error {
	for _, step := range []struct {
		agents, connections int // connections an agent
		batches             int // that name all connections of an agent
		results             *[]crowdResult
	}{
		{1, 16, 4, &r.report.GrowthAgents},
		{10, 16, 4, &r.report.GrowthAgents},
		{100, 16, 4, &r.report.GrowthAgents},
		{1000, 16, 4, &r.report.GrowthAgents},
		{5000, 16, 4, &r.report.GrowthAgents},
		// More agents, then more connections each: a session has only so many handles.
		{16, 64, 80, &r.report.GrowthConnections},
		{160, 64, 80, &r.report.GrowthConnections},
		{200, 500, 80, &r.report.GrowthConnections},
		{200, 5000, 80, &r.report.GrowthConnections},
	} {
		r.progress(fmt.Sprintf("%d agents, %d connections", step.agents, step.agents*step.connections))
		one, err := r.grow(ctx, step.agents, step.connections, step.batches)
		if err != nil {
			return err
		}
		*step.results = append(*step.results, *one)
	}
	return r.measureIdle(ctx)
}

func (r *run) grow(ctx context.Context, agents, connections, batches int) (*crowdResult, error) {
	const perBatch = 64
	d := newDataset(r.seed, shape{
		batches: batches, events: usual.events, connections: connections, perBatch: min(perBatch, connections),
	}, true)
	sc, err := newScript(d, formColumns)
	if err != nil {
		return nil, err
	}
	s := newSetup()
	s.wsstats("wsstats", 0.01, "", "nop", nil)
	p := wsstatsPeer(s, "wsstats", named(nameDerivedIDs, 0.01, layoutFlat), sc)
	one, err := r.crowd(ctx, s, &p, agents, func(c *crowd) sender { return c.inTurn })
	if err != nil {
		return nil, err
	}
	one.Connections = agents * connections
	return one, nil
}

// measureIdle measures the memory of agents that said hello and nothing else.
func (r *run) measureIdle(ctx context.Context) error {
	certificate, pool, err := selfSigned()
	if err != nil {
		return err
	}
	defer certificate.remove()
	sc, err := newScript(newDataset(r.seed, shape{}, true), formColumns)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name   string
		agents int
		client *tls.Config
		server settings
		into   **crowdResult
	}{
		{"plain", idlePlain, nil, nil, &r.report.IdlePlain},
		{"TLS", idleTLS, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, settings{"tls": settings{
			"cert_file": certificate.certFile, "key_file": certificate.keyFile,
		}}, &r.report.IdleTLS},
	} {
		r.progress(fmt.Sprintf("%d idle agents, %s", kind.agents, kind.name))
		s := newSetup()
		s.wsstats("wsstats", 1, "", "nop", kind.server)
		p := peer{name: "idle, " + kind.name, dial: func(ctx context.Context, m *meter, i int) (client, error) {
			return dialAgent(ctx, s.addresses["wsstats"], sc, fmt.Sprintf("idle-%d", i), m, kind.client)
		}}
		one, err := r.idle(ctx, s, &p, kind.agents)
		if err != nil {
			return err
		}
		*kind.into = one
	}
	return nil
}

func (r *run) idle(ctx context.Context, s *setup, p *peer, agents int) (_ *crowdResult, err error) {
	col, err := r.start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, col.stop()) }()
	before, err := col.resident(ctx)
	if err != nil {
		return nil, err
	}
	c, err := gather(ctx, p, agents)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := pause(ctx, time.Second); err != nil { // what the upgrades left may end
		return nil, err
	}
	after, err := col.resident(ctx)
	if err != nil {
		return nil, err
	}
	return &crowdResult{result: result{Peer: p.name}, Agents: agents, Idle: before, Resident: after}, nil
}
