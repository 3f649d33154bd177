package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// report is all that was measured, and where.
type report struct {
	Machine machine       `json:"machine"`
	Command string        `json:"command"`
	Date    time.Time     `json:"date"`
	Took    time.Duration `json:"took"`

	// Sampled is the part of the events that are spans at 1 %.
	Sampled float64 `json:"sampled"`
	// MessageBytes an event, without framing: with random and derived ids, and of OTLP with gzip.
	MessageBytes map[string]float64 `json:"message_bytes,omitempty"`

	Compare []result `json:"compare,omitempty"`
	Duty    []result `json:"duty,omitempty"`

	Fleet []crowdResult `json:"fleet,omitempty"`
	Slow  []slowResult  `json:"slow,omitempty"`

	// Growth is of agents, then of observed connections, each in ascending order.
	GrowthAgents      []crowdResult `json:"growth_agents,omitempty"`
	GrowthConnections []crowdResult `json:"growth_connections,omitempty"`
	IdlePlain         *crowdResult  `json:"idle_plain,omitempty"`
	IdleTLS           *crowdResult  `json:"idle_tls,omitempty"`

	Profiles []profiled `json:"profiles,omitempty"`
}

// machine is where the figures come from.
type machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
	Collector string `json:"collector"`
	Commit    string `json:"commit"`
}

// describe notes where and with what this runs.
func (r *report) describe(ctx context.Context, binary string, args []string) error {
	r.Machine = machine{
		CPU: cpuModel(), Cores: runtime.NumCPU(), Go: runtime.Version(), Collector: collectorVersion(),
		Kernel: kernel(), Commit: commit(ctx),
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("the collector: %w", err)
	}
	r.Command = strings.Join(append([]string{"bench"}, args...), " ")
	r.Date = time.Now().UTC()
	return nil
}

// collectorVersion is that of the collector's modules here, which are those of
// the collector under test: one version for all.
func collectorVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "go.opentelemetry.io/collector/receiver/receivertest" {
			return m.Version
		}
	}
	return "unknown"
}

// commit is what is measured; with a mark where the tree differs from it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty=, with changes", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func (r *report) load(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading results: %w", err)
	}
	if err := json.Unmarshal(data, r); err != nil {
		return fmt.Errorf("reading results: %w", err)
	}
	return nil
}

func (r *report) save(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}
