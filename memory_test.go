package wsstatsreceiver

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// blockedConsumer takes nothing until it is released.
type blockedConsumer struct {
	entered atomic.Int64
	release chan struct{}
}

func (*blockedConsumer) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (c *blockedConsumer) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	defer runtime.KeepAlive(td) // a consumer that blocks holds what it was given
	c.entered.Add(1)
	select {
	case <-c.release:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// loads are the messages that agents send in the tests of memory: those of a
// usual application, and those whose spans are largest for their size.
var loads = []struct {
	name string
	list string // of events, without the number
}{
	{"usual", benchEventList(1)},
	{"single", `"events":[{"event":"receive","ws.connection.id":"c","ws.role":"server","ws.message.type":"text","ws.message.size":5,"ws.message.seq":1}]}`},
	{"conventions", `"events":[` + strings.TrimSuffix(strings.Repeat(`{"event":"send",`+conventionAttributes()+`},`, 512), ",") + `]}`},
	{"bare", `"events":[` + strings.TrimSuffix(strings.Repeat(`{"event":"send"},`, 8192), ",") + `]}`},
	{"arrays", `"events":[` + strings.TrimSuffix(strings.Repeat(`{"event":"send"`+zeroArrays(32)+`},`, 8), ",") + `]}`},
	{"attributes", `"events":[` + strings.TrimSuffix(strings.Repeat(`{"event":"send"`+tinyAttributes(64)+`},`, 512), ",") + `]}`},
}

// conventionAttributes are all attributes of the conventions, as small as can be.
func conventionAttributes() string {
	var members []string
	for a := range wire.NumAttrs {
		value := map[wire.Type]string{wire.TypeString: `"a"`, wire.TypeBool: "true"}[a.Info().Type]
		members = append(members, fmt.Sprintf("%q:%s", a, cmp.Or(value, "1")))
	}
	return strings.Join(members, ",")
}

// zeroArrays are attributes that are arrays as long as they can be.
func zeroArrays(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":[0%s]`, i, strings.Repeat(",0", 255))
	}
	return b.String()
}

func tinyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%c%c":0`, 'a'+i%26, 'a'+i/26)
	}
	return b.String()
}

// memoryHeld is the memory of so many idle agents, and of the same agents when
// each has sent what it may to a pipeline that blocks: at least twice the byte
// budget in all.
func memoryHeld(tb testing.TB, agents int, budgetBytes ByteSize, list string) (idle, blocked, budget int64) {
	tb.Helper()
	before := heldBytes()
	sink := &blockedConsumer{release: make(chan struct{})}
	r := startReceiver(tb, testOptions{traces: sink, config: func(cfg *Config) {
		cfg.Limits.Sessions, cfg.Limits.SessionsPerAddress = agents, agents
		// A few agents can fill the budget too.
		cfg.Delivery.BudgetBytes, cfg.Delivery.WindowBytes = budgetBytes, budgetBytes
	}})
	budget = r.budget.Limit()
	fleet := make([]*rawClient, agents)
	for i := range fleet {
		fleet[i] = r.rawDial(tb)
		fleet[i].write(text(fmt.Sprintf(`{"hello":{"instance":"i%d"}}`, i)))
	}
	for _, c := range fleet {
		require.Equal(tb, "welcome 0", c.next())
		c.in = nil // it reads no more, and its buffer is none of the receiver's
	}
	idle = heldBytes() - before

	messages := 1 + int(2*budget)/len(list)/agents
	if most := int(budget) / (len(list) + 32); messages > most {
		messages = most
	}
	for _, c := range fleet {
		for seq := range messages {
			c.write(text(fmt.Sprintf(`{"seq":%d,%s`, seq+1, list)))
		}
	}
	require.Eventually(tb, func() bool {
		for _, s := range r.sessions.all() {
			s.mu.Lock()
			received := s.received
			s.mu.Unlock()
			if received < uint64(1+messages) {
				return false
			}
		}
		return sink.entered.Load() > 0
	}, waitFor, pollEvery)
	blocked = heldBytes() - before
	tb.Logf("%d agents, %d messages of %d bytes each, %d in the pipeline: idle %.1f MiB, blocked %.1f MiB, budget %.1f of %.1f MiB used", agents, messages, len(list),
		sink.entered.Load(), mib(idle), mib(blocked), mib(r.budget.Used()), mib(budget))
	r.sessions.abort() // what is in the queues is of no interest any more
	close(sink.release)
	for _, c := range fleet {
		_ = c.conn.Close()
	}
	r.stopNow()
	return idle, blocked, budget
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func BenchmarkMemoryBlocked(b *testing.B) {
	for _, agents := range []int{10, 1000, 5000} {
		for _, load := range loads {
			b.Run(fmt.Sprintf("%s/agents=%d", load.name, agents), func(b *testing.B) {
				for b.Loop() {
					idle, blocked, budget := memoryHeld(b, agents, 64<<20, load.list)
					b.ReportMetric(mib(idle), "MiB-idle")
					b.ReportMetric(mib(blocked), "MiB-blocked")
					b.ReportMetric(float64(blocked)/float64(idle+budget), "of-idle+budget")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// Red when: messages do not wait for memory before they are translated, or a
// message has more memory than it has paid for.
func TestMemoryBlocked(t *testing.T) {
	for _, load := range loads {
		for _, agents := range []int{10, 100} {
			t.Run(fmt.Sprintf("%s/%d", load.name, agents), func(t *testing.T) {
				idle, blocked, budget := memoryHeld(t, agents, 32<<20, load.list)
				assert.Less(t, float64(blocked), 1.2*float64(idle+budget))
			})
		}
	}
}
