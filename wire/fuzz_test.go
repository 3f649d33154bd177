package wire

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

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
	`{"stats":[{"metric":"ws.message.size","start":1,"time":2,"count":5,"sum":9,"zero_count":3,"bucket_counts":[2],"unsized":2},{"metric":"ws.queue.size","start":1,"time":2,"count":1,"sum":0,"zero_count":1,"unsized":1}]}`,
	`{"seq":3,"events":[{"event":"recieve"},{"ws.message.size":"big"},5,{"event":"send","a":{}}],"connections":[{}],"stats":[{"metric":"ws.messages.sent"}]}`,
	`{"seq":1,"seq":2}`,
	`{"event":"ping","hello":{}}`,
	`{"seq":4,"events":[{"event":"ping"}`,
	`{"x":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]],"seq":5}`,
	"{\"event\":\"\xff\"}",
	`{"event":"send","a":["x",1],"b":[1,null],"c":[1,2,3,4,5,6,7,8,[]],"d":[1,2,3,4,5,6,7,8,"x"]}`,
	`{"event":"send","ws.message.size":1.28e2,"ws.message.seq":9007199254740993.0,"ws.message.id":-0,"n":-0.0,"m":1e400}`,
	`{"event":"send","tracestate":"a=aaaaaaaaaaaaaaaaaaaaaaaaaaaa,b=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","u":"\ud800\udc","v":"\udc00"}`,
	`{"event":"send","u":"\ud83d\ud83d\ude00","v\ude00\ud83d\ude00":"\ud83d\u0061"}`,
	// Edges: of times, numbers, contexts, and what is cut.
	`[{"event":"send","time":-1},{"event":"send","time":"9223372036854775808"},{"event":"send","time":"1969-12-31T23:59:59Z"},{"event":"send","time":5.0}]`,
	`[{"event":"send","time":9223372036854775807,"duration_ns":1},{"event":"send","time":"9223372036854775807","duration_ns":0},{"event":"send","duration_ns":-1}]`,
	`[{"event":"send","ws.message.size":128.5},{"event":"send","ws.message.size":-1},{"event":"send","ws.message.seq":0},{"event":"send","n":9223372036854775808}]`,
	`[{"event":"receive","traceparent":"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},{"event":"receive","traceparent":"00-` + strings.Repeat("0", 32) + `-00f067aa0ba902b7-01"}]`,
	`[{"event":"receive","traceparent":"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},{"event":"receive","traceparent":"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"}]`,
	`{"connections":[{"ws.connection.id":"a","opened_at":-1},{"ws.connection.id":"a","opened_at":0}]}`,
	`{"seq":9007199254740993}`,
	`{"threshold":"fd70a0000000000"}`,
	`{"stats":[{"metric":"ws.queue.size","start":3,"time":2,"count":0,"sum":0},{"metric":"ws.queue.size","start":2,"time":2,"count":1,"sum":0,"min":2,"max":1,"zero_count":1}]}`,
	`{"event":"send","cut":"a` + strings.Repeat("é", 32) + `","` + strings.Repeat("k", 64) + `":1}`,
	`{"event":"send","` + strings.Repeat("k", 65) + `":1}`,
	`{"event":"send","a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":null}`,
	`{"seq":1,"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"q":2}`,
}

// small are limits that short messages reach.
var small = Limits{Events: 64, Connections: 64, Attributes: 16, KeyBytes: 64, ValueBytes: 64, Elements: 8, Depth: 8}

// form is an encoding of messages. What holds for one holds for each.
type form struct {
	name   string
	encode func([]byte, *Message) []byte
	decode func(*Decoder, []byte, *Message) error
}

var forms = []form{
	{"json", AppendJSON, (*Decoder).DecodeJSON},
	{"proto", appendProto, (*Decoder).DecodeProto},
}

func appendProto(dst []byte, m *Message) []byte {
	b, err := new(ProtoEncoder).Append(dst, m)
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzDecodeJSON holds the decoder to the oracle, which is made of
// encoding/json: they take the same messages and find the same rows.
func FuzzDecodeJSON(f *testing.F) {
	seedMessages(f)
	d, m := Decoder{Limits: small}, new(Message) // one for all, as in a session
	f.Fuzz(func(t *testing.T, data []byte) {
		want, ok := oracleDecode(data, small)
		err := d.DecodeJSON(data, m)
		require.Equal(t, ok, err == nil, "the decoder says %v", err)
		if err != nil {
			checkMessageError(t, err, data)
			return
		}
		got := rowsOf(m)
		r := m.Batch.Rejected
		assert.Equal(t, r.Count > 0, r.First != "")
		assert.Less(t, len(r.First), 1000)
		got.Batch.Rejected.First = ""
		require.Equal(t, rowsOf(want), got)
	})
}

// checkMessageError checks that an error says where and what, of a message that is wrong.
func checkMessageError(t *testing.T, err error, data []byte) {
	t.Helper()
	var me *MessageError
	require.ErrorAs(t, err, &me)
	assert.NotEmpty(t, me.Text)
	assert.Contains(t, []string{CodeMalformed, CodeTooLarge}, me.Code)
	assert.Less(t, len(err.Error()), 1000)
	assert.True(t, utf8.ValidString(err.Error()))
	assert.Equal(t, utf8.Valid(data), !errors.Is(err, ErrInvalidUTF8))
	assert.LessOrEqual(t, me.Seq, uint64(maxSeq))
	if top := map[string]any{}; me.Seq != 0 && json.Unmarshal(data, &top) == nil {
		assert.InDelta(t, float64(me.Seq), top["seq"], 0, "the number of another message")
	}
}

// FuzzRoundTrip encodes what was decoded, and decodes it again: it says the same.
func FuzzRoundTrip(f *testing.F) {
	seedMessages(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(Message)
		if d := (Decoder{Limits: small}); d.DecodeJSON(data, m) != nil {
			return
		}
		for _, form := range forms {
			checkRoundTrip(t, form, m)
		}
	})
}

func checkRoundTrip(t *testing.T, form form, m *Message) {
	t.Helper()
	encoded := form.encode(nil, m)
	if form.name == "json" {
		require.True(t, json.Valid(encoded), "%s", encoded)
	}
	// Limits bind what stands in a message, and not how it is written.
	d, again := Decoder{Limits: small}, new(Message)
	require.NoError(t, form.decode(&d, encoded, again), "%q", encoded)
	want, got := rowsOf(m), rowsOf(again)
	if form.name == "proto" {
		sortUsers(want)
		sortUsers(got)
	}
	for i := range want.Batch.Connections {
		want.Batch.Connections[i].Index = i
	}
	for i := range want.Batch.Events {
		want.Batch.Events[i].Index = i
	}
	for i := range want.Batch.Stats {
		want.Batch.Stats[i].Index = i
	}
	want.Batch.Rejected, want.Batch.ValuesCut, want.Batch.TraceparentsIgnored = Rejected{}, 0, 0
	require.Equal(t, want, got, "%q", encoded)
	assert.Equal(t, string(encoded), string(form.encode(nil, again)))
}

// sortUsers sorts the user's attributes of events: columns do not keep their order.
func sortUsers(m Message) {
	for i := range m.Batch.Events {
		slices.SortFunc(m.Batch.Events[i].User, func(a, b KeyValue) int { return strings.Compare(a.Key, b.Key) })
	}
}

// rowsOf is what a message says, without the memory that it says it in: lists
// that are empty are nil, and attributes that are not set are zero.
func rowsOf(m *Message) Message {
	b := m.Batch
	b.Resource = plain(b.Resource)
	b.Dropped = listOf(b.Dropped)
	b.Connections, b.Events, b.Stats = listOf(b.Connections), listOf(b.Events), listOf(b.Stats)
	for i := range b.Connections {
		b.Connections[i].User = plain(b.Connections[i].User)
	}
	for i := range b.Events {
		e := &b.Events[i]
		e.User, e.Links, e.ConnHandle = plain(e.User), listOf(e.Links), 0
		attrs := Attrs{User: e.User}
		for a := range NumAttrs {
			if e.Has(a) {
				attrs.SetValue(a, e.Value(a))
			}
		}
		e.Attrs = attrs
		for j := range e.Links {
			e.Links[j].Attributes = plain(e.Links[j].Attributes)
		}
	}
	for i := range b.Stats {
		b.Stats[i].User, b.Stats[i].Buckets = plain(b.Stats[i].User), listOf(b.Stats[i].Buckets)
	}
	h := m.Hello
	h.Resource = plain(h.Resource)
	return Message{Form: m.Form, Hello: h, Batch: b}
}

func plain(kvs []KeyValue) []KeyValue {
	kvs = listOf(kvs)
	for i := range kvs {
		kvs[i].Value.Array = listOf(kvs[i].Value.Array)
	}
	return kvs
}

// listOf is a copy of a list, nil of an empty one.
func listOf[T any](list []T) []T { return append([]T(nil), list...) }

// FuzzDecodeReply does the same with the messages of the receiver.
func FuzzDecodeReply(f *testing.F) {
	for _, r := range sampleReplies() {
		f.Add(AppendReply(nil, &r))
	}
	f.Add([]byte(`{"future":1}`))
	f.Add([]byte(`{"nack":1,"retry_after_ms":1,"rejected":{"count":1}}`))
	f.Add([]byte(`{"ack":1,"nack":2,"flow":{},"duplicate":true,"code":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeReply(data)
		if err != nil {
			require.Equal(t, Reply{}, r)
			return
		}
		encoded := AppendReply(nil, &r)
		require.True(t, json.Valid(encoded))
		again, err := DecodeReply(encoded)
		require.NoError(t, err, "%s", encoded)
		switch { // of several replies in one the encoder takes the first
		case r.Ack != 0:
			r = Reply{Ack: r.Ack, Duplicate: r.Duplicate, Rejected: r.Rejected}
		case r.Nack != 0:
			r = Reply{Nack: r.Nack, Retryable: r.Retryable, RetryAfterMs: r.RetryAfterMs, Code: r.Code, Message: r.Message}
		case r.Error != nil:
			r = Reply{Error: r.Error}
		}
		require.Equal(t, r, again, "%s", encoded)
	})
}

// seedMessages adds the samples, and the messages of protocol/vectors.
func seedMessages(f *testing.F) {
	f.Helper()
	for _, text := range seedTexts(f) {
		f.Add([]byte(text))
	}
}

func seedTexts(f *testing.F) []string {
	f.Helper()
	texts := slices.Clone(samples)
	paths, err := filepath.Glob("../protocol/vectors/messages/*/*.json")
	require.NoError(f, err)
	require.NotEmpty(f, paths)
	for _, path := range paths {
		texts = append(texts, vectorMessages(f, path)...)
	}
	return texts
}
