package e2e

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReplicaKilled kills one of three replicas behind HAProxy under load: its
// agents go on with another. What was in hand may be there twice, its spans
// with the same ids, its delta metrics counted by both.
func TestReplicaKilled(t *testing.T) {
	t.Parallel()
	b := startBackend(t)
	replicas := startReplicas(t, b, 3)
	proxy := startHAProxy(t, replicas)
	l := startLoad(t, proxy.agents, "--duration=5s", "--rate=1500", "--connections=30", "--agents=9")
	require.Eventually(t, func() bool {
		return min(replicas[0].sessions(t), replicas[1].sessions(t), replicas[2].sessions(t)) == 3
	}, waitTimeout, waitTick)
	b.awaitSpans(t, 1000)
	release := b.holds(t, 9) // each agent has a message in hand: taken and not acknowledged
	replicas[0].kill(t)
	release()
	g := l.wait(t)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.GreaterOrEqual(t, g.row(t, "reconnects"), 3, "the agents of one")
	assert.LessOrEqual(t, g.row(t, "reconnects"), 3*4, "and no others")
	replicas[1].stop(t)
	replicas[2].stop(t)

	spans := b.spans()
	repeated := g.account(t, spans)
	t.Logf("%d of %d spans are repetitions", repeated, len(spans))
	assert.Positive(t, repeated, "what was in hand")
	assert.Less(t, repeated, len(spans)/10, "and no more")
	// A message whose spans were taken, and which it was killed over before its
	// metrics were: repeated spans and metrics need not be as many.
	counted := observations(b.metrics())
	assert.GreaterOrEqual(t, counted, g.row(t, "acknowledged"))
	assert.LessOrEqual(t, counted, len(spans))
	writers := make(map[string]bool)
	for _, md := range b.metrics() {
		for _, rm := range md.ResourceMetrics().All() {
			id, _ := rm.Resource().Attributes().Get("wsstats.receiver.id")
			writers[id.Str()] = true
		}
	}
	assert.Len(t, writers, 3, "each replica's series are its own")
}

// TestRollingRestart restarts three collectors behind HAProxy one by one, with
// 1,000 agents: all of them are sent away in order, come back spread over time,
// and nothing is lost or there twice.
func TestRollingRestart(t *testing.T) {
	b := startBackend(t)
	replicas := startReplicas(t, b, 3)
	proxy := startHAProxy(t, replicas)
	const agents = 1000
	l := startLoad(t, proxy.agents, "--duration=60s", "--rate=300", "--connections=1000", "--agents=1000", "--batch-delay=1s")
	sessions := func() (all, most int) {
		for _, c := range replicas {
			n := c.sessions(t)
			all, most = all+n, max(most, n)
		}
		return all, most
	}
	full := func() bool { all, _ := sessions(); return all == agents }
	eventually := func(what string, condition func() bool) {
		t.Helper()
		require.Eventually(t, condition, waitTimeout, 100*time.Millisecond, what)
	}
	eventually("all agents are connected", full)
	for i, c := range replicas {
		gone := c.sessions(t)
		proxy.forget()
		c.stop(t)
		c.start(t)
		eventually("all agents are back", full)
		times := proxy.connections()
		most := peak(times, 200*time.Millisecond)
		t.Logf("replica %d: %d agents were sent away, %d connections, %d of them within 200 ms", i, gone, len(times), most)
		assert.GreaterOrEqual(t, len(times), gone)
		assert.LessOrEqual(t, len(times), gone+gone/10, "they come once")
		// A fifth, as they are spread over a second; all of them in a storm. The machine is full of other tests.
		assert.Less(t, most, 3*gone/4, "a storm")
	}
	l.signal(t, syscall.SIGINT) // it makes no more events, and ends in order
	g := l.wait(t)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	for _, c := range replicas {
		c.stop(t)
	}
	assert.Zero(t, g.account(t, b.spans()), "what was in hand was answered: none is repeated")
	assert.Equal(t, g.row(t, "sent"), observations(b.metrics()))
}

func startReplicas(t *testing.T, b *backend, n int) []*collector {
	t.Helper()
	replicas := make([]*collector, n)
	for i := range replicas {
		replicas[i] = startCollector(t, exporting(b)...)
	}
	return replicas
}

// sessions is how many agents are connected to the collector.
func (c *collector) sessions(t *testing.T) int {
	t.Helper()
	n, _ := value(scrape(t, c.telemetry), "otelcol_receiver_wsstats_sessions")
	return int(n)
}

// haproxy is HAProxy in front of three collectors, as a child process.
type haproxy struct {
	agents string // host:port where they connect

	mu    sync.Mutex
	times []time.Time // of the connections
}

func startHAProxy(t *testing.T, replicas []*collector) *haproxy {
	t.Helper()
	binary, err := exec.LookPath("haproxy")
	if err != nil {
		binary = "/usr/sbin/haproxy" // where a user's PATH does not lead
		if _, err := os.Stat(binary); err != nil {
			skipOrFail(t, "HAProxy is not here: %v", err)
		}
	}
	h := &haproxy{agents: freePorts(t, 1)[0]}
	log, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var logging sync.WaitGroup
	logging.Go(func() { h.listen(log) })
	t.Cleanup(func() {
		_ = log.Close()
		logging.Wait()
	})
	var out lockedBuffer
	cmd := exec.Command(binary, "-db", "-f", "testdata/haproxy.cfg")
	cmd.Env = append(
		os.Environ(),
		"AGENTS_ADDRESS="+h.agents,
		"LOG_ADDRESS="+log.LocalAddr().String(),
		"COLLECTOR_A="+replicas[0].endpoint, "COLLECTOR_B="+replicas[1].endpoint, "COLLECTOR_C="+replicas[2].endpoint,
	)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy's output:\n%s", out.String())
		}
	})
	require.Eventually(t, func() bool { return listens(h.agents) }, waitTimeout, waitTick, "HAProxy listens")
	return h
}

// listen notes when connections are made: HAProxy logs each.
func (h *haproxy) listen(log *net.UDPConn) {
	line := make([]byte, 4<<10)
	for {
		n, err := log.Read(line)
		if err != nil {
			return
		}
		if bytes.Contains(line[:n], []byte("agent to ")) {
			h.mu.Lock()
			h.times = append(h.times, time.Now())
			h.mu.Unlock()
		}
	}
}

// forget begins the count of connections anew.
func (h *haproxy) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.times = nil
}

// connections are the times of those since the last forget, in order.
func (h *haproxy) connections() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.times)
}

// peak is the most times that are within a window.
func peak(times []time.Time, window time.Duration) (most int) {
	first := 0
	for i := range times {
		for times[i].Sub(times[first]) > window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
