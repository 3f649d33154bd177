package main

import (
	"context"
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

const golden = "testdata/recording.jsonl"

// replayed runs replay against a receiver that keeps what it takes.
func replayed(t *testing.T, r *receiver, file string, args ...string) (status int, out, errs string) {
	t.Helper()
	r.keep = true
	return wsstatsIn(t.Context(), "", append([]string{"replay", file, "--endpoint", r.endpoint(), "--drain", "5s"}, args...)...)
}

// recordedEvents are those of a file.
func recordedEvents(t *testing.T, file string) (events []wire.Event) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		events = append(events, decoded(t, []byte(line)).Batch.Events...)
	}
	return events
}

// Everything arrives once, in order, shifted to now, under the ids of this run.
// Red when: an attribute is lost, distances change, an id is the file's.
func TestReplay(t *testing.T) {
	want := recordedEvents(t, golden)
	var ids []string
	for range 2 {
		r := newReceiver(t, nil)
		status, out, errs := replayed(t, r, golden, "--speed", "max")
		require.Equal(t, 0, status, out+errs)
		assert.Contains(t, out, "every event is accounted for")
		assert.Equal(t, len(want), row(t, out, "sent"))
		assert.Equal(t, len(want), row(t, out, "acknowledged"))
		assert.Equal(t, 3, row(t, out, "not recorded"))

		got := r.events(t)
		require.Len(t, got, len(want))
		shift := got[0].Time - want[0].Time
		last := end(&got[len(got)-1])
		assert.InDelta(t, time.Now().UnixNano(), last, float64(patience), "it ended just now")
		names := map[string]string{}
		for i := range want {
			w, g := want[i], got[i]
			assert.Equal(t, w.Kind, g.Kind)
			assert.Equal(t, shift, g.Time-w.Time)
			assert.Equal(t, w.Duration, g.Duration)
			if names[w.Str(wire.AttrConnectionID)] == "" {
				names[w.Str(wire.AttrConnectionID)] = g.Str(wire.AttrConnectionID)
				ids = append(ids, g.Str(wire.AttrConnectionID))
			}
			assert.Equal(t, names[w.Str(wire.AttrConnectionID)], g.Str(wire.AttrConnectionID))
			assert.NotEqual(t, w.Str(wire.AttrConnectionID), g.Str(wire.AttrConnectionID))
			assert.Zero(t, g.Parent)
			for a := range wire.NumAttrs {
				if a != wire.AttrConnectionID {
					assert.Equal(t, w.Value(a), g.Value(a), a.String())
				}
			}
			assert.Equal(t, w.User, g.User)
		}
		require.Len(t, r.hellos, 1)
		assert.Equal(t, "chat", decoded(t, r.hellos[0]).Hello.Resource[0].Value.Str)
	}
	require.Len(t, ids, 4)
	assert.Len(t, map[string]bool{ids[0]: true, ids[1]: true, ids[2]: true, ids[3]: true}, 4, "two connections in each run")
}

func TestReplayKeeps(t *testing.T) {
	r := newReceiver(t, nil)
	status, out, errs := replayed(t, r, golden, "--speed", "max", "--keep-times", "--keep-ids")
	require.Equal(t, 0, status, out+errs)
	want, got := recordedEvents(t, golden), r.events(t)
	require.Len(t, got, len(want))
	for i := range want {
		got[i].Index, want[i].Index = 0, 0 // their places in a message
		assert.Equal(t, want[i].Time, got[i].Time)
		assert.Equal(t, want[i].Str(wire.AttrConnectionID), got[i].Str(wire.AttrConnectionID))
		assert.Equal(t, want[i].Parent, got[i].Parent)
	}
}

// At its own pace a recording of 300 ms takes as long, and no event is sent before its time.
func TestReplayPace(t *testing.T) {
	r := newReceiver(t, nil)
	start := time.Now()
	status, out, _ := replayed(t, r, golden)
	require.Equal(t, 0, status, out)
	assert.GreaterOrEqual(t, time.Since(start), 300*time.Millisecond)
	assert.Greater(t, len(r.lines), 2, "it went out bit by bit")
	var at []int64
	for _, e := range r.events(t) {
		at = append(at, end(&e))
	}
	assert.LessOrEqual(t, at[len(at)-1], time.Now().UnixNano())
}

// A mistake is told with its place, and all else is sent.
func TestReplayMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(`{"events":[{"event":"send","time":1},{"event":"sned"}]}
not JSON
{"event":"receive","time":2}
{"events":[{"event":"sen`), 0o600))
	r := newReceiver(t, nil)
	status, out, _ := replayed(t, r, file)
	assert.Equal(t, 1, status)
	assert.Contains(t, out, file+`:1:39: events[1].event: unknown kind "sned"`)
	assert.Contains(t, out, file+":2:2: expected an array of events or an object")
	assert.Contains(t, out, file+":4:24: events[0]: invalid JSON: unexpected end")
	assert.Contains(t, out, "WRONG            3 mistakes in the recording")
	assert.Equal(t, 2, row(t, out, "acknowledged"))
	assert.Len(t, r.events(t), 2)
}

// Refusals and broken sessions are told apart, and nothing arrives twice.
func TestReplayLosses(t *testing.T) {
	var r *receiver
	times := map[uint64]int{}
	r = newReceiver(t, func(seq uint64) *wire.Reply {
		times[seq]++
		switch {
		case seq == 1 && times[seq] < 3:
			return &wire.Reply{Nack: seq, Retryable: true, RetryAfterMs: 1}
		case seq == 2:
			return &wire.Reply{Nack: seq, Code: wire.CodeRefused, Message: "for good"}
		case seq == 3 && times[seq] == 1:
			for ws := range r.sessions { // it is locked
				_ = ws.Close()
			}
		}
		return nil
	})
	file := filepath.Join(t.TempDir(), "some.jsonl")
	var text string
	for i := range 4 {
		text += `{"event":"` + []string{"handshake", "send", "send", "close"}[i] + `","ws.connection.id":"a","time":` + string(rune('1'+i)) + "}\n"
	}
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	status, out, _ := replayed(t, r, file)
	assert.Equal(t, 0, status, out)
	assert.Equal(t, 2, row(t, out, "refused for now"))
	assert.Equal(t, 1, row(t, out, "dropped"))
	assert.Contains(t, out, "dropped          1 (refused 1)")
	assert.Contains(t, out, "receiver said    for good")
	assert.Equal(t, 1, row(t, out, "reconnects"))
	assert.Equal(t, 3, row(t, out, "acknowledged"))
	assert.Len(t, r.events(t), 3)
	assert.Equal(t, 1, r.restated, "the connection was open when the session broke")
}

// A receiver that is away is given up, and so is a run that is interrupted.
func TestReplayAway(t *testing.T) {
	r := newReceiver(t, nil)
	r.server.Close()
	status, out, _ := replayed(t, r, golden, "--speed", "max", "--drain", "100ms")
	assert.Equal(t, 1, status)
	assert.Contains(t, out, "not_reached")
	assert.Contains(t, out, "WRONG            the receiver has taken nothing")
	assert.Contains(t, out, "receiver said    receiver not reached")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	status, out, _ = wsstatsIn(ctx, "", "replay", golden, "--endpoint", r.endpoint())
	assert.Equal(t, 1, status)
	assert.Contains(t, out, "shutdown")
}

// What the proxy records is valid, and comes out of a replay as it came from the proxy.
func TestRecordAndReplay(t *testing.T) {
	live, again := newReceiver(t, nil), newReceiver(t, nil)
	live.keep = true
	app := echo(t, nothing)
	file := filepath.Join(t.TempDir(), "recording.jsonl")
	for range 2 { // the second run appends
		p := startProxy(t, app.URL, "--collector", live.endpoint(), "--service-name", "chat", "--record", file)
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.address+"/room?secret=1", nil)
		require.NoError(t, err)
		for range 100 {
			require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("canary")))
			_, _, err = ws.ReadMessage()
			require.NoError(t, err)
		}
		require.NoError(t, ws.Close())
		p.finish(t)
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "canary")
	assert.NotContains(t, string(data), "secret")
	status, out, _ := wsstatsIn(t.Context(), "", "validate", file)
	assert.Equal(t, 0, status, out)

	status, out, _ = replayed(t, again, file, "--speed", "max")
	require.Equal(t, 0, status, out)
	want, got := live.events(t), again.events(t)
	require.Len(t, want, 2*202)
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, want[i].Kind, got[i].Kind)
		for a := range wire.NumAttrs {
			if a != wire.AttrConnectionID {
				assert.Equal(t, want[i].Value(a), got[i].Value(a), a.String())
			}
		}
	}
	assert.Len(t, again.hellos, 2, "a session for each run of the proxy")
}
