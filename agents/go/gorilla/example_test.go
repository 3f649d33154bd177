package wsstatsgorilla_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	wsstatsgorilla "github.com/wsstats/wsstatsreceiver/agents/go/gorilla"
)

// newAgent returns an agent without a receiver, which no application notices.
func newAgent() *wsstats.Agent {
	agent, err := wsstats.NewAgent(wsstats.WithEndpoint("ws://127.0.0.1:1"), wsstats.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	return agent
}

// A server handles each message under its process span, and a client that is
// observed too finds the same traces.
func Example() {
	agent := newAgent()
	defer func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // there is nobody to deliver to
		_ = agent.Shutdown(ctx)
	}()

	upgrader := wsstatsgorilla.Upgrader{Agent: agent}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // it has been answered
		}
		defer ws.Close()
		for {
			typ, data, err := ws.ReadMessage()
			if err != nil {
				return
			}
			ctx, end := ws.Observed().Process(r.Context(), ws.Message())
			answer := handle(ctx, data)
			ws.Observed().Sending(ctx, wsstats.MessageID("m-1")) // of the next message
			end(ws.WriteMessage(typ, answer))
		}
	}))
	defer server.Close()

	dialer := wsstatsgorilla.Dialer{Dialer: *websocket.DefaultDialer, Agent: agent}
	ws, _, err := dialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ws.Close()
	if err := ws.WriteJSON("hello"); err != nil {
		fmt.Println(err)
		return
	}
	_, answer, err := ws.ReadMessage()
	fmt.Println(strings.TrimSpace(string(answer)), err)
	// Output: "HELLO" <nil>
}

// handle is where the application's own work, and its spans, would be.
func handle(_ context.Context, data []byte) []byte {
	return []byte(strings.ToUpper(string(data)))
}

// A broadcast is one span. The message is prepared once.
func ExampleNewPreparedMessage() {
	broadcast := func(agent *wsstats.Agent, members []*wsstatsgorilla.Conn, data []byte) error {
		message, err := wsstatsgorilla.NewPreparedMessage(websocket.TextMessage, data)
		if err != nil {
			return err
		}
		agent.Broadcast(context.Background(), wsstats.TextMessage, len(data), len(members))
		for _, ws := range members {
			ws.Observed().SendingBroadcast()
			if err := ws.WritePreparedMessage(message); err != nil {
				_ = ws.Close()
			}
		}
		return nil
	}
	agent := newAgent()
	fmt.Println(broadcast(agent, nil, []byte("hello")), agent.Stats().Observed)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = agent.Shutdown(ctx)
	// Output: <nil> 1
}
