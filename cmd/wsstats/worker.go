package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// keyID is the attribute by which an event is found again in what the receiver
// makes of it: agent/number, numbers from 1 in the order of recording.
const keyID = "gen.id"

const (
	tick     = 5 * time.Millisecond
	maxBurst = 256 // events between two looks at the context
)

// worker drives one agent from one goroutine.
type worker struct {
	index       int
	agent       *wsstats.Agent
	book        *book
	rng         *rand.Rand
	connections []*connection
	turn        int

	ids       bool   // every event has a gen.id
	threshold uint64 // of the receiver's sampling

	sent  atomic.Uint64 // events recorded
	spans atomic.Uint64 // those of which the receiver is to make a span
	waves atomic.Uint64 // storms that have come
	seen  uint64        // of waves
}

// connection is one observed connection.
type connection struct {
	index int
	role  wsstats.Role
	conn  *wsstats.Connection
	seed  wire.Seed

	sent, received, pings uint64 // ordinals
	queue                 int
}

func newWorker(index, connections int, seed uint64, agent *wsstats.Agent, b *book) *worker {
	w := &worker{index: index, agent: agent, book: b, rng: rand.New(rand.NewPCG(seed, uint64(index)))}
	for i := range connections {
		w.connections = append(w.connections, &connection{index: i, role: []wsstats.Role{wsstats.RoleServer, wsstats.RoleClient}[i%2]})
	}
	return w
}

// run makes the worker's share of the load until the time is over or the
// context ends. Rate is the worker's own, events a second.
func (w *worker) run(ctx context.Context, s *scenario, rate float64, duration time.Duration) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	start := time.Now()
	for _, m := range w.connections {
		w.open(m)
	}
	opened := w.sent.Load()
	for ctx.Err() == nil {
		elapsed := min(time.Since(start), duration)
		w.storm()
		due := uint64(s.due(elapsed)*rate) + opened
		for range maxBurst {
			if w.sent.Load() >= due {
				break
			}
			s.act(w, w.connections[w.turn])
			w.turn = (w.turn + 1) % len(w.connections)
		}
		if w.sent.Load() < due {
			continue
		}
		if elapsed == duration {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	for _, m := range w.connections {
		w.close(m, 1000, "", wsstats.Local)
	}
}

// storm breaks all connections where a storm has come.
func (w *worker) storm() {
	waves := w.waves.Load()
	if waves == w.seen {
		return
	}
	w.seen = waves
	for _, m := range w.connections {
		w.close(m, 1006, "", wsstats.None)
	}
	for _, m := range w.connections {
		w.open(m)
	}
}

// next counts an event and returns its attributes.
func (w *worker) next(attributes ...wsstats.Attribute) []wsstats.Attribute {
	n := w.sent.Add(1)
	if !w.ids {
		return attributes
	}
	return append(attributes, wsstats.String(keyID, strconv.Itoa(w.index)+"/"+strconv.FormatUint(n, 10)))
}

func (w *worker) opening(m *connection) wsstats.Opening {
	n := w.index*len(w.connections) + m.index
	return wsstats.Opening{
		Role:       m.role,
		URL:        fmt.Sprintf("ws://gen.example.com/room/%d", m.index%16),
		Peer:       netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 40000), // RFC 2544's
		Start:      time.Now().Add(-time.Millisecond),
		Attributes: w.next(),
	}
}

func (w *worker) open(m *connection) {
	m.conn = w.agent.Observe(w.opening(m))
	m.seed = wire.ConnectionSeed(m.conn.ID())
	m.sent, m.received, m.pings, m.queue = 0, 0, 0, 0
	w.spans.Add(1)
}

func (w *worker) refuse(m *connection) {
	w.agent.ObserveRefused(w.opening(m), 503, "")
	w.spans.Add(1)
}

func (w *worker) message(m *connection, sent bool, size int, attributes ...wsstats.Attribute) {
	t := wsstats.TextMessage
	if w.rng.IntN(4) == 0 {
		t = wsstats.BinaryMessage
	}
	attributes = w.next(attributes...)
	// What a client sends and what a server receives go the same way.
	slot := wire.SlotServerData
	if sent == (m.role == wsstats.RoleClient) {
		slot = wire.SlotClientData
	}
	if sent {
		m.sent++
		w.sample(m, m.sent, slot)
		m.conn.Sent(t, size, attributes...)
		return
	}
	m.received++
	w.sample(m, m.received, slot)
	m.conn.Received(t, size, attributes...)
}

func (w *worker) ping(m *connection, roundTrip time.Duration) {
	slot := wire.SlotServerPing
	if m.role == wsstats.RoleClient {
		slot = wire.SlotClientPing
	}
	m.pings++
	w.sample(m, m.pings, slot)
	m.conn.Pinged(roundTrip, w.next()...)
}

func (w *worker) fail(m *connection, errorType, category string) {
	m.conn.Failed(errorType, category, w.next()...)
	w.spans.Add(1)
}

func (w *worker) close(m *connection, code int, reason string, initiator wsstats.Initiator) {
	m.conn.Closed(code, reason, initiator, w.next()...)
	w.spans.Add(1)
}

// sample counts a message's span if the receiver's sampling will keep it.
func (w *worker) sample(m *connection, ordinal uint64, slot wire.Slot) {
	if w.threshold == 0 || wire.TraceRandomness(m.seed.TraceID(ordinal, slot)) >= w.threshold {
		w.spans.Add(1)
	}
}
