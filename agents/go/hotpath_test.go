package wsstats

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// What a message costs the application that an agent observes: at most 200 ns,
// and no allocation.

// modes are the ways in which an agent records a message.
var modes = map[string]struct {
	aggregates int
	threshold  string
	dimensions []string
	providers  bool
}{
	"events":                {},
	"aggregates":            {aggregates: 1, threshold: "0"},
	"aggregates, dimension": {aggregates: 1, threshold: "0", dimensions: []string{"room.id"}},
	"unsampled":             {aggregates: 1, threshold: wire.FormatThreshold(wire.NeverSampled)},
	"providers":             {providers: true},
}

// hotPath is a client's connection with a tap of a real agent, which is welcome
// to record and has nobody to send to.
type hotPath struct {
	agent  *Agent
	stream *stream
	bare   *loop
	out    []byte
	buf    []byte
}

func newHotPath(tb testing.TB, mode string) *hotPath {
	tb.Helper()
	m := modes[mode]
	opts := []Option{WithEndpoint("ws://" + blackHole(tb)), WithAggregates(m.aggregates)}
	if m.providers { // the rounds do what their goroutine would do
		opts = append(opts, WithTracerProvider(sdktrace.NewTracerProvider()), WithMeterProvider(sdkmetric.NewMeterProvider()), WithBatch(1<<20, 1<<30, time.Hour))
	}
	a := newAgent(tb, opts...)
	if a.meter != nil {
		a.mu.Lock()
		welcomed(a.meter, &wire.Welcome{SamplingThreshold: m.threshold, Dimensions: m.dimensions}, &a.ring)
		a.mu.Unlock()
	}
	up := newClientUpgrade(a, upgradeRequest(), false, nil)
	up.attributes = []Attribute{String("user.id", "u-17"), String("room.id", "lobby")}
	payload := strings.Repeat("x", 128)
	h := &hotPath{agent: a, bare: &loop{frame: serverFrame(ws.OpText, true, payload)}, out: maskedFrame(ws.OpText, true, payload), buf: make([]byte, 4096)}
	h.stream = openStream(h.bare, up.succeed(http.Header{}))
	tb.Cleanup(func() { _ = h.stream.Close() })
	return h
}

// round sends and receives a message, and every 256th time takes what was
// recorded out of the queue, as an ack does.
func (h *hotPath) round(i int) {
	_, _ = h.stream.Write(h.out)
	_, _ = h.stream.Read(h.buf)
	if i%256 == 255 {
		h.agent.mu.Lock()
		h.agent.ring.acknowledge(h.agent.ring.take(1024, 1<<30))
		h.agent.mu.Unlock()
	}
}

func (h *hotPath) bareRound() {
	_, _ = h.bare.Write(h.out)
	_, _ = h.bare.Read(h.buf)
}

// Red when: a message allocates, in any mode.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for mode := range modes {
		t.Run(mode, func(t *testing.T) {
			h, i := newHotPath(t, mode), 0
			round := func() { h.round(i); i++ }
			for range 2000 { // the ring has its size
				round()
			}
			assert.Zero(t, testing.AllocsPerRun(2000, round))
			s := h.agent.Stats()
			assert.Equal(t, modes[mode].threshold == wire.FormatThreshold(wire.NeverSampled), s.Unsampled > 4000)
			assert.Empty(t, s.Dropped)
			require.Positive(t, s.Observed)
		})
	}
}

// BenchmarkHotPath reports what a message costs beside the bare connection, which
// here costs next to nothing itself.
func BenchmarkHotPath(b *testing.B) {
	for mode := range modes {
		b.Run(mode, func(b *testing.B) {
			h, i := newHotPath(b, mode), 0
			b.ReportAllocs()
			for b.Loop() {
				h.round(i)
				i++
			}
			tapped := b.Elapsed()
			started := time.Now()
			for range b.N {
				h.bareRound()
			}
			added := tapped - time.Since(started)
			b.ReportMetric(float64(added.Nanoseconds())/float64(2*b.N), "ns/message")
		})
	}
}
