package e2e

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fault is something bad that lasts for a while.
type fault struct {
	name    string
	restart bool // ends the life of the collector
	do      func(t *testing.T, during time.Duration)
}

// lanes are the faults of links, of processes, and of the backend. Those of one
// lane come one after the other, each lane at its own times.
func (s *soak) lanes() [][]fault {
	return [][]fault{s.linkFaults(), s.processFaults(), s.backendFaults()}
}

func (s *soak) linkFaults() []fault {
	disturbed := func(kind, stream, attributes string) func(*testing.T, time.Duration) {
		return func(t *testing.T, during time.Duration) { toxic(t, s.proxy, during, kind, stream, attributes) }
	}
	// Those who connected meanwhile would wait for long else.
	andCut := func(do func(*testing.T, time.Duration)) func(*testing.T, time.Duration) {
		return func(t *testing.T, during time.Duration) {
			do(t, during)
			restart(t, s.proxy)
		}
	}
	return []fault{
		{name: "latency", do: disturbed("latency", "downstream", `"latency": 200, "jitter": 150`)},
		{name: "bandwidth", do: disturbed("bandwidth", "upstream", `"rate": 3`)},
		{name: "slices", do: disturbed("slicer", "upstream", `"average_size": 100, "size_variation": 90, "delay": 50`)},
		{name: "cut", do: func(t *testing.T, during time.Duration) {
			s.proxy.Stop()
			time.Sleep(during / 2)
			restart(t, s.proxy)
		}},
		{name: "reset", do: disturbed("reset_peer", "downstream", `"timeout": 200`)},
		{name: "half-open, nothing arrives", do: andCut(disturbed("timeout", "upstream", `"timeout": 0`))},
		{name: "half-open, no answer arrives", do: andCut(disturbed("timeout", "downstream", `"timeout": 0`))},
		{name: "slow close", do: func(t *testing.T, during time.Duration) {
			toxic(t, s.proxy, during, "slow_close", "downstream", `"delay": 500`)
		}},
	}
}

func (s *soak) processFaults() []fault {
	return []fault{
		{name: "agents frozen", do: func(t *testing.T, during time.Duration) {
			s.load.signal(t, syscall.SIGSTOP)
			time.Sleep(during)
			s.load.signal(t, syscall.SIGCONT)
		}},
		{name: "SIGTERM", restart: true, do: func(t *testing.T, during time.Duration) {
			s.end(t, "SIGTERM", s.collector.stop)
			time.Sleep(during / 4)
			s.begin(t)
		}},
		{name: "SIGKILL", restart: true, do: func(t *testing.T, during time.Duration) {
			s.end(t, "SIGKILL", s.collector.kill)
			time.Sleep(during / 4)
			s.begin(t)
		}},
	}
}

func (s *soak) backendFaults() []fault {
	answering := func(status int, oneIn int) func(*testing.T, time.Duration) {
		return func(_ *testing.T, during time.Duration) {
			requests := 0
			s.backend.answers(func(string) int {
				if requests++; requests%oneIn == 0 {
					return status
				}
				return http.StatusOK
			})
			time.Sleep(during)
			s.backend.answers(func(string) int { return http.StatusOK })
		}
	}
	return []fault{
		{name: "backend busy", do: answering(http.StatusServiceUnavailable, 1)},
		{name: "backend busy half the time", do: answering(http.StatusServiceUnavailable, 2)},
		{name: "backend fails for good, one in ten", do: answering(http.StatusBadRequest, 10)},
		{name: "backend hangs up", do: answering(hangUp, 1)},
		{name: "backend blocks", do: func(t *testing.T, during time.Duration) {
			release := s.backend.block(t)
			time.Sleep(during)
			release()
		}},
	}
}

// disturb has one fault after the other until the context ends: all of them in a
// random order, and again. Restarts are left out in the second half.
func (s *soak) disturb(ctx context.Context, t *testing.T, faults []fault, rng *rand.Rand) {
	between := func(limits [2]time.Duration) time.Duration {
		return limits[0] + time.Duration(rng.Int64N(int64(limits[1]-limits[0])))
	}
	for {
		for _, i := range rng.Perm(len(faults)) {
			pause, during := between(s.rhythm.pause), between(s.rhythm.fault)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			if t.Failed() {
				return
			}
			if faults[i].restart && time.Since(s.start) > s.duration/2 {
				continue
			}
			over := s.weather.comes(faults[i].name)
			faults[i].do(t, during)
			over()
		}
	}
}

// weather is which faults there are.
type weather struct {
	mu    sync.Mutex
	now   []string
	since []string // the last sample
	count map[string]int
}

// comes notes that a fault begins; it is past when over is called.
func (w *weather) comes(name string) (over func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = append(w.now, name)
	w.since = append(w.since, name)
	w.count[name]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now = slices.DeleteFunc(w.now, func(other string) bool { return other == name })
	}
}

// report is which faults there were since the last report.
func (w *weather) report() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	since := w.since
	w.since = slices.Clone(w.now)
	return since
}
