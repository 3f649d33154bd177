package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

//go:embed collector.yaml
var collectorConfig []byte

// address is one that something listens at, with the flag that changes it.
type address struct {
	flag, what, value string
}

// addresses are those of the demo; the flags are in main.go.
type addresses struct {
	endpoint, prometheus, zpages, health, telemetry, chat address
}

func (a *addresses) all() []*address {
	return []*address{&a.endpoint, &a.prometheus, &a.zpages, &a.health, &a.telemetry, &a.chat}
}

// free returns an error for the first address that cannot be listened at.
func (a *addresses) free() error {
	for _, addr := range a.all() {
		listener, err := net.Listen("tcp", addr.value)
		if err != nil {
			return fmt.Errorf("%s (%s) cannot be used, choose another with --%s HOST:PORT: %w", addr.value, addr.what, addr.flag, err)
		}
		listener.Close()
	}
	return nil
}

// The files that the collector writes, in its directory.
const (
	tracesFile  = "traces.json"
	metricsFile = "metrics.json"
)

// startCollector writes the config to dir and starts the collector there.
func startCollector(program, dir string, at *addresses) (*process, error) {
	old, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("old files in %s: %w", dir, err)
	}
	for _, path := range old { // the exporter would append to them
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove old file: %w", err)
		}
	}
	config := filepath.Join(dir, "collector.yaml")
	if err := os.WriteFile(config, collectorConfig, 0o644); err != nil {
		return nil, fmt.Errorf("write config: %w", err)
	}
	host, port, err := net.SplitHostPort(at.telemetry.value)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", at.telemetry.flag, err)
	}
	env := []string{
		"DEMO_DIR=" + dir,
		"DEMO_ENDPOINT=" + at.endpoint.value,
		"DEMO_PROMETHEUS=" + at.prometheus.value,
		"DEMO_ZPAGES=" + at.zpages.value,
		"DEMO_HEALTH=" + at.health.value,
		"DEMO_TELEMETRY_HOST=" + host,
		"DEMO_TELEMETRY_PORT=" + port,
	}
	return startProcess("collector", filepath.Join(dir, "collector.log"), env, program, "--config", config)
}

// awaitHealthy waits until the health check says that the collector is ready.
func awaitHealthy(ctx context.Context, p *process, health string) error {
	return await(ctx, p, func() bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+health+"/", nil)
		if err != nil {
			return false
		}
		resp, err := httpClient.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// awaitListening waits until something accepts at the address.
func awaitListening(ctx context.Context, p *process, addr string) error {
	return await(ctx, p, func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// await polls until ready, until the process has ended, or until ctx ends.
func await(ctx context.Context, p *process, ready func() bool) error {
	for {
		if ready() {
			return nil
		}
		select {
		case <-p.done:
			if err := p.failure(); err != nil {
				return err
			}
			return fmt.Errorf("%s ended\n%s", p.name, p.lastLines(8))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, ctx.Err(), p.lastLines(8))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
