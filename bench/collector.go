package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

// collector is a running collector, alone on a core.
type collector struct {
	setup  *setup
	cmd    *exec.Cmd
	logs   lockedBuffer
	exited chan struct{}
	client http.Client
}

// startCollector starts the collector on the server's core, with one P, and
// returns when it is ready.
func startCollector(ctx context.Context, binary string, s *setup) (_ *collector, err error) {
	file, err := s.write()
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(file)) }()
	cmd := exec.Command(binary, "--config", file) //nolint:gosec // the command line names it
	c := &collector{setup: s, cmd: cmd, exited: make(chan struct{})}
	c.client.Transport = &http.Transport{DisableKeepAlives: true}
	c.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	c.cmd.Stdout, c.cmd.Stderr = &c.logs, &c.logs
	if err := startOn(serverCPU, c.cmd); err != nil {
		return nil, fmt.Errorf("starting the collector: %w", err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	if err := c.awaitReady(ctx); err != nil {
		c.kill()
		return nil, fmt.Errorf("starting the collector: %w\n%s", err, c.logs.String())
	}
	return c, nil
}

// awaitReady waits for everything that listens.
func (c *collector) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for name, address := range c.setup.addresses {
		for {
			if conn, err := new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-ticker.C:
			case <-c.exited:
				return errors.New("it ended")
			case <-ctx.Done():
				return fmt.Errorf("nothing listens for %s: %w", name, ctx.Err())
			}
		}
	}
	return nil
}

func (c *collector) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the collector: %w", err)
	}
	select {
	case <-c.exited:
		return nil
	case <-time.After(stopTimeout):
		c.kill()
		return fmt.Errorf("the collector still ran %v after SIGTERM", stopTimeout)
	}
}

func (c *collector) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// memory is how much of a process is in memory, in bytes.
type memory struct{ now, peak int64 }

// collectGarbage leaves the collector with the memory that it uses.
func (c *collector) collectGarbage(ctx context.Context) error {
	body, err := c.get(ctx, c.setup.addresses["probe"], "/gc")
	if err != nil {
		return fmt.Errorf("collecting garbage: %w", err)
	}
	return body.Close()
}

// profile is a CPU profile of the collector over that time, as pprof has it.
func (c *collector) profile(ctx context.Context, length time.Duration) ([]byte, error) {
	body, err := c.get(ctx, c.setup.addresses["probe"], "/profile?for="+length.String())
	if err != nil {
		return nil, fmt.Errorf("profiling: %w", err)
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("profiling: %w", err)
	}
	return data, nil
}

// resident is the memory that the collector uses, in bytes: what is resident when
// all garbage is collected.
func (c *collector) resident(ctx context.Context) (float64, error) {
	if err := c.collectGarbage(ctx); err != nil {
		return 0, err
	}
	m, err := memoryOf(c.cmd.Process.Pid)
	return float64(m.now), err
}

func (c *collector) get(ctx context.Context, address, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s", resp.Status)
	}
	return resp.Body, nil
}

// telemetry is what the collector says of itself: the value of each line.
type telemetry map[string]float64

func (c *collector) telemetry(ctx context.Context) (telemetry, error) {
	body, err := c.get(ctx, c.setup.addresses["telemetry"], "/metrics")
	if err != nil {
		return nil, fmt.Errorf("the collector's own metrics: %w", err)
	}
	defer func() { _ = body.Close() }()
	return parseTelemetry(body)
}

func parseTelemetry(r io.Reader) (telemetry, error) {
	t := telemetry{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		space := strings.LastIndexByte(line, ' ')
		if space < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("the collector's own metrics: %w", err)
		}
		t[line[:space]] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the collector's own metrics: %w", err)
	}
	return t, nil
}

// sum adds up the lines of a metric, with or without the suffix that Prometheus
// wants, that have all of the labels.
func (t telemetry) sum(metric string, labels ...string) float64 {
	total := 0.0
lines:
	for line, value := range t {
		name, rest, _ := strings.Cut(line, "{")
		if strings.TrimSuffix(name, "_total") != metric {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue lines
			}
		}
		total += value
	}
	return total
}

// write writes the configuration into a directory of its own. JSON is YAML.
func (s *setup) write() (string, error) {
	data, err := json.Marshal(s.config())
	if err != nil {
		return "", fmt.Errorf("writing the collector's configuration: %w", err)
	}
	dir, err := os.MkdirTemp("", "wsstats-bench-")
	if err != nil {
		return "", fmt.Errorf("writing the collector's configuration: %w", err)
	}
	file := filepath.Join(dir, "collector.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", fmt.Errorf("writing the collector's configuration: %w", err)
	}
	return file, nil
}

// addressesGiven are those that freeAddress has found so far.
var addressesGiven sync.Map

// freeAddress finds a loopback address that nothing listens on: below the ports
// that systems give to clients, whose connections would take it, and never the
// same one twice.
func freeAddress() (string, error) {
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		if _, given := addressesGiven.LoadOrStore(address, true); given {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", errors.New("no free port was found")
}

// lockedBuffer takes the output of a child process while it may be read.
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
