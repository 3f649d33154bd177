package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestTelemetry(t *testing.T) {
	parsed, err := parseTelemetry(strings.NewReader(`# HELP a b
spans{receiver="otlp",transport="grpc"} 10
spans{receiver="otlp",transport="http"} 5
spans{receiver="zipkin",transport="http"} 2
spans_total{receiver="otlp",transport="grpc"} 100
spansize{receiver="otlp"} 1000
bytes 1.5e+06
`))
	require.NoError(t, err)
	assert.Equal(t, 1.5e6, parsed.sum("bytes"))
	assert.Equal(t, 117.0, parsed.sum("spans"))
	assert.Equal(t, 115.0, parsed.sum("spans", `receiver="otlp"`))
	assert.Equal(t, 110.0, parsed.sum("spans", `receiver="otlp"`, `transport="grpc"`))
	assert.Zero(t, parsed.sum("nothing"))
	_, err = parseTelemetry(strings.NewReader("spans many\n"))
	assert.Error(t, err)
}

// A batch counts for the window in which it was acknowledged.
func TestCount(t *testing.T) {
	begin := time.Unix(100, 0)
	at := func(from, to float64) sending {
		return sending{begin.Add(time.Duration(from * 1e9)), begin.Add(time.Duration(to * 1e9))}
	}
	l := &loop{peer: &peer{name: "p", events: 10}, taken: [][]sending{
		{at(-2, -1), at(-1, 1), at(1, 3)},
		{at(4, 5), at(4.5, 5.5)},
	}}
	w := &window{begin: begin, end: begin.Add(5 * time.Second), cpu: 3 * time.Second, sent: 300, received: 30, allocated: 60, peak: 7}
	require.NoError(t, l.count(w))
	assert.Equal(t, 30.0, w.events)
	assert.Equal(t, []float64{2, 2, 1}, w.latencies)

	r := resultOf(&peer{name: "p"}, []*window{w})
	assert.Equal(t, 1e8, r.CPU.Median, "ns an event")
	assert.Equal(t, 10.0, r.Rate.Median, "events a second of CPU")
	assert.Equal(t, 0.6, r.Busy.Median)
	assert.Equal(t, 10.0, r.Sent.Median)
	assert.Equal(t, 1.0, r.Received.Median)
	assert.Equal(t, 2.0, r.P50.Median)
	assert.Equal(t, 2.0, r.Allocated.Median)
	assert.Equal(t, 7.0, r.Peak.Median)

	assert.ErrorContains(t, l.count(&window{begin: begin.Add(time.Hour), end: begin.Add(2 * time.Hour)}), "nothing was taken")
}

// fakeClient takes batches at once, or fails.
type fakeClient struct {
	sent   atomic.Int64
	failed error
}

func (c *fakeClient) send(context.Context) error {
	c.sent.Add(1)
	return c.failed
}

func (*fakeClient) close() error { return nil }

func TestCrowd(t *testing.T) {
	p := &peer{name: "p", dial: func(context.Context, *meter, int) (client, error) { return &fakeClient{}, nil }}
	c, err := gather(t.Context(), p, 10)
	require.NoError(t, err)
	everybody := func() bool {
		return !slices.ContainsFunc(c.clients, func(c client) bool { return c.(*fakeClient).sent.Load() == 0 })
	}
	for name, send := range map[string]sender{
		"paced":   func(ctx context.Context, taken func(sending)) error { return c.pace(ctx, 10*time.Millisecond, taken) },
		"in turn": c.inTurn,
	} {
		t.Run(name, func(t *testing.T) {
			for _, one := range c.clients {
				one.(*fakeClient).sent.Store(0)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			n := 0
			require.NoError(t, send(ctx, func(sending) {
				if n++; n >= 100 && everybody() {
					cancel()
				}
			}))
			assert.True(t, everybody(), "everybody has a turn")
			assert.ErrorIs(t, ctx.Err(), context.Canceled)
		})
	}
	t.Run("failing", func(t *testing.T) {
		c.clients[3].(*fakeClient).failed = errors.New("gone")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		assert.ErrorContains(t, c.inTurn(ctx, func(sending) {}), "p: gone")
	})
	require.NoError(t, c.close())

	p.dial = func(_ context.Context, _ *meter, i int) (client, error) {
		if i == 7 {
			return nil, errors.New("refused")
		}
		return &fakeClient{}, nil
	}
	_, err = gather(t.Context(), p, 10)
	assert.ErrorContains(t, err, "refused")
}

// What an agent that does not wait makes of the answers.
func TestFloodingAnswers(t *testing.T) {
	began := time.Now()
	flying := func() *flooding {
		return &flooding{
			agent: &agent{seq: 5}, window: 100, bytes: 30, tally: new(tally),
			flying: []flight{{3, 10, began}, {4, 10, began}, {5, 10, began}},
		}
	}
	t.Run("ack", func(t *testing.T) {
		f := flying()
		f.handle(&wire.Reply{Ack: 4})
		assert.EqualValues(t, 2, f.tally.taken.Load())
		assert.EqualValues(t, 10, f.bytes)
		assert.EqualValues(t, 5, f.seq)
	})
	t.Run("nack", func(t *testing.T) {
		f := flying()
		f.handle(&wire.Reply{Nack: 4, Retryable: true, RetryAfterMs: 60_000})
		assert.EqualValues(t, 1, f.tally.taken.Load(), "all before it were taken")
		assert.EqualValues(t, 1, f.tally.refused.Load())
		assert.Zero(t, f.bytes)
		assert.EqualValues(t, 3, f.seq, "4 comes next")
		assert.EqualValues(t, 3, f.base, "and defines what it uses")
		assert.True(t, f.again.After(began.Add(time.Minute-time.Second)))
	})
	t.Run("flow", func(t *testing.T) {
		f := flying()
		f.handle(&wire.Reply{Flow: &wire.Flow{WindowBytes: new(int64)}})
		assert.Zero(t, f.window)
	})
}

func TestMissingPeersAreNaN(t *testing.T) {
	assert.True(t, math.IsNaN(find(nil, "x").CPU.Median))
}
