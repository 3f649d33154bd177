package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite golden files")

// whole is a report with all that there may be in one.
func whole() *report {
	r := measured(1.25)
	r.Machine = machine{CPU: "Some CPU", Cores: 2, Kernel: "Linux 6.1", Go: "go1.26.8", Collector: "v0.158.0", Commit: "0123abc"}
	r.Command = "bench -rounds 5"
	r.Date = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.Took = 12 * time.Minute
	r.Sampled = 0.01
	crowd := func(agents, connections int, cpu, resident float64) crowdResult {
		return crowdResult{
			result: result{Peer: "wsstats columns", CPU: spread{cpu, cpu - 5, cpu + 5}, Busy: spread{0.5, 0.5, 0.5}},
			Agents: agents, Connections: connections, Idle: 30 << 20, Resident: resident,
		}
	}
	r.Fleet = []crowdResult{crowd(2000, 0, 100, 60<<20)}
	r.Slow = []slowResult{{Peer: nameGRPC, Offered: 100, Held: 10, Refused: 5, Taken: 85, Events: 512, Idle: 30 << 20, Peak: 90 << 20, P50: 0.1, P99: 0.2}}
	r.GrowthAgents = []crowdResult{crowd(1, 16, 100, 31<<20), crowd(100, 1600, 105, 41<<20), crowd(5000, 80000, 130, 530<<20)}
	r.GrowthConnections = []crowdResult{crowd(16, 1024, 100, 31<<20), crowd(200, 100_000, 105, 130<<20), crowd(200, 1_000_000, 110, 1030<<20)}
	plain, secure := crowd(5000, 0, 0, 60<<20), crowd(2000, 0, 0, 90<<20)
	plain.Peer, secure.Peer = "idle, plain", "idle, TLS"
	r.IdlePlain, r.IdleTLS = &plain, &secure
	r.Profiles = []profiled{{Peer: "wsstats columns", CPU: 200, Shares: map[string]float64{"decoding": 0.25, "acks": 0.1}}}
	return r
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "go test . -update rewrites it")
}

func TestReport(t *testing.T) {
	r := whole()
	golden(t, "report.md", r.markdown("plots"))
	for _, p := range r.plots() {
		golden(t, p.file, p.svg)
	}
}

func TestReportOfOneMode(t *testing.T) {
	r := &report{Slow: whole().Slow}
	text := r.markdown("plots")
	assert.Contains(t, text, "A slow pipeline")
	for _, absent := range []string{"NaN", "Goals", "Growth", "Transports", "small agents", ".svg"} {
		assert.NotContains(t, text, absent)
	}
}

func TestPlotsAreXML(t *testing.T) {
	r := whole()
	r.Compare[0].Peer = `<&"`
	for _, p := range r.plots() {
		d := xml.NewDecoder(strings.NewReader(p.svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, p.file)
		}
		assert.NotContains(t, p.svg, "NaN")
		assert.NotContains(t, p.svg, "Inf")
	}
}

func TestAxis(t *testing.T) {
	a := newLogAxis(20, 900, 0, 100)
	assert.Equal(t, []float64{10, 100, 1000}, a.ticks())
	assert.InDelta(t, 50, a.at(100), 1e-9)
	assert.Equal(t, []float64{0, 25, 50, 75, 100}, axis{high: 110, to: 1}.ticks())
	assert.Equal(t, []float64{1, 10}, newLogAxis(1, 1, 0, 1).ticks(), "one value")
}

func TestCompact(t *testing.T) {
	for value, want := range map[float64]string{0.5: "0.5", 76: "76", 999: "999", 2500: "2.5k", 1_250_000: "1.25M", 3e9: "3G"} {
		assert.Equal(t, want, compact(value))
	}
}

func TestReplaceSection(t *testing.T) {
	for _, tt := range []struct{ name, document, want, err string }{
		{"empty section", "a\n" + sectionBegin + "\n" + sectionEnd + "\nb\n", "a\n" + sectionBegin + "\n\nnew\n\n" + sectionEnd + "\nb\n", ""},
		{"old section", sectionBegin + "\nold\n" + sectionEnd, sectionBegin + "\n\nnew\n\n" + sectionEnd, ""},
		{"no section", "a\n", "", "expected a line " + sectionBegin},
		{"no end", sectionBegin + "\n", "", "expected a line " + sectionEnd},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := replaceSection(tt.document, "\nnew\n")
			if tt.err != "" {
				assert.EqualError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestResultsAreSavedWhole(t *testing.T) {
	dir := t.TempDir()
	file, document := filepath.Join(dir, "results.json"), filepath.Join(dir, "docs.md")
	require.NoError(t, whole().save(file))
	var r report
	require.NoError(t, r.load(file))
	assert.Equal(t, whole(), &r)

	require.NoError(t, os.WriteFile(document, []byte(sectionBegin+"\n"+sectionEnd+"\n"), 0o600))
	require.NoError(t, r.write(document, filepath.Join(dir, "plots")))
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	assert.Contains(t, string(text), "](plots/cpu.svg)")
	assert.FileExists(t, filepath.Join(dir, "plots", "cpu.svg"))
}

func TestTheDocumentHasTheSection(t *testing.T) {
	text, err := os.ReadFile("../docs/benchmarks.md")
	require.NoError(t, err)
	_, err = replaceSection(string(text), "")
	assert.NoError(t, err)
}
