package wire

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// benchBatches are 16 batches of 512 events with ten keys and about 300 bytes
// each, like those of a chat server under load.
func benchBatches(tb testing.TB) [][]byte {
	tb.Helper()
	batches := make([][]byte, 16)
	for n := range batches {
		var m Message
		m.Form = FormBatch
		m.Batch.Seq = uint64(n + 1)
		for i := range 512 {
			n64 := uint64(n*512 + i + 1)
			e := Event{Kind: KindReceive, Time: 1767225600_000000000 + int64(n64)*1003, HasTime: true}
			seed := ConnectionSeed(strconv.Itoa(i % 32))
			e.TraceID = seed.TraceID(n64, SlotClientData)
			e.SpanID = seed.SpanID(n64, SlotClientData, KindReceive, RoleServer)
			e.ParentSpanID = seed.SpanID(n64, SlotClientData, KindSend, RoleClient)
			e.SetStr(AttrConnectionID, fmt.Sprintf("%032x", 0x9E3779B97F4A7C15*uint64(1+i%32)))
			e.SetStr(AttrMessageType, "text")
			e.SetInt(AttrMessageSize, int64(64+i))
			e.SetInt(AttrMessageSeq, int64(n*16+i/32+1))
			e.User = []KeyValue{{"room.id", StringValue(fmt.Sprintf("room-%d", i%5))}}
			m.Batch.Events = append(m.Batch.Events, e)
		}
		batches[n] = AppendJSON(nil, &m)
	}
	return batches
}

func BenchmarkDecodeJSON(b *testing.B) {
	batches := benchBatches(b)
	var d Decoder
	var m Message
	b.ReportAllocs()
	i, bytes := 0, 0
	for b.Loop() {
		data := batches[i%len(batches)]
		i++
		bytes += len(data)
		if err := d.DecodeJSON(data, &m); err != nil {
			b.Fatal(err)
		}
	}
	require.Len(b, m.Batch.Events, 512)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(512*i), "ns/event")
	b.SetBytes(int64(bytes / i))
}

func BenchmarkAppendJSON(b *testing.B) {
	var d Decoder
	ms := make([]Message, 16)
	for i, data := range benchBatches(b) {
		require.NoError(b, d.DecodeJSON(data, &ms[i]))
	}
	var dst []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		dst = AppendJSON(dst[:0], &ms[i%len(ms)])
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(512*i), "ns/event")
}

func BenchmarkAppendAck(b *testing.B) {
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendReply(dst[:0], &Reply{Ack: 17})
	}
}
