package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestExampleNotifyAlone has the service by itself, with subscribers that know
// nothing of wsstats. One of them does not read, and is closed with 1008; the
// other one has everything, until the service goes away with 1001.
//
// Red when: a queue that is full drops without a close, or is no error; the
// publisher's span is not linked to; a shutdown does not close.
func TestExampleNotifyAlone(t *testing.T) {
	c := startCollector(t)
	e := startExample(t, exampleBinary(t, "notify"), "serve", "--listen", "127.0.0.1:0", "--queue", "4", "--ping-every", "1h", "--collector", "ws://"+c.endpoint)
	var address string
	require.Eventually(t, func() bool {
		m := regexp.MustCompile(`listening on ws://(\S+)/subscribe\n`).FindStringSubmatch(e.printed.String())
		if m != nil {
			address = m[1]
		}
		return m != nil
	}, startTimeout, waitTick)
	subscribe := func(user string) *websocket.Conn {
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+address+"/subscribe?user="+user, nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.Close() })
		require.NoError(t, ws.SetReadDeadline(time.Now().Add(waitTimeout)))
		require.NoError(t, ws.WriteJSON(map[string]any{"type": "subscribe", "topics": []string{"weather"}}))
		_, answer, err := ws.ReadMessage()
		require.NoError(t, err)
		require.JSONEq(t, `{"type":"subscribed","topics":["weather"]}`, string(answer))
		return ws
	}
	slow, quick := subscribe("slow"), subscribe("quick")

	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	published, recipients := 0, 0
	for both := true; both; {
		body := fmt.Sprintf(`{"topic":"weather","text":%q}`, "canary "+strings.Repeat("x", 60_000))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/notifications", strings.NewReader(body))
		require.NoError(t, err)
		req.Close = true
		req.Header.Set("traceparent", "00-"+trace+"-"+parent+"-01")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusAccepted, resp.StatusCode)
		var receipt struct{ Recipients int }
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&receipt))
		require.NoError(t, resp.Body.Close())
		published++
		recipients += receipt.Recipients
		both = receipt.Recipients == 2
		_, _, err = quick.ReadMessage()
		require.NoError(t, err)
		require.Less(t, published, 5000)
	}
	var err error
	for err == nil {
		_, _, err = slow.ReadMessage()
	}
	require.True(t, websocket.IsCloseError(err, websocket.ClosePolicyViolation), "%v", err)

	gone := make(chan error, 1)
	go func() {
		_, _, err := quick.ReadMessage() // which answers the close
		gone <- err
	}()
	e.interrupt(t)
	err = <-gone
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	events := delivered(t, e.printed.String(), 1)
	c.stop(t)

	spans := c.spans(t)
	assert.Len(t, spans, events)
	assert.Equal(t, map[string]int{
		"ws.handshake": 2, "ws.receive text": 2, "ws.process text": 2, "ws.send text": 2, "ws.broadcast": published,
		"ws.ping": 2, "ws.pong": 2, "ws.error": 1, "ws.close": 2,
	}, countNames(spans))
	for _, s := range spans {
		attributes := s.Attributes().AsRaw()
		assert.NotContains(t, fmt.Sprint(attributes), "canary")
		switch s.Name() {
		case "ws.broadcast":
			link := s.Links().At(0)
			assert.Equal(t, trace+" "+parent, link.TraceID().String()+" "+link.SpanID().String())
		case "ws.error":
			assert.Equal(t, "queue_full", attributes["error.type"])
			assert.Equal(t, "slow", attributes["user.id"])
		case "ws.close":
			code, status := int64(1001), ptrace.StatusCodeUnset
			if attributes["user.id"] == "slow" {
				code, status = 1008, ptrace.StatusCodeError
			}
			assert.Equal(t, code, attributes["ws.close.code"])
			assert.Equal(t, "local", attributes["ws.close.initiator"])
			assert.Equal(t, true, attributes["ws.close.clean"])
			assert.Equal(t, status, s.Status().Code())
		}
	}
	totals := c.totals(t)
	for metric, want := range map[string]float64{
		"ws.messages.sent": float64(recipients + 2), "ws.messages.received": 2, "ws.broadcast.recipients": float64(published),
		"ws.queue.size": float64(published + 2), "ws.connections.closed": 2, "ws.connections.active": 0, "ws.errors": 1,
	} {
		assert.InDelta(t, want, totals[metric], 0, metric)
	}
}
