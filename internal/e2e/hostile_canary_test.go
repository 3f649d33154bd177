package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// TestHostileCanary lets an application that is observed at both ends send
// payload of each kind, with secrets in its URLs and headers, and looks for them
// in all that comes out.
func TestHostileCanary(t *testing.T) {
	t.Parallel()
	secrets := make(map[string]string)
	secret := func(name string) string {
		if secrets[name] == "" {
			secrets[name] = newSecret()
		}
		return secrets[name]
	}
	c := newTalkative(t,
		"receivers::wsstats::http: {include_metadata: true, auth: {authenticator: bearertokenauth, request_params: [token]}}",
		"receivers::wsstats::compression: true",
		"receivers::wsstats::conventions: ws/dup",
		"receivers::wsstats::metrics::dimensions: [room.id]",
		"extensions::bearertokenauth::token: ${env:TOKEN}",
		"service::extensions: [health_check, zpages, bearertokenauth]")
	c.env = []string{"TOKEN=" + secret("token of the agent")}
	c.start(t)

	var log lockedBuffer
	agentOf := func(token, endpoint string) *wsstats.Agent {
		agent, err := wsstats.NewAgent(
			wsstats.WithEndpoint(endpoint+"?token="+secret("query of the agent's URL")),
			wsstats.WithToken(token),
			wsstats.WithHeader(http.Header{"Cookie": {"session=" + secret("cookie of the agent")}}),
			wsstats.WithServiceName("chat"),
			wsstats.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		)
		require.NoError(t, err)
		return agent
	}
	receiver := "ws://" + c.endpoint + "/v1/wsstats"
	agent := agentOf(secret("token of the agent"), receiver)
	for says, lost := range map[string]*wsstats.Agent{
		"got 401": agentOf(secret("wrong token"), receiver),
		"refused": agentOf(secret("token of the agent"), "ws://"+freePorts(t, 1)[0]),
		"got 404": agentOf(secret("token of the agent"), receiver+"/elsewhere"),
	} {
		require.Eventually(t, func() bool { return strings.Contains(log.String(), says) }, waitTimeout, waitTick, says)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = lost.Shutdown(ctx) // what it would have waited for is of no interest
	}

	chat := newChat(t, agent, secret)
	chat.converse(t, agent, secret)
	chat.withUser(t, agent, secret)
	chat.refused(t, agent, secret)
	chat.leave()

	told := agent.Observe(wsstats.Opening{
		Role:       wsstats.RoleServer,
		URL:        fmt.Sprintf("wss://%s:%s@told.example/told?t=%s#%s", secret("user"), secret("password"), secret("query"), secret("fragment")),
		Attributes: []wsstats.Attribute{wsstats.String("room.id", "lobby")},
	})
	told.Sent(wsstats.TextMessage, 5)
	told.Closed(websocket.CloseNormalClosure, "bye", wsstats.Local)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	require.NoError(t, agent.Shutdown(ctx))

	// An agent that leaves its URLs as they are.
	careless := talk(t, receiver+"?token="+secret("query of the agent's URL"), http.Header{"Authorization": {"Bearer " + secret("token of the agent")}})
	careless.say(`{"hello":{"instance":"careless","resource":{"service.name":"careless"}}}`)
	require.NotNil(t, careless.next().Welcome)
	urls := fmt.Sprintf(`"ws.url":"wss://%[1]s:%[2]s@careless.example/chat?t=%[3]s#%[4]s","http.url":"https://%[1]s:%[2]s@careless.example/page?t=%[3]s#%[4]s"`,
		secret("user"), secret("password"), secret("query"), secret("fragment"))
	careless.say(`{"seq":1,"connections":[{"ws.connection.id":"d",` + urls + `}],"events":[
		{"event":"handshake","ws.connection.id":"c","ws.handshake.success":true,` + urls + `},
		{"event":"send","ws.connection.id":"d","ws.message.type":"text"},
		{"event":"close","ws.connection.id":"c","ws.close.code":1000}]}`)
	require.EqualValues(t, 1, careless.next().Ack)
	require.NoError(t, careless.ws.Close())

	c.awaitSpans(t, 3)
	awaitPrometheus(t, c.prometheus, "lobby")
	out := c.tell(t)
	out["log of the agents"] = log.String()
	for _, innocent := range []string{"lobby", "told.example/told", "careless.example/chat", "careless.example/page"} {
		out.assertHas(t, innocent, "log", "traces.json", "backend")
	}
	out.assertHas(t, "lobby", "metrics.json", "prometheus exporter")
	out.assertHas(t, "/v1/wsstats", "its own spans", "samples of tracez")
	out.assertHas(t, "bearertokenauth", "extensionz")
	out.assertWithout(t, secrets)
	assert.Equal(t, map[string]int{
		"ws.handshake": 8, "ws.close": 6, // two are refused
		"ws.send text": 8, "ws.receive text": 6, "ws.send binary": 2, "ws.receive binary": 2,
		"ws.ping": 2, "ws.pong": 2, "ws.protocol_error": 2,
	}, countNames(c.spans(t)))
}

// chat is an application that sends back what it gets.
type chat struct {
	*httptest.Server

	handlers sync.WaitGroup
}

// leave closes the chat, once all of its connections are closed.
func (c *chat) leave() {
	c.handlers.Wait()
	c.Close()
}

func newChat(t *testing.T, agent *wsstats.Agent, secret func(string) string) *chat {
	t.Helper()
	upgrader := websocket.Upgrader{EnableCompression: true, Subprotocols: []string{"chat"}}
	c := new(chat)
	c.Server = httptest.NewServer(agent.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.handlers.Add(1)
		defer c.handlers.Done()
		w.Header().Set("Set-Cookie", "session="+secret("cookie of an answer"))
		if req.URL.Path == "/refused" {
			http.Error(w, secret("body of a refusal"), http.StatusForbidden)
			return
		}
		ws, err := upgrader.Upgrade(w, req, w.Header())
		if err != nil {
			return
		}
		defer ws.Close()
		for {
			kind, payload, err := ws.ReadMessage()
			if err != nil {
				return
			}
			if err := ws.WriteMessage(kind, payload); err != nil {
				return
			}
		}
	})))
	t.Cleanup(c.Close)
	return c
}

func (c *chat) url(scheme, user, path string, secret func(string) string) string {
	return scheme + "://" + user + c.Listener.Addr().String() + path + "?token=" + secret("query") + "#" + secret("fragment")
}

func headers(secret func(string) string) http.Header {
	return http.Header{
		"Authorization": {"Bearer " + secret("bearer token")},
		"Cookie":        {"session=" + secret("cookie")},
		"X-Api-Key":     {secret("key")},
	}
}

// converse sends payload of each kind, and gets it back.
func (c *chat) converse(t *testing.T, agent *wsstats.Agent, secret func(string) string) {
	t.Helper()
	dialer := agent.Dialer(&websocket.Dialer{
		EnableCompression: true, WriteBufferSize: 256,
		Subprotocols: []string{"chat", "bearer." + secret("subprotocol")},
	})
	ws, resp, err := dialer.Dial(c.url("ws", "", "/chat", secret), headers(secret))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	defer ws.Close()
	require.Equal(t, "chat", ws.Subprotocol())
	pongs := 0
	ws.SetPongHandler(func(payload string) error {
		assert.Equal(t, secret("payload of a ping"), payload)
		pongs++
		return nil
	})
	require.NoError(t, ws.WriteControl(websocket.PingMessage, []byte(secret("payload of a ping")), time.Now().Add(waitTimeout)))
	for _, m := range []struct {
		kind     int
		compress bool
		payload  string
	}{
		{websocket.TextMessage, false, secret("text")},
		{websocket.TextMessage, true, secret("compressed text")},
		{websocket.TextMessage, false, strings.Repeat(secret("text in fragments"), 20)},
		{websocket.BinaryMessage, false, secret("bytes")},
	} {
		ws.EnableWriteCompression(m.compress)
		require.NoError(t, ws.WriteMessage(m.kind, []byte(m.payload)))
		require.NoError(t, ws.SetReadDeadline(time.Now().Add(waitTimeout)))
		_, back, err := ws.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, m.payload, string(back))
	}
	assert.Equal(t, 1, pongs)
	require.NoError(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")))
	_, _, err = ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseNormalClosure), "%v", err)
}

// withUser connects by an http.Client, which takes URLs with user information,
// and sends bytes that are no frame.
func (c *chat) withUser(t *testing.T, agent *wsstats.Agent, secret func(string) string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url("http", secret("user")+":"+secret("password")+"@", "/chat", secret), http.NoBody)
	require.NoError(t, err)
	req.Header = headers(secret)
	req.Header.Del("Authorization") // made of the user information
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(name, value)
	}
	client := http.Client{Transport: agent.Transport(new(http.Transport))}
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	_, err = fmt.Fprint(resp.Body.(interface{ Write([]byte) (int, error) }), secret("no frame"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
}

// refused is turned away.
func (c *chat) refused(t *testing.T, agent *wsstats.Agent, secret func(string) string) {
	t.Helper()
	_, resp, err := agent.Dialer(nil).Dial(c.url("ws", "", "/refused", secret), headers(secret))
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	assert.Equal(t, answered{http.StatusForbidden, secret("body of a refusal") + "\n"}, readAnswer(t, resp))
}
