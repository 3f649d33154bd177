package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// load is wsstats gen, at work while a test does something bad to what it loads.
type load struct {
	cmd      *exec.Cmd
	ledger   string
	out, log lockedBuffer
	exited   chan struct{}
}

// startLoad starts wsstats gen, whose agents connect to host:port and speak the
// binary form unless the arguments say --encoding=json. Some tests of each kind do.
func startLoad(t *testing.T, endpoint string, args ...string) *load {
	t.Helper()
	l := &load{ledger: filepath.Join(t.TempDir(), "ledger.json"), exited: make(chan struct{})}
	args = append([]string{"gen", "--endpoint=ws://" + endpoint, "--ledger=" + l.ledger, "--batch-delay=50ms", "--drain=30s"}, args...)
	l.cmd = exec.Command(tool(t), args...)
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.log
	require.NoError(t, l.cmd.Start())
	go func() {
		_ = l.cmd.Wait() // wait looks at its state
		close(l.exited)
	}()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		<-l.exited
	})
	return l
}

func (l *load) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, l.cmd.Process.Signal(s))
}

// wait waits for its end, which comes when all is acknowledged, and reads its ledger.
func (l *load) wait(t *testing.T) *generated {
	t.Helper()
	<-l.exited
	require.True(t, l.cmd.ProcessState.Success(), "%s\n%s", l.out.String(), l.log.String())
	data, err := os.ReadFile(l.ledger)
	require.NoError(t, err)
	g := &generated{summary: l.out.String()}
	require.NoError(t, json.Unmarshal(data, g))
	t.Logf("%s", g.summary)
	return g
}

// account finds the fate of every event, by reconcile, and that an event has the
// same span id wherever it is repeated. It returns how many spans are repetitions.
func (g *generated) account(t *testing.T, spans []span, open ...string) (repeated int) {
	t.Helper()
	arrived := make(map[string]pcommon.SpanID)
	for _, s := range spans {
		id, ok := s.Attributes().Get("gen.id")
		require.True(t, ok, "%s has no gen.id", s.Name())
		if before, ok := arrived[id.Str()]; ok {
			require.Equal(t, before, s.SpanID(), "span id of %s, repeated", id.Str())
			repeated++
		}
		arrived[id.Str()] = s.SpanID()
	}
	reconcile(t, g, arrived, open...)
	return repeated
}

// reconcile finds the fate of every event: it is acknowledged, or it was dropped
// for a reason, never both; what is acknowledged has arrived, by its gen.id;
// nothing has that was not sent, nor what was dropped, but for the reasons named,
// which leave open whether it arrived. It returns the acknowledged ones that are
// lost, and leaves in arrived what was never sent.
func reconcile[V any](t *testing.T, g *generated, arrived map[string]V, open ...string) (lost []string) {
	t.Helper()
	sent, acknowledged := 0, 0
	for _, a := range g.Agents {
		fates := make(map[uint64]string)
		note := func(ranges [][2]uint64, fate string) {
			for _, r := range ranges {
				for n := r[0]; n <= r[1]; n++ {
					require.Empty(t, fates[n], "event %d of agent %d has two fates", n, a.Agent)
					fates[n] = fate
				}
			}
		}
		note(a.Acknowledged, "acknowledged")
		for why, ranges := range a.Dropped {
			note(ranges, why)
		}
		for _, r := range a.Sent {
			for n := r[0]; n <= r[1]; n++ {
				sent++
				id := fmt.Sprintf("%d/%d", a.Agent, n)
				_, there := arrived[id]
				delete(arrived, id)
				switch fate := fates[n]; {
				case fate == "acknowledged":
					acknowledged++
					if !there {
						lost = append(lost, id)
					}
				case fate == "":
					require.Fail(t, "no fate", "event %s", id)
				case there:
					require.Contains(t, open, fate, "the fate of %s, which arrived", id)
				}
			}
		}
	}
	assert.Empty(t, arrived, "was never sent")
	assert.Empty(t, lost, "%d of %d acknowledged events are lost", len(lost), acknowledged)
	assert.Equal(t, g.row(t, "sent"), sent)
	assert.Equal(t, g.row(t, "acknowledged"), acknowledged)
	assert.Positive(t, acknowledged)
	return lost
}

// assertNoSpanTwice holds for what one life of one receiver made.
func assertNoSpanTwice(t *testing.T, spans []span) {
	t.Helper()
	ids := make(map[string]bool)
	for _, s := range spans {
		ids[s.SpanID().String()] = true
	}
	assert.Len(t, ids, len(spans), "no span id is there twice")
}

// duration is a duration in a row of the summary, by what it says before it.
func (g *generated) duration(t *testing.T, name, what string) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` .*` + what + ` (\S+)`).FindStringSubmatch(g.summary)
	require.NotNil(t, m, "%s of %s in\n%s", what, name, g.summary)
	d, err := time.ParseDuration(m[1])
	require.NoError(t, err)
	return d
}

// observations is how many events the delta metrics have counted, of scenarios
// without queues: each event is in one of these metrics.
func observations(all []pmetric.Metrics) (n int) {
	for _, md := range all {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if !isDelta(m) {
						continue
					}
					switch m.Name() {
					case "ws.connections.total", "ws.connections.closed", "ws.messages.sent", "ws.messages.received", "ws.ping.rtt", "ws.errors":
						for _, v := range points(m) {
							n += int(v)
						}
					}
				}
			}
		}
	}
	return n
}

func isDelta(m pmetric.Metric) bool {
	switch m.Type() {
	case pmetric.MetricTypeSum:
		return m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityDelta
	case pmetric.MetricTypeHistogram:
		return m.Histogram().AggregationTemporality() == pmetric.AggregationTemporalityDelta
	default:
		return false
	}
}
