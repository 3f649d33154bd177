// Wsstats is the tool beside the wsstats receiver: it reports the WebSockets of
// an application that it stands before, loads a receiver, and checks messages
// against the protocol.
//
//	wsstats proxy --listen :8080 --target http://localhost:3000 --collector ws://localhost:4390
//	wsstats gen --endpoint ws://localhost:4390/v1/wsstats --rate 5000 --duration 10s
//	wsstats validate messages.jsonl
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// command is a subcommand. Its error is printed, unless it is errFailed, whose
// reason was.
type command struct {
	name  string
	about string
	run   func(ctx context.Context, args []string, std streams) error
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errFailed ends the program with status 1 and says nothing more.
var errFailed = errors.New("failed")

// usageError is about the command line: the program ends with status 2.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func commands() []command {
	return []command{
		{"proxy", "report the WebSockets of an application that it stands before", runProxy},
		{"gen", "load a receiver, and account for every event", runGen},
		{"replay", "send a recording of proxy to a receiver", runReplay},
		{"validate", "check messages against the protocol", runValidate},
		{"version", "print the version", runVersion},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run returns the exit status: 0, 1 where something is wrong, 2 where the
// command line is.
func run(ctx context.Context, args []string, std streams) int {
	err := dispatch(ctx, args, std)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errFailed):
		return 1
	}
	fmt.Fprintln(std.err, "wsstats:", err)
	if errors.As(err, &usageError{}) {
		return 2
	}
	return 1
}

func dispatch(ctx context.Context, args []string, std streams) error {
	name, rest := "help", []string(nil)
	if len(args) > 0 {
		name, rest = args[0], args[1:]
	}
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			return help(std.out)
		}
		name, rest = rest[0], []string{"--help"}
	case "-version", "--version":
		name = "version"
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return usage("unknown command %q: expected proxy, gen, replay, validate, version or help", name)
	}
	return all[i].run(ctx, rest, std)
}

func help(out io.Writer) error {
	fmt.Fprint(out, "wsstats feeds and loads a wsstats receiver, and checks messages against its protocol.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(out, "  wsstats %-9s %s\n", c.name, c.about)
	}
	_, err := fmt.Fprint(out, "\n`wsstats help COMMAND` tells its flags.\n")
	return err
}

func runVersion(_ context.Context, args []string, std streams) error {
	flags := newFlags("version")
	about := func() { printHelp(flags, "", "Prints the version of this program.", std.out) }
	if err := parseFlags(flags, args, 0, about); err != nil {
		return err
	}
	_, err := fmt.Fprintln(std.out, "wsstats", wsstats.Version)
	return err
}

// newFlags returns the flags of a command.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is printed once, by run, and help by parseFlags
	return flags
}

// printHelp tells what a command does, and its flags.
func printHelp(flags *flag.FlagSet, arguments, about string, out io.Writer) {
	fmt.Fprintf(out, "usage: %s\n\n%s\n", strings.TrimSpace("wsstats "+flags.Name()+" [flags] "+arguments), strings.TrimSpace(about))
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		fmt.Fprintf(out, "\n  --%-20s %s", strings.TrimSpace(f.Name+" "+value), text)
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" {
			fmt.Fprintf(out, " (default %s)", f.DefValue)
		}
	})
	fmt.Fprintln(out)
}

// parseFlags parses the arguments of a command that takes n of its own, and
// calls help where that is asked for.
func parseFlags(flags *flag.FlagSet, args []string, n int, help func()) error {
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help()
		return err
	case err != nil:
		return usage("%s: %v (wsstats help %s tells the flags)", flags.Name(), err, flags.Name())
	case flags.NArg() > n:
		return usage("%s: unexpected argument %q", flags.Name(), flags.Arg(n))
	case flags.NArg() < n:
		return usage("%s: expected an argument (wsstats help %s tells which)", flags.Name(), flags.Name())
	}
	return nil
}
