package e2e

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const (
	soakAgents      = 6
	soakConnections = 60
	soakRate        = 1000 // events a second
	lifeHeader      = "soak-life"
)

// soak is load with random faults, of links, of agents, of the collector and of
// what it exports to, at the same time.
type soak struct {
	duration time.Duration
	seed     uint64
	rhythm   rhythm

	backend   *backend
	collector *collector
	proxy     *toxiproxy.Proxy
	load      *load
	pprof     string // host:port

	start    time.Time
	lives    []*life
	current  atomic.Pointer[life] // nil: the collector is not running
	arrivals arrivals
	weather  weather
}

// rhythm is how often things happen.
type rhythm struct {
	pause, fault [2]time.Duration // the least and the longest
	samples      time.Duration    // from one to the next
}

// An agent whose sessions are all shorter than 30 s waits longer and longer before
// it comes back: the pauses leave it time to be there.
var (
	shortRhythm = rhythm{
		pause: [2]time.Duration{500 * time.Millisecond, 2 * time.Second},
		fault: [2]time.Duration{300 * time.Millisecond, 1200 * time.Millisecond}, samples: time.Second,
	}
	longRhythm = rhythm{
		pause: [2]time.Duration{3 * time.Second, 30 * time.Second},
		fault: [2]time.Duration{500 * time.Millisecond, 5 * time.Second}, samples: 5 * time.Second,
	}
)

// life is one process of the collector.
type life struct {
	number         int
	pid            int
	started, ended time.Duration // since the start of the soak
	end            string        // what ended it
}

// TestSoak loads a collector for $WSSTATS_SOAK (10s) while whatever may fail does,
// in an order that $WSSTATS_SOAK_SEED decides (0: a random one), and accounts for
// every event. What it saw, over time, goes to $WSSTATS_SOAK_REPORT if all was right.
//
// An event is acknowledged only when the backend has it: there is no queue
// between. So nothing that is acknowledged may be missing, however the collector
// ended, and nothing may be there twice from one life of it. A later life does
// not know what an earlier one took and could not acknowledge any more: it may
// take that again, with the same span id.
//
// The collector is restarted in the first half alone. The life that has the
// second half is where a leak has time to add up: at its end, without agents, it
// has to be as small as the first life was before there were any.
func TestSoak(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		skipOrFail(t, "what a process uses is looked up in /proc: %v", err)
	}
	s := newSoak(t)
	t.Logf("seed %d", s.seed)
	machine := describeMachine(t, s.collector.binary)
	s.begin(t)
	fresh := s.usage(t)

	s.load = startLoad(t, s.proxy.Listen, "--scenario=abnormal-closes", "--duration="+s.duration.String(), "--drain=2m",
		"--rate="+strconv.Itoa(soakRate), "--connections="+strconv.Itoa(soakConnections), "--agents="+strconv.Itoa(soakAgents),
		"--queue-bytes=16777216", "--seed="+strconv.FormatUint(s.seed, 10))
	samples := s.run(t)
	g := s.load.wait(t)
	s.settle(t)
	rested := s.await(t, fresh)
	s.end(t, "SIGTERM at the end", s.collector.stop)

	lost := reconcile(t, g, s.arrivals.events, "refused", "poison", "shutdown")
	s.check(t, g)
	checkRested(t, fresh, rested)
	checkSteady(t, samples, s.lives[len(s.lives)-1].number)

	r := report{soak: s, machine: machine, samples: samples, generated: g, lost: lost, fresh: fresh, rested: rested}
	text := r.markdown(t)
	t.Logf("\n%s", text)
	if path := os.Getenv("WSSTATS_SOAK_REPORT"); path != "" && !t.Failed() {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{duration: 10 * time.Second, rhythm: shortRhythm, pprof: freePorts(t, 1)[0]}
	if v := os.Getenv("WSSTATS_SOAK"); v != "" {
		var err error
		s.duration, err = time.ParseDuration(v)
		require.NoError(t, err, "WSSTATS_SOAK")
	}
	if s.duration >= time.Minute {
		s.rhythm = longRhythm
	}
	if v := os.Getenv("WSSTATS_SOAK_SEED"); v != "" {
		var err error
		s.seed, err = strconv.ParseUint(v, 10, 64)
		require.NoError(t, err, "WSSTATS_SOAK_SEED")
	}
	for s.seed == 0 {
		s.seed = rand.Uint64N(1_000_000)
	}
	s.arrivals.events = make(map[string]arrival)
	s.weather.count = make(map[string]int)
	s.backend = startBackend(t)
	s.backend.sift = s.arrivals.take
	s.collector = newCollector(t, "testdata/collector.yaml", append(exporting(s.backend),
		"exporters::otlp_http::headers::"+lifeHeader+": ${env:WSSTATS_LIFE}",
		"service::telemetry::logs::disable_stacktrace: true",
		// The connections that were closed, and so the heap at the end, are those of this time.
		"receivers::wsstats::delivery::dedupe_ttl: 2m",
		"receivers::wsstats::keepalive: {heartbeat: 500ms, ping_interval: 1s, pong_timeout: 1s}")...)
	s.collector.binary = buildWithPprof(t)
	s.proxy = startProxy(t, s.collector.endpoint)
	s.start = time.Now()
	return s
}

// buildWithPprof builds the collector with testdata/pprof.go as one more file of
// its main package.
func buildWithPprof(t *testing.T) string {
	t.Helper()
	collectorBinary(t) // its source is there then
	distribution, err := filepath.Abs(filepath.Join(repository, "build", "distribution"))
	require.NoError(t, err)
	added, err := filepath.Abs("testdata/pprof.go")
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(distribution, "pprof.go"): added}})
	require.NoError(t, err)
	dir := t.TempDir()
	file, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "otelcol-wsstats")
	require.NoError(t, os.WriteFile(file, overlay, 0o600))
	cmd := exec.Command("go", "build", "-overlay="+file, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, ".")
	cmd.Dir = distribution
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// begin starts the next life of the collector.
func (s *soak) begin(t *testing.T) {
	t.Helper()
	l := &life{number: len(s.lives) + 1, started: time.Since(s.start)}
	s.lives = append(s.lives, l)
	s.collector.env = []string{"PPROF_ENDPOINT=" + s.pprof, "WSSTATS_LIFE=" + lifeName(l.number)}
	s.collector.start(t)
	l.pid = s.collector.cmd.Process.Pid
	s.current.Store(l)
}

// end ends the life of the collector by how.
func (s *soak) end(t *testing.T, what string, how func(*testing.T)) {
	t.Helper()
	l := s.current.Swap(nil)
	how(t)
	l.end, l.ended = what, time.Since(s.start)
}

func lifeName(number int) string { return "life-" + strconv.Itoa(number) }

// run has all faults until a tenth of the time is left, and takes samples until
// the load has ended.
func (s *soak) run(t *testing.T) []sample {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.duration*9/10)
	defer cancel()
	var lanes sync.WaitGroup
	defer lanes.Wait()
	for i, faults := range s.lanes() {
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		lanes.Go(func() { s.disturb(ctx, t, faults, rng) })
	}
	var samples []sample
	ticker := time.NewTicker(s.rhythm.samples)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if t.Failed() {
				cancel()
				t.FailNow() // a fault could not be made
			}
			samples = append(samples, s.sample(t))
		case <-s.load.exited:
			return append(samples, s.sample(t))
		}
	}
}

// settle waits until no agent is there. What the collector keeps open towards the
// backend, to use it again, is closed.
func (s *soak) settle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return s.collector.sessions(t) == 0 }, waitTimeout, waitTick, "the agents are gone")
	s.backend.CloseClientConnections()
}

// check is what holds for every run.
func (s *soak) check(t *testing.T, g *generated) {
	t.Helper()
	assert.Empty(t, s.arrivals.twice, "there twice from one life")
	assert.Empty(t, s.arrivals.changed, "repeated with another span id")
	assert.GreaterOrEqual(t, s.arrivals.observed, g.row(t, "acknowledged"), "the ack covers delta metrics")
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged")+g.row(t, "dropped"))
	assert.Zero(t, g.row(t, "rejected"))
	assert.Greater(t, g.row(t, "acknowledged"), g.row(t, "sent")/2, "it was at work")
	assert.NotContains(t, s.collector.logs.String(), "panic")
	assert.Greater(t, len(s.lives), 1, "it was restarted")
}

// arrivals is what of a load has come to the backend.
type arrivals struct {
	mu       sync.Mutex
	events   map[string]arrival // by gen.id
	repeated map[string]int     // spans of events that an earlier life had sent on, by life
	twice    []string           // events that came twice from one life
	changed  []string           // events that came with two span ids
	observed int                // as observations counts
}

type arrival struct {
	span pcommon.SpanID
	life string
}

func (a *arrivals) take(header http.Header, spans []span, metrics pmetric.Metrics) {
	observed, life := observations([]pmetric.Metrics{metrics}), header.Get(lifeHeader)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.observed += observed
	for _, s := range spans {
		id, _ := s.Attributes().Get("gen.id")
		before, there := a.events[id.Str()]
		a.events[id.Str()] = arrival{span: s.SpanID(), life: life}
		switch {
		case !there:
		case before.span != s.SpanID():
			a.changed = append(a.changed, id.Str())
		case before.life == life:
			a.twice = append(a.twice, life+": "+id.Str())
		default:
			if a.repeated == nil {
				a.repeated = make(map[string]int)
			}
			a.repeated[life]++
		}
	}
}

// counts are how many events are there, how many spans a later life repeated,
// and how many are there twice from one life.
func (a *arrivals) counts() (events, repeated, twice int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.repeated {
		repeated += n
	}
	return len(a.events), repeated, len(a.twice)
}

// describeMachine is where and with what this runs.
func describeMachine(t *testing.T, binary string) string {
	t.Helper()
	version, err := exec.Command(binary, "--version").Output()
	require.NoError(t, err)
	return machineRow(t) + "| versions | " + oneLine(version) + ", " + runtime.Version() + " |\n"
}
