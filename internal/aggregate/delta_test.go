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

var errRefused = errors.New("refused")

func TestARefusedBatchCountsOnce(t *testing.T) {
	a, b := &observed.Conn{ID: "a", Role: server}, &observed.Conn{ID: "b", Role: server}
	h := newHarness(t, Config{Delta: true, CardinalityLimit: 2})
	h.take(opened(a))
	batch := session(
		event{kind: wire.KindHandshake, conn: b, role: server},
		event{kind: wire.KindPing, conn: a, timed: true, duration: time.Second},
		event{kind: wire.KindPong, conn: a, attrs: attrs{wire.AttrPongLatency: 5.0}},
		event{kind: wire.KindClose, conn: a, class: "normal"},
		event{kind: wire.KindSend, role: server, attrs: attrs{wire.AttrMessageSize: 3}},
		event{kind: wire.KindSend, role: client},
		event{kind: wire.KindSend},
		event{kind: wire.KindError, attrs: attrs{wire.AttrErrorType: "e"}},
	)
	held, _ := h.Held()
	h.err = errRefused
	for range 3 {
		require.ErrorIs(t, h.Take(batch, h.consume), errRefused)
	}
	assert.Equal(t, [2]bool{true, true}, [2]bool{a.Active != nil, b.Active == nil})
	assert.False(t, a.PingTimed || a.Ended)
	now, _ := h.Held()
	assert.Equal(t, held, now)

	h.err = nil
	want := []string{
		"ws.connections.active{ws.role=server} 1",
		"ws.connections.closed{ws.close.class=normal} 1",
		"ws.connections.total{ws.role=server} 1",
		"ws.errors{error.type=e} 1",
		"ws.message.size{ws.direction=sent,ws.role=server} n=1 sum=3 min=3 max=3",
		"ws.messages.bytes{ws.direction=sent,ws.role=server} 3",
		"ws.messages.sent{otel.metric.overflow=true} 1",
		"ws.messages.sent{ws.role=client} 1",
		"ws.messages.sent{ws.role=server} 1",
		"ws.ping.rtt{} n=1 sum=1 min=1 max=1",
	}
	assert.Equal(t, want, h.take(batch))
	assert.Equal(t, [2]bool{true, true}, [2]bool{a.Active == nil, b.Active != nil})
	assert.True(t, a.PingTimed && a.Ended)
}

func TestARefusedLossCountsOnce(t *testing.T) {
	c := &observed.Conn{ID: "c", Role: server}
	h := newHarness(t, Config{Delta: true})
	h.take(opened(c))
	h.err = errRefused
	require.ErrorIs(t, h.Lost([]Loss{{chat, []*observed.Conn{c}, false}}, h.consume), errRefused)
	assert.False(t, c.Ended)
	h.err = nil
	require.NoError(t, h.Lost([]Loss{{chat, []*observed.Conn{c}, false}}, h.consume))
	assert.Equal(t, []string{"ws.connections.active{ws.role=server} 0", "ws.connections.closed{ws.close.class=agent_lost} 1"}, lines(h.last))
}

// What many agents left is handed on at once, of two that share a resource too,
// and as a whole or not at all.
func TestLossesAreOneHandOver(t *testing.T) {
	h := newHarness(t, Config{Delta: true})
	conns := []*observed.Conn{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	another := observed.NewResource(nil, "another")
	h.take(opened(conns[:2]...), &observed.Batch{Resource: another, Session: true, Opened: conns[2:]})
	losses := []Loss{{chat, conns[:1], false}, {another, conns[2:], false}, {chat, conns[1:2], true}}
	calls := 0
	lose := func(err error) error {
		return h.Lost(losses, func(md pmetric.Metrics) error {
			calls++
			assert.Equal(t, 2, md.ResourceMetrics().Len())
			assert.Equal(t, []string{
				"ws.connections.active{} 0", "ws.connections.active{} 0",
				"ws.connections.closed{ws.close.class=agent_lost} 1", "ws.connections.closed{ws.close.class=agent_lost} 1",
			}, lines(md))
			return err
		})
	}
	require.ErrorIs(t, lose(errRefused), errRefused)
	for _, c := range conns {
		assert.NotNil(t, c.Active, c.ID)
		assert.False(t, c.Ended, c.ID)
	}
	require.NoError(t, lose(nil))
	assert.Equal(t, 2, calls)
	require.NoError(t, h.Lost(losses, nil), "nothing is left to hand on")
}

// Red when: two that hold a resource wait for each other's.
func TestLossesOfTheSameResourcesAtOnce(t *testing.T) {
	h := newHarness(t, Config{Delta: true})
	resources := []*observed.Resource{chat, observed.NewResource(nil, "another"), observed.NewResource(nil, "third")}
	taken := func(pmetric.Metrics) error { return nil }
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for range 200 {
				var losses []Loss
				for i := range resources {
					res := resources[(i*(1+n%2)+n)%3] // in different orders
					c := &observed.Conn{}
					assert.NoError(t, h.Take(&observed.Batch{Resource: res, Session: true, Opened: []*observed.Conn{c}}, taken))
					losses = append(losses, Loss{Resource: res, Conns: []*observed.Conn{c}})
				}
				assert.NoError(t, h.Lost(losses, taken))
			}
		})
	}
	wg.Wait()
}

func TestNothingIsConsumedOfABatchThatMakesNoPoint(t *testing.T) {
	h := newHarness(t, Config{Delta: true})
	require.NoError(t, h.Take(session(event{kind: wire.KindProcess}), func(pmetric.Metrics) error { return errRefused }))
}

// Each point of a stream begins where its last one ended, whatever the clock
// does, and none is empty in time.
func TestDeltaTimes(t *testing.T) {
	h := newHarness(t, Config{Delta: true, Expiration: time.Minute})
	created := h.at
	send := session(event{kind: wire.KindSend, attrs: attrs{wire.AttrMessageSize: 1}})
	var last pcommon.Timestamp
	check := func(first pcommon.Timestamp) {
		t.Helper()
		var end pcommon.Timestamp
		each(h.last, func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) {
			assert.Equal(t, first, p.start, m.Name())
			assert.Greater(t, p.time, p.start, m.Name())
			end = p.time
		})
		last = end
	}
	h.take(send)
	check(pcommon.NewTimestampFromTime(created))
	h.advance(time.Second)
	h.take(send)
	check(last)
	h.advance(-time.Hour) // the clock was set
	h.take(send)
	check(last)
	h.advance(2 * time.Hour)
	h.err = errRefused
	require.Error(t, h.Take(session(event{kind: wire.KindError}), h.consume))
	h.err = nil
	assert.Equal(t, pmetric.NewMetrics(), h.Flush())
	series, _ := h.Held()
	assert.Zero(t, series)
	h.take(send)
	check(pcommon.NewTimestampFromTime(h.at)) // it went, and came back later
}

// A stream that went while others of its resource stayed does not begin before
// it ended.
func TestDeltaStreamsDoNotOverlap(t *testing.T) {
	h := newHarness(t, Config{Delta: true, Expiration: time.Minute})
	h.take(post(event{kind: wire.KindSend}, event{kind: wire.KindReceive}))
	h.advance(30 * time.Second)
	h.take(post(event{kind: wire.KindReceive}))
	h.advance(40 * time.Second)
	h.Flush()
	went := h.at
	h.advance(time.Second)
	h.take(post(event{kind: wire.KindSend}, event{kind: wire.KindReceive}))
	starts := map[string]time.Time{}
	each(h.last, func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) { starts[m.Name()] = p.start.AsTime() })
	assert.Equal(t, map[string]time.Time{
		"ws.messages.sent": went.UTC(), "ws.messages.received": went.Add(-40 * time.Second).UTC(),
	}, starts)
}

// Delta mode lets go of what is idle without a flush, but not of the resource
// whose batch is in hand.
func TestDeltaSweeps(t *testing.T) {
	h := newHarness(t, Config{Delta: true, Expiration: time.Minute})
	other := post(event{kind: wire.KindSend})
	other.Resource = observed.NewResource(nil, "other")
	h.take(post(event{kind: wire.KindSend}), other)
	h.advance(time.Hour)
	h.take(post(event{kind: wire.KindReceive}))
	series, resources := h.Held()
	assert.Equal(t, [2]int{1, 1}, [2]int{series, resources})

	h.advance(time.Hour)
	require.NoError(t, h.Take(other, func(pmetric.Metrics) error {
		h.advance(time.Hour)
		h.Flush()
		return nil
	}))
	series, resources = h.Held()
	assert.Equal(t, [2]int{1, 1}, [2]int{series, resources})
}
