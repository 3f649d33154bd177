package wsstatscoder_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	wsstatscoder "github.com/wsstats/wsstatsreceiver/agents/go/coder"
)

// A server handles each message under its process span, and what it writes with
// that context is linked to it.
func Example() {
	// There is no receiver here, which no application notices.
	agent, err := wsstats.NewAgent(wsstats.WithEndpoint("ws://127.0.0.1:1"), wsstats.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	defer func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // there is nobody to deliver to
		_ = agent.Shutdown(ctx)
	}()

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := wsstatscoder.Accept(agent, w, r, nil)
		if err != nil {
			return // it has been answered
		}
		defer func() { _ = ws.CloseNow() }()
		for {
			typ, data, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			ctx, end := ws.Observed().Process(r.Context(), ws.Message())
			end(ws.Write(ctx, typ, []byte(strings.ToUpper(string(data)))))
		}
	}))
	defer server.Close()

	ctx := context.Background()
	ws, _, err := wsstatscoder.Dial(ctx, agent, server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	_, answer, err := ws.Read(ctx)
	fmt.Println(string(answer), err)
	fmt.Println(ws.Close(websocket.StatusNormalClosure, ""))
	// Output:
	// HELLO <nil>
	// <nil>
}
