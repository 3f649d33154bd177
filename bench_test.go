package wsstatsreceiver

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	benchEvents  = 512 // a batch
	benchBatches = 16  // distinct ones, so that no cache holds all that is read
	benchConns   = 64
)

// benchConnections declares what the events of the batches are on.
func benchConnections() string {
	text := `{"connections":[`
	for i := range benchConns {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"ws.connection.id":"%032x","ws.role":"server","ws.url":"wss://example.com/chat","ws.protocol":"wss",`+
			`"net.peer.ip":"192.0.2.%d","net.peer.port":%d,"opened_at":1767225600000000000}`, i+1, i, 40000+i)
	}
	return text + `]}`
}

// benchEventList is a batch's events, without the number: messages in both
// directions, with seven attributes of their own and six by their connection.
func benchEventList(batch int) string {
	var text strings.Builder
	text.WriteString(`"events":[`)
	for i := range benchEvents {
		if i > 0 {
			text.WriteByte(',')
		}
		kind := "receive"
		if i%2 == 1 {
			kind = "send"
		}
		n := batch*benchEvents + i
		fmt.Fprintf(&text, `{"event":"%s","time":%d,"ws.connection.id":"%032x","ws.message.type":"text","ws.message.size":%d,"ws.message.seq":%d,`+
			`"ws.queue.size":%d,"room.id":"room-%d","user.id":"user-%d"}`,
			kind, 1767225600000000000+n*1000, n%benchConns+1, 16+n*n%5000, n+1, n%7, n%10, n%1000)
	}
	text.WriteString("]}")
	return text.String()
}

// signals says which pipelines a receiver is in.
type signals struct{ traces, metrics bool }

func benchReceiver(b *testing.B, s signals, config func(*Config)) *wsstatsReceiver {
	b.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.NetAddr.Endpoint = "127.0.0.1:0"
	cfg.Metrics.Dimensions = []string{"room.id"}
	if config != nil {
		config(cfg)
	}
	require.NoError(b, cfg.Validate())
	var c component.Component
	var err error
	set := receivertest.NewNopSettings(metadata.Type)
	if s.traces {
		c, err = NewFactory().CreateTraces(b.Context(), set, cfg, consumertest.NewNop())
		require.NoError(b, err)
	}
	if s.metrics {
		c, err = NewFactory().CreateMetrics(b.Context(), set, cfg, consumertest.NewNop())
		require.NoError(b, err)
	}
	require.NoError(b, c.Start(b.Context(), componenttest.NewNopHost()))
	b.Cleanup(func() { require.NoError(b, c.Shutdown(context.Background())) })
	return c.(*wsstatsReceiver)
}

func decodeBench(b *testing.B, text string) *wire.Message {
	b.Helper()
	m := new(wire.Message)
	require.NoError(b, new(wire.Decoder).DecodeJSON([]byte(text), m))
	require.Zero(b, m.Batch.Rejected)
	return m
}

// events runs the loop and reports what a batch cost, for each event.
func events(b *testing.B, batch func(n int)) {
	var before, after runtime.MemStats
	n := 0
	runtime.ReadMemStats(&before)
	for b.Loop() {
		batch(n)
		n++
	}
	b.StopTimer()
	runtime.ReadMemStats(&after)
	total := float64(n * benchEvents)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/event")
	b.ReportMetric(total/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/total, "allocs/event")
	b.ReportMetric(0, "ns/op")
}

// benchTake measures what follows decoding: rows, spans, metrics, nop consumers.
func benchTake(b *testing.B, s signals, config func(*Config)) {
	r := benchReceiver(b, s, config)
	a := r.newAgent("bench")
	now := time.Now()
	require.NoError(b, r.take(b.Context(), a, &incoming{Message: decodeBench(b, benchConnections()), arrival: now}).err)
	messages := make([]*wire.Message, benchBatches)
	for i := range messages {
		messages[i] = decodeBench(b, "{"+benchEventList(i))
	}
	events(b, func(n int) {
		if out := r.take(b.Context(), a, &incoming{Message: messages[n%benchBatches], arrival: now}); out.err != nil || out.rejected.Count > 0 {
			b.Fatal(out)
		}
	})
}

// benchSession measures all of it, from the agent's write to the ack that it reads.
func benchSession(b *testing.B, s signals, config func(*Config)) {
	r := benchReceiver(b, s, config)
	dialer := websocket.Dialer{Subprotocols: []string{wire.SubprotocolJSON}}
	conn, resp, err := dialer.Dial("ws://"+r.sessions.addr.String()+r.cfg.Path, nil)
	require.NoError(b, err)
	_ = resp.Body.Close()
	b.Cleanup(func() { _ = conn.Close() })
	exchange := func(text []byte) wire.Reply {
		if err := conn.WriteMessage(websocket.TextMessage, text); err != nil {
			b.Fatal(err)
		}
		_, data, err := conn.ReadMessage()
		if err != nil {
			b.Fatal(err)
		}
		reply, err := wire.DecodeReply(data)
		if err != nil {
			b.Fatal(err)
		}
		return reply
	}
	require.NotNil(b, exchange([]byte(`{"hello":{"instance":"bench"}}`)).Welcome)
	require.NoError(b, conn.WriteMessage(websocket.TextMessage, []byte(benchConnections())))
	batches := make([]string, benchBatches)
	for i := range batches {
		batches[i] = benchEventList(i)
	}
	var text []byte
	events(b, func(n int) {
		text = append(text[:0], `{"seq":`...)
		text = strconv.AppendInt(text, int64(n+1), 10)
		text = append(append(text, ','), batches[n%benchBatches]...)
		if reply := exchange(text); reply.Ack != uint64(n+1) || reply.Rejected != nil {
			b.Fatal(reply)
		}
	})
	b.ReportMetric(float64(len(text))/benchEvents, "bytes/event")
}

func benchSignals(b *testing.B, s signals) {
	onePercent := func(cfg *Config) { cfg.Traces.Sampling.Ratio = 0.01 }
	deltas := func(cfg *Config) { cfg.Metrics.Temporality = delta }
	b.Run("take", func(b *testing.B) { benchTake(b, s, nil) })
	if s.traces {
		b.Run("take/ratio=0.01", func(b *testing.B) { benchTake(b, s, onePercent) })
	} else {
		b.Run("take/delta", func(b *testing.B) { benchTake(b, s, deltas) })
	}
	b.Run("session", func(b *testing.B) { benchSession(b, s, nil) })
	if s.traces {
		b.Run("session/ratio=0.01", func(b *testing.B) { benchSession(b, s, onePercent) })
	}
}

func BenchmarkTraces(b *testing.B)  { benchSignals(b, signals{traces: true}) }
func BenchmarkMetrics(b *testing.B) { benchSignals(b, signals{metrics: true}) }
func BenchmarkBoth(b *testing.B)    { benchSignals(b, signals{traces: true, metrics: true}) }

// BenchmarkTranslator builds the spans of resolved rows.
func BenchmarkTranslator(b *testing.B) {
	for _, c := range []Conventions{ConventionsWS, ConventionsDup, ConventionsSemconv} {
		b.Run(string(c), func(b *testing.B) {
			cfg := createDefaultConfig().(*Config)
			cfg.Conventions = c
			r := benchReceiver(b, signals{traces: true}, nil)
			a := r.newAgent("bench")
			now := time.Now()
			require.NoError(b, r.take(b.Context(), a, &incoming{Message: decodeBench(b, benchConnections()), arrival: now}).err)
			resolved := make([]observed.Resolved, benchBatches)
			for i := range resolved {
				a.table.Resolve(decodeBench(b, "{"+benchEventList(i)), now.UnixNano(), &resolved[i])
			}
			translator := newTranslator(cfg, "")
			events(b, func(n int) {
				if td := translator.traces(a.resource, &resolved[n%benchBatches]); td.SpanCount() != benchEvents {
					b.Fatal(td.SpanCount())
				}
			})
		})
	}
}
