// Voice is a session as a voice assistant has it: the speaker streams audio up in
// binary messages, and the assistant sends events in JSON down while it listens
// and answers. What is sung is real PCM, and what the assistant writes down are the
// notes that it hears. Alone it starts both sides; one is started by
//
//	voice serve --listen localhost:8393
//	voice sing --server ws://localhost:8393/session
//
// Taps observe both sides; the application tells which message it is at, one
// span for the recognition of a turn, and its errors. The events name that span,
// so that the client's handling of them is in its trace.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/examples/internal/sides"
)

// aggregatesAbove is how many messages a second are few enough to be told of one
// by one. A speaker makes 50 chunks a second. Above, where the receiver samples,
// what it would not keep is measured and not sent.
const aggregatesAbove = 40

func main() { example(os.Stdout).Main() }

func example(out io.Writer) *sides.Example {
	flags := flag.NewFlagSet("voice", flag.ContinueOnError)
	wordEvery := flags.Duration("word-every", 120*time.Millisecond, "`time` between two words of the assistant")
	speakers := flags.Int("speakers", 1, "`number` of people who speak at once")
	sessions := flags.Int("sessions", 0, "`number` of sessions of each, 0: until interrupted")
	pace := flags.Duration("pace", chunkMillis*time.Millisecond, "`time` between two chunks of audio, 0s: as fast as it goes")

	serve := func(agent *wsstats.Agent) sides.Service {
		a := newAssistant(*wordEvery)
		mux := http.NewServeMux()
		mux.Handle("/session", a)
		return sides.Service{Handler: agent.Handler(mux), Shutdown: a.shutdown, Counts: func() fmt.Stringer { return a.counts() }}
	}
	visit := func(ctx context.Context, agent *wsstats.Agent, server string) (fmt.Stringer, error) {
		c := &choir{
			out: out, dialer: agent.Dialer(&websocket.Dialer{HandshakeTimeout: stepTimeout}),
			url: server, pace: *pace, speakers: *speakers, sessions: *sessions,
		}
		err := c.run(ctx)
		return c.counts, err
	}
	return &sides.Example{
		Name: "voice", Clients: "sing", Listen: "localhost:8393", Path: "/session",
		Options: []wsstats.Option{wsstats.WithAggregates(aggregatesAbove)},
		Flags:   flags, Out: out, Serve: serve, Visit: visit,
	}
}
