package main

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// receiver takes what the agents send, as the real one does as far as they see.
type receiver struct {
	server *httptest.Server
	// answer says something else than an ack to a number, where it is set and
	// returns something.
	answer  func(seq uint64) *wire.Reply
	welcome func(*wire.Welcome)                            // changes what it says to a hello; nil: nothing
	began   func(ws *websocket.Conn, say func(wire.Reply)) // is called when a session has begun; nil: nothing
	silent  bool                                           // it says no more than welcome
	keep    bool                                           // lines and hellos are kept

	mu       sync.Mutex
	taken    map[string]uint64 // the last number, by instance
	ids      map[string]int    // gen.id, and how often it was taken
	kinds    map[wire.Kind]int
	sessions map[*websocket.Conn]struct{}
	chosen   map[string]int // sessions, by subprotocol
	lines    [][]byte       // the messages that were taken, in JSON
	hellos   [][]byte
	restated int              // connections, in unnumbered messages
	arrived  map[uint64][]int // the events of a number, each time that it came
	largest  int              // message, in bytes
	wg       sync.WaitGroup
}

func newReceiver(t *testing.T, answer func(seq uint64) *wire.Reply) *receiver {
	r := &receiver{
		answer: answer, taken: map[string]uint64{}, ids: map[string]int{}, kinds: map[wire.Kind]int{},
		sessions: map[*websocket.Conn]struct{}{}, chosen: map[string]int{}, arrived: map[uint64][]int{},
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{wire.SubprotocolProto, wire.SubprotocolJSON}} // the better one first
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ws, err := upgrader.Upgrade(w, req, nil)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.sessions[ws] = struct{}{}
		r.chosen[ws.Subprotocol()]++
		r.mu.Unlock()
		r.wg.Go(func() {
			defer ws.Close()
			r.serve(ws)
		})
	}))
	t.Cleanup(func() {
		r.server.Close()
		r.mu.Lock()
		for ws := range r.sessions {
			_ = ws.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *receiver) endpoint() string { return "ws" + strings.TrimPrefix(r.server.URL, "http") }

func (r *receiver) serve(ws *websocket.Conn) {
	var writing sync.Mutex
	reply := func(reply wire.Reply) {
		writing.Lock()
		defer writing.Unlock()
		_ = ws.WriteMessage(websocket.TextMessage, wire.AppendReply(nil, &reply))
	}
	var (
		d        wire.Decoder
		m        wire.Message
		instance string
		again    uint64 // the number that has to come again, 0: none
	)
	decode, peekSeq := d.DecodeJSON, wire.PeekSeq
	if ws.Subprotocol() == wire.SubprotocolProto {
		decode, peekSeq = d.DecodeProto, wire.PeekSeqProto
	}
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.largest = max(r.largest, len(data))
		r.mu.Unlock()
		if again != 0 && peekSeq(data) > again {
			continue // go-back-N
		}
		err = decode(data, &m)
		switch {
		case err != nil && !r.silent:
			reply(wire.Reply{Error: &wire.ErrorDetail{Code: wire.CodeMalformed, Message: err.Error()}})
		case m.Form == wire.FormHello:
			instance = strings.Clone(m.Hello.Instance)
			r.mu.Lock()
			if r.keep {
				r.hellos = append(r.hellos, wire.AppendJSON(nil, &m))
			}
			after := r.taken[instance]
			r.mu.Unlock()
			welcome := wire.Welcome{ResumeAfter: after, MaxMessageBytes: 1 << 20, MaxEvents: 1000, WindowBytes: 1 << 20, HeartbeatS: 10}
			if r.welcome != nil {
				r.welcome(&welcome)
			}
			reply(wire.Reply{Welcome: &welcome})
			if r.began != nil {
				r.began(ws, reply)
			}
		case r.silent:
		case m.Batch.Seq > 0:
			again = 0
			answer := r.batch(instance, &m)
			if answer.Retryable {
				again = answer.Nack
				d.Definitions = nil
			}
			reply(answer)
		case len(m.Batch.Connections) > 0:
			r.mu.Lock()
			r.restated += len(m.Batch.Connections)
			r.mu.Unlock()
		case m.Batch.Rejected.Count > 0:
			reply(wire.Reply{Error: &wire.ErrorDetail{Code: wire.CodeRejected, Message: m.Batch.Rejected.First}})
		}
	}
}

// batch takes a number, unless it has it.
func (r *receiver) batch(instance string, m *wire.Message) wire.Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &m.Batch
	r.arrived[b.Seq] = append(r.arrived[b.Seq], len(b.Events))
	if r.answer != nil {
		if answer := r.answer(b.Seq); answer != nil {
			return *answer
		}
	}
	ack := wire.Reply{Ack: b.Seq}
	if b.Seq <= r.taken[instance] {
		ack.Duplicate = true
		return ack
	}
	r.taken[instance] = b.Seq
	if r.keep {
		r.lines = append(r.lines, wire.AppendJSON(nil, m))
	}
	if rejected := b.Rejected; rejected.Count > 0 {
		ack.Rejected = &rejected
	}
	for i := range b.Events {
		r.kinds[b.Events[i].Kind]++
		for _, kv := range b.Events[i].User {
			if kv.Key == keyID {
				r.ids[strings.Clone(kv.Value.Str)]++
			}
		}
	}
	return ack
}

// end ends all sessions with a close code, 0: with no close frame. The receiver is locked.
func (r *receiver) end(code int) *wire.Reply {
	for ws := range r.sessions {
		if code != 0 {
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(patience))
		}
		_ = ws.Close()
	}
	return &wire.Reply{}
}

// events are those that were taken, where they are kept.
func (r *receiver) events(t *testing.T) (events []wire.Event) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		events = append(events, decoded(t, line).Batch.Events...)
	}
	return events
}

// decoded is a message in JSON. It shares its memory with no other.
func decoded(t *testing.T, line []byte) *wire.Message {
	t.Helper()
	var d wire.Decoder
	m := &wire.Message{}
	require.NoError(t, d.DecodeJSON(line, m))
	require.Zero(t, m.Batch.Rejected.Count, m.Batch.Rejected.First)
	return m
}

// idsOf are the gen.ids that a set of an agent's numbers stands for.
func idsOf(agent int, numbers ranges) (ids []string) {
	for _, r := range numbers {
		for n := r[0]; n <= r[1]; n++ {
			ids = append(ids, strconv.Itoa(agent)+"/"+strconv.FormatUint(n, 10))
		}
	}
	return ids
}
