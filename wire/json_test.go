package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sampleBatch = `{"seq": 1,
 "connections": [{"ws.connection.id": "5f0c", "ws.role": "server", "ws.url": "ws://example.com/chat", "net.peer.ip": "192.0.2.7",
                  "opened_at": 1767225000000000000, "tenant": "blue"}],
 "events": [{"event": "handshake", "time": "2026-01-01T00:00:00.001Z", "duration_ns": 850000, "ws.connection.id": "a81b",
             "ws.role": "server", "ws.handshake.success": true, "http.status_code": 101},
            {"event": "receive", "time": 1767225600123456789, "ws.connection.id": "a81b",
             "ws.message.type": "text", "ws.message.size": 128, "ws.message.seq": 1, "room.id": "lobby"}],
 "stats": [{"metric": "ws.message.size", "start": 1767225590000000000, "time": 1767225600000000000,
            "attributes": {"ws.direction": "sent", "ws.message.type": "text", "ws.role": "server", "room.id": "lobby"},
            "count": 94, "sum": 2310, "min": 12, "max": 31, "scale": 0, "zero_count": 0, "offset": 3, "bucket_counts": [4, 90]}],
 "threshold": "fd70a",
 "resource": {"service.name": "chat"},
 "dropped": {"queue_full": 3}}`

func decode(t testing.TB, data string) *Message {
	t.Helper()
	var d Decoder
	m := new(Message)
	require.NoError(t, d.DecodeJSON([]byte(data), m))
	return m
}

func decodeError(t testing.TB, limits Limits, data string) *MessageError {
	t.Helper()
	d := Decoder{Limits: limits}
	err := d.DecodeJSON([]byte(data), new(Message))
	var me *MessageError
	require.ErrorAs(t, err, &me, data)
	assert.NotEmpty(t, me.Text)
	return me
}

func TestDecodeBatch(t *testing.T) {
	m := decode(t, sampleBatch)
	b := &m.Batch
	assert.Equal(t, FormBatch, m.Form)
	assert.EqualValues(t, 1, b.Seq)
	assert.Zero(t, b.Rejected)

	require.Len(t, b.Connections, 1)
	c := b.Connections[0]
	assert.Equal(t, "5f0c", c.Str(AttrConnectionID))
	assert.Equal(t, "ws://example.com/chat", c.Str(AttrURL))
	assert.True(t, c.HasOpenedAt)
	assert.EqualValues(t, 1767225000000000000, c.OpenedAt)
	assert.False(t, c.Closed)
	assert.Equal(t, []KeyValue{{"tenant", StringValue("blue")}}, c.User)

	require.Len(t, b.Events, 2)
	e := b.Events[0]
	assert.Equal(t, KindHandshake, e.Kind)
	assert.EqualValues(t, 1767225600001000000, e.Time)
	assert.EqualValues(t, 850000, e.Duration)
	assert.True(t, e.Bool(AttrHandshakeSuccess))
	assert.EqualValues(t, 101, e.Int(AttrStatusCode))
	assert.Empty(t, e.User)
	e = b.Events[1]
	assert.Equal(t, KindReceive, e.Kind)
	assert.Equal(t, 1, e.Index)
	assert.EqualValues(t, 1767225600123456789, e.Time)
	assert.False(t, e.HasDuration)
	assert.EqualValues(t, 128, e.Int(AttrMessageSize))
	assert.Equal(t, []KeyValue{{"room.id", StringValue("lobby")}}, e.User)

	require.Len(t, b.Stats, 1)
	s := b.Stats[0]
	assert.Equal(t, MetricMessageSize, s.Metric)
	assert.EqualValues(t, 94, s.Count)
	assert.Equal(t, []uint64{4, 90}, s.Buckets)
	assert.Equal(t, "sent", s.Str(AttrDirection))
	assert.Equal(t, []KeyValue{{"room.id", StringValue("lobby")}}, s.User)
	assert.True(t, s.HasMin && s.HasMax)
	assert.EqualValues(t, 3, s.Offset)

	assert.True(t, b.HasThreshold)
	assert.Equal(t, "fd70a", FormatThreshold(b.Threshold))
	assert.True(t, b.HasResource)
	assert.Equal(t, []KeyValue{{"service.name", StringValue("chat")}}, b.Resource)
	assert.Equal(t, []Dropped{{"queue_full", 3}}, b.Dropped)
}

func TestDecodeHello(t *testing.T) {
	m := decode(t, `{"future": [1, {}], "hello": {"instance": "0192f0c1", "agent": {"name": "wsstats-go", "version": "0.1.0", "os": {}},
		"resource": {"service.name": "chat", "n": 1}, "aggregates": true, "future": null}}`)
	assert.Equal(t, FormHello, m.Form)
	assert.Equal(t, Hello{
		Instance: "0192f0c1", AgentName: "wsstats-go", AgentVersion: "0.1.0", Aggregates: true,
		Resource: []KeyValue{{"service.name", StringValue("chat")}, {"n", IntValue(1)}},
	}, m.Hello)
}

func TestForms(t *testing.T) {
	for _, tt := range []struct {
		data   string
		form   Form
		events int
	}{
		{`[]`, FormEvents, 0},
		{` [ {"event":"ping"} , {"event":"pong"} ] `, FormEvents, 2},
		{`{"event":"ping"}`, FormEvents, 1},
		{`{"seq":"mine","event":"ping"}`, FormEvents, 1},
		{`{"events":"mine","time":5,"event":"ping","hello":null}`, FormEvents, 1},
		{`{"event":null,"events":[{"event":"ping","hello":"mine"}]}`, FormBatch, 1},
		{`{"x":1,"seq":3}`, FormBatch, 0},
		{`{"aggregates":true}`, FormBatch, 0},
		{`{"hello":{"instance":"i"},"event":null}`, FormHello, 0},
		{`{"hello":{"instance":"i"},"seq":null}`, FormHello, 0},
	} {
		m := decode(t, tt.data)
		assert.Equal(t, tt.form, m.Form, tt.data)
		assert.Len(t, m.Batch.Events, tt.events, tt.data)
		assert.Zero(t, m.Batch.Rejected, tt.data)
	}
}

func TestMessageErrors(t *testing.T) {
	deep := strings.Repeat("[", 20) + strings.Repeat("]", 20)
	for _, tt := range []struct {
		data, want string
		seq        uint64
	}{
		{``, `invalid JSON: unexpected end`, 0},
		{`x`, `invalid JSON: unexpected byte 120 'x' at 0`, 0},
		{`"a"`, `expected an array of events or an object, got a string`, 0},
		{`null`, `expected an array of events or an object, got null`, 0},
		{`{}`, `expected "event", "hello" or a batch: "seq", "connections", "events", "stats", "dropped"`, 0},
		{`{"foo":1}`, `expected "event", "hello" or a batch: "seq", "connections", "events", "stats", "dropped"`, 0},
		{`{"seq":null}`, `expected "event", "hello" or a batch: "seq", "connections", "events", "stats", "dropped"`, 0},
		{`{"event":"ping","hello":{"instance":"i"}}`, `both "event" and "hello": send them as two messages`, 0},
		{`{"hello":{"instance":"i"},"x":1,"event":5}`, `both "event" and "hello": send them as two messages`, 0},
		{`{"hello":{"instance":"i"},"seq":5}`, `hello: stands beside "seq": send them as two messages`, 5},
		{`{"events":[{"event":"ping"}`, `invalid JSON: unexpected end`, 0},
		{`{"seq":4,"events":[{"event":"ping"}}`, `invalid JSON: unexpected byte 125 '}' at 35`, 4},
		{`{"seq":4}x`, `invalid JSON: something follows the message`, 4},
		{`{"event":"ping"} {}`, `invalid JSON: something follows the message`, 0},
		{`[] ]`, `invalid JSON: something follows the message`, 0},
		{`[1,]`, `[1]: invalid JSON: unexpected byte 93 ']' at 3`, 0},
		{"{\"seq\":4,\"x\":\"\xff\"}", `invalid UTF-8`, 4},
		{`{"seq":0}`, `seq: expected an integer from 1 to 2^53, got 0`, 0},
		{`{"seq":-1}`, `seq: expected an integer from 1 to 2^53, got -1`, 0},
		{`{"seq":9007199254740993}`, `seq: expected an integer from 1 to 2^53, got 9007199254740993`, 0},
		{`{"seq":1.5}`, `seq: expected an integer from 1 to 2^53, got 1.5`, 0},
		{`{"seq":"1"}`, `seq: expected an integer from 1 to 2^53, got "1"`, 0},
		{`{"seq":1,"seq":2}`, `seq: duplicate key`, 0},
		{`{"events":[],"events":[],"seq":9}`, `events: duplicate key`, 9},
		{`{"x":1,"x":2,"seq":9}`, `x: duplicate key`, 9},
		{`{"events":5,"seq":9}`, `events: expected an array, got 5`, 9},
		{`{"events":{},"seq":9}`, `events: expected an array, got an object`, 9},
		{`{"connections":true}`, `connections: expected an array, got true`, 0},
		{`{"stats":"x"}`, `stats: expected an array, got "x"`, 0},
		{`{"threshold":5}`, `threshold: expected 1 to 14 lower-case hex digits, got 5`, 0},
		{`{"threshold":"xyz"}`, `threshold: expected 1 to 14 lower-case hex digits, got "xyz"`, 0},
		{`{"dropped":[]}`, `dropped: expected an object, got an array`, 0},
		{`{"dropped":{"a":-1}}`, `dropped.a: expected an integer of at least 0, got -1`, 0},
		{`{"dropped":{"a":1,"a":2}}`, `dropped.a: duplicate key`, 0},
		{`{"aggregates":1}`, `aggregates: expected true or false, got 1`, 0},
		{`{"resource":1}`, `resource: expected an object, got 1`, 0},
		{`{"resource":{"a":{}}}`, `resource.a: expected a string, boolean, number or flat array, got an object`, 0},
		{`{"resource":{"a":1,"b":2,"a":null}}`, `resource.a: duplicate key`, 0},
		{`{"resource":{"":1}}`, `resource: a key is empty`, 0},
		{`{"seq":7,"events":[{"event":"ping","a.b":1,"a.b":2}]}`, `events[0].a.b: duplicate key`, 7},
		{`{"seq":7,"events":[{"event":"ping","ws.message.size":1,"ws.message.size":null}]}`, `events[0].ws.message.size: duplicate key`, 7},
		{`{"events":[{"event":"x","time":"y","time":1}]}`, `events[0].time: duplicate key`, 0},
		{`{"events":[{"links":[{"trace_id":1,"trace_id":1}]}]}`, `events[0].links[0].trace_id: duplicate key`, 0},
		{`{"events":[{"links":[{"x":1,"x":1}]}]}`, `events[0].links[0].x: duplicate key`, 0},
		{`{"events":[{"links":[{"attributes":{"x":1,"x":1}}]}]}`, `events[0].links[0].attributes.x: duplicate key`, 0},
		{`{"connections":[{},{"open":true,"open":false}]}`, `connections[1].open: duplicate key`, 0},
		{`{"stats":[{"count":1,"count":1}]}`, `stats[0].count: duplicate key`, 0},
		{`{"stats":[{"x":1,"x":1}]}`, `stats[0].x: duplicate key`, 0},
		{`{"stats":[{"attributes":{"ws.role":1,"ws.role":1}}]}`, `stats[0].attributes.ws.role: duplicate key`, 0},
		{`{"hello":5}`, `hello: expected an object, got 5`, 0},
		{`{"hello":{}}`, `hello.instance: is required`, 0},
		{`{"hello":{"instance":""}}`, `hello.instance: expected a string of 1 to 128 printable characters, got ""`, 0},
		{`{"hello":{"instance":"a\u0000"}}`, `hello.instance: expected a string of 1 to 128 printable characters, got "a\x00"`, 0},
		{`{"hello":{"instance":"i","instance":"i"}}`, `hello.instance: duplicate key`, 0},
		{`{"hello":{"instance":"i","agent":5}}`, `hello.agent: expected an object, got 5`, 0},
		{`{"hello":{"instance":"i","agent":{"name":5}}}`, `hello.agent.name: expected a string, got 5`, 0},
		{`{"hello":{"instance":"i","agent":{"name":"a","name":"b"}}}`, `hello.agent.name: duplicate key`, 0},
		{`{"hello":{"instance":"i","agent":{"x":"a","x":"b"}}}`, `hello.agent.x: duplicate key`, 0},
		{`{"hello":{"instance":"i","resource":{"a":[[]]}}}`, `hello.resource.a: expected a flat array of one type, got an array in it`, 0},
		{`{"hello":{"instance":"i","aggregates":"yes"}}`, `hello.aggregates: expected true or false, got "yes"`, 0},
		{`{"hello":{"instance":"i","y":1,"y":1}}`, `hello.y: duplicate key`, 0},
		{`{"hello":{"instance":"i"},"hello":null}`, `hello: duplicate key`, 0},
		{`{"hello":{"instance":"i"},"y":1,"y":1}`, `y: duplicate key`, 0},
		{`{"seq":1,"x":` + deep + `}`, `nested deeper than 16`, 1},
		{`{"event":"ping","x":` + deep + `}`, `nested deeper than 16`, 0},
		{`{"event":"ping","x":` + strings.Repeat(`{"a":`, 20) + `1` + strings.Repeat(`}`, 20) + `}`, `nested deeper than 16`, 0},
		{`{"event":"ping",}`, `invalid JSON: unexpected byte 125 '}' at 16`, 0},
		{`{"event":"ping","x":nul}`, `invalid JSON: unexpected byte 125 '}' at 23`, 0},
		{`{"event":"ping","x":tru}`, `invalid JSON: unexpected byte 125 '}' at 23`, 0},
		{`{"event":"ping","x":01}`, `invalid JSON: unexpected byte 49 '1' at 21`, 0},
		{`{"event":"ping","x":"\q"}`, `invalid JSON: unexpected byte 113 'q' at 22`, 0},
		{"{\"event\":\"ping\",\"x\":\"\n\"}", `invalid JSON: unexpected byte 10 '\n' at 21`, 0},
	} {
		err := decodeError(t, Limits{}, tt.data)
		assert.Equal(t, tt.want, err.Error(), tt.data)
		assert.Equal(t, tt.seq, err.Seq, tt.data)
		if strings.Contains(tt.want, "deeper") {
			assert.Equal(t, CodeTooLarge, err.Code)
		} else {
			assert.Equal(t, CodeMalformed, err.Code)
		}
		assert.Equal(t, tt.want == "invalid UTF-8", errors.Is(err.Unwrap(), ErrInvalidUTF8))
	}
}

func TestRowErrors(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ data, want string }{
		{`{"events":[{"event":"ping"},1]}`, `events[1]: expected an object, got 1`},
		{`{"events":[{}]}`, `events[0].event: is required`},
		{`{"events":[{"event":null}]}`, `events[0].event: is required`},
		{`{"events":[{"event":7}]}`, `events[0].event: expected a string, got 7`},
		{`{"events":[{"event":"recieve"}]}`, `events[0].event: unknown kind "recieve", did you mean "receive"?`},
		{`{"events":[{"event":"Send"}]}`, `events[0].event: unknown kind "Send", did you mean "send"?`},
		{`{"events":[{"event":"elephant"}]}`, `events[0].event: unknown kind "elephant"`},
		{`{"events":[{"event":"ws"}]}`, `events[0].event: unknown kind "ws"`},
		{`{"events":[{"event":"` + long + `"}]}`, `events[0].event: unknown kind "` + long[:32] + `"...`},
		{`{"events":[{"event":"ping"},{"event":"ping"},{"event":"ping"},{"ws.message.size":"big","event":"send"}]}`, `events[3].ws.message.size: expected an integer, got "big"`},
		{`{"event":"send","ws.message.size":"128"}`, `ws.message.size: expected an integer, got "128"`},
		{`{"event":"send","ws.message.size":1.5}`, `ws.message.size: expected an integer, got 1.5`},
		{`{"event":"send","ws.message.size":9223372036854775808}`, `ws.message.size: expected an integer, got 9223372036854775808`},
		{`{"event":"send","ws.message.size":1e400}`, `ws.message.size: expected an integer, got 1e400`},
		{`{"event":"send","ws.message.size":-1}`, `ws.message.size: expected an integer of at least 0, got -1`},
		{`{"event":"send","ws.message.seq":0}`, `ws.message.seq: expected an integer of at least 1, got 0`},
		{`{"event":"send","ws.message.size":[1]}`, `ws.message.size: expected an integer, got an array`},
		{`{"event":"send","ws.message.size":{"a":[1]}}`, `ws.message.size: expected an integer, got an object`},
		{`{"event":"send","ws.message.size":true}`, `ws.message.size: expected an integer, got true`},
		{`{"event":"send","ws.processing.time_ms":"1"}`, `ws.processing.time_ms: expected a number, got "1"`},
		{`{"event":"send","ws.processing.time_ms":-0.5}`, `ws.processing.time_ms: expected a number of at least 0, got -0.5`},
		{`{"event":"send","ws.processing.time_ms":1e400}`, `ws.processing.time_ms: expected a number that a double can hold, got 1e400`},
		{`{"event":"send","ws.close.clean":"true"}`, `ws.close.clean: expected true or false, got "true"`},
		{`{"event":"send","ws.role":5}`, `ws.role: expected a string, got 5`},
		{`{"event":"send","ws.message.id":1.5}`, `ws.message.id: expected a string or an integer, got 1.5`},
		{`{"event":"send","ws.message.id":false}`, `ws.message.id: expected a string, got false`},
		{`{"event":"send","ws.connection.id":""}`, `ws.connection.id: expected a string of 1 to 128 printable characters, got ""`},
		{`{"event":"send","ws.connection.id":"a\tb"}`, `ws.connection.id: expected a string of 1 to 128 printable characters, got "a\tb"`},
		{`{"event":"send","ws.connection.id":"a\u200eb"}`, `ws.connection.id: expected a string of 1 to 128 printable characters, got "a\u200eb"`},
		{`{"event":"send","ws.connection.id":"` + long[:129] + `"}`, `ws.connection.id: expected a string of 1 to 128 printable characters, got "` + long[:32] + `"...`},
		{`{"event":"send","ws.connection.id":7}`, `ws.connection.id: expected a string of 1 to 128 printable characters, got 7`},
		{`[{"event":"ping"},{"event":"ping"},{"event":"ping","time":"soon"}]`, `[2].time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got "soon"`},
		{`{"event":"ping","time":-1}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got -1`},
		{`{"event":"ping","time":"-1"}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got "-1"`},
		{`{"event":"ping","time":1767225600.5}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got 1767225600.5`},
		{`{"event":"ping","time":"1969-12-31T23:59:59Z"}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got "1969-12-31T23:59:59Z"`},
		{`{"event":"ping","time":"2262-04-12T00:00:00Z"}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got "2262-04-12T00:00:00Z"`},
		{`{"event":"ping","time":"9223372036854775808"}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got "9223372036854775808"`},
		{`{"event":"ping","time":"1000-01-01T00:00:00Z"}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got "1000-01-01T00:00:00Z"`},
		{`{"event":"ping","time":true}`, `time: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got true`},
		{`{"event":"ping","duration_ns":-1}`, `duration_ns: expected an integer of at least 0, got -1`},
		{`{"event":"ping","time":9223372036854775807,"duration_ns":1}`, `duration_ns: the end is after the year 2262`},
		{`{"event":"ping","duration_ns":9223372036854775807}`, `duration_ns: the end is after the year 2262`},
		{`{"event":"ping","trace_id":"00000000000000000000000000000000"}`, `trace_id: expected 32 hex digits, not all zero, got "00000000000000000000000000000000"`},
		{`{"event":"ping","trace_id":"abc"}`, `trace_id: expected 32 hex digits, not all zero, got "abc"`},
		{`{"event":"ping","trace_id":"4bf92f3577b34da6a3ce929d0e0e47360"}`, `trace_id: expected 32 hex digits, not all zero, got "4bf92f3577b34da6a3ce929d0e0e4736"...`},
		{`{"event":"ping","span_id":"00f067aa0ba902b"}`, `span_id: expected 16 hex digits, not all zero, got "00f067aa0ba902b"`},
		{`{"event":"ping","trace_id":5}`, `trace_id: expected 32 hex digits, not all zero, got 5`},
		{`{"event":"ping","span_id":"00f067aa0ba902bx"}`, `span_id: expected 16 hex digits, not all zero, got "00f067aa0ba902bx"`},
		{`{"event":"ping","parent_span_id":"0000000000000000"}`, `parent_span_id: expected 16 hex digits, not all zero, got "0000000000000000"`},
		{`{"event":"ping","traceparent":5}`, `traceparent: expected a string, got 5`},
		{`{"event":"ping","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","span_id":"00f067aa0ba902b7"}`, `traceparent: stands beside trace_id, span_id or parent_span_id: state one form`},
		{`{"event":"ping","tracestate":5}`, `tracestate: expected a string, got 5`},
		{`{"event":"ping","sampled":5}`, `sampled: expected true or false, got 5`},
		{`{"event":"ping","links":5}`, `links: expected an array, got 5`},
		{`{"event":"ping","links":[5]}`, `links[0]: expected an object, got 5`},
		{`{"event":"ping","links":[{"span_id":"00f067aa0ba902b7"}]}`, `links[0].trace_id: is required`},
		{`{"event":"ping","links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}]}`, `links[0].span_id: is required`},
		{`{"event":"ping","links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","attributes":5}]}`, `links[0].attributes: expected an object, got 5`},
		{`{"event":"ping","links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","attributes":{"a":{}}}]}`, `links[0].attributes.a: expected a string, boolean, number or flat array, got an object`},
		{`{"event":"ping","links":[` + strings.Repeat(`{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"},`, 129) + `5]}`, `links[128]: more than 128 links`},
		{`{"event":"ping","a.b":{"c":1}}`, `a.b: expected a string, boolean, number or flat array, got an object`},
		{`{"event":"ping","a.b":[1,"x"]}`, `a.b: expected a flat array of one type, got several types`},
		{`{"event":"ping","a.b":[1,true,[]]}`, `a.b: expected a flat array of one type, got several types`},
		{`{"event":"ping","a.b":[1,null]}`, `a.b: expected a flat array of one type, got null in it`},
		{`{"event":"ping","a.b":[[1]]}`, `a.b: expected a flat array of one type, got an array in it`},
		{`{"event":"ping","a.b":[{}]}`, `a.b: expected a flat array of one type, got an object in it`},
		{`{"event":"ping","a.b":[1e400,"x"]}`, `a.b: expected a number that a double can hold, got 1e400`},
		{`{"event":"ping","a.b":1e400}`, `a.b: expected a number that a double can hold, got 1e400`},
		{`{"event":"ping","":1}`, `a key is empty`},
		{`[{"event":"ping","":1}]`, `[0]: a key is empty`},
		{`{"event":"ping","` + long + `":1}`, `"` + long[:32] + `"...: the key is longer than 256 bytes`},
		{`{"event":"ping","a\u0007 b":{}}`, `"a\a b": expected a string, boolean, number or flat array, got an object`},
		{`{"connections":[{"ws.connection.id":"a"},{"ws.role":"server"}]}`, `connections[1].ws.connection.id: is required`},
		{`{"connections":["a"]}`, `connections[0]: expected an object, got "a"`},
		{`{"connections":[{"ws.connection.id":"a","open":1}]}`, `connections[0].open: expected true or false, got 1`},
		{`{"connections":[{"ws.connection.id":"a","opened_at":"x"}]}`, `connections[0].opened_at: expected Unix nanoseconds or RFC 3339, from 1970 to 2262, got "x"`},
		{`{"connections":[{"ws.connection.id":"a","trace_id":"x"}]}`, `connections[0].trace_id: expected 32 hex digits, not all zero, got "x"`},
		{`{"connections":[{"ws.connection.id":"a","span_id":"x"}]}`, `connections[0].span_id: expected 16 hex digits, not all zero, got "x"`},
		{`{"stats":[5]}`, `stats[0]: expected an object, got 5`},
		{stat(`"metric":null`), `stats[0].metric: is required`},
		{stat(`"metric":5`), `stats[0].metric: expected a string, got 5`},
		{stat(`"metric":"ws.message.sizes"`), `stats[0].metric: unknown metric "ws.message.sizes", expected one of ws.message.size, ws.processing.time, ws.queue.size, ws.broadcast.recipients`},
		{stat(`"metric":"ws.messages.bytes"`), `stats[0].metric: "ws.messages.bytes" follows from ws.message.size: send that`},
		{stat(`"metric":"ws.messages.sent"`), `stats[0].metric: "ws.messages.sent" follows from ws.message.size: send that`},
		{stat(`"start":null`), `stats[0].start: is required`},
		{stat(`"time":null`), `stats[0].time: is required`},
		{stat(`"count":null`), `stats[0].count: is required`},
		{stat(`"sum":null`), `stats[0].sum: is required`},
		{stat(`"start":3`), `stats[0].start: is after time`},
		{stat(`"min":3,"max":2`), `stats[0].min: is greater than max`},
		{stat(`"sum":-1`), `stats[0].sum: expected a number of at least 0, got -1`},
		{stat(`"scale":21`), `stats[0].scale: expected an integer from -10 to 20`},
		{stat(`"scale":-11`), `stats[0].scale: expected an integer from -10 to 20`},
		{stat(`"offset":2147483647`), `stats[0].offset: expected an integer from -2147483648 to 2147483327`},
		{stat(`"count":4`), `stats[0].bucket_counts: with zero_count they do not add up to count`},
		{stat(`"count":9223372036854775807,"bucket_counts":[9223372036854775807,9223372036854775807,1]`), `stats[0].bucket_counts: with zero_count they do not add up to count`},
		{stat(`"bucket_counts":5`), `stats[0].bucket_counts: expected an array, got 5`},
		{stat(`"bucket_counts":[null]`), `stats[0].bucket_counts: expected integers, got null`},
		{stat(`"bucket_counts":[-1]`), `stats[0].bucket_counts: expected an integer of at least 0, got -1`},
		{stat(`"bucket_counts":[` + strings.Repeat("0,", 320) + `3]`), `stats[0].bucket_counts: more than 320 buckets`},
		{stat(`"metric":"ws.message.size","unsized":2`), `stats[0].unsized: is greater than zero_count`},
		{stat(`"metric":"ws.message.size","unsized":-1`), `stats[0].unsized: expected an integer of at least 0, got -1`},
		{stat(`"unsized":1`), `stats[0].unsized: is of ws.message.size alone`},
		{stat(`"attributes":5`), `stats[0].attributes: expected an object, got 5`},
		{stat(`"attributes":{"ws.message.size":"x"}`), `stats[0].attributes.ws.message.size: expected an integer, got "x"`},
	} {
		m := decode(t, tt.data)
		assert.Equal(t, Rejected{Count: 1, First: tt.want}, m.Batch.Rejected, tt.data)
	}
}

// stat is a batch with one stat, in which some keys are others.
func stat(members string) string {
	var b strings.Builder
	for _, kv := range [][2]string{{"metric", `"ws.queue.size"`}, {"start", "1"}, {"time", "2"}, {"count", "3"}, {"sum", "1.5"}, {"zero_count", "1"}, {"bucket_counts", "[2]"}} {
		if !strings.Contains(members, `"`+kv[0]+`":`) {
			fmt.Fprintf(&b, "%q:%s,", kv[0], kv[1])
		}
	}
	return `{"stats":[{` + b.String() + members + `}]}`
}

func TestStatHelper(t *testing.T) {
	m := decode(t, stat(`"x":1`))
	assert.Zero(t, m.Batch.Rejected)
	assert.Len(t, m.Batch.Stats, 1)
}

// A rejected row leaves nothing behind and the others stand.
func TestRejectedRows(t *testing.T) {
	m := decode(t, `{"events":[
		{"event":"ping","a":[1,2],"b":"x","links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","attributes":{"k":"v"}}]},
		{"a":[3,4],"b":"y","traceparent":"zz","links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","attributes":{"k":"w"}}],"event":"nope"},
		{"event":"nope"},
		{"event":"pong","a":[5],"b":"z","traceparent":"zz","links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b8","attributes":{"k":"x"}}]}]}`)
	b := &m.Batch
	assert.Equal(t, 2, b.Rejected.Count)
	assert.Equal(t, `events[1].event: unknown kind "nope"`, b.Rejected.First)
	assert.Equal(t, 1, b.TraceparentsIgnored)
	require.Len(t, b.Events, 2)
	assert.Equal(t, []int{0, 3}, []int{b.Events[0].Index, b.Events[1].Index})
	assert.Equal(t, []KeyValue{{"a", ArrayValue([]Value{IntValue(1), IntValue(2)})}, {"b", StringValue("x")}}, b.Events[0].User)
	assert.Equal(t, []KeyValue{{"a", ArrayValue([]Value{IntValue(5)})}, {"b", StringValue("z")}}, b.Events[1].User)
	assert.Equal(t, []KeyValue{{"k", StringValue("v")}}, b.Events[0].Links[0].Attributes)
	assert.Equal(t, []KeyValue{{"k", StringValue("x")}}, b.Events[1].Links[0].Attributes)
	assert.Len(t, m.users, 4)
	assert.Len(t, m.linkUsers, 2)
}

func TestLimits(t *testing.T) {
	limits := Limits{Events: 2, Connections: 1, Attributes: 3, KeyBytes: 4, ValueBytes: 5, Elements: 2, Depth: 4}
	for _, tt := range []struct{ data, place, text string }{
		{`[{},{},{}]`, `[2]`, `more than 2`},
		{`{"seq":3,"events":[{},{},{}]}`, `events[2]`, `more than 2`},
		{`{"seq":3,"stats":[{},{},{}]}`, `stats[2]`, `more than 2`},
		{`{"connections":[{},{}],"seq":3}`, `connections[1]`, `more than 1`},
		{`{"seq":3,"x":[[[[1]]]]}`, ``, `nested deeper than 4`},
		{`[{"links":[{"attributes":{}}]}]`, `[0].links[0].attributes`, `nested deeper than 4`},
	} {
		err := decodeError(t, limits, tt.data)
		assert.Equal(t, CodeTooLarge, err.Code, tt.data)
		assert.Equal(t, tt.place, err.Place, tt.data)
		assert.Equal(t, tt.text, err.Text, tt.data)
		if strings.Contains(tt.data, "seq") {
			assert.EqualValues(t, 3, err.Seq, tt.data)
		}
	}

	d := Decoder{Limits: limits}
	var m Message
	require.NoError(t, d.DecodeJSON([]byte(`[{"event":"ping","a":1,"b":2,"c":3,"d":4,"e":[1],"d":5}]`), &m))
	assert.Equal(t, Rejected{1, `[0]: more than 3 attributes of the user`}, m.Batch.Rejected)
	require.NoError(t, d.DecodeJSON([]byte(`[{"event":"ping","abcde":1}]`), &m))
	assert.Equal(t, Rejected{1, `[0].abcde: the key is longer than 4 bytes`}, m.Batch.Rejected)

	require.NoError(t, d.DecodeJSON([]byte(`[{"event":"ping","a":"12345","b":"1234é","c":["123456",""],"ws.url":"123456"}]`), &m))
	assert.Zero(t, m.Batch.Rejected)
	assert.Equal(t, 3, m.Batch.ValuesCut)
	assert.Equal(t, []KeyValue{{"a", StringValue("12345")}, {"b", StringValue("1234")}, {"c", ArrayValue([]Value{StringValue("12345"), StringValue("")})}},
		m.Batch.Events[0].User)
	assert.Equal(t, "12345", m.Batch.Events[0].Str(AttrURL))

	require.NoError(t, d.DecodeJSON([]byte(`[{"event":"ping","a":[1,2,3,4]}]`), &m))
	assert.Equal(t, 1, m.Batch.ValuesCut)
	assert.Equal(t, []Value{IntValue(1), IntValue(2)}, m.Batch.Events[0].User[0].Value.Array)

	require.NoError(t, d.DecodeJSON([]byte(`[{"event":"ping","tracestate":"a=b,c=d"},{"event":"ping","tracestate":"abcdef=b"}]`), &m))
	assert.Equal(t, 2, m.Batch.ValuesCut)
	assert.Equal(t, "a=b", m.Batch.Events[0].Tracestate)
	assert.Empty(t, m.Batch.Events[1].Tracestate)
}

// Rejected.First outlives the input; strings of rows do not.
func TestRejectedFirstIsOwned(t *testing.T) {
	var d Decoder
	var m Message
	data := []byte(`[{"event":"ping","key.one":{}}]`)
	require.NoError(t, d.DecodeJSON(data, &m))
	clear(data)
	assert.Equal(t, `[0].key.one: expected a string, boolean, number or flat array, got an object`, m.Batch.Rejected.First)
}

func TestEventPlace(t *testing.T) {
	assert.Equal(t, "events[3]", decode(t, sampleBatch).EventPlace(3))
	assert.Equal(t, "[3]", decode(t, `[]`).EventPlace(3))
	assert.Equal(t, "event", decode(t, `{"event":"ping"}`).EventPlace(0))
}

// A message is decoded into again and again, of every form.
func TestReuse(t *testing.T) {
	var d Decoder
	var m Message
	for range 3 {
		for _, data := range []string{sampleBatch, `{"event":"ping","a":1}`, `[1,2,3]`, `{"hello":{"instance":"i"}}`, `{"seq":5}`} {
			require.NoError(t, d.DecodeJSON([]byte(data), &m))
			assert.Equal(t, rowsOf(decode(t, data)), rowsOf(&m), data)
			assert.Equal(t, string(AppendJSON(nil, decode(t, data))), string(AppendJSON(nil, &m)), data)
		}
		require.Error(t, d.DecodeJSON([]byte(`{"seq":`), &m))
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	batches := benchBatches(t)
	batches = append(batches, []byte(sampleBatch),
		[]byte(`[{"event":"send","a":"esc\n\u00e9","b":[1,2.5],"links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","attributes":{"k":"v"}}]}]`),
		[]byte(`{"event":"ping","time":"2026-01-01T00:00:00.001Z"}`),
		[]byte(`{"hello":{"instance":"i","agent":{"name":"x"},"resource":{"a":"b"}}}`))
	var d Decoder
	var m Message
	var dst []byte
	i := 0
	run := func() {
		data := batches[i%len(batches)]
		i++
		if err := d.DecodeJSON(data, &m); err != nil {
			t.Fatal(err)
		}
		dst = AppendJSON(dst[:0], &m)
	}
	for range batches {
		run()
	}
	assert.Zero(t, testing.AllocsPerRun(4*len(batches), run))
}
