package e2e

import (
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMemoryLimiter has the memory limiter refuse and recover under load: the
// garbage is collected only when the limiter says so.
func TestMemoryLimiter(t *testing.T) {
	t.Parallel()
	c := newCollector(t, "testdata/collector.yaml",
		"receivers::wsstats::metrics::temporality: delta",
		`processors::memory_limiter: {check_interval: 50ms, limit_mib: 220, spike_limit_mib: 200, min_gc_interval_when_soft_limited: 1s}`,
		"service::pipelines::traces::processors: [memory_limiter]",
		"service::pipelines::metrics::processors: [memory_limiter]")
	c.env = []string{"GOGC=off"}
	c.start(t)
	l := startLoad(t, c.endpoint, "--scenario=big-messages", "--duration=4s", "--rate=2000", "--connections=20", "--agents=3", "--queue-bytes=67108864")
	g := l.wait(t)
	assert.Positive(t, g.row(t, "refused for now"), "the limiter refuses")
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.Zero(t, g.row(t, "reconnects"))
	c.stop(t)
	spans := c.spans(t)
	assert.Zero(t, g.account(t, spans))
	assertNoSpanTwice(t, spans)
	assert.Equal(t, g.row(t, "sent"), observations(c.metrics(t)))
}

// TestBlockedPipeline freezes what the collector exports to, so that its queue
// is full and blocks: heartbeats keep the agents, and nothing is dropped or
// taken twice.
func TestBlockedPipeline(t *testing.T) {
	t.Parallel()
	sink := startSink(t)
	c := startCollector(t,
		"receivers::wsstats::metrics::temporality: delta",
		"receivers::wsstats::keepalive: {heartbeat: 300ms}",
		`exporters::otlp_grpc: {endpoint: "`+sink.endpoint+`", tls: {insecure: true}, timeout: 60s, sending_queue: {queue_size: 2, num_consumers: 1, block_on_overflow: true}}`,
		"service::pipelines::traces::exporters: [otlp_grpc]",
		"service::pipelines::metrics::exporters: [otlp_grpc]")
	l := startLoad(t, c.endpoint, "--duration=5s", "--rate=1500", "--connections=20", "--agents=3", "--queue-bytes=16777216")
	sink.awaitSpans(t, 500)
	sink.signal(t, syscall.SIGSTOP)
	time.Sleep(3 * time.Second) // ten heartbeats, and three are too long a silence
	sink.signal(t, syscall.SIGCONT)
	g := l.wait(t)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.Zero(t, g.row(t, "reconnects"), "heartbeats")
	assert.Zero(t, g.row(t, "refused for now"))
	assert.Greater(t, g.duration(t, "time to ack", "max"), 2*time.Second, "it was blocked")
	c.stop(t)
	sink.stop(t)
	spans := sink.spans(t)
	assert.Zero(t, g.account(t, spans))
	assertNoSpanTwice(t, spans)
	assert.Equal(t, g.row(t, "sent"), observations(sink.metrics(t)))
}

// TestFailingForGood has a third of the batches refused as bad data: agents are
// told, drop them and count them.
func TestFailingForGood(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		path     string // what is refused
		encoding string
		arrives  []string // reasons of drops that may have arrived
	}{
		"traces":  {path: tracesPath, encoding: "proto"},
		"metrics": {path: metricsPath, encoding: "json", arrives: []string{"refused"}}, // its spans were taken before
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBackend(t)
			requests := 0
			b.answers(func(path string) int {
				if path != tt.path {
					return http.StatusOK
				}
				if requests++; requests%3 == 0 {
					return http.StatusBadRequest
				}
				return http.StatusOK
			})
			c := startCollector(t, exporting(b)...)
			g := startLoad(t, c.endpoint, "--duration=3s", "--rate=1500", "--connections=20", "--agents=3", "--encoding="+tt.encoding).wait(t)
			assert.Greater(t, g.row(t, "refused"), g.row(t, "sent")/10)
			assert.Equal(t, g.row(t, "dropped"), g.row(t, "refused"))
			assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged")+g.row(t, "dropped"))
			assert.Zero(t, g.row(t, "refused for now"))
			assert.Zero(t, g.row(t, "reconnects"))
			c.stop(t)
			assert.Zero(t, g.account(t, b.spans(), tt.arrives...))
			assertNoSpanTwice(t, b.spans())
			assert.Equal(t, g.row(t, "acknowledged"), observations(b.metrics()))
		})
	}
}

// TestFailingHalfTheTime has every second request refused for now, whichever
// signal it is: all arrives, and nothing twice, though of many messages the one
// half was taken and the other was not.
func TestFailingHalfTheTime(t *testing.T) {
	t.Parallel()
	b := startBackend(t)
	requests := 0
	b.answers(func(string) int {
		if requests++; requests%2 == 0 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	c := startCollector(t, exporting(b)...)
	g := startLoad(t, c.endpoint, "--duration=4s", "--rate=1500", "--connections=20", "--agents=3").wait(t)
	assert.Greater(t, g.row(t, "refused for now"), 5)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.Zero(t, g.row(t, "reconnects"))
	c.stop(t)
	assert.Zero(t, g.account(t, b.spans()))
	assertNoSpanTwice(t, b.spans())
	assert.Equal(t, g.row(t, "sent"), observations(b.metrics()))
}

// TestBackendAway stops the second collector for a while ($WSSTATS_AWAY, 10s):
// agents do not notice, and all arrives when it is back.
func TestBackendAway(t *testing.T) {
	t.Parallel()
	away := 10 * time.Second
	if v := os.Getenv("WSSTATS_AWAY"); v != "" {
		var err error
		away, err = time.ParseDuration(v)
		require.NoError(t, err)
	}
	sink := startSink(t)
	c := newDurable(t, sink)
	c.args = append(
		c.args, "--config", "yaml:exporters::otlp_grpc::retry_on_failure: {initial_interval: 1s, max_interval: 2s}",
		// By default it holds 1,000 requests: agents would notice, and send again.
		"--config", "yaml:exporters::otlp_grpc::sending_queue::queue_size: 100000",
	)
	c.start(t)
	l := startLoad(t, c.endpoint, "--duration="+(away+2*time.Second).String(), "--rate=500", "--connections=20", "--agents=3", "--encoding=json")
	sink.awaitSpans(t, 500)
	sink.stop(t)
	time.Sleep(away)
	sink.start(t)
	g := l.wait(t)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.Zero(t, g.row(t, "refused for now"))
	assert.Zero(t, g.row(t, "reconnects"))
	sink.awaitEvents(t, g.row(t, "sent"))
	c.stop(t)
	sink.stop(t)
	spans := sink.spans(t)
	assert.Zero(t, g.account(t, spans))
	assertNoSpanTwice(t, spans)
	assert.Equal(t, g.row(t, "sent"), observations(sink.metrics(t)))
}
