package e2e

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// TestRustAndGo has a client in Rust, by tokio-tungstenite, talk to a server in Go, with
// an agent at each end that knows nothing of the other one but the connection's id.
// Red when: an end of a message is not in the trace of the other end's, or the two
// count otherwise.
func TestRustAndGo(t *testing.T) {
	program := rustExample(t, "wsstats-tungstenite", "echo")
	c := startCollector(t)
	agent, err := wsstats.NewAgent(wsstats.WithEndpoint("ws://"+c.endpoint), wsstats.WithServiceName("go"))
	require.NoError(t, err)
	server := httptest.NewServer(agent.Handler(http.HandlerFunc(shoutBack)))
	defer server.Close()

	cmd := exec.CommandContext(t.Context(), program, "ws"+strings.TrimPrefix(server.URL, "http")+"/echo")
	cmd.Env = append(os.Environ(), "WSSTATS_ENDPOINT=ws://"+c.endpoint)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "hello: HELLO\n")
	require.NoError(t, agent.Shutdown(context.Background()))

	want := map[string]int{"ws.handshake": 2, "ws.send text": 6, "ws.receive text": 6, "ws.close": 2}
	spans := c.awaitSpans(t, 16)
	assert.Equal(t, want, countNames(spans))
	byID := map[pcommon.SpanID]span{}
	for _, s := range spans {
		byID[s.SpanID()] = s
	}
	require.Len(t, byID, len(spans), "no span id is there twice")
	ids, joined := map[any]bool{}, map[string]int{}
	for _, s := range spans {
		ids[s.Attributes().AsRaw()["ws.connection.id"]] = true
		if s.ParentSpanID().IsEmpty() {
			continue
		}
		parent, ok := byID[s.ParentSpanID()]
		require.True(t, ok, s.Name())
		assert.Equal(t, s.TraceID(), parent.TraceID())
		ours, _ := s.Resource.Get("service.name")
		theirs, _ := parent.Resource.Get("service.name")
		joined[theirs.Str()+" "+parent.Name()+", "+ours.Str()+" "+s.Name()]++
		assert.Equal(t, parent.Attributes().AsRaw()["ws.message.seq"], s.Attributes().AsRaw()["ws.message.seq"])
		assert.Equal(t, parent.Attributes().AsRaw()["ws.message.size"], s.Attributes().AsRaw()["ws.message.size"])
	}
	assert.Len(t, ids, 1, "one connection")
	assert.Equal(t, map[string]int{
		"talker ws.handshake, go ws.handshake":    1,
		"talker ws.send text, go ws.receive text": 3,
		"go ws.send text, talker ws.receive text": 3,
	}, joined)
	c.stop(t)
}

// shoutBack answers each message in capitals, until the client closes.
func shoutBack(w http.ResponseWriter, r *http.Request) {
	ws, err := new(websocket.Upgrader).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.Close() }()
	for {
		typ, data, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(typ, bytes.ToUpper(data)) != nil {
			return
		}
	}
}
