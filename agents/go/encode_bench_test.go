package wsstats

import (
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// benchRows are messages of 20 connections, as they come.
func benchRows(n int, attributes ...Attribute) []record {
	conns := make([]*conn, 20)
	for i := range conns {
		conns[i] = newConn(fmt.Sprintf("%032x", i*7919))
	}
	rows := make([]record, n)
	for i := range rows {
		r := message(conns[i*7%len(conns)], int64(64+i%100))
		r.time += int64(i) * 150_000
		r.seq = int64(i/len(conns) + 1)
		if attributes != nil {
			r.attributes = &attributes
		}
		rows[i] = r
	}
	return rows
}

// BenchmarkEncode makes batches of 512 messages in a session that knows their
// connections.
func BenchmarkEncode(b *testing.B) {
	shapes := map[string][]record{
		"plain":      benchRows(512),
		"attributes": benchRows(512, String("room.id", "lobby"), Int("user.level", 7)),
	}
	for name, encoding := range encodings {
		for shape, rows := range shapes {
			b.Run(fmt.Sprintf("%s/%s", name, shape), func(b *testing.B) {
				var e encoder
				e.start(encoding.subprotocol == wire.SubprotocolProto)
				_, err := e.batch(1, rows, dropCounts{}, 0)
				require.NoError(b, err)
				size, seq := 0, uint64(1)
				b.ReportAllocs()
				for b.Loop() {
					e.sent(rows)
					seq++
					data, _ := e.batch(seq, rows, dropCounts{}, 0)
					size = len(data)
				}
				b.ReportMetric(float64(size)/float64(len(rows)), "B/event")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/event")
			})
		}
	}
}

// BenchmarkDelivery has an event recorded, sent in batches of 512 to a receiver
// that reads no more of a message than its number, and acknowledged.
func BenchmarkDelivery(b *testing.B) {
	rows := benchRows(512)
	for name, encoding := range encodings {
		b.Run(string(name), func(b *testing.B) {
			r := newReceiver(b, encoding, nil)
			a, err := NewAgent(WithEndpoint(r.endpoint()), WithBatch(len(rows), 1<<20, time.Hour), withTiming(func(tm *timing) { tm.firstJitter = 0 }))
			require.NoError(b, err)
			done := make(chan int64)
			go func() { done <- acknowledgeAll(<-r.accepted, encoding) }()
			b.ReportAllocs()
			for b.Loop() {
				for i := range rows {
					a.record(rows[i])
				}
				if err := a.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			events := float64(b.N * len(rows))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
			require.NoError(b, a.Shutdown(b.Context()))
			b.ReportMetric(float64(<-done)/events, "B/event")
		})
	}
}

// acknowledgeAll takes all numbers of a session, and returns their bytes.
func acknowledgeAll(ws *websocket.Conn, e encoding) (size int64) {
	welcome := wire.Welcome{MaxMessageBytes: 4 << 20, MaxEvents: 8192, WindowBytes: 4 << 20, HeartbeatS: 10}
	say := func(r wire.Reply) { _ = ws.WriteMessage(websocket.TextMessage, wire.AppendReply(nil, &r)) }
	say(wire.Reply{Welcome: &welcome})
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return size
		}
		if seq := e.peekSeq(data); seq > 0 {
			size += int64(len(data))
			say(wire.Reply{Ack: seq})
		}
	}
}
