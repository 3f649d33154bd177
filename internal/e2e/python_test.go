package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestPythonAgent feeds the collector from an agent that shares no code with this
// project, and looks for everything that it was told, to the exact count, in the
// file exporter's output and at the Prometheus endpoint.
func TestPythonAgent(t *testing.T) {
	const connections, batches, messages = 3, 10, 50
	const received = connections * batches * messages
	c := startCollector(t)

	out, err := exec.Command(python(t), "testdata/sender.py", "ws://"+c.endpoint+"/v1/wsstats",
		strconv.Itoa(connections), strconv.Itoa(batches), strconv.Itoa(messages)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, strconv.Itoa(connections*(batches+2))+"\n", string(out), "numbers acknowledged")

	spans := c.awaitSpans(t, 2*connections+received+1)
	assert.Equal(t, map[string]int{
		"ws.handshake":    connections,
		"ws.receive text": received,
		"ws.close":        connections,
		"ws.send text":    1,
	}, countNames(spans))
	checkReceiveSpan(t, spans)

	role, direction := []string{"ws_role", "server"}, []string{"ws_direction", "received"}
	require.Eventually(t, func() bool {
		v, _ := value(scrape(t, c.prometheus), "ws_messages_sent_total")
		return v == 1 // the bare event came last
	}, waitTimeout, waitTick)
	families := scrape(t, c.prometheus)
	assertValue(t, connections, families, "ws_connections_total", role...)
	assertValue(t, 0, families, "ws_connections_active", role...)
	assertValue(t, connections, families, "ws_connections_closed_total", "ws_close_code", "1000", "ws_close_initiator", "remote")
	assertValue(t, received, families, "ws_messages_received_total", role...)
	assertValue(t, received*100, families, "ws_messages_bytes_total", direction...)
	assertValue(t, received, families, "ws_message_size_bytes", direction...)
	assertValue(t, connections, families, "ws_handshake_duration_seconds", "http_status_code", "101")

	c.stop(t)
	assert.Len(t, c.spans(t), 2*connections+received+1, "spans after the shutdown")
	assert.InDelta(t, received, c.totals(t)["ws.messages.received"], 0)
}

// checkReceiveSpan looks at one span whole: its resource, what it was told, and
// what it has from its connection.
func checkReceiveSpan(t *testing.T, spans []span) {
	t.Helper()
	for _, s := range spans {
		if s.Name() != "ws.receive text" {
			continue
		}
		assert.Equal(t, map[string]any{"service.name": "python-agent", "service.instance.id": "one"}, s.Resource.AsRaw())
		assert.Equal(t, ptrace.SpanKindConsumer, s.Kind())
		attributes := s.Attributes().AsRaw()
		assert.Equal(t, "ws://example.com/chat", attributes["ws.url"], "inherited, and without its query")
		assert.Equal(t, "lobby", attributes["room.id"])
		assert.Equal(t, int64(100), attributes["ws.message.size"])
		assert.Equal(t, 1, s.Links().Len(), "linked to its handshake")
		return
	}
	t.Error("no receive span")
}

// python is a Python that has websockets: $WSSTATS_PYTHON, else that of make setup.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("WSSTATS_PYTHON")
	if path == "" {
		path = filepath.Join(repository, "build", "venv", "bin", "python")
	}
	if out, err := exec.Command(path, "-c", "import websockets").CombinedOutput(); err != nil {
		skipOrFail(t, "no Python with websockets (make setup installs it): %v %s", err, out)
	}
	return path
}
