package e2e

import (
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// TestHostileHerd cuts 5,000 agents at once, some before they could send what
// they had to say and some before they heard the answer. All come back at once,
// find their numbers, and send again what has no answer: nothing is lost, nothing
// is there twice, and the collector holds no more than before.
func TestHostileHerd(t *testing.T) {
	fleet := newFleet(t)
	n := len(fleet.agents)
	c := startCollector(t,
		"receivers::wsstats::limits: {sessions: 10000, sessions_per_address: 10000}",
		"receivers::wsstats::metrics::flush_interval: 1h")
	fleet.endpoint = c.endpoint
	alone := c.held(t)

	fleet.each(t, func(a *herdAgent) {
		a.join(fleet.endpoint)
		a.hear("welcome 0")
		a.say(1)
		a.hear("ack 1")
	})
	connected := c.held(t)
	assert.Equal(t, n, c.sessions(t))

	// Some are heard and do not hear that they were, some are cut within a
	// message, and of the others it is open.
	heard, broken, open := fleet.agents[:n/3], fleet.agents[n/3:2*n/3], fleet.agents[2*n/3:]
	fleet.eachOf(t, heard, func(a *herdAgent) { a.say(2); a.resumes = []string{"welcome 2"} })
	require.Eventually(t, func() bool { return c.numbers(t) >= n+len(heard) }, waitTimeout, waitTick)
	fleet.eachOf(t, broken, func(a *herdAgent) { a.sayHalf(2); a.resumes = []string{"welcome 1"} })
	fleet.eachOf(t, open, func(a *herdAgent) { a.say(2); a.resumes = []string{"welcome 1", "welcome 2"} })
	for _, a := range fleet.agents {
		a.cut()
	}

	began := time.Now()
	var taken atomic.Int64 // of the second messages, before they are sent again
	fleet.each(t, func(a *herdAgent) {
		a.join(fleet.endpoint)
		second := "ack 2"
		if a.hear(a.resumes...) == "welcome 2" {
			second = "duplicate 2"
			taken.Add(1)
		}
		a.say(2)
		a.hear(second)
		a.say(3)
		a.hear("ack 3")
	})
	back := c.held(t)
	t.Logf("%d agents back in %v, %d second messages were taken before; alone %v, connected %v, back %v",
		n, time.Since(began).Round(time.Millisecond), taken.Load(), alone, connected, back)
	own := scrape(t, c.telemetry)
	assertValue(t, float64(n), own, "otelcol_receiver_wsstats_sessions")
	assertValue(t, float64(n), own, "otelcol_receiver_wsstats_instances")
	assertValue(t, float64(taken.Load()), own, "otelcol_receiver_wsstats_duplicates")
	assertValue(t, 0, own, "otelcol_receiver_wsstats_budget_used")
	assert.InDelta(t, connected.descriptors, back.descriptors, 20)
	assert.Less(t, back.bytes, connected.bytes+64<<20)

	for _, a := range fleet.agents {
		a.cut()
	}
	require.Eventually(t, func() bool { return c.sessions(t) == 0 && c.held(t).descriptors <= alone.descriptors+20 }, waitTimeout, waitTick)
	c.stop(t)
	spans := c.spans(t)
	assert.Len(t, spans, 3*n)
	assertNoSpanTwice(t, spans)
	assert.InDelta(t, 3*n, c.totals(t)["ws.messages.sent"], 0)
}

// numbers is how many events were taken.
func (c *collector) numbers(t *testing.T) int {
	t.Helper()
	events, _ := value(scrape(t, c.telemetry), "otelcol_receiver_wsstats_events", "event", "send")
	return int(events)
}

// held is what a process holds.
type held struct {
	bytes       int64
	descriptors int
}

func (h held) String() string {
	return fmt.Sprintf("%d MiB and %d descriptors", h.bytes>>20, h.descriptors)
}

func (c *collector) held(t *testing.T) held {
	t.Helper()
	bytes := c.residentBytes(t)
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	require.NoError(t, err)
	return held{bytes, len(descriptors)}
}

// fleet is many agents.
type fleet struct {
	endpoint string
	agents   []*herdAgent
}

// newFleet makes 5,000 agents, or as many as the machine has descriptors for:
// while they come back the collector may have those that are gone as well.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	const want, least = 5000, 1000
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	n := min(want, (int(min(limit.Max, 1<<20))-1000)/2)
	if n < least {
		skipOrFail(t, "%d descriptors are not enough", limit.Max)
	}
	f := &fleet{agents: make([]*herdAgent, n)}
	for i := range f.agents {
		f.agents[i] = &herdAgent{number: i}
	}
	t.Cleanup(func() {
		for _, a := range f.agents {
			a.cut()
		}
	})
	return f
}

func (f *fleet) each(t *testing.T, do func(*herdAgent)) {
	t.Helper()
	f.eachOf(t, f.agents, do)
}

// eachOf has agents do something, a few hundred of them at a time.
func (f *fleet) eachOf(t *testing.T, agents []*herdAgent, do func(*herdAgent)) {
	t.Helper()
	var workers sync.WaitGroup
	var next atomic.Int64
	for range 256 {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(agents)); i = next.Add(1) - 1 {
				do(agents[i])
			}
		})
	}
	workers.Wait()
	for _, a := range agents {
		require.NoError(t, a.err, "agent %d", a.number)
	}
}

// herdAgent is one of many. After a mistake it does nothing more.
type herdAgent struct {
	number  int
	ws      *websocket.Conn
	resumes []string // what it may hear when it is back
	err     error
}

func (a *herdAgent) join(endpoint string) {
	dialer := websocket.Dialer{
		HandshakeTimeout: waitTimeout, Subprotocols: []string{wire.SubprotocolJSON}, ReadBufferSize: 512, WriteBufferSize: 512,
	}
	ws, resp, err := dialer.Dial("ws://"+endpoint+"/v1/wsstats", nil)
	if err != nil {
		a.err = err
		return
	}
	_ = resp.Body.Close()
	a.ws = ws
	a.write(fmt.Sprintf(`{"hello":{"instance":"herd-%d"}}`, a.number))
}

// say sends a numbered message.
func (a *herdAgent) say(seq int) { a.write(a.message(seq)) }

func (a *herdAgent) message(seq int) string {
	return fmt.Sprintf(`{"seq":%d,"events":[{"event":"send","ws.connection.id":"%d","ws.message.seq":%[1]d,"ws.role":"client"}]}`, seq, a.number)
}

// sayHalf sends the first half of a numbered message's frame.
func (a *herdAgent) sayHalf(seq int) {
	if a.err != nil {
		return
	}
	message := a.message(seq)
	frame := []byte{0x80 | websocket.TextMessage, 0x80 | byte(len(message)), 0, 0, 0, 0} // a key that masks nothing
	_, a.err = a.ws.NetConn().Write(append(frame, message[:len(message)/2]...))
}

func (a *herdAgent) write(text string) {
	if a.err == nil {
		a.err = a.ws.WriteMessage(websocket.TextMessage, []byte(text))
	}
}

// hear takes one of these answers, and returns which.
func (a *herdAgent) hear(expected ...string) (heard string) {
	for a.err == nil {
		_ = a.ws.SetReadDeadline(time.Now().Add(waitTimeout))
		var data []byte
		if _, data, a.err = a.ws.ReadMessage(); a.err != nil {
			break
		}
		var reply wire.Reply
		if reply, a.err = wire.DecodeReply(data); a.err != nil {
			break
		}
		switch {
		case reply.Flow != nil: // a heartbeat
			continue
		case reply.Welcome != nil:
			heard = fmt.Sprintf("welcome %d", reply.Welcome.ResumeAfter)
		case reply.Duplicate:
			heard = fmt.Sprintf("duplicate %d", reply.Ack)
		case reply.Ack != 0 && reply.Rejected == nil:
			heard = fmt.Sprintf("ack %d", reply.Ack)
		default:
			heard = string(data)
		}
		if !slices.Contains(expected, heard) {
			a.err = fmt.Errorf("expected %q, heard %q", expected, heard)
		}
		return heard
	}
	return ""
}

// cut ends the connection without a word, as a crash or a network does: what is
// on its way may be gone.
func (a *herdAgent) cut() {
	if a.ws == nil {
		return
	}
	if tcp, ok := a.ws.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = a.ws.Close()
	a.ws = nil
}
