package wire

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAppendJSON(t *testing.T) {
	trace, _ := ParseTraceID("4bf92f3577b34da6a3ce929d0e0e4736")
	span, _ := ParseSpanID("00f067aa0ba902b7")
	event := Event{
		Kind: KindReceive, Time: 5, HasTime: true, Duration: 7, HasDuration: true, Unsampled: true, TraceID: trace, SpanID: span, ParentSpanID: span,
		Tracestate: "a=b", Links: []Link{{trace, span, nil}, {trace, span, []KeyValue{{"ws.link.kind", StringValue("active")}}}},
	}
	event.SetStr(AttrMessageType, "text")
	event.SetInt(AttrMessageSize, 128)
	event.SetDouble(AttrProcessingTime, 2)
	event.SetBool(AttrShared, true)
	event.User = []KeyValue{
		{"room.id", StringValue("a\"\\\n\r\t\x01\xff\u2028é")},
		{"n", DoubleValue(3)},
		{"big", DoubleValue(1e300)},
		{"list", ArrayValue([]Value{DoubleValue(1), DoubleValue(2.5)})},
		{"flags", ArrayValue([]Value{BoolValue(true)})},
		{"", IntValue(1)},
		{"room.id", IntValue(1)},
		{"time", IntValue(1)},
		{"ws.role", IntValue(1)},
		{"nan", DoubleValue(math.NaN())},
		{"inf", ArrayValue([]Value{DoubleValue(math.Inf(1))})},
		{"nested", ArrayValue([]Value{ArrayValue(nil)})},
		{"none", Value{}},
	}
	parent := Event{Kind: KindSend, Parent: TraceContext{trace, span, 1}}
	connection := Connection{OpenedAt: 3, HasOpenedAt: true, Closed: true, TraceID: trace, SpanID: span}
	connection.SetStr(AttrConnectionID, "c")
	connection.User = []KeyValue{{"open", IntValue(1)}, {"time", IntValue(1)}}
	stat := Stat{
		Metric: MetricQueueSize, Start: 1, Time: 2, Count: 6, Sum: 7, Min: 1, HasMin: true, Max: 2.5, HasMax: true, Scale: -1, ZeroCount: 1, Offset: 2,
		Buckets: []uint64{2, 3},
	}
	stat.SetStr(AttrRole, "server")
	const ids = `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"`
	for _, tt := range []struct {
		name string
		m    Message
		want string
	}{
		{"hello", Message{Form: FormHello, Hello: Hello{Instance: "i"}}, `{"hello":{"instance":"i"}}`},
		{
			"whole hello",
			Message{Form: FormHello, Hello: Hello{Instance: "i", AgentName: "a", AgentVersion: "1", Aggregates: true, Resource: []KeyValue{{"k", IntValue(1)}, {"k", IntValue(2)}}}},
			`{"hello":{"instance":"i","agent":{"name":"a","version":"1"},"resource":{"k":1},"aggregates":true}}`,
		},
		{"no events", Message{}, `[]`},
		{"events", Message{Batch: Batch{Events: []Event{{Kind: KindPing}, parent}}}, `[{"event":"ping"},` +
			`{"event":"send","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}]`},
		{"empty batch", Message{Form: FormBatch}, `{"events":[]}`},
		{"given up", Message{Form: FormBatch, Batch: Batch{Seq: 5}}, `{"seq":5}`},
		{
			"whole batch",
			Message{Form: FormBatch, Batch: Batch{
				Seq: 1 << 53, Aggregates: true, HasThreshold: true, Threshold: ThresholdFromRatio(0.01), HasResource: true,
				Connections: []Connection{connection}, Events: []Event{event}, Stats: []Stat{stat, {Metric: MetricMessageSize, Count: 3, ZeroCount: 3, Unsized: 2}}, Dropped: []Dropped{{"a", 1}, {"b", 2}},
			}},
			`{"seq":9007199254740992,"aggregates":true,"threshold":"fd70a","resource":{},` +
				`"connections":[{"opened_at":3,"open":false,` + ids + `,"ws.connection.id":"c","time":1}],` +
				`"events":[{"event":"receive","time":5,"duration_ns":7,` + ids + `,"parent_span_id":"00f067aa0ba902b7","tracestate":"a=b","sampled":false,` +
				`"links":[{` + ids + `},{` + ids + `,"attributes":{"ws.link.kind":"active"}}],` +
				`"ws.message.type":"text","ws.message.size":128,"ws.processing.time_ms":2.0,"ws.connection.shared":true,` +
				`"room.id":"a\"\\\n\r\t\u0001` + "\uFFFD\u2028é" + `","n":3.0,"big":1e+300,"list":[1.0,2.5],"flags":[true]}],` +
				`"stats":[{"metric":"ws.queue.size","start":1,"time":2,"attributes":{"ws.role":"server"},"count":6,"sum":7.0,"min":1.0,"max":2.5,` +
				`"scale":-1,"zero_count":1,"offset":2,"bucket_counts":[2,3]},{"metric":"ws.message.size","start":0,"time":0,"count":3,"sum":0.0,"zero_count":3,"unsized":2}],` +
				`"dropped":{"a":1,"b":2}}`,
		},
	} {
		got := AppendJSON([]byte("x"), &tt.m)
		assert.Equal(t, "x"+tt.want, string(got), tt.name)
		assert.True(t, json.Valid(got[1:]), tt.name)
		assert.True(t, takes(string(got[1:])), tt.name)
		// The same again after it was decoded.
		assert.Equal(t, tt.want, string(AppendJSON(nil, decode(t, string(got[1:])))), tt.name)
	}
}

// What is decoded and encoded is decoded to the same.
func TestRoundTrip(t *testing.T) {
	for _, data := range samples {
		if !takes(data) {
			continue
		}
		m := decode(t, data)
		back := decode(t, string(AppendJSON(nil, m)))
		assert.Equal(t, m.Form, back.Form, data)
		assert.Equal(t, m.Hello, back.Hello, data)
		m.Batch.TraceparentsIgnored = 0
		assert.Equal(t, m.Batch, back.Batch, data)
	}
}
