package main

import (
	"math"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// scenario is a shape of load.
type scenario struct {
	name  string
	about string
	// due is how many events, of one a second, are due so long after the start.
	due func(elapsed time.Duration) float64
	// act makes what happens next on a connection: an event, or a few.
	act func(*worker, *connection)
	// storms cuts all links and observed connections again and again.
	storms bool
	// raw is not made by agents at all.
	raw bool
}

func scenarios() []scenario {
	return []scenario{
		{name: "steady", about: "messages and pings at an even rate", due: even, act: chat},
		{name: "burst", about: "the events of each second within its first tenth", due: bursts, act: chat},
		{name: "reconnect-storm", about: "five times, all links and observed connections break at once and come back", due: even, act: chat, storms: true},
		{name: "slow-consumer", about: "a tenth of the connections do not keep up: ws.queue.size grows until they are closed with 1008", due: even, act: lag},
		{name: "abnormal-closes", about: "one event in twenty is an error and a close that is not normal, some handshakes are refused", due: even, act: breakDown},
		{name: "big-messages", about: "messages of up to 64 MiB, each reported with 3 KiB of attributes", due: even, act: bulk},
		{name: "malformed", about: "messages against the protocol, each of which has to be answered; no agent makes them", due: even, raw: true},
	}
}

func scenarioNames() string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

func findScenario(name string) (scenario, error) {
	for _, s := range scenarios() {
		if s.name == name {
			return s, nil
		}
	}
	return scenario{}, usage("gen: --scenario %q: expected one of %s", name, scenarioNames())
}

func even(elapsed time.Duration) float64 { return elapsed.Seconds() }

func bursts(elapsed time.Duration) float64 {
	whole, part := math.Modf(elapsed.Seconds())
	return whole + min(10*part, 1)
}

// chat is a message either way, and now and then a ping.
func chat(w *worker, m *connection) {
	if w.rng.IntN(50) == 0 {
		w.ping(m, time.Duration(w.rng.ExpFloat64()*float64(20*time.Millisecond)))
		return
	}
	size := int(min(w.rng.ExpFloat64()*256, 64<<10))
	w.message(m, w.rng.IntN(2) == 0, size)
}

// lag lets every tenth connection take in less than it is sent.
func lag(w *worker, m *connection) {
	const most = 64
	if m.index%10 != 0 {
		chat(w, m)
		return
	}
	m.queue++
	w.message(m, true, 512, wsstats.Int("ws.queue.size", m.queue))
	if m.queue == most {
		w.close(m, websocket.ClosePolicyViolation, "slow consumer", wsstats.Local)
		w.open(m)
	}
}

// breakDown lets connections end as they should not.
func breakDown(w *worker, m *connection) {
	if w.rng.IntN(20) != 0 {
		chat(w, m)
		return
	}
	end := badEnds[w.rng.IntN(len(badEnds))]
	w.fail(m, end.errorType, end.category)
	w.close(m, end.code, end.reason, end.initiator)
	if w.rng.IntN(4) == 0 {
		w.refuse(m)
	}
	w.open(m)
}

var badEnds = []struct {
	errorType, category string
	code                int
	reason              string
	initiator           wsstats.Initiator
}{
	{"ECONNRESET", "network", websocket.CloseAbnormalClosure, "", wsstats.None},
	{"timeout", "network", websocket.CloseAbnormalClosure, "", wsstats.None},
	{"reserved_opcode", "protocol", websocket.CloseProtocolError, "", wsstats.Local},
	{"message_too_big", "limit", websocket.CloseMessageTooBig, "", wsstats.Remote},
	{"panic", "application", websocket.CloseInternalServerErr, "internal error", wsstats.Local},
	{"overload", "application", websocket.CloseTryAgainLater, "try later", wsstats.Remote},
	{"kicked", "application", 4001, "kicked", wsstats.Local},
}

// bulk is a message with much payload, and much to tell of it. The payload is
// only counted; the attributes are sent.
func bulk(w *worker, m *connection) {
	size := 64<<10 + w.rng.IntN(64<<20-64<<10+1)
	w.message(m, w.rng.IntN(2) == 0, size, wsstats.String("gen.text", text3KiB))
}

var text3KiB = strings.Repeat("wsstats ", 3<<10/8)
