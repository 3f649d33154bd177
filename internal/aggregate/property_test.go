package aggregate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// total is what all points of a series add up to.
type total struct {
	n   uint64
	sum float64
}

type totals map[string]total

func (m totals) add(name, attributes string, n uint64, sum float64) {
	k := name + "{" + attributes + "}"
	m[k] = total{m[k].n + n, m[k].sum + sum}
}

// addPoints adds points up; the gauge, which is a current value, is replaced.
func (m totals) addPoints(t *testing.T, md pmetric.Metrics) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, metric := range rm.ScopeMetrics().At(0).Metrics().All() {
			name := metric.Name()
			switch metric.Type() {
			case pmetric.MetricTypeSum:
				for _, p := range metric.Sum().DataPoints().All() {
					if !metric.Sum().IsMonotonic() {
						m[name+"{"+attributesLine(p.Attributes())+"}"] = total{n: uint64(p.IntValue())}
						continue
					}
					m.add(name, attributesLine(p.Attributes()), uint64(p.IntValue()), 0)
				}
			case pmetric.MetricTypeHistogram:
				for _, p := range metric.Histogram().DataPoints().All() {
					m.add(name, attributesLine(p.Attributes()), p.Count(), p.Sum())
					assertAddsUp(t, p.Count(), 0, p.BucketCounts())
				}
			case pmetric.MetricTypeExponentialHistogram:
				for _, p := range metric.ExponentialHistogram().DataPoints().All() {
					m.add(name, attributesLine(p.Attributes()), p.Count(), p.Sum())
					assertAddsUp(t, p.Count(), p.ZeroCount(), p.Positive().BucketCounts())
				}
			}
		}
	}
}

func assertAddsUp(t *testing.T, count, zero uint64, buckets pcommon.UInt64Slice) {
	for _, n := range buckets.All() {
		zero += n
	}
	assert.Equal(t, count, zero)
}

func (m totals) equal(t *testing.T, got totals, message string) {
	t.Helper()
	require.Len(t, got, len(m), message)
	for k, want := range m {
		assert.Equal(t, want.n, got[k].n, "%s: %s", message, k)
		assert.InEpsilon(t, 1+want.sum, 1+got[k].sum, 1e-9, "%s: %s", message, k)
	}
}

// stream makes random batches, and adds up naively what they come to. Series
// are named with their attributes in the order of their names.
type stream struct {
	*rand.Rand
	conns []*observed.Conn
	state []modelConn
	want  totals
}

type modelConn struct{ active, timed, ended bool }

func newStream(seed uint64) *stream {
	s := &stream{Rand: rand.New(rand.NewPCG(seed, 7)), want: totals{}}
	for i := range 8 {
		s.conns = append(s.conns, &observed.Conn{ID: fmt.Sprint(i), Role: wire.Role(i % 2), User: user("room.id", fmt.Sprint(i%3))})
		s.state = append(s.state, modelConn{})
	}
	return s
}

func line(pairs ...string) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, pairs[i]+"="+pairs[i+1])
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func (s *stream) enter(i int, room string) {
	c, of := &s.state[i], s.conns[i]
	if !c.active && !of.Closed && !(c.ended && of.Closing) {
		c.active = true
		s.want.add("ws.connections.active", line("ws.role", s.conns[i].Role.String(), "room.id", room), 1, 0)
	}
}

func (s *stream) leave(i int) {
	if c := &s.state[i]; c.active {
		c.active = false
		s.want.add("ws.connections.active", line("ws.role", s.conns[i].Role.String(), "room.id", s.conns[i].User[0].Value.Str), ^uint64(0), 0)
	}
}

// commit ends the message in hand, as a table does it, and replaces some of the
// connections that are closed and off the gauge.
func (s *stream) commit() {
	for i, c := range s.conns {
		if c.Closing {
			c.Closing, c.Closed = false, true
		}
		if c.Closed && !s.state[i].active && s.IntN(2) == 0 {
			s.conns[i] = &observed.Conn{ID: c.ID + "'", Role: c.Role, User: c.User}
			s.state[i] = modelConn{}
		}
	}
}

func (s *stream) batch() *observed.Batch {
	s.commit()
	b := &observed.Batch{Resource: chat, Session: s.IntN(10) > 0}
	closing := s.IntN(len(s.conns))
	s.conns[closing].Closing = !s.conns[closing].Closed && s.IntN(3) == 0
	if s.IntN(4) == 0 {
		i := s.IntN(len(s.conns))
		b.Opened = append(b.Opened, s.conns[i])
		if b.Session {
			s.enter(i, s.conns[i].User[0].Value.Str)
		}
	}
	events := func() {
		for range s.IntN(15) {
			b.Rows = append(b.Rows, s.event(b.Session).row())
		}
	}
	events()
	if s.conns[closing].Closing {
		b.Rows = append(b.Rows, s.end(closing, b.Session).row())
	}
	events()
	if s.IntN(5) == 0 {
		st := stat(wire.MetricMessageSize, attrs{wire.AttrDirection: "received", wire.AttrMessageType: "text"}, protocolStat)
		b.Stats = append(b.Stats, st)
		s.want.add("ws.message.size", "ws.direction=received,ws.message.type=text", st.Count, st.Sum)
		s.want.add("ws.messages.bytes", "ws.direction=received,ws.message.type=text", uint64(st.Sum), 0)
		s.want.add("ws.messages.received", "ws.message.type=text", st.Count, 0)
	}
	return b
}

func (s *stream) event(session bool) event {
	i := s.IntN(len(s.conns))
	c, state := s.conns[i], &s.state[i]
	room, role := c.User[0].Value.Str, c.Role.String()
	size := s.IntN(100_000)
	typ := wire.MessageType(s.IntN(3))
	duration := time.Duration(s.IntN(1e9))
	seconds := duration.Seconds()
	e := event{conn: c, role: c.Role, typ: typ, duration: duration, timed: true, attrs: attrs{wire.AttrMessageSize: size}, keep: byte(s.IntN(2))}
	messages := func(metric, direction string, n int) {
		of := []string{"room.id", room, "ws.role", role, "ws.message.type", typ.String()}
		if n == 0 {
			return
		}
		s.want.add(metric, line(of...), uint64(n), 0)
		of = append(of, "ws.direction", direction)
		s.want.add("ws.messages.bytes", line(of...), uint64(n*size), 0)
		s.want.add("ws.message.size", line(of...), uint64(n), float64(n*size))
	}
	switch s.IntN(9) {
	case 0, 1:
		e.kind = wire.KindSend
		messages("ws.messages.sent", "sent", 1)
	case 2, 3:
		e.kind = wire.KindReceive
		messages("ws.messages.received", "received", 1)
	case 4:
		n := s.IntN(20)
		e.kind = wire.KindBroadcast
		e.attrs[wire.AttrBroadcastRecipients] = n
		messages("ws.messages.sent", "sent", n)
		s.want.add("ws.broadcast.recipients", line("room.id", room), 1, float64(n))
	case 5:
		e.kind = wire.KindPing
		state.timed = true
		s.want.add("ws.ping.rtt", line("room.id", room, "ws.role", role), 1, seconds)
	case 6:
		e.kind = wire.KindPong
		e.attrs[wire.AttrPongLatency] = 2.0
		if !state.timed {
			s.want.add("ws.ping.rtt", line("room.id", room, "ws.role", role), 1, 0.002)
		}
	case 7:
		e.kind = wire.KindHandshake
		s.want.add("ws.handshake.duration", line("room.id", room, "ws.role", role), 1, seconds)
		if e.failed = s.IntN(3) == 0; e.failed {
			s.want.add("ws.errors", line("room.id", room, "error.category", "handshake"), 1, 0)
			break
		}
		s.want.add("ws.connections.total", line("room.id", room, "ws.role", role), 1, 0)
		if session {
			s.enter(i, room)
		}
	case 8:
		e.kind = wire.KindProcess
		s.want.add("ws.processing.time", line("room.id", room, "ws.message.type", typ.String()), 1, seconds)
	}
	return e
}

// end closes a connection.
func (s *stream) end(i int, session bool) event {
	c, state := s.conns[i], &s.state[i]
	if session {
		s.leave(i)
	}
	if !state.ended {
		state.ended = true
		s.want.add("ws.connections.closed", line("room.id", c.User[0].Value.Str), 1, 0)
	}
	return event{kind: wire.KindClose, conn: c, role: c.Role}
}

// Whatever the temporality and the histograms, with refusals and repeats, the
// points add up to what the events come to.
func TestAllModesAddUpToTheModel(t *testing.T) {
	for seed := range uint64(10) {
		for _, cfg := range []Config{{}, {Exponential: true}, {Delta: true}, {Delta: true, Exponential: true}} {
			cfg.Dimensions = []string{"room.id"}
			s := newStream(seed)
			h := newHarness(t, cfg)
			got := totals{}
			step := func(do func(func(pmetric.Metrics) error) error) {
				h.advance(time.Second)
				for do(func(md pmetric.Metrics) error {
					if s.IntN(3) == 0 {
						return errRefused
					}
					got.addPoints(t, md)
					return nil
				}) != nil {
				}
				if !cfg.Delta && s.IntN(5) == 0 {
					h.Flush()
				}
			}
			for n := range 60 {
				b := s.batch()
				step(func(consume func(pmetric.Metrics) error) error { return h.Take(b, consume) })
				if n%20 != 19 {
					continue
				}
				i := n % len(s.conns)
				if s.state[i].active && !s.state[i].ended {
					s.state[i].ended = true
					s.want.add("ws.connections.closed", line("room.id", s.conns[i].User[0].Value.Str, "ws.close.class", classAgentLost), 1, 0)
				}
				s.leave(i)
				step(func(consume func(pmetric.Metrics) error) error {
					return h.Lost([]Loss{{chat, s.conns[i : i+1], false}}, consume)
				})
			}
			if !cfg.Delta {
				got.addPoints(t, h.Flush())
			}
			s.want.equal(t, got, fmt.Sprintf("seed %d, %+v", seed, cfg))
			for i, c := range s.conns {
				got := modelConn{c.Active != nil, c.PingTimed, c.Ended}
				assert.Equal(t, s.state[i], got)
			}
		}
	}
}

// Folding loses nothing either: metrics without their attributes add up.
func TestOverflowAddsUp(t *testing.T) {
	byMetric := func(m totals) map[string]uint64 {
		out := map[string]uint64{}
		for k, v := range m {
			out[k[:strings.IndexByte(k, '{')]] += v.n
		}
		return out
	}
	for _, delta := range []bool{false, true} {
		s := newStream(99)
		h := newHarness(t, Config{Delta: delta, CardinalityLimit: 2, Dimensions: []string{"room.id"}})
		got := totals{}
		consume := func(md pmetric.Metrics) error {
			got.addPoints(t, md)
			return nil
		}
		for range 100 {
			require.NoError(t, h.Take(s.batch(), consume))
		}
		if !delta {
			require.NoError(t, consume(h.Flush()))
		}
		assert.Equal(t, byMetric(s.want), byMetric(got))
		assert.Positive(t, h.Folded())
	}
}

func TestConcurrentUse(t *testing.T) {
	const sessions, batches = 8, 100
	for _, cfg := range []Config{{Expiration: time.Nanosecond}, {Delta: true, Expiration: time.Nanosecond, MaxResources: 2}} {
		a := New(cfg, "", "", time.Now)
		var mu sync.Mutex
		got := totals{}
		calls := 0
		consume := func(md pmetric.Metrics) error {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls%3 == 0 {
				return errRefused
			}
			got.addPoints(t, md)
			return nil
		}
		stop := make(chan struct{})
		var flusher, senders sync.WaitGroup
		// A series that went comes back at 0 with another start: a stream of its own.
		streams := map[string]int{}
		addUp := func() {
			each(a.Flush(), func(res pcommon.Resource, m pmetric.Metric, p anyPoint) {
				if m.Name() == "ws.messages.sent" {
					n, _ := strconv.Atoi(p.value)
					streams[fmt.Sprint(attributesLine(res.Attributes()), p.start)] = n
				}
			})
			a.Held()
		}
		flusher.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					addUp()
				}
			}
		})
		for i := range sessions {
			senders.Go(func() {
				res := observed.NewResource(nil, fmt.Sprint("i", i%3))
				for range batches {
					c := &observed.Conn{Role: client}
					b := session(event{kind: wire.KindSend}, event{kind: wire.KindHandshake, conn: c, role: client})
					b.Resource = res
					for a.Take(b, consume) != nil {
					}
					for a.Lost([]Loss{{res, []*observed.Conn{c}, i%2 == 0}}, consume) != nil {
					}
				}
			})
		}
		senders.Wait()
		close(stop)
		flusher.Wait()
		addUp()
		if !cfg.Delta {
			sum := 0
			for _, n := range streams {
				sum += n
			}
			assert.Equal(t, sessions*batches, sum)
		} else {
			assert.Equal(t, uint64(sessions*batches), got["ws.messages.sent{}"].n)
			assert.Equal(t, uint64(sessions*batches/2), got["ws.connections.closed{ws.close.class=agent_lost}"].n)
		}
		a.mu.Lock()
		for _, r := range a.order {
			for _, s := range r.lists[connectionsActive] {
				assert.Zero(t, s.gauge.value.Load())
			}
		}
		a.mu.Unlock()
	}
}
