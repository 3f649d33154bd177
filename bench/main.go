// Command bench compares the receiver with what a user would pick instead, side
// by side in one collector, and writes docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// mode is one thing that is measured.
type mode struct {
	name string
	run  func(*run, context.Context) error
}

func modes() []mode {
	return []mode{
		{"compare", (*run).compareAll},
		{"duty", (*run).compareDuty},
		{"fleet", (*run).compareFleet},
		{"slow", (*run).compareSlow},
		{"growth", (*run).measureGrowth},
		{"profile", (*run).profileAll},
	}
}

// shortPeers are those of which goals with a gate speak.
const shortPeers = `^OTLP gRPC$|^OTLP gRPC \+|^wsstats (JSON|columns), (all|1 %) .*flat$`

func bench(ctx context.Context, args []string) error {
	r := &run{out: os.Stderr, began: time.Now()}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&r.binary, "collector", "build/otelcol-bench", "`file` of the collector, which make builds")
	flags.Uint64Var(&r.seed, "seed", 1, "`number` that decides on the events and on the order of peers")
	flags.DurationVar(&r.timing.warm, "warm", 3*time.Second, "`time` that a peer is under load before its first window")
	flags.DurationVar(&r.timing.settle, "settle", time.Second, "`time` that a peer is under load before each later window")
	flags.DurationVar(&r.timing.window, "window", 5*time.Second, "`time` of one window")
	flags.IntVar(&r.timing.rounds, "rounds", 5, "`number` of windows of a peer")
	var names, only, document, plots, results, render string
	var gate, short bool
	flags.StringVar(&names, "modes", "compare,duty,fleet,slow,growth,profile", "`list` of what to measure")
	flags.StringVar(&only, "peers", "", "`regexp`: measure these peers alone in compare, duty and profile")
	flags.StringVar(&document, "report", "", "Markdown `file` whose section is rewritten; none: the report is printed")
	flags.StringVar(&plots, "plots", "", "`directory` for plots")
	flags.StringVar(&results, "results", "", "`file` for all figures, as JSON")
	flags.StringVar(&render, "render", "", "`file` that -results wrote: report on it, and measure nothing")
	flags.StringVar(&r.profiles, "profiles", "", "`directory` for the profiles of the mode profile, as pprof reads them")
	flags.BoolVar(&short, "short", false, "measure what has a gate alone, and briefly")
	flags.BoolVar(&gate, "gate", false, "fail where a ratio is over its gate")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if short {
		names, only = "compare,duty", shortPeers
		r.timing = timing{warm: time.Second, settle: 500 * time.Millisecond, window: 2 * time.Second, rounds: 5}
	}
	if only != "" {
		var err error
		if r.only, err = regexp.Compile(only); err != nil {
			return fmt.Errorf("-peers: %w", err)
		}
	}
	if render != "" {
		if err := r.report.load(render); err != nil {
			return err
		}
	} else if err := r.measure(ctx, names, args); err != nil {
		return err
	}
	if results != "" {
		if err := r.report.save(results); err != nil {
			return err
		}
	}
	if err := r.report.write(document, plots); err != nil {
		return err
	}
	if gate {
		return r.report.gate(os.Stdout)
	}
	return nil
}
