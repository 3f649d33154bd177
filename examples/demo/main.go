// Demo shows what the wsstats receiver makes of real WebSocket traffic: it
// starts a collector and a chat, waits until the collector has written what
// happened, and tells it. All that it tells is read from the collector's files
// and from its Prometheus endpoint.
//
//	demo --collector build/otelcol-wsstats
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
	pollEvery    = 200 * time.Millisecond
	refreshEvery = 10 * time.Second
)

// options are the flags.
type options struct {
	collector, chat, dir string
	once                 bool
	deadline             time.Duration
	at                   addresses
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		err = o.run(newScreen(os.Stdout), signals)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.collector, "collector", "build/otelcol-wsstats", "`path` of the collector")
	flags.StringVar(&o.chat, "chat", "", "`path` of the chat program (default: chat, beside this program)")
	flags.StringVar(&o.dir, "dir", "build/demo-run", "`directory` for what the collector writes, and for logs")
	flags.BoolVar(&o.once, "once", false, "show the story once, drain and end; fail if a part of it is missing")
	flags.DurationVar(&o.deadline, "deadline", 30*time.Second, "`time` to wait for the story")
	for _, a := range []struct {
		to                *address
		flag, what, value string
	}{
		{&o.at.endpoint, "endpoint", "the wsstats receiver", "localhost:4390"},
		{&o.at.prometheus, "prometheus", "the Prometheus exporter", "localhost:9464"},
		{&o.at.zpages, "zpages", "zpages", "localhost:55679"},
		{&o.at.health, "health", "the health check", "localhost:13133"},
		{&o.at.telemetry, "telemetry", "the collector's own metrics", "localhost:8888"},
		{&o.at.chat, "chat-server", "the chat server", "localhost:8390"},
	} {
		*a.to = address{flag: a.flag, what: a.what}
		flags.StringVar(&a.to.value, a.flag, a.value, "`address` of "+a.what)
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.chat == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("--chat: %w", err)
		}
		o.chat = filepath.Join(filepath.Dir(self), "chat"+filepath.Ext(self)) // .exe where this is one
	}
	return o, nil
}

// run runs the demo until a signal comes, or with --once until the story is told.
func (o *options) run(out *screen, signals <-chan os.Signal) (err error) {
	if err := o.at.free(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil { //nolint:gosec // it is the user who names the directory
		return fmt.Errorf("--dir: %w", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry, over := make(chan struct{}), make(chan struct{})
	defer close(over)
	go func() { // the first signal ends the demo, a second one its patience
		for _, act := range []func(){cancel, func() { close(hurry) }} {
			select {
			case <-signals:
				act()
			case <-over:
				return
			}
		}
	}()

	d := &demo{out: out, at: &o.at, dir: o.dir, traces: tail{path: filepath.Join(o.dir, tracesFile)}}
	defer func() { err = errors.Join(err, d.drain(hurry)) }()
	if err := d.start(ctx, o.collector, o.chat); err != nil {
		return interrupted(ctx, err)
	}
	missing, err := d.tell(ctx, o.deadline)
	if err != nil {
		return interrupted(ctx, err)
	}
	if o.once {
		if len(missing) > 0 {
			return fmt.Errorf("not read within %s: %s", o.deadline, strings.Join(missing, "; "))
		}
		return nil
	}
	return d.watch(ctx)
}

// interrupted drops an error that comes from Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
