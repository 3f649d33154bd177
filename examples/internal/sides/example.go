// Package sides runs an example, which has a server and clients that use it.
// Each side has an agent of its own. One command starts both in one process, and
// one each either side alone:
//
//	NAME [flags]
//	NAME serve [flags]
//	NAME CLIENTS [flags]
package sides

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// drainTimeout is how long a side may take to end in order.
const drainTimeout = 5 * time.Second

// Example is a program. All fields but Options are required.
type Example struct {
	Name    string           // the services are Name-server and Name-client
	Clients string           // the command that starts the clients alone
	Listen  string           // where the server listens by default, host:port
	Path    string           // of the URL that the clients dial
	Options []wsstats.Option // of both agents

	Flags *flag.FlagSet // of both sides; Run adds --listen, --server and --collector
	Out   io.Writer     // what people are to see; used by both sides at once

	// Serve makes the server, which the agent is to observe.
	Serve func(agent *wsstats.Agent) Service
	// Visit runs the clients, which the agent is to observe, against the server
	// at the URL until ctx ends or they have done what the flags say. It returns
	// what they did.
	Visit func(ctx context.Context, agent *wsstats.Agent, server string) (fmt.Stringer, error)

	drain time.Duration // drainTimeout; shorter in tests
}

// Service is the server of an example.
type Service struct {
	Handler  http.Handler
	Shutdown func(context.Context) error // closes all connections, and waits until they are gone
	Counts   func() fmt.Stringer         // what it did until now
}

// Main runs the example with the program's arguments. The first Ctrl-C or
// SIGTERM ends it in order, a second one at once.
func (e *Example) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := e.Run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", e.Name, err)
		os.Exit(1)
	}
}

// Run runs the example until ctx ends or the clients have done all. The last
// line of each side says what it did, and what its agent did.
func (e *Example) Run(ctx context.Context, args []string) error {
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if e.drain == 0 {
		e.drain = drainTimeout
	}
	listen := e.Flags.String("listen", e.Listen, "`address` that the server listens at")
	server := e.Flags.String("server", "ws://"+e.Listen+e.Path, "`URL` of the server, for clients alone")
	collector := e.Flags.String("collector", "ws://localhost:4390/v1/wsstats", "`URL` of the wsstats receiver")
	if err := e.Flags.Parse(args); err != nil {
		return err
	}
	if e.Flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", e.Flags.Arg(0))
	}
	e.Options = append(e.Options, wsstats.WithEndpoint(*collector))
	fmt.Fprintf(e.Out, "%s: reports to %s\n", e.Name, *collector)

	switch command {
	case e.Clients:
		return e.visit(ctx, *server, func() {})
	case "serve", "":
		listener, err := net.Listen("tcp", *listen)
		if err != nil {
			return err
		}
		defer listener.Close()
		if command == "serve" {
			return e.serve(ctx, listener)
		}
		return e.both(ctx, listener)
	}
	return fmt.Errorf("usage: %[1]s [serve|%[2]s] [flags], see %[1]s --help", e.Name, e.Clients)
}

// both serves for as long as the clients are there.
func (e *Example) both(ctx context.Context, listener net.Listener) error {
	visiting, leave := context.WithCancel(ctx)
	defer leave()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	served := make(chan error, 1)
	go func() {
		defer leave()
		served <- e.serve(serving, listener)
	}()
	err := e.visit(visiting, "ws://"+listener.Addr().String()+e.Path, stop)
	return errors.Join(err, <-served)
}

// serve runs the server until ctx ends.
func (e *Example) serve(ctx context.Context, listener net.Listener) error {
	agent, err := e.newAgent("server")
	if err != nil {
		return err
	}
	service := e.Serve(agent)
	server := &http.Server{Handler: service.Handler, ReadHeaderTimeout: 5 * time.Second}
	fmt.Fprintf(e.Out, "%s: listening on ws://%s%s\n", e.Name, listener.Addr(), e.Path)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}

	drain, cancel := context.WithTimeout(context.Background(), e.drain)
	defer cancel()
	err = errors.Join(err, service.Shutdown(drain), server.Shutdown(drain), e.flush(drain, "server", agent))
	e.report("server", service.Counts(), agent)
	return err
}

// visit runs the clients until ctx ends, and tells when they are gone.
func (e *Example) visit(ctx context.Context, server string, gone func()) error {
	defer gone()
	agent, err := e.newAgent("client")
	if err != nil {
		return err
	}
	counts, err := e.Visit(ctx, agent, server)
	gone()

	drain, cancel := context.WithTimeout(context.Background(), e.drain)
	defer cancel()
	err = errors.Join(err, e.flush(drain, "client", agent))
	e.report("client", counts, agent)
	return err
}

func (e *Example) newAgent(side string) (*wsstats.Agent, error) {
	return wsstats.NewAgent(append([]wsstats.Option{wsstats.WithServiceName(e.Name + "-" + side)}, e.Options...)...)
}

// flush lets the agent hand over what it still holds.
func (e *Example) flush(ctx context.Context, side string, agent *wsstats.Agent) error {
	if err := agent.Shutdown(ctx); err != nil {
		return fmt.Errorf("the receiver has not taken all of %s-%s: %w", e.Name, side, err)
	}
	return nil
}

// report prints what a side did, and what its agent did, as one line. What the
// receiver has rejected is not acknowledged here.
func (e *Example) report(side string, counts fmt.Stringer, agent *wsstats.Agent) {
	stats := agent.Stats()
	dropped := stats.Rejected
	for _, n := range stats.Dropped {
		dropped += n
	}
	fmt.Fprintf(e.Out, "%s-%s: %s; agent: %d events, %d acknowledged, %d dropped\n",
		e.Name, side, counts, stats.Observed, stats.Acknowledged-stats.Rejected, dropped)
}
