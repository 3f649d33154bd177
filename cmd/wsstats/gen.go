package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"time"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// genOptions are the flags of gen.
type genOptions struct {
	endpoint    string
	token       string
	scenario    scenario
	rate        float64 // events a second, all agents together
	connections int     // observed, all agents together
	agents      int
	duration    time.Duration
	drain       time.Duration
	sampling    float64
	seed        uint64
	ledger      string
	service     string
	batchDelay  time.Duration
	queueBytes  int
	encoding    string

	url *url.URL // endpoint
}

const genAbout = `Loads a receiver by agents that observe made-up connections, and accounts for
every event: sent = acknowledged + dropped, by reason. The exit status is 0
where that holds and the receiver has taken something, else 1.

With --ledger every event has an attribute gen.id (agent/number, from 1), and
the file says which of them were sent, acknowledged and dropped: {"agents":
[{"agent": 0, "sent": [[1, 900]], "acknowledged": [[1, 890]], "dropped":
{"queue_full": [[891, 900]]}}]}. What was dropped for "shutdown" or "poison"
may have arrived all the same: its acknowledgement did not.

Scenarios:
`

func genFlags(o *genOptions, name *string) *flag.FlagSet {
	flags := newFlags("gen")
	flags.StringVar(&o.endpoint, "endpoint", "ws://localhost:4390/v1/wsstats", "`URL` of the receiver, ws or wss")
	flags.StringVar(&o.token, "token", "", "bearer `token`; other users do not see it in WSSTATS_TOKEN, which does the same")
	flags.StringVar(name, "scenario", "steady", "`name` of the scenario")
	flags.Float64Var(&o.rate, "rate", 1000, "`events` a second, all agents together")
	flags.IntVar(&o.connections, "connections", 100, "`number` of observed connections, all agents together")
	flags.IntVar(&o.agents, "agents", 1, "`number` of agents, each with a link of its own")
	flags.DurationVar(&o.duration, "duration", 10*time.Second, "`time` to make events")
	flags.DurationVar(&o.drain, "drain", 30*time.Second, "`time` to wait for the last acknowledgements")
	flags.Float64Var(&o.sampling, "sampling", 1, "`ratio` of the receiver's traces::sampling, whose scope is message: tells how many spans it is to make")
	flags.Uint64Var(&o.seed, "seed", 0, "`number` that decides on kinds, sizes and order; 0: a random one")
	flags.StringVar(&o.ledger, "ledger", "", "`file` for what became of each event")
	flags.StringVar(&o.service, "service", "wsstats-gen", "service.`name` of the agents; service.instance.id is the agent's number")
	flags.DurationVar(&o.batchDelay, "batch-delay", time.Second, "`time` that an agent's oldest event waits for its batch to fill")
	flags.IntVar(&o.queueBytes, "queue-bytes", 4<<20, "`bytes` that an agent keeps at most while they are not acknowledged")
	flags.StringVar(&o.encoding, "encoding", "", "`form` of the messages: proto or json; without it proto, or json where the receiver knows nothing else")
	return flags
}

func parseGen(args []string, out io.Writer) (*genOptions, error) {
	o := &genOptions{}
	var name string
	flags := genFlags(o, &name)
	help := func() {
		about := []byte(genAbout)
		for _, s := range scenarios() {
			about = fmt.Appendf(about, "  %-16s %s\n", s.name, s.about)
		}
		printHelp(flags, "", string(about), out)
	}
	if err := parseFlags(flags, args, 0, help); err != nil {
		return nil, err
	}
	var err error
	if o.scenario, err = findScenario(name); err != nil {
		return nil, err
	}
	if o.url, err = parseEndpoint("gen", o.endpoint); err != nil {
		return nil, err
	}
	switch {
	case !(o.rate > 0 && o.rate <= 1e8):
		return nil, usage("gen: --rate: expected more than 0 and at most 100,000,000 events a second, got %g", o.rate)
	case o.agents < 1 || o.agents > 100_000:
		return nil, usage("gen: --agents: expected 1 to 100000, got %d", o.agents)
	case o.connections < o.agents || o.connections > 10_000_000:
		return nil, usage("gen: --connections: expected at least one for each of %d agents and at most 10000000, got %d", o.agents, o.connections)
	case o.duration <= 0 || o.drain <= 0 || o.batchDelay <= 0:
		return nil, usage("gen: --duration, --drain and --batch-delay: expected times above 0, such as 10s")
	case !(o.sampling >= 0 && o.sampling <= 1):
		return nil, usage("gen: --sampling: expected 0 to 1, got %g", o.sampling)
	case o.ledger != "" && o.scenario.raw:
		return nil, usage("gen: --ledger: the scenario %s has no events to account for", o.scenario.name)
	case o.encoding == string(wsstats.EncodingProto) && o.scenario.raw:
		return nil, usage("gen: --encoding: the scenario %s is of JSON", o.scenario.name)
	}
	if o.token == "" {
		o.token = os.Getenv("WSSTATS_TOKEN")
	}
	for o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000)
	}
	return o, nil
}

// parseEndpoint reads the --endpoint of a command.
func parseEndpoint(command, endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		return nil, usage("%s: --endpoint: expected a URL such as ws://localhost:4390/v1/wsstats", command)
	}
	if u.Path == "" {
		u.Path = "/v1/wsstats"
	}
	return u, nil
}

func (o *genOptions) threshold() uint64 { return wire.ThresholdFromRatio(o.sampling) }

func runGen(ctx context.Context, args []string, std streams) error {
	o, err := parseGen(args, std.out)
	if err != nil {
		return err
	}
	p := newProgress(std.err)
	defer p.end()
	if o.scenario.raw {
		return runMalformed(ctx, o, std.out, p)
	}
	return runLoad(ctx, o, std.out, p)
}

// share divides a number among agents: the i-th one's part.
func share(total, agents, i int) int {
	n := total / agents
	if i < total%agents {
		n++
	}
	return n
}

// instance names the i-th agent.
func instance(i int) string { return strconv.Itoa(i) }
