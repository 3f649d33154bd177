// Chat is a chat over WebSockets whose two sides, server and clients, report
// what happens on their connections to a wsstats receiver:
//
//	chat serve --listen localhost:8390
//	chat crowd --server ws://localhost:8390/chat
//
// The chat itself (package room) knows nothing of that: the server's handler
// and the clients' dialer are wrapped in one line each.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/examples/chat/room"
)

const (
	defaultCollector = "ws://localhost:4390/v1/wsstats"
	drainTimeout     = 5 * time.Second
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) > 0 && args[0] == "serve":
		return serve(ctx, args[1:])
	case len(args) > 0 && args[0] == "crowd":
		return comeAndGo(ctx, args[1:])
	}
	return errors.New("usage: chat serve|crowd [flags], see chat serve --help")
}

// serve runs the chat server until ctx ends.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("chat serve", flag.ContinueOnError)
	listen := flags.String("listen", "localhost:8390", "`address` to listen at")
	collector := flags.String("collector", defaultCollector, "`URL` of the wsstats receiver")
	pingEvery := flags.Duration("ping-every", 5*time.Second, "`time` between two pings to a client")
	if err := flags.Parse(args); err != nil {
		return err
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	agent, err := wsstats.NewAgent(wsstats.WithServiceName("chat-server"), wsstats.WithEndpoint(*collector))
	if err != nil {
		return err
	}

	chat := room.NewServer(*pingEvery)
	mux := http.NewServeMux()
	mux.Handle("/chat", chat)
	server := &http.Server{
		Handler:           agent.Handler(mux), // the line that makes the server observed
		ReadHeaderTimeout: 5 * time.Second,
	}
	fmt.Printf("chat: listening on ws://%s/chat\n", listener.Addr())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}

	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err = errors.Join(err, chat.Shutdown(drain), server.Shutdown(drain), flush(drain, agent))
	return errors.Join(err, report(chat.Counts(), agent))
}

// comeAndGo runs the crowd for the given rounds, or until ctx ends.
func comeAndGo(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("chat crowd", flag.ContinueOnError)
	url := flags.String("server", "ws://localhost:8390/chat", "`URL` of the chat server")
	collector := flags.String("collector", defaultCollector, "`URL` of the wsstats receiver")
	rooms := flags.String("rooms", "lobby,library", "`names` of the rooms, separated by commas")
	members := flags.Int("members", 4, "`number` of people in a room, 2 to 8")
	rounds := flags.Int("rounds", 0, "`number` of times that they come and go, 0: until interrupted")
	pace := flags.Duration("pace", 100*time.Millisecond, "`time` between two things that happen in a room")
	pause := flags.Duration("pause", 2*time.Second, "`time` between two rounds, on average")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *members < 2 || *members > len(people) {
		return fmt.Errorf("--members: expected 2 to %d, got %d", len(people), *members)
	}

	agent, err := wsstats.NewAgent(wsstats.WithServiceName("chat-client"), wsstats.WithEndpoint(*collector))
	if err != nil {
		return err
	}

	c := &crowd{
		url:     *url,
		dialer:  agent.Dialer(&websocket.Dialer{HandshakeTimeout: stepTimeout}), // the line that makes the clients observed
		members: *members,
		pace:    *pace,
	}
	err = c.run(ctx, strings.Split(*rooms, ","), *rounds, *pause)

	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err = errors.Join(err, flush(drain, agent))
	return errors.Join(err, report(c.counts, agent))
}

// flush lets the agent hand over what it still holds.
func flush(ctx context.Context, agent *wsstats.Agent) error {
	if err := agent.Shutdown(ctx); err != nil {
		return fmt.Errorf("the receiver has not taken all: %w", err)
	}
	return nil
}

// report prints, as one line of JSON, what the application saw and what its agent did.
func report(application any, agent *wsstats.Agent) error {
	stats := agent.Stats()
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"application": application,
		"agent": map[string]any{
			"observed":     stats.Observed,
			"acknowledged": stats.Acknowledged,
			"rejected":     stats.Rejected,
			"dropped":      stats.Dropped,
		},
	})
}
