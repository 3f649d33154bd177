package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// TestDemo runs `make run`'s program until it has told its story, which it reads
// from the collector's output alone, and holds the spans and the metrics of the
// chat's two sides against each other.
func TestDemo(t *testing.T) {
	program := os.Getenv("WSSTATS_DEMO")
	if program == "" {
		skipOrFail(t, "no demo: make test names it in WSSTATS_DEMO")
	}
	dir := t.TempDir()
	ports := freePorts(t, 6)
	out, err := exec.Command(program, "--once", "--dir", dir, "--collector", collectorBinary(t),
		"--endpoint", ports[0], "--prometheus", ports[1], "--zpages", ports[2],
		"--health", ports[3], "--telemetry", ports[4], "--chat-server", ports[5]).CombinedOutput()
	require.NoError(t, err, "%s", out)

	written := output(dir)
	spans := written.spans(t)
	sent := make(map[spanKey]bool)
	received := 0
	for _, s := range spans {
		if s.Name() == "ws.send text" {
			sent[spanKey{s.TraceID(), s.SpanID()}] = true
		}
	}
	for _, s := range spans {
		if s.Name() == "ws.receive text" {
			received++
			assert.True(t, sent[spanKey{s.TraceID(), s.ParentSpanID()}], "the receive %s has the peer's send as its parent", s.SpanID())
		}
	}
	assert.NotZero(t, received)
	totals := written.totals(t)
	assert.InDelta(t, received, totals["ws.messages.received"], 0, "messages received")
	assert.InDelta(t, len(sent), totals["ws.messages.sent"], 0, "messages sent")
	assert.Zero(t, totals["ws.connections.active"], "all have left")
	if t.Failed() {
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, name := range logs {
			content, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", filepath.Base(name), content)
		}
	}
}

// spanKey names a span in all traces.
type spanKey struct {
	trace pcommon.TraceID
	span  pcommon.SpanID
}
