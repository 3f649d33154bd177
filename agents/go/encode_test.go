package wsstats

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func batchText(t *testing.T, e *encoder, seq uint64, rows []record, dropped dropCounts) string {
	t.Helper()
	data, err := e.batch(seq, rows, dropped, 0)
	require.NoError(t, err)
	return string(data)
}

func TestEncodeEvents(t *testing.T) {
	const id = `"ws.connection.id":"a81b"`
	handshake := event(newConn("a81b"), wire.KindHandshake)
	handshake.duration = 850
	handshake.conn.shared = true
	handshake.extra = &wire.Event{Parent: wire.TraceContext{TraceID: wire.TraceID{1}, SpanID: wire.SpanID{2}, Flags: 1}}
	handshake.extra.SetInt(wire.AttrStatusCode, 101)
	closing := event(newConn("a81b"), wire.KindClose)
	closing.extra = &wire.Event{}
	closing.extra.SetStr(wire.AttrCloseInitiator, "remote")
	closing.extra.User = []wire.KeyValue{{Key: "room.id", Value: wire.StringValue("lobby")}}
	ping := event(newConn("a81b"), wire.KindPing)
	ping.typ, ping.dir, ping.seq, ping.size, ping.duration = wire.MessagePing, wire.DirectionSent, 3, 4, 5
	receive := message(newConn("a81b"), 128)
	receive.seq, receive.frames = 7, 2
	receive.attributes = &[]Attribute{String("room.id", "lobby"), Int("ws.queue.size", 3), Int("ws.processing.time_ms", 2), String("ws.message.size", "big"), Int("ws.message.seq", 9)}
	compressed := message(newConn("a81b"), 99)
	compressed.compressed = true
	failed := event(nil, wire.KindError)

	tests := map[string]struct {
		record  record
		want    []string
		without []string
	}{
		"handshake": {handshake, []string{
			id, `"event":"handshake"`, `"time":1767225600123456789`, `"duration_ns":850`, `"ws.url":"ws://example.com/chat"`,
			`"ws.protocol":"ws"`, `"ws.role":"server"`, `"net.peer.ip":"192.0.2.7"`, `"net.peer.port":4711`,
			`"ws.connection.shared":true`, `"http.status_code":101`, `"traceparent":"00-01`,
		}, nil},
		"receive": {receive, []string{
			id, `"event":"receive"`, `"ws.message.type":"text"`, `"ws.message.size":128`,
			`"ws.message.frames":2`, `"ws.message.seq":7`, `"room.id":"lobby"`, `"ws.queue.size":3`, `"ws.processing.time_ms":2.0`,
		}, []string{"ws.direction", "ws.url", "ws.role", "duration_ns", "big", `"ws.message.seq":9`}},
		"compressed": {compressed, []string{`"ws.message.compressed_size":99`}, []string{"ws.message.size"}},
		"ping": {ping, []string{
			id, `"event":"ping"`, `"ws.direction":"sent"`, `"ws.message.seq":3`, `"ws.message.size":4`, `"duration_ns":5`,
		}, []string{"ws.message.type"}},
		"close": {closing, []string{id, `"ws.close.initiator":"remote"`, `"room.id":"lobby"`}, []string{"ws.url", "ws.message"}},
		"error": {failed, []string{`"event":"error"`}, []string{"ws."}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := encoder{session: 1}
			if tt.record.conn != nil {
				tt.record.conn.declared = 1
			}
			text := batchText(t, &e, 1, []record{tt.record}, dropCounts{})
			assert.True(t, strings.HasPrefix(text, `{"seq":1,"events":[{`), text)
			for _, want := range tt.want {
				assert.Contains(t, text, want)
			}
			for _, without := range tt.without {
				assert.NotContains(t, text, without)
			}
		})
	}
}

func TestEncodeIsTheSameAgain(t *testing.T) {
	e := encoder{}
	e.start(false)
	c := newConn("a81b")
	rows := []record{message(c, 1), event(c, wire.KindClose)}
	first := batchText(t, &e, 1, rows, dropCounts{reasonQueueFull: 3})
	assert.Contains(t, first, `"connections"`)
	assert.Contains(t, first, `"dropped":{"queue_full":3}`)
	assert.Equal(t, first, batchText(t, &e, 1, rows, dropCounts{reasonQueueFull: 3})) // not sent yet: declared again
	e.sent(rows)
	assert.NotContains(t, batchText(t, &e, 2, rows, dropCounts{}), "connections")
	e.start(false) // another session knows nothing
	assert.Contains(t, batchText(t, &e, 2, rows, dropCounts{}), "connections")
	assert.Equal(t, `{"seq":3}`, batchText(t, &e, 3, nil, dropCounts{}))
}

// The estimates are on the high side, or batches would have to be cut again.
func TestEstimates(t *testing.T) {
	for _, binary := range []bool{false, true} {
		c := newConn(strings.Repeat("a", 32))
		m := message(c, 1<<30)
		m.seq, m.frames = 1<<40, 1<<20
		length := func() int {
			e := encoder{}
			e.start(binary)
			e.sent([]record{m})
			return len(batchText(t, &e, 1, []record{m}, dropCounts{}))
		}
		assert.LessOrEqual(t, length(), m.jsonBytes()+50)
		m.attributes = &[]Attribute{String("room.id", longText(1000)), Int64("n", 1<<62)}
		assert.LessOrEqual(t, length(), m.jsonBytes()+50)
	}
}
