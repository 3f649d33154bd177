package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second
	// waitTimeout is how long a test waits for what it sent to come out.
	waitTimeout = 15 * time.Second
	waitTick    = 50 * time.Millisecond
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		// A toxic that closes a connection leaves behind what still wants to write to it.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	)
}

// collector is otelcol-wsstats, running as a child process.
type collector struct {
	output

	endpoint   string // host:port of the receiver
	prometheus string // host:port of the Prometheus exporter
	telemetry  string // host:port of the collector's own metrics
	health     string // host:port of the health check

	binary    string // "": collectorBinary
	args, env []string

	cmd     *exec.Cmd
	logs    lockedBuffer
	exited  chan struct{} // closed when the process has ended; exitErr is valid then
	exitErr error
}

// startCollector starts the collector with testdata/collector.yaml and returns
// when it is healthy. Each of the changes is one line of YAML in the collector's
// short form, such as "receivers::wsstats::traces::mode: connection", or a whole
// document. The collector is stopped at the end of the test, if it was not before.
func startCollector(t *testing.T, changes ...string) *collector {
	t.Helper()
	c := newCollector(t, "testdata/collector.yaml", changes...)
	c.start(t)
	return c
}

// newCollector finds the ports and the directory of a collector.
func newCollector(t *testing.T, config string, changes ...string) *collector {
	t.Helper()
	ports := freePorts(t, 4)
	c := &collector{
		output:     output(t.TempDir()),
		endpoint:   ports[0],
		prometheus: ports[1],
		telemetry:  ports[2],
		health:     ports[3],
		args:       []string{"--config", config},
	}
	for _, change := range changes {
		c.args = append(c.args, "--config", "yaml:"+change)
	}
	return c
}

// start starts the collector, or starts it again: at the same addresses, and
// writing to c.output as it is now.
func (c *collector) start(t *testing.T) {
	t.Helper()
	_, telemetryPort, err := net.SplitHostPort(c.telemetry)
	require.NoError(t, err)
	binary := c.binary
	if binary == "" {
		binary = collectorBinary(t)
	}
	cmd := exec.Command(binary, c.args...)
	cmd.Env = append(
		os.Environ(),
		"WSSTATS_ENDPOINT="+c.endpoint,
		"WSSTATS_DIR="+string(c.output),
		"PROMETHEUS_ENDPOINT="+c.prometheus,
		"TELEMETRY_PORT="+telemetryPort,
		"HEALTH_ENDPOINT="+c.health,
	)
	cmd.Env = append(cmd.Env, c.env...)
	cmd.Stdout, cmd.Stderr = &c.logs, &c.logs
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	c.cmd, c.exited = cmd, exited
	go func() {
		c.exitErr = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() && cmd == c.cmd {
			t.Logf("the collector's log:\n%s", c.logs.String())
		}
	})
	c.awaitHealthy(t, "http://"+c.health)
}

func (c *collector) awaitHealthy(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(waitTick)
	defer tick.Stop()
	for !healthy(ctx, url) {
		select {
		case <-tick.C:
		case <-c.exited:
			t.Fatalf("the collector ended at its start: %v", c.exitErr)
		case <-ctx.Done():
			t.Fatalf("the collector is not healthy after %v", startTimeout)
		}
	}
}

func healthy(ctx context.Context, url string) bool {
	resp, err := get(ctx, url)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// get asks over a connection of its own, which leaves nothing behind.
func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Close = true
	return http.DefaultClient.Do(req)
}

// stop ends the collector as a service manager does and waits until it has
// drained; what it wrote is complete then.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by now
	select {
	case <-c.exited:
		require.NoError(t, c.exitErr, "exit of the collector")
	case <-time.After(stopTimeout):
		_ = c.cmd.Process.Signal(syscall.SIGQUIT) // its log tells what it waits for
		<-c.exited
		t.Fatalf("the collector still runs %v after SIGTERM", stopTimeout)
	}
}

func (c *collector) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(s))
}

// kill ends the collector as a crash does.
func (c *collector) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	<-c.exited
}

// collectorBinary is the path of otelcol-wsstats: $WSSTATS_COLLECTOR, else it is
// built with make.
func collectorBinary(t *testing.T) string {
	t.Helper()
	path, err := builtCollector()
	require.NoError(t, err)
	return path
}

var builtCollector = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("WSSTATS_COLLECTOR"); path != "" {
		return path, nil
	}
	if out, err := exec.Command("make", "-C", "../..", "collector").CombinedOutput(); err != nil {
		return "", fmt.Errorf("make collector: %w\n%s", err, out)
	}
	return filepath.Abs("../../build/otelcol-wsstats")
})

// portsGiven are the addresses that freePorts has found so far.
var portsGiven sync.Map

// freePorts finds n loopback addresses that nothing listens on. They are below
// the ports that systems give to clients, whose connections would take one before
// its listener does, and none is given twice.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	addresses := make([]string, 0, n)
	for range 1000 {
		if len(addresses) == n {
			return addresses
		}
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if _, given := portsGiven.LoadOrStore(address, true); given {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			require.NoError(t, l.Close())
			addresses = append(addresses, address)
		}
	}
	t.Fatalf("no %d free ports found", n)
	return nil
}

// skipOrFail ends a test whose tools the machine lacks: skipped, or failed where
// WSSTATS_REQUIRE_ALL=1 says that nothing may be skipped.
func skipOrFail(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("WSSTATS_REQUIRE_ALL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// lockedBuffer takes the output of a child process while a test may read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
