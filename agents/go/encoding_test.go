package wsstats

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func binaryReceiver(t *testing.T) *receiver { return newReceiver(t, encodings[EncodingProto], nil) }

// in is an event of a connection, with an attribute of the application.
func in(c *conn, room string) record {
	r := message(c, 1)
	r.attributes = &[]Attribute{String("room.id", room)}
	return r
}

// rooms are the connections and rooms of a batch's messages.
func rooms(b *wire.Batch) []string {
	all := []string{}
	for i := range b.Events {
		e := &b.Events[i]
		all = append(all, e.Str(wire.AttrConnectionID)+"/"+e.User[0].Value.Str)
	}
	return all
}

func TestOffers(t *testing.T) {
	tests := map[Encoding]string{
		"":            "wsstats.v1.proto, wsstats.v1.json",
		EncodingProto: "wsstats.v1.proto",
		EncodingJSON:  "wsstats.v1.json",
	}
	for encoding, want := range tests {
		t.Run(string(encoding), func(t *testing.T) {
			r := newReceiver(t, encodings[EncodingProto], nil)
			r.knows(wire.SubprotocolProto, wire.SubprotocolJSON)
			r.agent(WithEncoding(encoding))
			p := r.accept()
			assert.Equal(t, want, (<-r.requests).Header.Get("Sec-Websocket-Protocol"))
			wantProto := encoding != EncodingJSON
			assert.Equal(t, wantProto, p.ws.Subprotocol() == wire.SubprotocolProto)
		})
	}
	_, err := NewAgent(WithEncoding("xml"))
	require.EqualError(t, err, `encoding: expected proto or json, got "xml"`)
}

// Receivers that do not know the binary form are spoken to in JSON.
func TestFallbackToJSON(t *testing.T) {
	tests := map[string]struct {
		knows  []string
		refuse func(http.ResponseWriter, *http.Request) bool
	}{
		"it chooses JSON":      {knows: []string{wire.SubprotocolJSON}},
		"it answers with none": {},
		"it refuses the choice": {[]string{wire.SubprotocolJSON}, func(w http.ResponseWriter, req *http.Request) bool {
			if req.Header.Get("Sec-Websocket-Protocol") == wire.SubprotocolJSON {
				return false
			}
			w.WriteHeader(http.StatusBadRequest)
			return true
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, encodings[EncodingJSON], tt.refuse)
			r.knows(tt.knows...)
			a := r.agent(batchOf(2))
			c := newConn("a81b")
			a.record(in(c, "lobby"))
			a.record(in(c, "attic"))
			for again := range 2 {
				p := r.welcomed(0)
				if again > 0 {
					p.batch(0)
				}
				assert.Equal(t, []string{"a81b/lobby", "a81b/attic"}, rooms(p.batch(1)))
				p.cut()
			}
			p := r.welcomed(1)
			flushed(t, a)
			a.record(in(c, "lobby"))
			a.record(in(c, "attic"))
			assert.Equal(t, map[string]bool{"a81b": true}, entries(p.batch(2)))
			p.ack(2)
			flushed(t, a)
		})
	}
}

// What was pinned is not given up, and what was not offered is not spoken: no
// hello is sent, and the log says why.
func TestOtherSubprotocols(t *testing.T) {
	tests := map[string]struct {
		encoding Encoding
		answer   string
		says     string
	}{
		"binary alone":      {EncodingProto, "", `expected one of the subprotocols [\"wsstats.v1.proto\"] and no extensions, got \"\"`},
		"JSON, not offered": {EncodingProto, wire.SubprotocolJSON, `got \"wsstats.v1.json\"`},
		"another":           {"", "chat", `got \"chat\"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := binaryReceiver(t)
			r.knows()
			if tt.answer != "" {
				r.header.Set("Sec-Websocket-Protocol", tt.answer)
			}
			var log bytes.Buffer
			a := r.agent(batchOf(1), WithEncoding(tt.encoding), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			recordMessages(a, nil, 1, 1)
			for range 3 {
				ws := <-r.accepted
				_, _, err := ws.ReadMessage()
				require.Error(t, err)
				_ = ws.Close()
			}
			stopped(t, a)
			assert.Contains(t, log.String(), tt.says)
		})
	}
}

// A refusal that is not about the choice is no reason to come again at once.
func TestOtherRefusalsAreNotAskedAgain(t *testing.T) {
	var asked atomic.Int32
	r := newReceiver(t, encodings[EncodingJSON], func(w http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	a := r.agent(withTiming(func(tm *timing) { tm.maxBackoff = time.Hour }))
	<-r.requests
	stopped(t, a)
	assert.EqualValues(t, 1, asked.Load())
}

// Red when: connections and keys are defined more than once a session.
func TestDefinedOnceASession(t *testing.T) {
	r := binaryReceiver(t)
	a := r.agent(batchOf(1))
	c := newConn("a81b")
	for range 3 {
		a.record(in(c, "lobby"))
	}
	p := r.welcomed(0)
	for seq := range uint64(3) {
		assert.Equal(t, []string{"a81b/lobby"}, rooms(p.batch(seq+1)))
		for _, text := range []string{"a81b", "room.id", "lobby"} {
			assert.Equal(t, seq == 0, bytes.Contains(p.data, []byte(text)), "%s in message %d", text, seq+1)
		}
	}
	p.ack(3)
	flushed(t, a)
}

// Red when: what a session defined is counted on in the next one.
func TestReconnectInMidStreamDefinesAnew(t *testing.T) {
	r := binaryReceiver(t)
	a := r.agent(batchOf(1))
	c, d := newConn("a81b"), newConn("c0de")
	p := r.welcomed(0)
	for _, e := range []record{in(c, "lobby"), in(c, "attic"), in(d, "lobby"), in(c, "lobby")} {
		a.record(e)
	}
	for seq := range uint64(4) {
		p.batch(seq + 1)
	}
	p.ack(1) // which defined a connection, the key and a room
	require.Eventually(t, func() bool { return a.Stats().Acknowledged == 1 }, patience, time.Millisecond)
	p.cut()

	q := r.welcomed(1) // with a decoder that knows nothing
	q.batch(0)
	assert.Equal(t, []string{"a81b/attic"}, rooms(q.batch(2)))
	assert.Equal(t, []string{"c0de/lobby"}, rooms(q.batch(3)))
	assert.Equal(t, []string{"a81b/lobby"}, rooms(q.batch(4)))
	a.record(in(d, "attic"))
	assert.Equal(t, []string{"c0de/attic"}, rooms(q.batch(5)))
	assert.NotContains(t, string(q.data), "c0de")
	q.ack(5)
	flushed(t, a)
}

// The decoder forgets with each nack: red when a nack of one kind or the other
// does not have the agent define anew.
func TestNacksDefineAnew(t *testing.T) {
	for _, code := range []string{wire.CodeUndefined, wire.CodeUnavailable} {
		t.Run(code, func(t *testing.T) {
			r := binaryReceiver(t)
			a := r.agent(batchOf(1))
			c := newConn("a81b")
			p := r.welcomed(0)
			for range 3 {
				a.record(in(c, "lobby"))
			}
			for seq := range uint64(3) {
				p.batch(seq + 1)
			}
			for range 2 {
				p.reply(wire.Reply{Nack: 2, Retryable: true, Code: code})
				assert.Equal(t, []string{"a81b/lobby"}, rooms(p.batch(2)))
				assert.Equal(t, []string{"a81b/lobby"}, rooms(p.batch(3)))
				assert.NotContains(t, string(p.data), "a81b")
			}
			p.ack(3)
			flushed(t, a)
			assert.EqualValues(t, 3, a.Stats().Acknowledged)
		})
	}
	t.Run("for good", func(t *testing.T) {
		r := binaryReceiver(t)
		a := r.agent(batchOf(1))
		c := newConn("a81b")
		a.record(in(c, "lobby"))
		p := r.welcomed(0)
		p.batch(1)
		p.reply(wire.Reply{Nack: 1, Code: wire.CodeTooLarge})
		flushed(t, a)
		a.record(in(c, "lobby"))
		b := p.batch(2)
		assert.Equal(t, []string{"a81b/lobby"}, rooms(b))
		assert.Equal(t, map[string]bool{"a81b": true}, entries(b), "the refused one's are not known")
		p.ack(2)
		flushed(t, a)
	})
}

// Red when: a message that waits for the window still counts on what was
// forgotten with a nack for good.
func TestNackForGoodWhileAMessageWaits(t *testing.T) {
	r := binaryReceiver(t)
	a := r.agent(batchOf(1))
	c := newConn("a81b")
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.WindowBytes = 1 })
	a.record(in(c, "lobby"))
	p.batch(1)
	a.record(in(c, "lobby"))
	require.Eventually(t, func() bool { // the second is encoded, and waits
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.ring.numbered == 2
	}, patience, time.Millisecond)
	p.reply(wire.Reply{Nack: 1, Code: wire.CodeRefused})
	assert.Equal(t, []string{"a81b/lobby"}, rooms(p.batch(2)))
	p.ack(2)
	flushed(t, a)
}

// An agent whose connections and values are always new ones never defines more
// than a receiver takes.
func TestNeverOutOfDefinitions(t *testing.T) {
	const events, batch = 12_000, 500
	r := binaryReceiver(t)
	a := r.agent(batchOf(batch), WithMaxQueueBytes(64<<20))
	for i := range events {
		a.record(in(newConn(fmt.Sprintf("%032d", i/10)), fmt.Sprintf("room-%d", i)))
	}
	p := r.welcomed(0)
	p.decoder.Limits = wire.Limits{Definitions: 9000}
	for n := 0; n < events; {
		seq := uint64(n/batch + 1)
		for _, room := range rooms(p.batch(seq)) {
			require.Equal(t, fmt.Sprintf("%032d/room-%d", n/10, n), room)
			n++
		}
		p.ack(seq)
	}
	flushed(t, a)
	assert.EqualValues(t, events, a.Stats().Acknowledged)
}

// Red when: a batch with more keys than a session has handles is not divided.
func TestMoreKeysThanHandles(t *testing.T) {
	r := binaryReceiver(t)
	a := r.agent(WithBatch(2000, 64<<20, time.Hour), WithMaxQueueBytes(64<<20))
	for i := range 1120 {
		e, attributes := message(nil, 1), make([]Attribute, 60)
		for k := range attributes {
			attributes[k] = Int(fmt.Sprintf("k%d.%d", i, k), k)
		}
		e.attributes = &attributes
		a.record(e)
	}
	flush := inBackground(t, a.Flush)
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.MaxEvents, w.MaxMessageBytes, w.WindowBytes = 2000, 64<<20, 64<<20 })
	events, seq := 0, uint64(0)
	for events < 1120 {
		seq++
		events += len(p.batch(seq).Events)
		p.ack(seq)
	}
	require.NoError(t, <-flush)
	assert.Equal(t, uint64(2), seq)
	assert.EqualValues(t, 1120, a.Stats().Acknowledged)
}

// An encoder counts only on what was sent.
func TestBinaryEncodingIsTheSameAgain(t *testing.T) {
	e := encoder{}
	e.start(true)
	c := newConn("a81b")
	rows := []record{in(c, "lobby"), event(c, wire.KindClose)}
	first := batchText(t, &e, 1, rows, dropCounts{})
	assert.Contains(t, first, "room.id")
	assert.Equal(t, first, batchText(t, &e, 1, rows, dropCounts{}))
	e.sent(rows)
	second := batchText(t, &e, 1, rows, dropCounts{})
	assert.Less(t, len(second), len(first)/2)
	e.sent(rows)
	assert.Equal(t, second, batchText(t, &e, 1, rows, dropCounts{}))
	e.forget()
	assert.Equal(t, first, batchText(t, &e, 1, rows, dropCounts{}))
	e.start(true)
	assert.Equal(t, first, batchText(t, &e, 1, rows, dropCounts{}))
}

// stopped ends an agent with what it holds.
func stopped(t *testing.T, a *Agent) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = a.Shutdown(ctx)
}
