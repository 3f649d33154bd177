package wsstats_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// The code in these examples is shown in docs/agents.md too.

// start returns an agent without a receiver, which no application notices, and
// what stops it.
func start() (agent *wsstats.Agent, stop func()) {
	agent, err := wsstats.NewAgent(wsstats.WithEndpoint("ws://127.0.0.1:1"), wsstats.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	return agent, func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // there is nobody to deliver to
		_ = agent.Shutdown(ctx)
	}
}

// handle is where the application's own work, and its spans, would be.
func handle(_ context.Context, data []byte) ([]byte, error) {
	return []byte(strings.ToUpper(string(data))), nil
}

// A handler below Agent.Handler tells what the tap cannot see.
func ExampleConnection_Process() {
	agent, stop := start()
	defer stop()
	var upgrader gorilla.Upgrader

	chat := func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		conn := wsstats.ConnectionFromContext(r.Context())
		for {
			typ, data, err := ws.ReadMessage()
			if err != nil {
				return
			}
			// For each message that is read, in this order.
			message := conn.Received(wsstats.MessageType(typ), len(data))

			ctx, end := conn.Process(r.Context(), message)
			answer, err := handle(ctx, data)
			end(err)

			conn.Sending(ctx, wsstats.MessageID("m-1"), wsstats.QueueSize(0))
			if err := ws.WriteMessage(typ, answer); err != nil {
				return
			}
		}
	}
	server := httptest.NewServer(agent.Handler(http.HandlerFunc(chat)))
	defer server.Close()

	ws, _, err := agent.Dialer(nil).Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ws.Close()
	_ = ws.WriteMessage(gorilla.TextMessage, []byte("hello"))
	_, answer, err := ws.ReadMessage()
	fmt.Println(string(answer), err)
	fmt.Println(wsstats.ConnectionOf(ws.NetConn()).Tapped())
	// Output:
	// HELLO <nil>
	// true
}

// One span stands for a message that goes to many, and one for many messages.
func ExampleAgent_Broadcast() {
	agent, stop := start()
	defer stop()
	type member struct {
		ws   *gorilla.Conn
		conn *wsstats.Connection // wsstats.ConnectionFromContext, or nil
	}
	publish := func(ctx context.Context, members []member, data []byte) {
		agent.Broadcast(ctx, wsstats.TextMessage, len(data), len(members), wsstats.String("room.id", "lobby"))
		for _, m := range members {
			m.conn.SendingBroadcast() // or, in a goroutine that writes, just before that
			if err := m.ws.WriteMessage(gorilla.TextMessage, data); err != nil {
				_ = m.ws.Close()
			}
		}
	}
	replay := func(ctx context.Context, m member, history [][]byte) error {
		m.conn.SendingBatch(ctx, wsstats.TextMessage, len(history), -1)
		for _, data := range history {
			if err := m.ws.WriteMessage(gorilla.TextMessage, data); err != nil {
				return err
			}
		}
		return nil
	}
	publish(context.Background(), nil, []byte("hello"))
	fmt.Println(replay(context.Background(), member{}, nil), agent.Stats().Observed)
	// Output: <nil> 1
}

// An application whose messages name a trace already keeps it.
func ExampleExtract() {
	type TracedMessage struct {
		wsstats.TraceFields // trace_id and span_id
		Text                string
	}
	encode := func(ctx context.Context, text string) ([]byte, error) {
		message := TracedMessage{Text: text}
		wsstats.Inject(ctx, &message.TraceFields)
		return json.Marshal(message)
	}
	receive := func(ctx context.Context, conn *wsstats.Connection, data []byte) error {
		received := conn.Received(wsstats.TextMessage, len(data))
		var message TracedMessage
		if err := json.Unmarshal(data, &message); err != nil {
			conn.Failed("malformed_message", "application")
			return err
		}
		ctx, end := conn.Process(wsstats.Extract(ctx, message.TraceFields), received)
		_, err := handle(ctx, []byte(message.Text))
		end(err)
		return err
	}
	sender := wsstats.Extract(context.Background(), wsstats.TraceFields{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"})
	data, err := encode(sender, "hello")
	fmt.Println(string(data), err)
	fmt.Println(receive(context.Background(), nil, data))
	// Output:
	// {"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","Text":"hello"} <nil>
	// <nil>
}

// A client library that keeps the byte stream for itself is asked by its context.
func ExampleContextForDial() {
	agent, stop := start()
	defer stop()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(w, r, nil); err == nil {
			_, _, _ = ws.Read(r.Context())
		}
	}))
	defer server.Close()
	target := server.URL

	connect := func(ctx context.Context) (*websocket.Conn, *wsstats.Connection, error) {
		client := &http.Client{Transport: agent.Transport(http.DefaultTransport)}
		ctx = wsstats.ContextForDial(ctx)
		ws, _, err := websocket.Dial(ctx, target, &websocket.DialOptions{HTTPClient: client})
		return ws, wsstats.ConnectionFromContext(ctx), err
	}
	ws, conn, err := connect(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conn.Tapped(), ws.Close(websocket.StatusNormalClosure, ""))
	// Output: true <nil>
}
