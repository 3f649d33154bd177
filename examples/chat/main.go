// Chat is a chat over WebSockets whose two sides, server and clients, report
// what happens on their connections to a wsstats receiver. Alone it starts both;
// a side is started by
//
//	chat serve --listen localhost:8391
//	chat crowd --server ws://localhost:8391/chat
//
// The chat itself (package room) knows nothing of that: the server's handler
// and the clients' dialer are wrapped in one line each.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/examples/chat/room"
	"github.com/wsstats/wsstatsreceiver/examples/internal/sides"
)

func main() { example(os.Stdout).Main() }

func example(out io.Writer) *sides.Example {
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	pingEvery := flags.Duration("ping-every", 5*time.Second, "`time` between two pings to a client")
	rooms := flags.String("rooms", "lobby,library", "`names` of the rooms, separated by commas")
	members := flags.Int("members", 4, "`number` of people in a room, 2 to 8")
	rounds := flags.Int("rounds", 0, "`number` of times that they come and go, 0: until interrupted")
	pace := flags.Duration("pace", 100*time.Millisecond, "`time` between two things that happen in a room")
	pause := flags.Duration("pause", 2*time.Second, "`time` between two rounds, on average")

	serve := func(agent *wsstats.Agent) sides.Service {
		chat := room.NewServer(*pingEvery)
		mux := http.NewServeMux()
		mux.Handle("/chat", chat)
		return sides.Service{
			Handler:  agent.Handler(mux), // the line that makes the server observed
			Shutdown: chat.Shutdown,
			Counts:   func() fmt.Stringer { return chat.Counts() },
		}
	}
	visit := func(ctx context.Context, agent *wsstats.Agent, server string) (fmt.Stringer, error) {
		if *members < 2 || *members > len(people) {
			return crowdCounts{}, fmt.Errorf("--members: expected 2 to %d, got %d", len(people), *members)
		}
		c := &crowd{
			out:     out,
			url:     server,
			dialer:  agent.Dialer(&websocket.Dialer{HandshakeTimeout: stepTimeout}), // the line that makes the clients observed
			members: *members,
			pace:    *pace,
		}
		err := c.run(ctx, strings.Split(*rooms, ","), *rounds, *pause)
		return c.counts, err
	}
	return &sides.Example{
		Name: "chat", Clients: "crowd", Listen: "localhost:8391", Path: "/chat",
		Flags: flags, Out: out, Serve: serve, Visit: visit,
	}
}
