package wire

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// samples are messages of every form, right and wrong.
var samples = []string{
	sampleBatch,
	`[]`,
	`[{"event":"ping"},{"event":"pong","time":"2026-01-01T00:00:00.5+01:00"}]`,
	`{"event":"send","a":"x","b":true,"c":1,"d":1.5,"f":["x"],"g":[1,2.5],"h":[true],"big":99999999999999999999,"esc\n":"\ud83d\ude00\u0000"}`,
	`{"event":"send","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","parent_span_id":"00f067aa0ba902b8","sampled":false}`,
	`{"event":"handshake","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"ot=th:8,a=b"}`,
	`{"event":"send","traceparent":"zz","links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","attributes":{"k":[1]}}]}`,
	`{"time":5,"event":"close","ws.close.code":1000,"ws.close.clean":true,"ws.connection.duration_ms":1.5,"ws.message.id":42}`,
	`{"hello":{"instance":"0192f0c1","agent":{"name":"a","version":"1"},"resource":{"service.name":"chat"},"aggregates":true}}`,
	`{"seq":9007199254740992,"threshold":"100000000000000","resource":{},"dropped":{"a":1},"aggregates":true}`,
	`{"connections":[{"ws.connection.id":"é","opened_at":"1767225000000000000","open":false,"tenant":"t"}]}`,
	`{"stats":[{"metric":"ws.processing.time","start":1,"time":2,"count":3,"sum":1e-7,"zero_count":1,"bucket_counts":[2],"scale":-3,"offset":-7}]}`,
	`{"seq":3,"events":[{"event":"recieve"},{"ws.message.size":"big"},5,{"event":"send","a":{}}],"connections":[{}],"stats":[{"metric":"ws.messages.sent"}]}`,
	`{"seq":1,"seq":2}`,
	`{"event":"ping","hello":{}}`,
	`{"seq":4,"events":[{"event":"ping"}`,
	`{"x":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]],"seq":5}`,
	"{\"event\":\"\xff\"}",
}

// Whatever comes, there is no panic, an error says where and what, and what is
// taken is the same after it was encoded and decoded again.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Decoder{Limits: Limits{Events: 64, Connections: 64, Attributes: 16, KeyBytes: 64, ValueBytes: 64, Elements: 8, Depth: 8}}
		var m Message
		if err := d.DecodeJSON(data, &m); err != nil {
			var me *MessageError
			require.ErrorAs(t, err, &me)
			assert.NotEmpty(t, me.Text)
			assert.Contains(t, []string{CodeMalformed, CodeTooLarge}, me.Code)
			assert.LessOrEqual(t, me.Seq, uint64(maxSeq))
			assert.Less(t, len(err.Error()), 1000)
			return
		}
		require.True(t, json.Valid(data))
		r := m.Batch.Rejected
		assert.Equal(t, r.Count > 0, r.First != "")
		assert.Less(t, len(r.First), 1000)

		encoded := AppendJSON(nil, &m)
		require.True(t, json.Valid(encoded))
		var again Message
		require.NoError(t, d.DecodeJSON(encoded, &again), "%s", encoded)
		assert.Zero(t, again.Batch.Rejected, "%s", encoded)
		assert.Equal(t, string(encoded), string(AppendJSON(nil, &again)))
	})
}

func FuzzDecodeReply(f *testing.F) {
	for _, r := range sampleReplies() {
		f.Add(AppendReply(nil, &r))
	}
	f.Add([]byte(`{"future":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeReply(data)
		if err != nil {
			assert.Equal(t, Reply{}, r)
			return
		}
		encoded := AppendReply(nil, &r)
		require.True(t, json.Valid(encoded))
		again, err := DecodeReply(encoded)
		require.NoError(t, err)
		assert.Equal(t, string(encoded), string(AppendReply(nil, &again)))
	})
}
