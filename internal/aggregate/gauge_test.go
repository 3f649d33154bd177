package aggregate

import (
	"errors"
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

// live returns the value of ws.connections.active with that role, -1 where it has no point.
func live(h *harness, role string) int {
	md := h.last
	if !h.cfg.Delta {
		md = h.Flush()
	}
	value := -1
	each(md, func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) {
		if m.Name() == "ws.connections.active" && p.attributes == "ws.role="+role {
			value = int(p.value[0] - '0')
		}
	})
	return value
}

func TestActiveConnections(t *testing.T) {
	conn := func(id string) *observed.Conn { return &observed.Conn{ID: id, Role: server} }
	handshake := func(c *observed.Conn) event { return event{kind: wire.KindHandshake, conn: c, role: c.Role} }
	closing := func(c *observed.Conn) event {
		return event{kind: wire.KindClose, conn: c, role: c.Role, class: "normal"}
	}
	a, b, c := conn("a"), conn("b"), conn("c")
	type step struct {
		name string
		do   func(*harness)
		want int
	}
	take := func(b *observed.Batch) func(*harness) { return func(h *harness) { h.take(b) } }
	end := func(c *observed.Conn, before ...*observed.Conn) func(*harness) {
		return func(h *harness) { // as the table does it
			c.Closing = true
			b := session(closing(c), handshake(c))
			b.Opened = before
			h.take(b)
			c.Closing, c.Closed = false, true
		}
	}
	lost := func(leave bool, conns ...*observed.Conn) func(*harness) {
		return func(h *harness) {
			h.last = pmetric.NewMetrics()
			require.NoError(h.t, h.Lost([]Loss{{chat, conns, leave}}, h.consume))
		}
	}
	steps := []step{
		{"a failed handshake", take(session(event{kind: wire.KindHandshake, conn: a, role: server, failed: true})), -1},
		{"a handshake by POST", take(post(handshake(a))), -1},
		{"a handshake", take(session(handshake(a))), 1},
		{"it is declared, too", take(opened(a, b)), 2},
		{"again", take(opened(a, b)), 2},
		{"one without a connection", take(session(event{kind: wire.KindHandshake, role: server})), 2},
		{"a close by POST of one that is unknown", take(post(event{kind: wire.KindClose})), 2},
		{"a close, and a handshake after it", end(a), 1},
		{"declared open after its close", take(opened(a)), 1},
		{"lost", lost(false, a, b), 0},
		{"lost again", lost(false, a, b), 0},
		{"restated after it was lost", take(opened(b)), 1},
		{"its agent is lost again", lost(false, b), 0},
		{"restated again", take(opened(b)), 1},
		{"a close of one that was lost before", end(b), 0},
		{"declared open after all", take(opened(b)), 0},
		{"another", take(opened(c)), 1},
		{"that is lost", lost(false, c), 0},
		{"restated in the message that closes it", end(c, c), 0},
	}
	for name, cfg := range map[string]Config{"cumulative": {}, "delta": {Delta: true}} {
		t.Run(name, func(t *testing.T) {
			*a, *b, *c = *conn("a"), *conn("b"), *conn("c")
			h := newHarness(t, cfg)
			closed := 0
			for _, s := range steps {
				s.do(h)
				got := live(h, "server")
				if cfg.Delta {
					each(h.last, func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) {
						if m.Name() == "ws.connections.closed" {
							closed++
							assert.Equal(t, "1", p.value, s.name)
						}
					})
					if got < 0 && s.want == 0 || h.last.DataPointCount() == 0 {
						continue // nothing changed
					}
				}
				assert.Equal(t, s.want, got, s.name)
			}
			if cfg.Delta {
				assert.Equal(t, 4, closed)
			} else {
				got := h.points()
				assert.Contains(t, got, "ws.connections.closed{ws.close.class=agent_lost} 2")
				assert.Contains(t, got, "ws.connections.closed{ws.close.class=normal} 1")
				assert.Contains(t, got, "ws.connections.closed{} 1")
				for _, line := range got { // nobody saw when they ended
					assert.NotContains(t, line, "ws.connection.duration")
				}
			}
			assert.Nil(t, a.Active)
			assert.Nil(t, b.Active)
			assert.Nil(t, c.Active)
		})
	}
}

func TestOpenedAndClosedInOneBatch(t *testing.T) {
	c := &observed.Conn{Role: server, Closing: true}
	h := newHarness(t, Config{})
	h.take(session(event{kind: wire.KindHandshake, conn: c}, event{kind: wire.KindClose, conn: c}, event{kind: wire.KindHandshake, conn: c}))
	assert.Equal(t, []string{"ws.connections.active{ws.role=server} 0", "ws.connections.closed{} 1", "ws.connections.total{} 2"}, h.points())
	assert.Nil(t, c.Active)
}

func TestLeaveKeepsTheConnectionOpen(t *testing.T) {
	c := &observed.Conn{ID: "c", Role: client}
	h := newHarness(t, Config{})
	h.take(opened(c))
	require.NoError(t, h.Lost([]Loss{{chat, []*observed.Conn{c}, true}}, nil))
	assert.Equal(t, []string{"ws.connections.active{ws.role=client} 0"}, h.points())
	assert.False(t, c.Ended)
	h.take(opened(c))
	assert.Equal(t, 1, live(h, "client"))
}

func TestLostOfAConnectionWhoseEndWasCounted(t *testing.T) {
	c := &observed.Conn{ID: "c", Role: client}
	h := newHarness(t, Config{})
	h.take(opened(c), post(event{kind: wire.KindClose, conn: c}))
	assert.Equal(t, 1, live(h, "client"), "a POST never moves the gauge")
	require.NoError(t, h.Lost([]Loss{{chat, []*observed.Conn{c}, false}}, nil))
	assert.Equal(t, []string{"ws.connections.active{ws.role=client} 0", "ws.connections.closed{} 1"}, h.points())
}

// A batch with a resource of its own closes a connection of the session's.
func TestCloseUnderAnotherResource(t *testing.T) {
	another := observed.NewResource([]wire.KeyValue{{Key: "service.name", Value: wire.StringValue("mail")}}, "")
	for name, cfg := range map[string]Config{"cumulative": {}, "delta": {Delta: true}} {
		t.Run(name, func(t *testing.T) {
			c := &observed.Conn{ID: "c", Role: client}
			h := newHarness(t, cfg)
			h.take(opened(c))
			b := session(event{kind: wire.KindClose, conn: c})
			b.Resource = another
			if cfg.Delta {
				h.err = errors.New("full")
				require.ErrorIs(t, h.Take(b, h.consume), h.err)
				assert.NotNil(t, c.Active)
				h.err = nil
			}
			h.take(b)
			md := h.last
			if !cfg.Delta {
				md = h.Flush()
			}
			got := map[string]string{}
			each(md, func(res pcommon.Resource, m pmetric.Metric, p anyPoint) {
				service, _ := res.Attributes().Get("service.name")
				got[service.Str()+" "+m.Name()] = p.value
			})
			assert.Equal(t, map[string]string{"chat ws.connections.active": "0", "mail ws.connections.closed": "1"}, got)
			assert.Nil(t, c.Active)
		})
	}
}

func TestTheGaugeOutlivesItsExpiration(t *testing.T) {
	for name, cfg := range map[string]Config{"cumulative": {Expiration: time.Minute}, "delta": {Expiration: time.Minute, Delta: true}} {
		t.Run(name, func(t *testing.T) {
			c := &observed.Conn{ID: "c", Role: client}
			h := newHarness(t, cfg)
			h.take(opened(c))
			for range 3 {
				h.advance(time.Hour)
				h.Flush()
			}
			series, resources := h.Held()
			assert.Equal(t, [2]int{1, 1}, [2]int{series, resources})
			h.take(session(event{kind: wire.KindClose, conn: c}))
			assert.Equal(t, 0, live(h, "client"))
			h.advance(time.Minute)
			h.Flush()
			series, resources = h.Held()
			assert.Equal(t, [2]int{0, 0}, [2]int{series, resources})
		})
	}
}

// The last value of a gauge that another resource's batch brought to 0 is seen
// before the series goes.
func TestAZeroIsFlushedBeforeTheGaugeGoes(t *testing.T) {
	c := &observed.Conn{ID: "c", Role: client}
	h := newHarness(t, Config{Expiration: time.Second})
	h.take(opened(c))
	h.Flush()
	another := observed.NewResource(nil, "other")
	require.NoError(t, h.Lost([]Loss{{another, []*observed.Conn{c}, true}}, nil))
	h.advance(time.Minute)
	assert.Equal(t, []string{"ws.connections.active{ws.role=client} 0"}, h.points())
	assert.Empty(t, h.points())
}

// Restated in each batch, a gauge does not go stale while nothing opens or closes.
func TestDeltaRestatesLiveConnections(t *testing.T) {
	h := newHarness(t, Config{Delta: true})
	h.take(opened(&observed.Conn{Role: client}, &observed.Conn{Role: client}))
	assert.Equal(t, []string{"ws.connections.active{ws.role=client} 2", "ws.messages.sent{} 1"}, h.take(session(event{kind: wire.KindSend})))
	assert.Empty(t, h.take(session()))
}

func TestTheGaugeGoesThroughOverflow(t *testing.T) {
	a, b := &observed.Conn{Role: client}, &observed.Conn{Role: server}
	h := newHarness(t, Config{CardinalityLimit: 1})
	h.take(opened(a, b))
	assert.Equal(t, []string{"ws.connections.active{otel.metric.overflow=true} 1", "ws.connections.active{ws.role=client} 1"}, h.points())
	got := h.take(session(event{kind: wire.KindClose, conn: b}, event{kind: wire.KindClose, conn: a}))
	assert.Equal(t, []string{"ws.connections.active{otel.metric.overflow=true} 0", "ws.connections.active{ws.role=client} 0"}, got[:2])
}

// Red when: a connection looks at the labels of a resource that it does not hold (-race).
func TestConnectionsOfTwoResources(t *testing.T) {
	a := New(Config{Dimensions: []string{"room.id"}, Expiration: time.Nanosecond}, "", "", time.Now)
	resources := []*observed.Resource{observed.NewResource(nil, "i1"), observed.NewResource(nil, "i2")}
	var wg sync.WaitGroup
	for i := range resources {
		wg.Go(func() {
			conn := &observed.Conn{ID: "c", User: user("room.id", "lobby")}
			for n := range 200 { // of one, and then of the other
				e := event{kind: wire.KindSend, dir: wire.DirectionSent, conn: conn}
				assert.NoError(t, a.Take(&observed.Batch{Resource: resources[(i+n)%2], Rows: []observed.Row{e.row()}}, noConsume))
				a.Flush()
			}
		})
	}
	wg.Wait()
}
