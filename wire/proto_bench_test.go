package wire

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	chatEvents  = 512
	chatConns   = 64
	chatBatches = 16 // distinct ones, so that no cache holds all that is read
)

// chatMessage is a batch of messages in both directions, with seven attributes
// of their own; ids says whether their spans have random ids.
func chatMessage(batch int, ids bool) *Message {
	m := &Message{Form: FormBatch}
	m.Batch.Seq = uint64(batch + 1)
	seed := InstanceSeed("chat")
	for i := range chatEvents {
		n := batch*chatEvents + i
		e := Event{Kind: []Kind{KindReceive, KindSend}[i%2], Index: i, Time: 1767225600_000000000 + int64(n)*1000, HasTime: true}
		e.SetStr(AttrConnectionID, fmt.Sprintf("%032x", n%chatConns+1))
		e.SetStr(AttrMessageType, "text")
		e.SetInt(AttrMessageSize, int64(16+n*n%5000))
		e.SetInt(AttrMessageSeq, int64(n+1))
		e.SetInt(AttrQueueSize, int64(n%7))
		e.User = []KeyValue{{"room.id", StringValue(fmt.Sprintf("room-%d", n%10))}, {"user.id", StringValue(fmt.Sprintf("user-%d", n%1000))}}
		if ids {
			e.TraceID = seed.TraceID(uint64(n), SlotOther)
			e.SpanID = seed.SpanID(uint64(n), SlotOther, e.Kind, RoleServer)
			e.ParentSpanID = seed.SpanID(uint64(n), SlotOther, e.Kind, RoleClient)
		}
		m.Batch.Events = append(m.Batch.Events, e)
	}
	return m
}

// chatSession encodes the batches of a session: those that define what it uses,
// and as many again that use it.
func chatSession(tb testing.TB, ids bool) (defining, using [][]byte) {
	tb.Helper()
	var e ProtoEncoder
	for i := range 2 * chatBatches {
		data, err := e.Append(nil, chatMessage(i, ids))
		require.NoError(tb, err)
		if i < chatBatches {
			defining = append(defining, data)
		} else {
			using = append(using, data)
		}
	}
	return defining, using
}

func BenchmarkDecodeProto(b *testing.B) {
	for _, ids := range []bool{false, true} {
		b.Run(map[bool]string{false: "derived", true: "random"}[ids], func(b *testing.B) {
			defining, using := chatSession(b, ids)
			var d Decoder
			var m Message
			for _, data := range defining {
				require.NoError(b, d.DecodeProto(data, &m))
			}
			b.ReportAllocs()
			i, bytes := 0, 0
			for b.Loop() {
				data := using[i%len(using)]
				i++
				bytes += len(data)
				if err := d.DecodeProto(data, &m); err != nil {
					b.Fatal(err)
				}
			}
			require.Len(b, m.Batch.Events, chatEvents)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(chatEvents*i), "ns/event")
			b.ReportMetric(float64(bytes)/float64(chatEvents*i), "B/event")
		})
	}
}

// The same events in JSON, to compare.
func BenchmarkDecodeJSONChat(b *testing.B) {
	var batches [][]byte
	for i := range chatBatches {
		batches = append(batches, AppendJSON(nil, chatMessage(i, false)))
	}
	var d Decoder
	var m Message
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := d.DecodeJSON(batches[i%len(batches)], &m); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(chatEvents*i), "ns/event")
}

func BenchmarkAppendProto(b *testing.B) {
	var e ProtoEncoder
	ms := make([]*Message, chatBatches)
	for i := range ms {
		ms[i] = chatMessage(i, false)
	}
	var dst []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		var err error
		if dst, err = e.Append(dst[:0], ms[i%len(ms)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(chatEvents*i), "ns/event")
}

// What the protocol aims at, without compression.
func TestProtoSizes(t *testing.T) {
	for ids, most := range map[bool]float64{false: 15, true: 48} {
		_, using := chatSession(t, ids)
		bytes := 0
		for _, data := range using {
			bytes += len(data)
		}
		perEvent := float64(bytes) / float64(chatBatches*chatEvents)
		t.Logf("random ids %v: %.2f bytes an event", ids, perEvent)
		assert.LessOrEqual(t, perEvent, most, "random ids: %v", ids)
	}
}

func TestDecodeProtoDoesNotAllocate(t *testing.T) {
	defining, using := chatSession(t, true)
	var d Decoder
	var m Message
	for _, data := range append(defining, using...) {
		require.NoError(t, d.DecodeProto(data, &m))
	}
	i := 0
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if d.DecodeProto(using[i%len(using)], &m) != nil {
			panic("cannot be taken")
		}
		i++
	}))
}
