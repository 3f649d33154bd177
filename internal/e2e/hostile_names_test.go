package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// TestHostileMillionNames sends a million rooms, message types, roles,
// connections and attribute keys, close codes and error types, none of them
// twice. The collector's memory stays flat, and every event is counted: in a
// series of its own, or in the overflow series.
func TestHostileMillionNames(t *testing.T) {
	const names, warm, limit = 1_000_000, 200_000, 2000 // limit: metrics.cardinality_limit
	c := startCollector(t,
		"receivers::wsstats::metrics: {dimensions: [room.id], flush_interval: 1h}", // once, when it ends
		"receivers::wsstats::traces::sampling::ratio: 0",
		"exporters::nop: {}",
		"service::pipelines::traces::exporters: [nop]") // a close and an error are always sampled
	s := newNamer(t, c.endpoint)
	began := time.Now()
	s.send(t, 0, warm)
	before := c.residentBytes(t)
	s.send(t, warm, names)
	after := c.residentBytes(t)
	t.Logf("3 million events in %v: resident %d MiB, then %d MiB", time.Since(began).Round(time.Millisecond), before>>20, after>>20)
	assert.Less(t, after, before+32<<20)
	require.NoError(t, s.ws.Close())

	own := scrape(t, c.telemetry)
	for _, event := range []string{"send", "error", "close"} {
		assertValue(t, names, own, "otelcol_receiver_wsstats_events", "event", event)
	}
	series, _ := value(own, "otelcol_receiver_wsstats_series")
	assert.Less(t, series, 10.*limit)
	connections, _ := value(own, "otelcol_receiver_wsstats_connections")
	assert.InDelta(t, 65536, connections, 0, "limits.connections")
	c.stop(t)

	for metric, want := range map[string]struct{ total, overflow, series float64 }{
		"ws.messages.sent":      {names, names - limit, limit + 1},
		"ws.message.size":       {names, names - limit, limit + 1},
		"ws.errors":             {names, names - limit, limit + 1},
		"ws.connections.closed": {names, 0, 1}, // none of the codes is one
	} {
		got := c.latest(t, metric)
		total, overflow := 0., 0.
		for attributes, v := range got {
			total += v
			if strings.Contains(attributes, "otel.metric.overflow:true") {
				overflow += v
			}
		}
		assert.InDelta(t, want.total, total, 0, metric)
		assert.InDelta(t, want.overflow, overflow, 0, metric)
		assert.InDelta(t, want.series, len(got), 0, metric)
	}
}

// latest are the newest values of a metric, by its attributes.
func (o output) latest(t *testing.T, metric string) map[string]float64 {
	t.Helper()
	values := make(map[string]float64)
	for _, md := range o.metrics(t) {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if m.Name() == metric {
						maps.Copy(values, points(m))
					}
				}
			}
		}
	}
	return values
}

// namer is an agent that names things.
type namer struct {
	*talker

	message []byte
	places  []int // of the numbers in message, which are written over
	seq     int
}

const (
	nameDigits = 7    // of the number that is in a name
	namesOfOne = 2500 // names in a message
	// namedEvents are the events of one name. Its number stands for each #.
	namedEvents = `{"event":"send","ws.connection.id":"c#","room.id":"r#","ws.message.type":"t#","ws.role":"o#","key.#":"v#","ws.message.size":1},` +
		`{"event":"error","ws.connection.id":"c#","error.type":"e#","error.category":"g#"},` +
		`{"event":"close","ws.connection.id":"c#","ws.close.code":1#,"ws.close.reason":"x#"}`
)

func newNamer(t *testing.T, endpoint string) *namer {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{wire.SubprotocolJSON}, WriteBufferSize: 2 << 20} // a frame a message
	ws, resp, err := dialer.Dial("ws://"+endpoint+"/v1/wsstats", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	t.Cleanup(func() { _ = ws.Close() })
	n := &namer{talker: &talker{T: t, ws: ws}}
	n.say(`{"hello":{"instance":"namer"}}`)
	require.NotNil(t, n.next().Welcome)

	parts := strings.Split(`{"seq":#,"events":[`+strings.Repeat(namedEvents+",", namesOfOne-1)+namedEvents+`]}`, "#")
	n.message = []byte(parts[0])
	for _, part := range parts[1:] {
		n.places = append(n.places, len(n.message))
		n.message = append(n.message, strings.Repeat("1", nameDigits)+part...)
	}
	return n
}

// send sends the names from one number to another, two messages ahead of their
// acknowledgements.
func (n *namer) send(t *testing.T, from, to int) {
	t.Helper()
	perName := (len(n.places) - 1) / namesOfOne
	answered := n.seq
	for at := from; at < to; at += namesOfOne {
		n.seq++
		n.number(n.places[0], 1_000_000+n.seq)
		for i, place := range n.places[1:] {
			n.number(place, 1_000_000+at+i/perName)
		}
		require.NoError(t, n.ws.WriteMessage(websocket.TextMessage, n.message))
		for n.seq-answered >= 3 {
			answered = n.acknowledged(t)
		}
	}
	for n.seq > answered {
		answered = n.acknowledged(t)
	}
}

func (n *namer) number(place, number int) {
	for i := nameDigits - 1; i >= 0; i-- {
		n.message[place+i] = byte('0' + number%10)
		number /= 10
	}
}

func (n *namer) acknowledged(t *testing.T) (seq int) {
	t.Helper()
	reply := n.next()
	require.NotZero(t, reply.Ack, "%+v", reply)
	require.Nil(t, reply.Rejected)
	return int(reply.Ack) - 1_000_000
}

// residentBytes is the collector's memory.
func (c *collector) residentBytes(t *testing.T) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		skipOrFail(t, "/proc is not here")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, m, "%s", bytes.TrimSpace(status))
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	require.NoError(t, err)
	return kib << 10
}
