package aggregate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const benchEvents = 512

// traffic is a batch of messages in both directions, some of them sampled.
func traffic(sampledOneIn int) *observed.Batch {
	conn := &observed.Conn{
		ID: "a81bc81bdead4e5dabff90865d1e13b1", Role: server, User: user("room.id", "lobby"),
		URL: "wss://example.com/chat", PeerIP: "192.0.2.7",
	}
	b := &observed.Batch{Resource: chat, Session: true}
	for i := range benchEvents {
		e := event{
			kind: wire.KindSend, dir: wire.DirectionSent, typ: wire.MessageText, role: server, conn: conn,
			attrs: attrs{wire.AttrMessageSize: 16 + i*i%5000, wire.AttrMessageID: "m-0000001"},
		}
		if i%2 == 1 {
			e.kind, e.dir = wire.KindReceive, wire.DirectionReceived
		}
		if sampledOneIn > 0 && i%sampledOneIn == 0 {
			e.keep = 1
		}
		b.Rows = append(b.Rows, e.row())
	}
	return b
}

func noConsume(pmetric.Metrics) error { return nil }

func BenchmarkTake(b *testing.B) {
	for _, bb := range []struct {
		name    string
		cfg     Config
		sampled int
	}{
		{"explicit", Config{}, 100},
		{"explicit/all sampled", Config{}, 1},
		{"explicit/dimension", Config{Dimensions: []string{"room.id"}}, 100},
		{"exponential", Config{Exponential: true}, 100},
		{"delta", Config{Delta: true}, 100},
		{"delta/exponential", Config{Delta: true, Exponential: true}, 100},
	} {
		b.Run(bb.name, func(b *testing.B) {
			a := New(bb.cfg, "", "", time.Now)
			batch := traffic(bb.sampled)
			b.ReportAllocs()
			for b.Loop() {
				_ = a.Take(batch, noConsume)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEvents, "ns/event")
		})
	}
}

func BenchmarkTakeParallel(b *testing.B) {
	a := New(Config{}, "", "", time.Now)
	b.RunParallel(func(pb *testing.PB) {
		batch := traffic(100)
		for pb.Next() {
			_ = a.Take(batch, noConsume)
		}
	})
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEvents, "ns/event")
}

func BenchmarkFlush(b *testing.B) {
	for name, cfg := range map[string]Config{"explicit": {}, "exponential": {Exponential: true}} {
		b.Run(name, func(b *testing.B) {
			cfg.Dimensions = []string{"room.id"}
			a := New(cfg, "", "", time.Now)
			for i := range 250 {
				batch := traffic(0)
				batch.Rows[0].Conn.User = []wire.KeyValue{{Key: "room.id", Value: wire.IntValue(int64(i))}}
				require.NoError(b, a.Take(batch, noConsume))
			}
			series, _ := a.Held()
			b.ReportAllocs()
			for b.Loop() {
				a.Flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(series), "ns/series")
		})
	}
}

func TestNoAllocationInSteadyState(t *testing.T) {
	for name, cfg := range map[string]Config{
		"explicit": {}, "exponential": {Exponential: true}, "dimension": {Dimensions: []string{"room.id"}},
	} {
		a := New(cfg, "", "", time.Now)
		batch := traffic(3)
		batch.Rows = append(batch.Rows,
			event{kind: wire.KindError, attrs: attrs{wire.AttrErrorType: "e"}}.row(),
			event{kind: wire.KindClose, class: "normal", keep: 1, attrs: attrs{wire.AttrCloseReason: "bye", wire.AttrURL: "ws://a/b?c"}}.row(),
			event{kind: wire.KindHandshake, role: client}.row())
		batch.Stats = []wire.Stat{stat(wire.MetricQueueSize, nil, protocolStat)}
		batch.Dropped = []wire.Dropped{{Reason: "queue_full", Count: 1}}
		assert.Zero(t, testing.AllocsPerRun(100, func() { _ = a.Take(batch, noConsume) }), name)
	}
}
