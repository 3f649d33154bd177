package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/examples/internal/receivertest"
)

const patience = 10 * time.Second

// startHub serves a hub, which tells the receiver everything when the test calls stop.
func startHub(t *testing.T, queueSize int, pingEvery time.Duration) (h *hub, r *receivertest.Receiver, url string, stop func()) {
	t.Helper()
	r = receivertest.Start(t)
	agent, err := wsstats.NewAgent(wsstats.WithServiceName("notify-server"), wsstats.WithEndpoint(r.URL))
	require.NoError(t, err)
	h = newHub(agent, pingEvery, queueSize)
	web := httptest.NewServer(h.handler())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		assert.NoError(t, h.shutdown(ctx))
		web.Close()
		assert.NoError(t, agent.Shutdown(ctx))
		http.DefaultClient.CloseIdleConnections()
	}
	t.Cleanup(stop)
	return h, r, web.URL, stop
}

// subscribe connects a client of the library itself, and awaits its topics.
func subscribe(t *testing.T, url, user string, topics ...string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url+"/subscribe?user="+user, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(-1)
	say(t, ws, message{Type: typeSubscribe, Topics: topics})
	require.Equal(t, message{Type: typeSubscribed, Topics: topics}, next(t, ws))
	return ws
}

func say(t *testing.T, ws *websocket.Conn, msg message) {
	t.Helper()
	require.NoError(t, ws.Write(t.Context(), websocket.MessageText, encode(msg)))
}

func next(t *testing.T, ws *websocket.Conn) (msg message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, data, err := ws.Read(ctx)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &msg))
	return msg
}

// post publishes, and returns the status and the answer.
func post(t *testing.T, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/notifications", strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

func TestPublishRefuses(t *testing.T) {
	_, _, url, _ := startHub(t, 4, time.Hour)
	for _, tc := range []struct {
		body   string
		status int
		want   string
	}{
		{"{", 400, "expected a JSON object"},
		{`{"text":"to nobody"}`, 400, "expected either a topic or a user"},
		{`{"topic":"weather","user":"u-1","text":"both"}`, 400, "expected either a topic or a user"},
		{`{"topic":"weather","text":"` + strings.Repeat("x", maxNotificationBytes) + `"}`, 413, "expected at most 65536 bytes"},
		{`{"topic":"weather","text":"nobody is there"}`, 202, `"recipients":0`},
	} {
		status, answer := post(t, url, tc.body)
		assert.Equal(t, tc.status, status, answer)
		assert.Contains(t, answer, tc.want)
	}
	resp, err := http.Get(url + "/subscribe")
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusBadRequest, resp.StatusCode, "without a user")
}

// What a publisher's span is linked to is the broadcast, and what answers a
// message to the span that it is handled under.
//
// Red when: publish does not extract, or a queued message forgets its context.
func TestLinks(t *testing.T) {
	h, r, url, stop := startHub(t, 4, time.Hour)
	ws := subscribe(t, url, "u-1", "weather")
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, to := range []string{`"topic":"weather"`, `"user":"u-1"`} {
		status, answer := post(t, url, `{`+to+`,"text":"rain"}`, "traceparent", parent)
		require.Equal(t, http.StatusAccepted, status)
		require.Contains(t, answer, `"recipients":1`)
		require.Equal(t, "rain", next(t, ws).Text)
	}
	require.Eventually(t, func() bool { return h.counts().Sent == 3 }, patience, time.Millisecond) // before the close
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	stop()
	link := func(row map[string]any) map[string]any { return row["links"].([]any)[0].(map[string]any) }
	sends := r.Rows("notify-server", "send")
	require.Len(t, sends, 2, "the topics, and what is for the user")
	assert.NotEqual(t, "4bf92f3577b34da6a3ce929d0e0e4736", link(sends[0])["trace_id"], "that of the subscription")
	for _, row := range append(r.Rows("notify-server", "broadcast"), sends[1]) {
		assert.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", link(row)["trace_id"])
		assert.Equal(t, "00f067aa0ba902b7", link(row)["span_id"])
	}
}

// A message that is not understood is answered, and its span is an error; the
// connection goes on.
func TestBadMessage(t *testing.T) {
	_, r, url, stop := startHub(t, 4, time.Hour)
	ws := subscribe(t, url, "u-1")
	require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte("secret")))
	assert.Equal(t, message{Type: typeError, Text: "expected a JSON object"}, next(t, ws))
	say(t, ws, message{Type: "shout"})
	assert.Equal(t, message{Type: typeError, Text: "type must be subscribe or read"}, next(t, ws))
	say(t, ws, message{Type: typeSubscribe, Topics: make([]string, maxTopics+1)})
	assert.Equal(t, message{Type: typeError, Text: "too many topics"}, next(t, ws))
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	stop()
	failed := 0
	for _, row := range r.Rows("notify-server", "process") {
		if row["error.type"] == "bad_message" {
			failed++
		}
	}
	assert.Equal(t, 3, failed)
}

// A subscriber that does not read is closed with 1008, which it sees when it
// reads on; another one has missed nothing.
//
// Red when: post blocks (the test times out), or drops without a close.
func TestSlowSubscriberIsClosed(t *testing.T) {
	h, r, url, stop := startHub(t, 4, time.Hour)
	slow := subscribe(t, url, "u-1", "weather")
	quick := subscribe(t, url, "u-2", "weather")
	body := `{"topic":"weather","text":"` + strings.Repeat("x", 60_000) + `"}`
	published := 0
	for h.counts().TooSlow == 0 {
		status, _ := post(t, url, body)
		require.Equal(t, http.StatusAccepted, status)
		published++
		require.Equal(t, "n-"+strconv.Itoa(published), next(t, quick).ID)
		require.Less(t, published, 10_000)
	}
	_, answer := post(t, url, body)
	assert.Contains(t, answer, `"recipients":1}`, "it is not counted on any more")
	require.Equal(t, "n-"+strconv.Itoa(published+1), next(t, quick).ID)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	seen := 0
	for err == nil {
		if _, _, err = slow.Read(ctx); err == nil {
			seen++
		}
	}
	assert.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
	assert.Less(t, seen, published)
	require.NoError(t, quick.Close(websocket.StatusNormalClosure, ""))
	stop()
	assert.Equal(t, 1, r.Events("notify-server")["1008"])
	assert.Equal(t, 1, r.Events("notify-server")["1000"])
	failed := r.Rows("notify-server", "error")
	require.Len(t, failed, 1)
	assert.Equal(t, "queue_full", failed[0]["error.type"])
	recipients := 0.0
	for _, row := range r.Rows("notify-server", "broadcast") {
		recipients += row["ws.broadcast.recipients"].(float64)
	}
	assert.InDelta(t, 2*published, recipients, 0, "one more to the quick one, one less to the slow one")
}

// A peer that does not answer pings is given up with 1006.
//
// Red when: the writer only returns when a ping has failed.
func TestDeadSubscriberIsGivenUp(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a pong")
	}
	_, r, url, stop := startHub(t, 4, time.Millisecond)
	subscribe(t, url, "u-1") // and nobody reads from here on
	require.Eventually(t, func() bool { return r.Events("notify-server")["1006"] == 1 }, 2*pongWait+patience, 10*time.Millisecond)
	stop()
	assert.Equal(t, "timeout", r.Rows("notify-server", "close")[0]["error.type"])
}

// Red when: shutdown does not close.
func TestShutdownClosesWith1001(t *testing.T) {
	_, r, url, stop := startHub(t, 4, time.Hour)
	ws := subscribe(t, url, "u-1")
	stopping := make(chan struct{})
	go func() { stop(); close(stopping) }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, _, err := ws.Read(ctx)
	assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err), "%v", err)
	<-stopping
	assert.Equal(t, 1, r.Events("notify-server")["1001"])
}
