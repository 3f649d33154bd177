package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// bareEvents writes a recording of n events, each a message of its own.
func bareEvents(t *testing.T, n int) (file string) {
	t.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"event":"send","ws.connection.id":"a","ws.message.seq":%d}`+"\n", i+1)
	}
	return recordingOf(t, text.String())
}

func recordingOf(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "recording.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// A message that three sessions in a row break on is given up, and its number
// stands for nothing; no other end of a session speaks against a message.
//
// Red when: the replay goes on for good, a message is given up for less, or the
// events behind it are lost or wait.
func TestReplayPoison(t *testing.T) {
	const (
		nack  = -1 // for now
		taken = -2 // and ended with 1011
	)
	tests := map[string]struct {
		script  []int // what becomes of number 2, each time that it comes: a close code, or one of the above
		arrived []int // its events, each time
		dropped string
	}{
		"closed":          {[]int{1011, 1008, 1009}, []int{1, 1, 1, 0}, "1 (poison 1)"},
		"no close frame":  {[]int{0, 0, 0}, []int{1, 1, 1, 0}, "1 (poison 1)"},
		"twice":           {[]int{1011, 0}, []int{1, 1, 1}, "0"},
		"going away":      {[]int{1001, 1001, 1001}, []int{1, 1, 1, 1}, "0"},
		"not in a row":    {[]int{1011, 1011, 1001, 1011}, []int{1, 1, 1, 1, 1}, "0"},
		"a nack between":  {[]int{1011, 1011, nack, 1011, 1011}, []int{1, 1, 1, 1, 1, 1}, "0"},
		"taken after all": {[]int{1011, 1011, taken}, []int{1, 1, 1}, "0"},
		"nacked at last":  {[]int{1011, 1011, 1011, nack}, []int{1, 1, 1, 0}, "1 (poison 1)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r *receiver
			r = newReceiver(t, func(seq uint64) *wire.Reply {
				n := len(r.arrived[seq])
				if seq != 2 || n > len(tt.script) {
					return nil
				}
				switch code := tt.script[n-1]; code {
				case nack:
					return &wire.Reply{Nack: seq, Retryable: true, RetryAfterMs: 1}
				case taken:
					for instance := range r.taken {
						r.taken[instance] = seq
					}
					return r.end(1011)
				default:
					return r.end(code)
				}
			})
			start := time.Now()
			status, out, _ := replayed(t, r, bareEvents(t, 3))
			assert.Equal(t, 0, status, out)
			assert.Less(t, time.Since(start), 2*patience)
			assert.Contains(t, out, "dropped          "+tt.dropped+"\n")
			assert.Equal(t, 3-int(tt.dropped[0]-'0'), row(t, out, "acknowledged"))
			assert.Equal(t, map[uint64][]int{1: {1}, 2: tt.arrived, 3: {1}}, r.arrived)
		})
	}
}

// While the window is 0 nothing is sent, for as long as the receiver says that it
// is there.
//
// Red when: a batch is sent into a window that is closed, or the session is given up.
func TestReplayPaused(t *testing.T) {
	r := newReceiver(t, nil)
	opened := false // guarded by r.mu
	r.answer = func(uint64) *wire.Reply {
		assert.True(t, opened)
		return nil
	}
	const heartbeat = 500 * time.Millisecond
	r.welcome = func(w *wire.Welcome) { w.WindowBytes, w.HeartbeatS = 0, heartbeat.Seconds() }
	r.began = func(_ *websocket.Conn, say func(wire.Reply)) {
		flow := func(window int64) { say(wire.Reply{Flow: &wire.Flow{WindowBytes: &window}}) }
		r.wg.Go(func() {
			for range 4 { // more than three heartbeats
				time.Sleep(heartbeat)
				flow(0)
			}
			r.mu.Lock()
			opened = true
			r.mu.Unlock()
			flow(1 << 20)
		})
	}
	status, out, _ := replayed(t, r, bareEvents(t, 3))
	assert.Equal(t, 0, status, out)
	assert.Equal(t, 3, row(t, out, "acknowledged"))
	assert.Equal(t, 0, row(t, out, "reconnects"))
	assert.Equal(t, map[uint64][]int{1: {1}, 2: {1}, 3: {1}}, r.arrived)
}

// A message of the file goes out in parts that the receiver takes. What is too
// large by itself is dropped alone.
//
// Red when: a message is over the receiver's limits, an event or a connection is
// lost with one that is too large, or the order changes.
func TestReplayLimits(t *testing.T) {
	r := newReceiver(t, nil)
	const limit = 400
	r.welcome = func(w *wire.Welcome) { w.MaxEvents, w.MaxMessageBytes = 2, limit }
	var connections, events []string
	for i := range 5 {
		connections = append(connections, fmt.Sprintf(`{"ws.connection.id":"c%d","tenant":%q}`, i, strings.Repeat("t", 100)))
		events = append(events, fmt.Sprintf(`{"event":"send","ws.connection.id":"c%d","ws.message.seq":%d}`, i, i+1))
	}
	events[2] = `{"event":"send","ws.connection.id":"c2","a":"` + strings.Repeat("x", limit) + `"}`
	file := recordingOf(t, `{"connections":[`+strings.Join(connections, ",")+`],"events":[`+strings.Join(events, ",")+`]}`+"\n")
	status, out, _ := replayed(t, r, file)
	assert.Equal(t, 0, status, out)
	assert.Contains(t, out, "dropped          1 (oversize 1)")
	assert.Equal(t, 4, row(t, out, "acknowledged"))
	assert.LessOrEqual(t, r.largest, limit)
	declared := 0
	for _, line := range r.lines {
		declared += len(decoded(t, line).Batch.Connections)
	}
	assert.Equal(t, 5, declared)
	var order []int64
	for _, e := range r.events(t) {
		order = append(order, e.Int(wire.AttrMessageSeq))
	}
	assert.Equal(t, []int64{1, 2, 4, 5}, order)
	for seq, times := range r.arrived {
		assert.Len(t, times, 1, "%d", seq)
		assert.LessOrEqual(t, int(seq), len(r.arrived), "a gap")
	}
}

// A number that was sent stands for its events. Where a new session has lower
// limits nobody gets it, and the events come under numbers of their own.
//
// Red when: a number comes again with other events, or an event or the broken
// session is not counted.
func TestReplayLowerLimits(t *testing.T) {
	var r *receiver
	r = newReceiver(t, func(seq uint64) *wire.Reply {
		if seq == 1 && len(r.arrived[1]) == 1 {
			return r.end(1001)
		}
		return nil
	})
	sessions := 0
	r.welcome = func(w *wire.Welcome) {
		if sessions++; sessions > 1 {
			w.MaxEvents = 2
		}
	}
	status, out, _ := replayed(t, r, recordingOf(t, `[`+strings.Repeat(`{"event":"send"},`, 4)+`{"event":"send"}]`))
	assert.Equal(t, 0, status, out)
	assert.Equal(t, 5, row(t, out, "acknowledged"))
	assert.Equal(t, 1, row(t, out, "reconnects"))
	assert.Equal(t, map[uint64][]int{1: {5, 0}, 2: {2}, 3: {1}, 4: {2}}, r.arrived)
}

// A refusal for now says when to come again. Until then the link is not deaf.
//
// Red when: the batch comes sooner, or what the receiver says waits meanwhile.
func TestReplayRetryAfter(t *testing.T) {
	const after = 500 * time.Millisecond
	pong := make(chan struct{})
	var r *receiver
	var nacked time.Time
	r = newReceiver(t, func(seq uint64) *wire.Reply {
		switch len(r.arrived[seq]) {
		case 1:
			nacked = time.Now()
			window := int64(1 << 20)
			for ws := range r.sessions {
				for _, reply := range []wire.Reply{
					{Nack: seq, Retryable: true, RetryAfterMs: after.Milliseconds()}, {Flow: &wire.Flow{WindowBytes: &window}}, {Flow: &wire.Flow{}},
				} {
					assert.NoError(t, ws.WriteMessage(websocket.TextMessage, wire.AppendReply(nil, &reply)))
				}
				assert.NoError(t, ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience)))
			}
			return &wire.Reply{}
		case 2:
			assert.GreaterOrEqual(t, time.Since(nacked), after)
			select {
			case <-pong:
			default:
				t.Error("it was deaf")
			}
		}
		return nil
	})
	r.began = func(ws *websocket.Conn, _ func(wire.Reply)) {
		ws.SetPongHandler(func(string) error { close(pong); return nil })
	}
	status, out, _ := replayed(t, r, bareEvents(t, 1))
	assert.Equal(t, 0, status, out)
	assert.Equal(t, 1, row(t, out, "refused for now"))
	assert.Equal(t, 0, row(t, out, "reconnects"))
	assert.Equal(t, map[uint64][]int{1: {1, 1}}, r.arrived)
}

// A file that is not what it was when it was looked through is told.
// Red when: more events are sent than the recording has, and all is said to be right.
func TestReplayBooksDoNotBalance(t *testing.T) {
	file := bareEvents(t, 3)
	r := newReceiver(t, func(seq uint64) *wire.Reply {
		if seq == 2 {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			if assert.NoError(t, err) {
				_, err = f.WriteString(`{"event":"send"}` + "\n")
				assert.NoError(t, err)
				assert.NoError(t, f.Close())
			}
		}
		return nil
	})
	status, out, _ := replayed(t, r, file)
	assert.Equal(t, 1, status)
	assert.Equal(t, 4, row(t, out, "acknowledged"))
	assert.Contains(t, out, "WRONG            acknowledged + dropped is 4, and the recording has 3\n")
	assert.NotContains(t, out, "accounted for")
}

// A run that is interrupted sends nothing more, and accounts for the rest.
// Red when: what is counted as dropped is sent all the same.
func TestReplayInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := newReceiver(t, func(seq uint64) *wire.Reply {
		if seq == 2 {
			cancel()
			return &wire.Reply{} // no answer
		}
		return nil
	})
	status, out, _ := wsstatsIn(ctx, "", "replay", bareEvents(t, 50), "--endpoint", r.endpoint())
	assert.Equal(t, 0, status, out)
	assert.Equal(t, 1, row(t, out, "acknowledged"))
	assert.Contains(t, out, "dropped          49 (shutdown 49)")
	r.wg.Wait() // it has read all
	assert.Len(t, r.arrived, 2)
}
