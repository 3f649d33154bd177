package main

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// goal is what the receiver is to reach in a run, and what it did.
type goal struct {
	what  string
	want  float64
	most  bool    // want is the most that is allowed, not the least
	got   float64 // NaN: not measured
	form  string  // of figures
	gated float64 // what a short run on a busy machine must reach; 0: not gated
}

func (g *goal) reached() bool {
	if g.most {
		return g.got <= g.want
	}
	return g.got >= g.want
}

// passed tells whether the gate lets this through. NaN is not a pass.
func (g *goal) passed() bool {
	if g.most {
		return g.got <= g.gated
	}
	return g.got >= g.gated
}

// by is how far the goal is exceeded or missed: 0.1 is 10 % better, -0.5 half as good.
func (g *goal) by() float64 {
	if g.most {
		return g.want/g.got - 1
	}
	return g.got/g.want - 1
}

// find is what was measured of a peer; all of it is NaN where it was not.
func find(results []result, name string) result {
	if i := slices.IndexFunc(results, func(r result) bool { return r.Peer == name }); i >= 0 {
		return results[i]
	}
	none := spreadOf(nil)
	return result{Peer: name, CPU: none, Rate: none, P50: none, P99: none, Sent: none}
}

// goals are those of the project. Gates are of ratios within the run alone, at two
// thirds of what is measured at the time of writing: a busy machine does not fail,
// and what makes the receiver half as fast does.
func (r *report) goals() []goal {
	compare := func(name string) result { return find(r.Compare, name) }
	cheaper := func(base, name string) float64 { return compare(base).CPU.Median / compare(name).CPU.Median }
	flat, scope := named(nameColumns, 1, layoutFlat), named(nameColumns, 1, layoutScope)
	one := named(nameColumns, 0.01, layoutFlat)
	json, jsonOne := named(nameJSON, 1, layoutFlat), named(nameJSON, 0.01, layoutFlat)
	derived := named(nameDerivedIDs, 1, layoutFlat)
	const times, bytes = "%.1f times", "%.1f B"
	list := []goal{
		{what: "columns, 1 % of spans: CPU less than OTLP gRPC", want: 25, got: cheaper(nameGRPC, one), form: times, gated: 6},
		{
			what: "columns, 1 % of spans: CPU less than OTLP gRPC with spanmetrics and sampler", want: 35,
			got: find(r.Duty, nameDuty).CPU.Median / find(r.Duty, one).CPU.Median, form: times, gated: 10,
		},
		{what: "columns, all spans, flat: CPU less than OTLP gRPC", want: 3, got: cheaper(nameGRPC, flat), form: times, gated: 1},
		{what: "columns, all spans, scope: CPU less than OTLP gRPC", want: 4.5, got: cheaper(nameGRPC, scope), form: times},
		{what: "JSON, all spans: CPU less than OTLP gRPC", want: 2, got: cheaper(nameGRPC, json), form: times, gated: 0.7},
		{what: "JSON, 1 % of spans: CPU less than OTLP gRPC", want: 5, got: cheaper(nameGRPC, jsonOne), form: times, gated: 2.5},
		{what: "JSON, all spans: CPU less than OTLP HTTP in JSON", want: 4.5, got: cheaper(nameHTTPJSON, json), form: times},
		{what: "columns, random ids: bytes an event", want: 48, most: true, got: compare(flat).Sent.Median, form: bytes, gated: 48},
		{what: "columns, derived ids: bytes an event", want: 15, most: true, got: compare(derived).Sent.Median, form: bytes},
		{
			what: "columns, derived ids: bytes, part of OTLP gRPC with gzip", want: 0.35, most: true,
			got: compare(derived).Sent.Median / compare(nameGRPCGzip).Sent.Median, form: "%.2f",
		},
		{
			what: "columns, all spans: p99 of acknowledgements, part of OTLP gRPC", want: 0.5, most: true,
			got: compare(flat).P99.Median / compare(nameGRPC).P99.Median, form: "%.2f",
		},
		{
			what: "JSON, all spans: p99 of acknowledgements, part of OTLP gRPC", want: 0.5, most: true,
			got: compare(json).P99.Median / compare(nameGRPC).P99.Median, form: "%.2f",
		},
		{what: "columns, 1 % of spans: million events a second of a core", want: 9, got: compare(one).Rate.Median / 1e6, form: "%.2f"},
	}
	return append(list, r.growthGoals()...)
}

// growthGoals are of agents and connections in great numbers.
func (r *report) growthGoals() (list []goal) {
	for _, idle := range []struct {
		what string
		of   *crowdResult
		want float64
	}{{"an idle agent: KB of memory", r.IdlePlain, 8}, {"an idle agent with TLS: KB of memory", r.IdleTLS, 17}} {
		if idle.of != nil {
			list = append(list, goal{what: idle.what, want: idle.want, most: true, got: idle.of.perAgent() / 1000, form: "%.1f"})
		}
	}
	for _, growth := range []struct {
		what  string
		steps []crowdResult
		size  func(*crowdResult) float64
	}{
		{"agents", r.GrowthAgents, func(c *crowdResult) float64 { return float64(c.Agents) }},
		{"connections", r.GrowthConnections, func(c *crowdResult) float64 { return float64(c.Connections) }},
	} {
		n := len(growth.steps)
		if n < 3 {
			continue
		}
		first, before, last := &growth.steps[0], &growth.steps[n-2], &growth.steps[n-1]
		list = append(list, goal{
			what: fmt.Sprintf("CPU an event with %.0f %s, part of that with %.0f", growth.size(last), growth.what, growth.size(first)),
			want: 1.2, most: true, got: last.CPU.Median / first.CPU.Median, form: "%.2f",
		})
		// What one more costs at the end, to what it costs on the way there.
		cost := func(from, to *crowdResult) float64 {
			return (to.Resident - from.Resident) / (growth.size(to) - growth.size(from))
		}
		list = append(list, goal{
			what: fmt.Sprintf("memory of the last %s, part of that of those before: linear", growth.what),
			want: 1.2, most: true, got: cost(before, last) / cost(&growth.steps[n-3], before), form: "%.2f",
		})
	}
	return list
}

// gate prints the goals that have a gate and fails where one is not passed.
func (r *report) gate(w io.Writer) error {
	failed := 0
	for _, g := range r.goals() {
		if g.gated == 0 {
			continue
		}
		verdict := "ok"
		switch {
		case math.IsNaN(g.got):
			verdict = "FAILED: not measured"
		case !g.passed():
			verdict = "FAILED"
		}
		if verdict != "ok" {
			failed++
		}
		sign := "at least"
		if g.most {
			sign = "at most"
		}
		_, err := fmt.Fprintf(w, "%s: %s, gate: %s "+g.form+", goal: "+g.form+": %s\n", g.what, fmt.Sprintf(g.form, g.got), sign, g.gated, g.want, verdict)
		if err != nil {
			return fmt.Errorf("printing gates: %w", err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d gates were not passed", failed)
	}
	return nil
}
