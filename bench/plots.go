package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// plot is a picture of the report.
type plot struct{ file, about, svg string }

// plots draws what was measured.
func (r *report) plots() (list []plot) {
	if len(r.Compare) > 0 {
		var bars []bar
		for _, one := range r.Compare {
			bars = append(bars, bar{one.Peer, one.CPU.Median, strings.HasPrefix(one.Peer, "wsstats")})
		}
		const about = "CPU of the collector, nanoseconds an event, logarithmic"
		list = append(list, plot{"cpu.svg", about, barChart(about, " ns", bars)})
	}
	if len(r.GrowthAgents) == 0 || len(r.GrowthConnections) == 0 {
		return list
	}
	curves := func(value func(c *crowdResult) float64) []curve {
		agents, connections := curve{label: "by agents"}, curve{label: "by connections"}
		for i := range r.GrowthAgents {
			agents.x = append(agents.x, float64(r.GrowthAgents[i].Agents))
			agents.y = append(agents.y, value(&r.GrowthAgents[i]))
		}
		for i := range r.GrowthConnections {
			connections.x = append(connections.x, float64(r.GrowthConnections[i].Connections))
			connections.y = append(connections.y, value(&r.GrowthConnections[i]))
		}
		return []curve{agents, connections}
	}
	const cpu, memory = "CPU of the collector, nanoseconds an event", "Memory of the collector, garbage collected"
	const grows = "agents, or observed connections of all agents"
	return append(
		list,
		plot{"growth-cpu.svg", cpu, curveChart(cpu, grows, " ns", false, curves(func(c *crowdResult) float64 { return c.CPU.Median }))},
		plot{"growth-memory.svg", memory, curveChart(memory, grows, " MiB", true, curves(func(c *crowdResult) float64 { return c.Resident / (1 << 20) }))},
	)
}

// writePlots writes the pictures into a directory.
func (r *report) writePlots(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing plots: %w", err)
	}
	for _, p := range r.plots() {
		if err := os.WriteFile(filepath.Join(dir, p.file), []byte(p.svg), 0o644); err != nil {
			return fmt.Errorf("writing plots: %w", err)
		}
	}
	return nil
}
