// Notify is a notification service on github.com/coder/websocket: users
// subscribe to topics over a WebSocket, and what is POSTed reaches them. Alone it
// starts the service and subscribers; a side is started by
//
//	notify serve --listen localhost:8392
//	notify subscribe --server ws://localhost:8392/subscribe
//
// Both sides use the agent's adapter for the library, and tell what only an
// application knows: users, how long a message was handled, how many wait in a
// queue, broadcasts, and errors.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/examples/internal/sides"
)

func main() { example(os.Stdout).Main() }

func example(out io.Writer) *sides.Example {
	flags := flag.NewFlagSet("notify", flag.ContinueOnError)
	pingEvery := flags.Duration("ping-every", 5*time.Second, "`time` between two pings to a subscriber")
	queue := flags.Int("queue", 64, "`number` of messages that may wait for a subscriber; one more closes it with 1008")
	subscribers := flags.Int("subscribers", 5, "`number` of subscribers")
	notifications := flags.Int("notifications", 0, "`number` of notifications that are published, 0: until interrupted")
	every := flags.Duration("every", 500*time.Millisecond, "`time` between two notifications")

	serve := func(agent *wsstats.Agent) sides.Service {
		h := newHub(agent, *pingEvery, *queue)
		return sides.Service{Handler: h.handler(), Shutdown: h.shutdown, Counts: func() fmt.Stringer { return h.counts() }}
	}
	visit := func(ctx context.Context, agent *wsstats.Agent, server string) (fmt.Stringer, error) {
		if *subscribers < 1 {
			return counts{}, fmt.Errorf("--subscribers: expected at least 1, got %d", *subscribers)
		}
		l := &load{out: out, agent: agent, server: server, subscribers: *subscribers, notifications: *notifications, every: *every}
		err := l.run(ctx)
		return l.counts, err
	}
	return &sides.Example{
		Name: "notify", Clients: "subscribe", Listen: "localhost:8392", Path: "/subscribe",
		Flags: flags, Out: out, Serve: serve, Visit: visit,
	}
}
