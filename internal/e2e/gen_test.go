package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGen loads the collector by wsstats gen and counts every event, by its
// gen.id, in the file exporter's output: what the ledger calls acknowledged is
// there, once, and no span id is there twice.
func TestGen(t *testing.T) {
	tests := map[string]struct {
		args    []string
		changes []string // of the collector's configuration
	}{
		"steady":          {args: []string{"--duration=2s", "--rate=4000", "--connections=50", "--agents=3"}},
		"in JSON":         {args: []string{"--scenario=steady", "--encoding=json", "--duration=1s", "--rate=4000", "--connections=50", "--agents=3"}},
		"reconnect-storm": {args: []string{"--duration=2s", "--rate=1000", "--connections=20", "--agents=10"}},
		"abnormal-closes": {args: []string{"--encoding=json", "--duration=1s", "--rate=2000", "--connections=20", "--agents=2"}},
		"big-messages":    {args: []string{"--duration=1s", "--rate=500", "--connections=20", "--agents=2"}},
		"sampled": {
			args:    []string{"--scenario=steady", "--duration=1s", "--rate=4000", "--sampling=0.1"},
			changes: []string{"receivers::wsstats::traces::sampling::ratio: 0.1"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := startCollector(t, tt.changes...)
			args := append([]string{"--scenario=" + name}, tt.args...)
			if strings.HasPrefix(tt.args[0], "--scenario") {
				args = tt.args
			}
			g := runGen(t, c, args...)
			assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"))
			assert.Zero(t, g.row(t, "rejected"))
			c.stop(t)

			spans := c.spans(t)
			assert.Len(t, spans, g.row(t, "spans to expect"))
			names := countNames(spans)
			totals := c.totals(t)
			assert.InDelta(t, names["ws.close"], totals["ws.connections.closed"], 0, "closes are never sampled out")
			assert.InDelta(t, names["ws.close"], totals["ws.connections.total"], 0, "each connection was closed")
			assert.InDelta(t, 0, totals["ws.connections.active"], 0)
			ids := g.checkIDs(t, spans)
			if name == "sampled" {
				assert.Greater(t, g.row(t, "sent"), len(ids))
				events := totals["ws.messages.sent"] + totals["ws.messages.received"] + totals["ws.ping.rtt"] +
					totals["ws.connections.total"] + totals["ws.connections.closed"]
				assert.InDelta(t, g.row(t, "sent"), events, 0, "metrics are made before sampling")
				return
			}
			assert.Len(t, ids, g.row(t, "sent"))
			assert.InDelta(t, names["ws.send text"]+names["ws.send binary"], totals["ws.messages.sent"], 0)
			assert.InDelta(t, names["ws.receive text"]+names["ws.receive binary"], totals["ws.messages.received"], 0)
			assert.InDelta(t, names["ws.ping"], totals["ws.ping.rtt"], 0)
			refused := float64(names["ws.handshake"] - names["ws.close"])
			assert.InDelta(t, float64(names["ws.error"])+refused, totals["ws.errors"], 0)
		})
	}
}

// TestGenMalformed has each mistake answered by the real receiver.
func TestGenMalformed(t *testing.T) {
	c := startCollector(t)
	out, err := exec.Command(tool(t), "gen", "--endpoint=ws://"+c.endpoint, "--scenario=malformed", "--duration=1s",
		"--rate=1000", "--agents=2", "--drain=10s").Output()
	require.NoError(t, err, "%s", out)
	for _, answer := range []string{
		"error malformed", "error rejected", "error too_large", "nack malformed", "ack with rejected",
		"close 1003", "close 1007", "close 1008",
	} {
		assert.Contains(t, string(out), "with "+answer)
	}
	c.stop(t)
}

// generated is what wsstats gen wrote: its summary, and the ledger's agents.
type generated struct {
	summary string
	Agents  []struct {
		Agent              int
		Sent, Acknowledged [][2]uint64
		Dropped            map[string][][2]uint64
	}
}

func runGen(t *testing.T, c *collector, args ...string) *generated {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.json")
	args = append([]string{"gen", "--endpoint=ws://" + c.endpoint, "--ledger=" + path, "--batch-delay=100ms"}, args...)
	cmd := exec.Command(tool(t), args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", out, errs.String())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	g := &generated{summary: string(out)}
	require.NoError(t, json.Unmarshal(data, g))
	return g
}

// row is the number in a row of the summary.
func (g *generated) row(t *testing.T, name string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` +([\d,]+)`).FindStringSubmatch(g.summary)
	require.NotNil(t, m, "%s in\n%s", name, g.summary)
	n, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
	require.NoError(t, err)
	return n
}

// checkIDs finds the events of the spans: each one is an acknowledged one, and
// is there once. It returns how often each is there.
func (g *generated) checkIDs(t *testing.T, spans []span) map[string]int {
	t.Helper()
	acknowledged := make(map[string]bool)
	for _, a := range g.Agents {
		assert.Equal(t, a.Sent, a.Acknowledged, "agent %d", a.Agent)
		assert.Empty(t, a.Dropped, "agent %d", a.Agent)
		for _, r := range a.Acknowledged {
			for n := r[0]; n <= r[1]; n++ {
				acknowledged[fmt.Sprintf("%d/%d", a.Agent, n)] = true
			}
		}
	}
	ids, spanIDs := make(map[string]int), make(map[string]int)
	for _, s := range spans {
		id, ok := s.Attributes().Get("gen.id")
		require.True(t, ok, "%s has no gen.id", s.Name())
		ids[id.Str()]++
		spanIDs[s.SpanID().String()]++
		require.True(t, acknowledged[id.Str()], "%s was not acknowledged", id.Str())
	}
	assert.Len(t, spanIDs, len(spans), "no span id is there twice")
	assert.Len(t, ids, len(spans), "no event is there twice")
	return ids
}

// tool is the path of the wsstats program: $WSSTATS_TOOL, else it is built.
func tool(t *testing.T) string {
	t.Helper()
	path, err := builtTool()
	require.NoError(t, err)
	return path
}

var builtTool = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("WSSTATS_TOOL"); path != "" {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join(repository, "build", "wsstats"))
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-C", filepath.Join(repository, "cmd", "wsstats"), "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build wsstats: %w\n%s", err, out)
	}
	return path, nil
})
