package wsstatsreceiver

import (
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// protoAgent is an agent of the binary form that defines what it uses once a session.
type protoAgent struct {
	*testAgent

	encoder *wire.ProtoEncoder
}

func (tr *testReceiver) protoAgent(instance string) *protoAgent {
	tr.t.Helper()
	a := &protoAgent{testAgent: tr.dial(nil, wire.SubprotocolProto), encoder: new(wire.ProtoEncoder)}
	a.say(`{"hello":{"instance":"` + instance + `"}}`)
	require.NotNil(tr.t, a.reply().Welcome)
	a.encoder.Reset()
	return a
}

// say sends what is written in JSON here, and returns how many bytes that were.
func (a *protoAgent) say(text string) int {
	a.t.Helper()
	var m wire.Message
	require.NoError(a.t, new(wire.Decoder).DecodeJSON([]byte(text), &m))
	data, err := a.encoder.Append(nil, &m)
	require.NoError(a.t, err)
	require.NoError(a.t, a.conn.WriteMessage(websocket.BinaryMessage, data))
	return len(data)
}

func TestProtoSession(t *testing.T) {
	r := startReceiver(t, testOptions{})
	a := r.protoAgent("i1")
	message := func(seq int) string {
		return fmt.Sprintf(`{"seq":%d,"events":[{"event":"send","time":%d,"ws.connection.id":"0123456789abcdef","ws.role":"client","ws.message.seq":%d,"room.id":"lobby"}]}`, seq, seq, seq)
	}
	first := a.say(message(1))
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	assert.Less(t, a.say(message(2)), first/2, "what is defined is not sent again")
	assert.Equal(t, wire.Reply{Ack: 2}, a.reply())

	// What the session defined is gone with it.
	require.NoError(t, a.conn.Close())
	b := r.protoAgent("i1")
	b.encoder = a.encoder
	b.say(message(3))
	refusal := b.reply()
	assert.EqualValues(t, 3, refusal.Nack)
	assert.True(t, refusal.Retryable)
	assert.Equal(t, wire.CodeUndefined, refusal.Code)
	b.encoder.Reset()
	b.say(message(3))
	assert.Equal(t, wire.Reply{Ack: 3}, b.reply())

	for _, span := range spansOf(r.traces.AllTraces()) {
		room, _ := span.Attributes().Get("room.id")
		assert.Equal(t, "lobby", room.Str())
	}
	assert.Equal(t, 3, r.traces.SpanCount())
}

// Red when: the receiver has a preference of its own.
func TestTheAgentChoosesTheForm(t *testing.T) {
	r := startReceiver(t, testOptions{})
	for _, tt := range []struct {
		offered []string
		picked  string
	}{
		{[]string{wire.SubprotocolProto, wire.SubprotocolJSON}, wire.SubprotocolProto},
		{[]string{wire.SubprotocolJSON, wire.SubprotocolProto}, wire.SubprotocolJSON},
		{[]string{"wsstats.v2.proto", wire.SubprotocolProto, wire.SubprotocolJSON}, wire.SubprotocolProto},
	} {
		assert.Equal(t, tt.picked, r.dial(nil, tt.offered...).conn.Subprotocol())
	}
}

// Numbered messages that are over the budget define nothing, and those without
// a number depend on none.
func TestProtoOverTheBudget(t *testing.T) {
	r := startReceiver(t, testOptions{})
	a := r.protoAgent("i1")
	require.Eventually(t, func() bool { return r.budget.Acquire(r.budget.Limit()) }, 5*time.Second, time.Millisecond) // the hello has to be done
	a.say(batch(1, "c", 1))
	a.say(batch(2, "c", 2)) // ignored
	assert.EqualValues(t, 1, a.reply().Nack)
	a.say(`{"connections":[{"ws.connection.id":"c","ws.role":"client","opened_at":1}]}`)
	assert.NotNil(t, a.reply().Error, "its events would be dropped")
	r.budget.Release(r.budget.Limit())
	a.encoder.Reset()
	a.say(batch(1, "c", 1))
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	a.say(batch(2, "c", 2))
	assert.Equal(t, wire.Reply{Ack: 2}, a.reply())
	assert.Equal(t, 2, r.traces.SpanCount())
	r.flush(t.Context())
	assert.EqualValues(t, 1, sumOf(r.metrics.AllMetrics(), "ws.connections.active"), "the connection was declared")
}

// An agent that never defines what it uses is not answered for ever.
func TestProtoNeverDefined(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Limits.MalformedMessages = 3 }})
	a := r.protoAgent("i1")
	a.say(batch(1, "c", 1))
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	stale := a.encoder
	b := r.protoAgent("i2")
	for range 3 {
		b.encoder = stale
		b.say(batch(1, "c", 1))
		assert.Equal(t, wire.CodeUndefined, b.reply().Code)
	}
	b.encoder = stale
	b.say(batch(1, "c", 1))
	b.expectClose(websocket.ClosePolicyViolation)
}

// Red when: limits.definitions is another than the option's.
func TestDefinitionsAreBounded(t *testing.T) {
	r := startReceiver(t, limits(func(l *LimitsConfig) { l.Definitions = 2 }))
	a := r.protoAgent("i1")
	a.say(`{"seq":1,"events":[{"event":"send","ws.connection.id":"a"},{"event":"send","ws.connection.id":"b"}]}`)
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	a.say(`{"seq":2,"events":[{"event":"send","ws.connection.id":"c"}]}`)
	refusal := a.reply()
	assert.EqualValues(t, 2, refusal.Nack)
	assert.False(t, refusal.Retryable)
	assert.Equal(t, wire.CodeTooLarge, refusal.Code)
}
