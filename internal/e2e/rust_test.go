package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// TestRustAgent has the Rust agent tell of both ends of some connections, with the
// collector killed and back in the middle, and looks for all of it, to the exact
// count, in the file exporter's output and at the Prometheus endpoint. Red when: an
// event is lost or there twice, an end of a message is in a trace of its own, or
// the new collector does not hear of the connections that are open.
func TestRustAgent(t *testing.T) {
	const connections, rounds = 5, 40
	const exchanges = connections * rounds // in each of the collector's lives
	c := startCollector(t)
	cmd := exec.Command(rustExample(t, "wsstats", "conversation"), "ws://"+c.endpoint, fmt.Sprint(connections))
	talk, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	exchange := func() {
		_, err := talk.Write(bytes.Repeat([]byte{'\n'}, rounds))
		require.NoError(t, err)
	}

	messages := map[string]int{
		"ws.send text": exchanges, "ws.receive text": exchanges, "ws.process text": exchanges,
		"ws.send binary": exchanges, "ws.receive binary": exchanges,
	}
	exchange()
	first := c.awaitSpans(t, 5*exchanges+2*connections)
	before := map[string]int{"ws.handshake": 2 * connections}
	for name, n := range messages {
		before[name] = n
	}
	assert.Equal(t, before, countNames(first))
	awaitValue := func(want float64, name string, labels ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			v, _ := value(scrape(t, c.prometheus), name, labels...)
			return v == want
		}, waitTimeout, waitTick, "%s %v", name, labels)
	}
	for _, role := range []string{"client", "server"} {
		awaitValue(connections, "ws_connections_active", "ws_role", role)
		awaitValue(exchanges, "ws_messages_sent_total", "ws_role", role)
	}

	c.kill(t)
	exchange() // nobody listens
	c.output = output(t.TempDir())
	c.start(t)
	for _, role := range []string{"client", "server"} {
		awaitValue(connections, "ws_connections_active", "ws_role", role)
	}
	require.NoError(t, talk.Close())
	second := c.awaitSpans(t, 5*exchanges+2*connections)
	require.NoError(t, cmd.Wait(), errs.String())
	events := 3*2*exchanges + 2*connections
	assert.Equal(t, fmt.Sprintf("%d %[1]d 0 2 0\n%d %[2]d 0 2 0\n", events-2*exchanges, events), out.String(), "observed, acknowledged, rejected, sessions, unsampled")
	after := map[string]int{"ws.close": 2 * connections}
	for name, n := range messages {
		after[name] = n
	}
	assert.Equal(t, after, countNames(second))
	awaitValue(connections, "ws_connections_closed_total", "ws_close_code", "1000", "ws_close_initiator", "local")
	awaitValue(connections, "ws_connections_closed_total", "ws_close_code", "1000", "ws_close_initiator", "remote")
	families := scrape(t, c.prometheus)
	for _, role := range []string{"client", "server"} {
		assertValue(t, 0, families, "ws_connections_active", "ws_role", role)
		assertValue(t, exchanges, families, "ws_messages_sent_total", "ws_role", role)
		assertValue(t, exchanges, families, "ws_messages_received_total", "ws_role", role)
	}
	assertValue(t, exchanges, families, "ws_processing_time_seconds", "ws_message_type", "text")
	c.stop(t)
	assert.Len(t, c.spans(t), len(second), "spans after the shutdown")
	checkConversation(t, append(first, second...))
}

// TestRustAggregates has the Rust agent measure its messages, and leave out those
// whose spans are not kept: metrics know all of them, and spans come with their
// other end. Red when: a message counts twice or not at all, or the ends decide
// differently.
func TestRustAggregates(t *testing.T) {
	const connections, rounds = 5, 400
	c := startCollector(t, "receivers::wsstats::traces::sampling::ratio: 0.1")
	cmd := exec.Command(rustExample(t, "wsstats", "conversation"), "ws://"+c.endpoint, fmt.Sprint(connections))
	cmd.Env = append(os.Environ(), "WSSTATS_AGGREGATES=100")
	talk, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	c.awaitSpans(t, 2*connections) // the agents know the threshold
	_, err = talk.Write(bytes.Repeat([]byte{'\n'}, rounds))
	require.NoError(t, err)
	require.NoError(t, talk.Close())
	require.NoError(t, cmd.Wait(), errs.String())
	for line := range strings.Lines(out.String()) {
		var observed, acknowledged, rejected, sessions, unsampled int
		_, err := fmt.Sscan(line, &observed, &acknowledged, &rejected, &sessions, &unsampled)
		require.NoError(t, err)
		assert.Equal(t, observed, acknowledged)
		assert.Greater(t, unsampled, connections*rounds, "of 10 messages 9")
	}
	c.stop(t)

	totals := c.totals(t)
	for name, n := range map[string]int{
		"ws.messages.sent": 2, "ws.messages.received": 2, "ws.message.size": 4, "ws.processing.time": 1,
	} {
		assert.InDelta(t, n*connections*rounds, totals[name], 0, name)
	}
	traces := map[pcommon.TraceID][]string{}
	for _, s := range c.spans(t) {
		if s.Name() != "ws.handshake" && s.Name() != "ws.close" {
			traces[s.TraceID()] = append(traces[s.TraceID()], s.Name())
		}
	}
	assert.NotEmpty(t, traces)
	for _, names := range traces {
		slices.Sort(names)
		if names[0] != "ws.process text" {
			assert.Equal(t, []string{"ws.receive binary", "ws.send binary"}, names)
			continue
		}
		assert.Equal(t, []string{"ws.process text", "ws.receive text", "ws.send text"}, names)
	}
}

// checkConversation looks at how the spans of both ends hang together.
func checkConversation(t *testing.T, spans []span) {
	t.Helper()
	byID := map[pcommon.SpanID]span{}
	for _, s := range spans {
		byID[s.SpanID()] = s
	}
	require.Len(t, byID, len(spans), "no span id is there twice")
	parents := map[string]string{
		"ws.receive text": "ws.send text", "ws.receive binary": "ws.send binary", "ws.process text": "ws.receive text",
		"ws.handshake": "ws.handshake",
	}
	children := map[string]int{}
	for _, s := range spans {
		service, _ := s.Resource.Get("service.name")
		attributes := s.Attributes().AsRaw()
		assert.Equal(t, "ws://chat.example/room", attributes["ws.url"], "inherited, and without its query")
		assert.Equal(t, service.Str(), attributes["ws.role"])
		if service.Str() == "server" {
			assert.Equal(t, "lobby", attributes["room.id"])
			assert.Equal(t, "192.0.2.7", attributes["net.peer.ip"])
		}
		if s.Name() != "ws.handshake" {
			require.Equal(t, 1, s.Links().Len(), "%s is linked to its handshake, in either life of the collector", s.Name())
			assert.Equal(t, "ws.handshake", byID[s.Links().At(0).SpanID()].Name())
		}
		if !s.ParentSpanID().IsEmpty() {
			parent, ok := byID[s.ParentSpanID()]
			require.True(t, ok, s.Name())
			assert.Equal(t, parents[s.Name()], parent.Name())
			assert.Equal(t, s.TraceID(), parent.TraceID())
			children[s.Name()]++
		}
	}
	all := countNames(spans)
	assert.Equal(t, map[string]int{
		"ws.receive text": all["ws.receive text"], "ws.receive binary": all["ws.receive binary"],
		"ws.process text": all["ws.process text"], "ws.handshake": all["ws.handshake"] / 2,
	}, children)
}

// rustExample builds an example of a crate of agents/rust and returns its path.
func rustExample(t *testing.T, crate, name string) string {
	t.Helper()
	if _, err := exec.LookPath("cargo"); err != nil {
		skipOrFail(t, "no cargo: %v", err)
	}
	cmd := exec.Command("cargo", "build", "--quiet", "--locked", "--package="+crate, "--example="+name)
	cmd.Dir = filepath.Join(repository, "agents", "rust")
	target, err := filepath.Abs(filepath.Join(repository, "build", "rust"))
	require.NoError(t, err)
	cmd.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(target, "debug", "examples", name)
}
