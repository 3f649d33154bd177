package wsstats_test

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// The code in these examples is shown in the README too.

func ExampleAgent_Handler() {
	mux := http.NewServeMux() // with WebSocket handlers, of any library
	_ = func() error {
		agent, err := wsstats.NewAgent(wsstats.WithServiceName("chat")) // to ws://localhost:4390/v1/wsstats
		if err != nil {
			return err // an option is wrong; a receiver that is away is no error
		}

		server := &http.Server{Addr: "localhost:8080", Handler: agent.Handler(mux), ReadHeaderTimeout: 5 * time.Second}
		err = server.ListenAndServe()
		return errors.Join(err, agent.Shutdown(context.Background())) // hands over what is left, for 5 s at most
	}
}

func ExampleHandler() {
	mux := http.NewServeMux() // with WebSocket handlers, of any library
	_ = func() error {
		server := &http.Server{Addr: "localhost:8080", Handler: wsstats.Handler(mux), ReadHeaderTimeout: 5 * time.Second}
		err := server.ListenAndServe()
		return errors.Join(err, wsstats.Shutdown(context.Background()))
	}
}

func ExampleAgent_Dialer() {
	connect := func(agent *wsstats.Agent) (*websocket.Dialer, *http.Client) {
		dialer := agent.Dialer(websocket.DefaultDialer)
		client := &http.Client{Transport: agent.Transport(http.DefaultTransport)}
		return dialer, client
	}
	_ = connect
}
