package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCrashWithDurableQueue kills the collector under load, with the README's
// durable configuration, once while its queue is full of what the backend does
// not take: what was acknowledged arrives, metrics too. What was in hand is
// repeated, by the agents and by the queue.
func TestCrashWithDurableQueue(t *testing.T) {
	t.Parallel()
	sink := startSink(t)
	c := newDurable(t, sink)
	c.start(t)
	l := startLoad(t, c.endpoint, "--duration=6s", "--rate=1500", "--connections=20", "--agents=3")
	sink.awaitSpans(t, 1000)
	c.kill(t)
	c.start(t)
	sink.awaitSpans(t, 3000)
	sink.signal(t, syscall.SIGSTOP)
	c.awaitQueue(t, 20)
	c.kill(t)
	sink.signal(t, syscall.SIGCONT)
	c.start(t)

	g := l.wait(t)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.GreaterOrEqual(t, g.row(t, "reconnects"), 6, "each agent, twice")
	sink.awaitEvents(t, g.row(t, "sent"))
	c.stop(t)
	sink.stop(t)
	spans := sink.spans(t)
	repeated := g.account(t, spans)
	t.Logf("%d of %d spans are repetitions", repeated, len(spans))
	assert.Less(t, repeated, len(spans)/2, "no more than what was in hand")
	assert.GreaterOrEqual(t, observations(sink.metrics(t)), g.row(t, "acknowledged"), "the ack covers delta metrics")
}

// awaitQueue waits until an exporter's queue holds n requests.
func (c *collector) awaitQueue(t *testing.T, n float64) {
	t.Helper()
	require.Eventually(t, func() bool {
		size, _ := value(scrape(t, c.telemetry), "otelcol_exporter_queue_size", "data_type", "traces")
		return size >= n
	}, waitTimeout, waitTick)
}

// awaitEvents waits until n different events have come, and their delta metrics.
func (o output) awaitEvents(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		events := make(map[string]bool)
		for _, s := range o.spans(t) {
			id, _ := s.Attributes().Get("gen.id")
			events[id.Str()] = true
		}
		return len(events) >= n && observations(o.metrics(t)) >= n
	}, 2*waitTimeout, 10*waitTick, "%d events", n) // a batch may be tried again after 5 s and then 7.5
}

// newDurable is a collector with the README's durable configuration: only where
// the data go, and where the harness finds the collector, is changed.
func newDurable(t *testing.T, sink *collector) *collector {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(readme), "durable set-up")
	require.True(t, ok)
	_, after, ok = strings.Cut(after, "```yaml\n")
	require.True(t, ok)
	config, _, ok := strings.Cut(after, "```\n")
	require.True(t, ok)
	for old, replacement := range map[string]string{
		"backend.example.com:4317": sink.endpoint,
		"./queue":                  filepath.Join(t.TempDir(), "queue"),
	} {
		require.Equal(t, 1, strings.Count(config, old), old)
		config = strings.Replace(config, old, replacement, 1)
	}
	return newCollector(t, "testdata/collector.yaml", config,
		"exporters::otlp_grpc::tls::insecure: true",
		"service::extensions: [file_storage, health_check]")
}

// TestStopUnderLoad stops the collector twice under load, as a service manager
// does, each time with messages in hand: these are answered before it ends, and
// what it did not take is taken by its next life. So nothing is there twice.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	b := startBackend(t)
	c := startCollector(t, exporting(b)...)
	l := startLoad(t, c.endpoint, "--duration=6s", "--rate=1500", "--connections=20", "--agents=3", "--encoding=json")
	for range 2 {
		release := b.holds(t, 3) // a message of each agent is in hand
		c.signal(t, syscall.SIGTERM)
		require.Eventually(t, func() bool { return !listens(c.endpoint) }, waitTimeout, waitTick, "it takes no new agents")
		release()
		c.stop(t)
		c.start(t)
	}
	g := l.wait(t)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.Equal(t, 6, g.row(t, "reconnects"), "each agent, twice")
	assert.NotContains(t, g.summary, "agents said", "the agents were told")
	c.stop(t)
	assert.Zero(t, g.account(t, b.spans()))
	assertNoSpanTwice(t, b.spans())
	assert.Equal(t, g.row(t, "sent"), observations(b.metrics()))
}

// listens tells whether connections to host:port are accepted.
func listens(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// awaitAgents waits until events of n agents have come.
func (o output) awaitAgents(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		agents := make(map[string]bool)
		for _, s := range o.spans(t) {
			agents[key(s.Resource)] = true
		}
		return len(agents) >= n
	}, waitTimeout, waitTick, "%d agents", n)
}
