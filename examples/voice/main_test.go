package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/examples/internal/receivertest"
)

const patience = 10 * time.Second

// A session is 120 chunks: three melodies of 3, 2 and 4 notes of 10 chunks, each
// with 10 of silence behind it.
//
// Red when: a chunk has a process span of its own, the second response is not
// interrupted, or the events of a turn do not name its span.
func TestBothSidesReportWhatHappened(t *testing.T) {
	r := receivertest.Start(t)
	var printed receivertest.Printed
	require.NoError(t, example(&printed).Run(t.Context(), []string{
		"--listen", "127.0.0.1:0", "--collector", r.URL, "--speakers", "2", "--sessions", "2", "--pace", "0s", "--word-every", "20ms",
	}))
	const sessions = 4
	client, server := r.Events("voice-client"), r.Events("voice-server")
	for kind, want := range map[string]int{"handshake": sessions, "send": 120 * sessions, "close": sessions, "1000": sessions} {
		assert.Equal(t, want, client[kind], kind)
	}
	for kind, want := range map[string]int{"handshake": sessions, "receive": 120 * sessions, "process": 3 * sessions, "close": sessions, "1000": sessions} {
		assert.Equal(t, want, server[kind], kind)
	}
	assert.Equal(t, server["send"], client["receive"])
	assert.Equal(t, client["receive"], client["process"])

	// An event is handled in the trace that it names: all but the first one of a session.
	named := 0
	for _, row := range r.Rows("voice-client", "process") {
		if row["voice.event"] == typeCreated {
			assert.NotContains(t, row, "trace_id")
			continue
		}
		assert.Contains(t, row, "trace_id")
		assert.Contains(t, row, "parent_span_id")
		named++
	}
	assert.Equal(t, client["process"]-sessions, named)

	for _, line := range []string{
		"voice: speaker 1 sings C4 E4 G4\n", "voice: speaker 2 sings A4 B4\n", "voice: speaker 1 sings C5 G4 E4 C4\n",
		"voice: speaker 2 is told: That was a melody of 3 notes, and a fine one: C4, E4, G4. Sing on whenever you like.\n",
		" ... (interrupted)\n",
	} {
		assert.Contains(t, printed.String(), line)
	}
	for _, side := range []string{"client", "server"} {
		assert.Contains(t, printed.String(), fmt.Sprintf("voice-%s: 4 sessions, 480 chunks, %d events, 12 turns, 4 interrupted; agent: ", side, server["send"]))
	}
	assert.Equal(t, 2, strings.Count(printed.String(), ", 0 dropped\n"))
}

// startAssistant serves an assistant, and returns how to dial it.
func startAssistant(t *testing.T, wordEvery time.Duration) (r *receivertest.Receiver, url string, stop func()) {
	t.Helper()
	r = receivertest.Start(t)
	agent, err := wsstats.NewAgent(wsstats.WithServiceName("voice-server"), wsstats.WithEndpoint(r.URL))
	require.NoError(t, err)
	a := newAssistant(wordEvery)
	web := httptest.NewServer(agent.Handler(a))
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		assert.NoError(t, a.shutdown(ctx))
		web.Close()
		assert.NoError(t, agent.Shutdown(ctx))
	}
	t.Cleanup(stop)
	return r, "ws" + strings.TrimPrefix(web.URL, "http"), stop
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
	require.Equal(t, typeCreated, next(t, ws).Type)
	return ws
}

func next(t *testing.T, ws *websocket.Conn) (e event) {
	t.Helper()
	_, data, err := ws.ReadMessage()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &e))
	return e
}

func stream(t *testing.T, ws *websocket.Conn, pcm []byte) {
	t.Helper()
	for chunk := range slices.Chunk(pcm, chunkBytes) {
		require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, chunk))
	}
}

// Whoever speaks while the assistant does is listened to: the response is
// canceled before anything of the new turn comes.
//
// Red when: hear does not interrupt, or does not wait for the response's end.
func TestBargeIn(t *testing.T) {
	_, url, _ := startAssistant(t, time.Hour) // a response would not end by itself
	ws := dial(t, url)
	stream(t, ws, slices.Concat(tone(60, 5), silence(silenceChunks)))
	for _, want := range []event{
		{Type: typeSpeechStarted, Turn: 1},
		{Type: typeTranscriptDelta, Turn: 1, Text: "C4"},
		{Type: typeTranscriptDone, Turn: 1, Text: "C4"},
		{Type: typeResponseDelta, Turn: 1, Text: "That"},
	} {
		got := next(t, ws)
		assert.Len(t, got.TraceID, 32)
		got.TraceFields = wsstats.TraceFields{}
		assert.Equal(t, want, got)
	}
	stream(t, ws, tone(64, 1))
	canceled := next(t, ws)
	assert.Equal(t, typeResponseCanceled, canceled.Type)
	assert.Equal(t, 1, canceled.Turn)
	started := next(t, ws)
	assert.Equal(t, typeSpeechStarted, started.Type)
	assert.Equal(t, 2, started.Turn)
	assert.NotEqual(t, canceled.TraceID, started.TraceID, "each turn is a trace")
}

// What is no audio is answered and counted, and the session goes on. A turn that
// the speaker leaves in ends as an error.
//
// Red when: serve does not end the recognition, or takes text for audio.
func TestBadAudioAndUnfinishedTurn(t *testing.T) {
	r, url, stop := startAssistant(t, time.Millisecond)
	ws := dial(t, url)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("silent")))
	assert.Equal(t, typeError, next(t, ws).Type)
	require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, []byte("odd")))
	assert.Equal(t, typeError, next(t, ws).Type)
	stream(t, ws, tone(60, 1))
	assert.Equal(t, typeSpeechStarted, next(t, ws).Type)
	require.NoError(t, ws.Close())
	require.Eventually(t, func() bool { return r.Events("voice-server")["close"] == 1 }, patience, time.Millisecond)
	stop()
	assert.Equal(t, 2, r.Events("voice-server")["error"])
	recognised := r.Rows("voice-server", "process")
	require.Len(t, recognised, 1)
	assert.Equal(t, "canceled", recognised[0]["error.type"])
	assert.Equal(t, 1, r.Events("voice-server")["1006"])
}

// Red when: shutdown does not close.
func TestShutdownClosesWith1001(t *testing.T) {
	r, url, stop := startAssistant(t, time.Hour)
	ws := dial(t, url)
	stream(t, ws, slices.Concat(tone(60, 5), silence(silenceChunks))) // a response is being streamed
	for next(t, ws).Type != typeResponseDelta {
	}
	stopping := make(chan struct{})
	go func() { stop(); close(stopping) }()
	_, _, err := ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	<-stopping
	assert.Equal(t, 1, r.Events("voice-server")["1001"])
}

// singing is told of what people are to see: from the first of it on, a session is under way.
type singing func()

func (s singing) Write(p []byte) (int, error) {
	s()
	return len(p), nil
}

// Red when: a choir goes on after an error, or leaves a connection behind.
func TestSpeakersStop(t *testing.T) {
	_, url, _ := startAssistant(t, time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	c := &choir{out: singing(cancel), dialer: websocket.DefaultDialer, url: url, pace: time.Millisecond, speakers: 2}
	require.NoError(t, c.run(ctx))
	c.url = "ws://127.0.0.1:1/"
	require.ErrorContains(t, c.run(t.Context()), "speaker 2: dial ws://127.0.0.1:1/")
}
