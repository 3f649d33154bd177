package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const replayAbout = `Sends a recording (of wsstats proxy --record, or any file of messages that
wsstats validate takes) to a receiver, and accounts for every event: sent =
acknowledged + dropped, by reason. The exit status is 0 where that holds, the
receiver has taken something, and the file has no mistake, else 1.

Times are shifted, all by the same, so that the recording ends when its last
event is sent. Connections get new ids, another set in each run, and spans none
of the ids that the recording states, so that a second run is not the same
connections again. Events of the file alone are sent: its stats are not.
`

// replayOptions are the flags of replay.
type replayOptions struct {
	file      string
	endpoint  string
	token     string
	speed     float64 // +Inf: as fast as the receiver takes it
	keepTimes bool
	keepIDs   bool
	drain     time.Duration

	url *url.URL // endpoint
}

func replayFlags(o *replayOptions, speed *string) *flag.FlagSet {
	flags := newFlags("replay")
	flags.StringVar(&o.endpoint, "endpoint", "ws://localhost:4390/v1/wsstats", "`URL` of the receiver, ws or wss")
	flags.StringVar(&o.token, "token", "", "bearer `token`; other users do not see it in WSSTATS_TOKEN, which does the same")
	flags.StringVar(speed, "speed", "1", "how many `times` its own pace the recording has, such as 10, or max")
	flags.BoolVar(&o.keepTimes, "keep-times", false, "leave the times as they are in the file")
	flags.BoolVar(&o.keepIDs, "keep-ids", false, "leave connection ids and the ids of spans as they are in the file")
	flags.DurationVar(&o.drain, "drain", 30*time.Second, "`time` to try to reach a receiver that is away")
	return flags
}

func parseReplay(args []string, out io.Writer) (*replayOptions, error) {
	o := &replayOptions{}
	var speed string
	flags := replayFlags(o, &speed)
	// The file comes first or last, as one likes.
	if len(args) > 1 && args[0] != "" && args[0][0] != '-' {
		args = append(args[1:len(args):len(args)], args[0])
	}
	if err := parseFlags(flags, args, 1, func() { printHelp(flags, "FILE", replayAbout, out) }); err != nil {
		return nil, err
	}
	o.file = flags.Arg(0)
	var err error
	if o.url, err = parseEndpoint("replay", o.endpoint); err != nil {
		return nil, err
	}
	if o.speed, err = strconv.ParseFloat(speed, 64); speed == "max" {
		o.speed, err = math.Inf(1), nil
	}
	switch {
	case err != nil, !(o.speed > 0), math.IsInf(o.speed, 1) && speed != "max":
		return nil, usage("replay: --speed: expected a number above 0 or max, got %q", speed)
	case o.drain <= 0:
		return nil, usage("replay: --drain: expected a time above 0, such as 30s")
	case o.file == "-":
		return nil, usage("replay: expected a file, which is read twice, not the standard input")
	}
	if o.token == "" {
		o.token = os.Getenv("WSSTATS_TOKEN")
	}
	return o, nil
}

func runReplay(ctx context.Context, args []string, std streams) error {
	o, err := parseReplay(args, std.out)
	if err != nil {
		return err
	}
	r := newReplay(o)
	if err := r.survey(std.out); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	p := newProgress(std.err)
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() { p.run(done, r.line) })
	err = r.run(ctx)
	close(done)
	shown.Wait()
	p.end()
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	s := r.summary()
	s.print(std.out)
	if len(s.faults) > 0 {
		return errFailed
	}
	return nil
}

// replay is a run of the command.
type replay struct {
	o       *replayOptions
	decoder wire.Decoder
	message wire.Message
	rename  renamer

	// What the file holds, by survey.
	messages int
	mistakes int
	events   uint64
	stats    int
	missing  uint64 // events that the recording says it does not have
	first    int64  // Unix ns, when its first event began
	last     int64  // and its last one ended

	start time.Time
	shift int64 // ns, added to all times
	link  *link // nil: nothing was sent
	hello wire.Hello

	mu    sync.Mutex // guards the counts, which the progress reads
	tally counts
	said  string // the receiver's, or that it is away
}

func newReplay(o *replayOptions) *replay {
	return &replay{o: o, rename: newRenamer(o.keepIDs), tally: counts{dropped: map[string]uint64{}}}
}

// survey reads the file once, for its mistakes and its times.
func (r *replay) survey(out io.Writer) error {
	options := &validateOptions{}
	validateFlags(options) // the defaults
	v := &validator{options: options, name: r.o.file, out: out}
	r.first, r.last = math.MaxInt64, math.MinInt64
	err := documents(r.o.file, nil, validateBytes, func(d document) {
		r.messages++
		unreadable := d.cut || r.decoder.DecodeJSON(d.text, &r.message) != nil
		if unreadable || r.message.Batch.Rejected.Count > 0 {
			v.check(d)
		}
		if unreadable {
			return
		}
		b := &r.message.Batch
		r.stats += len(b.Stats)
		for _, dropped := range b.Dropped {
			r.missing += dropped.Count
		}
		for i := range b.Events {
			r.events++
			if e := &b.Events[i]; e.HasTime {
				r.first, r.last = min(r.first, e.Time), max(r.last, end(e))
			}
		}
	})
	r.mistakes = v.mistakes
	if r.first > r.last { // no event has a time
		r.first, r.last = 0, 0
	}
	return err
}

// end is when an event ended.
func end(e *wire.Event) int64 {
	if !e.HasDuration {
		return e.Time
	}
	return e.Time + e.Duration
}

// after is how long after the start what ended then is sent.
func (r *replay) after(ended int64) time.Duration {
	return time.Duration(float64(ended-r.first) / r.o.speed)
}

// run reads the file again, and sends it.
func (r *replay) run(ctx context.Context) error {
	r.start = time.Now()
	if !r.o.keepTimes {
		r.shift = r.start.UnixNano() + int64(r.after(r.last)) - r.last
	}
	err := documents(r.o.file, nil, validateBytes, func(d document) {
		if d.cut || r.decoder.DecodeJSON(d.text, &r.message) != nil {
			return // told by survey
		}
		if r.message.Form == wire.FormHello {
			r.hangUp()
			r.hello = cloneHello(&r.message.Hello)
			return
		}
		r.batch(ctx, &r.message.Batch)
	})
	r.hangUp()
	return err
}

func (r *replay) hangUp() {
	if r.link != nil {
		r.link.hangUp()
	}
	r.link = nil
}
