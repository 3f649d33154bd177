package aggregate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestCardinalityLimit(t *testing.T) {
	for name, cfg := range map[string]Config{"cumulative": {CardinalityLimit: 3}, "delta": {CardinalityLimit: 3, Delta: true}} {
		t.Run(name, func(t *testing.T) {
			var events []event
			for i := range 10 {
				for range 2 {
					events = append(events, event{kind: wire.KindError, attrs: attrs{wire.AttrErrorType: fmt.Sprint("e", i)}})
				}
			}
			h := newHarness(t, cfg)
			want := []string{
				"ws.errors{error.type=e0} 2", "ws.errors{error.type=e1} 2", "ws.errors{error.type=e2} 2",
				"ws.errors{otel.metric.overflow=true} 14",
			}
			assert.Equal(t, want, h.take(post(events...)))
			assert.Equal(t, int64(14), h.Folded())
			series, resources := h.Held()
			assert.Equal(t, [2]int{4, 1}, [2]int{series, resources})
		})
	}
}

func TestAtTheLimitThereIsNoOverflow(t *testing.T) {
	h := newHarness(t, Config{CardinalityLimit: 2})
	assert.Equal(t, []string{"ws.messages.sent{ws.role=client} 1", "ws.messages.sent{ws.role=server} 1"},
		h.take(post(event{kind: wire.KindSend, role: client}, event{kind: wire.KindSend, role: server})))
	assert.Zero(t, h.Folded())
}

// The place of a series that went is free, for one new series.
func TestExpirationMakesRoomBesideOverflow(t *testing.T) {
	fail := func(names ...string) *observed.Batch {
		b := post()
		for _, name := range names {
			b.Rows = append(b.Rows, event{kind: wire.KindError, attrs: attrs{wire.AttrErrorType: name}}.row())
		}
		return b
	}
	h := newHarness(t, Config{CardinalityLimit: 2, Expiration: time.Minute})
	h.take(fail("a", "b", "c"))
	h.advance(30 * time.Second)
	h.take(fail("a", "c"))
	h.advance(30 * time.Second)
	h.Flush()
	assert.Equal(t, []string{
		"ws.errors{error.type=a} 2", "ws.errors{error.type=d} 1", "ws.errors{otel.metric.overflow=true} 3",
	}, h.take(fail("d", "e")))
}

func TestMaxResources(t *testing.T) {
	h := newHarness(t, Config{MaxResources: 2, ReceiverID: "r1", Expiration: time.Minute})
	for i := range 5 {
		b := post(event{kind: wire.KindSend})
		b.Resource = observed.NewResource(nil, fmt.Sprint("i", i))
		h.take(b)
	}
	resources := func() map[string]string {
		got := map[string]string{}
		each(h.Flush(), func(res pcommon.Resource, _ pmetric.Metric, p anyPoint) {
			got[attributesLine(res.Attributes())] += p.value
		})
		return got
	}
	assert.Equal(t, map[string]string{
		"service.instance.id=i0,service.name=unknown_service,wsstats.receiver.id=r1": "1",
		"service.instance.id=i1,service.name=unknown_service,wsstats.receiver.id=r1": "1",
		"otel.metric.overflow=true,wsstats.receiver.id=r1":                           "3",
	}, resources())
	_, n := h.Held()
	assert.Equal(t, 3, n)

	h.advance(time.Minute)
	assert.Empty(t, resources())
	series, n := h.Held()
	assert.Equal(t, [2]int{0, 0}, [2]int{series, n})
	h.take(post(event{kind: wire.KindSend}))
	assert.Equal(t, map[string]string{"service.name=chat,wsstats.receiver.id=r1": "1"}, resources())
}

func TestExpiration(t *testing.T) {
	h := newHarness(t, Config{Expiration: time.Minute, Dimensions: []string{"room.id"}})
	starts := func() map[string]time.Duration {
		got := map[string]time.Duration{}
		each(h.Flush(), func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) {
			got[m.Name()+p.String()] = p.start.AsTime().Sub(time.Unix(1000, 0))
			assert.Equal(t, pcommon.NewTimestampFromTime(h.at), p.time)
		})
		return got
	}
	send := post(event{kind: wire.KindSend}, event{kind: wire.KindSend, user: user("room.id", "lobby")})
	receive := post(event{kind: wire.KindReceive})
	h.take(send)
	h.advance(30 * time.Second)
	h.take(receive)
	h.advance(25 * time.Second)
	h.take(receive)
	both := map[string]time.Duration{
		"ws.messages.sent{} 1": 0, "ws.messages.sent{room.id=lobby} 1": 0, "ws.messages.received{} 2": 30 * time.Second,
	}
	assert.Equal(t, both, starts())
	h.advance(4 * time.Second)
	assert.Equal(t, both, starts())
	h.advance(time.Second)
	assert.Equal(t, map[string]time.Duration{"ws.messages.received{} 2": 30 * time.Second}, starts())
	h.take(send)
	assert.Equal(t, map[string]time.Duration{
		"ws.messages.sent{} 1": time.Minute, "ws.messages.sent{room.id=lobby} 1": time.Minute, "ws.messages.received{} 2": 30 * time.Second,
	}, starts())
}

// Red when: points stay at one time until a clock that was set back is there
// again, what was taken since the last ones is lost or counts twice, or an
// adjustment that no flush notices ends a stream.
func TestTheClockIsSetBack(t *testing.T) {
	const (
		day = 24 * time.Hour
		s   = time.Second
		ms  = time.Millisecond
	)
	type flush struct {
		after       time.Duration // by the clock: since the one before
		sent        string
		start, time time.Duration // since the beginning
		activeFrom  time.Duration
	}
	for name, flushes := range map[string][]flush{
		"a day ahead and back": {
			{after: day, sent: "2", time: day},
			{after: 10*s - day, sent: "3", time: day + ms},
			{after: 10 * s, sent: "1", start: 20 * s, time: 20 * s, activeFrom: 10 * s},
			{after: 10 * s, sent: "2", start: 20 * s, time: 30 * s, activeFrom: 10 * s},
		},
		"ahead and back between two flushes": {
			{after: 10 * s, sent: "2", time: 10 * s},
			{after: day, sent: "3", time: day + 10*s},
			{after: -day, sent: "4", time: day + 10*s + ms},
			{after: 10 * s, sent: "1", start: 20 * s, time: 20 * s, activeFrom: 10 * s},
		},
		"back": {
			{after: -500 * s, sent: "2", time: ms},
			{after: 10 * s, sent: "1", start: -490 * s, time: -490 * s, activeFrom: -500 * s},
		},
		"a little back": {
			{after: 10 * s, sent: "2", time: 10 * s},
			{after: 10*s - 9*s, sent: "3", time: 11 * s},
			{after: 0, sent: "4", time: 11 * s},
			{after: 10 * s, sent: "5", time: 21 * s},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, Config{})
			h.take(opened(&observed.Conn{ID: "c"}), post(event{kind: wire.KindSend}))
			since := func(ts pcommon.Timestamp) time.Duration { return ts.AsTime().Sub(time.Unix(1000, 0)) }
			for i, want := range flushes {
				h.advance(want.after)
				require.NoError(t, h.Take(post(event{kind: wire.KindSend}), h.consume))
				seen := 0
				each(h.Flush(), func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) {
					seen++
					switch m.Name() {
					case "ws.messages.sent":
						assert.Equal(t, want.sent, p.value, "flush %d", i)
						assert.Equal(t, want.start, since(p.start), "flush %d", i)
					case "ws.connections.active":
						assert.Equal(t, "1", p.value, "flush %d", i)
						assert.Equal(t, want.activeFrom, since(p.start), "flush %d", i)
					}
					assert.Equal(t, want.time, since(p.time), "flush %d", i)
				})
				assert.Equal(t, 2, seen)
			}
			series, _ := h.Held()
			assert.Equal(t, 2, series)
		})
	}
}

func TestWhatWasNotFlushedDoesNotExpire(t *testing.T) {
	h := newHarness(t, Config{Expiration: time.Second})
	require.NoError(t, h.Take(post(event{kind: wire.KindSend}), nil))
	h.advance(time.Hour)
	assert.Equal(t, []string{"ws.messages.sent{} 1"}, h.points())
	assert.Empty(t, h.points())
}

func TestNothingExpiresByDefault(t *testing.T) {
	for _, delta := range []bool{false, true} {
		h := newHarness(t, Config{Delta: delta})
		h.take(post(event{kind: wire.KindSend}))
		h.advance(1000 * time.Hour)
		h.Flush()
		h.Flush()
		h.take(post(event{kind: wire.KindSend}))
		series, resources := h.Held()
		assert.Equal(t, [2]int{1, 1}, [2]int{series, resources})
	}
}

// A batch that found a resource just before it went takes a new one.
func TestAResourceThatIsGoneIsLookedUpAgain(t *testing.T) {
	h := newHarness(t, Config{})
	h.take(post(event{kind: wire.KindSend}))
	r := h.resource(chat)
	r.mu.Lock()
	r.gone = true
	r.mu.Unlock()
	assert.Equal(t, []string{"ws.messages.sent{} 1"}, h.take(post(event{kind: wire.KindSend})))
	assert.NotSame(t, r, h.resource(chat))
}

func TestExemplars(t *testing.T) {
	conn := &observed.Conn{ID: "c1"}
	send := func(keep byte, size int, id string) event {
		e := event{kind: wire.KindSend, conn: conn, keep: keep, start: int64(keep), attrs: attrs{wire.AttrMessageSize: size}}
		if id != "" {
			e.attrs[wire.AttrMessageID] = id
		}
		return e
	}
	batch := post(
		send(0, 3, "not sampled"),
		send(1, 1, "first of its bucket"),
		send(2, 2, "m2"),
		send(3, 1000, string(make([]byte, maxExemplarBytes+1))),
		event{kind: wire.KindError, keep: 4, attrs: attrs{wire.AttrConnectionID: "c2"}},
	)
	for name, cfg := range map[string]Config{
		"cumulative": {}, "delta": {Delta: true}, "exponential": {Exponential: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, cfg)
			for range 2 { // they are those since the last hand-over
				h.take(batch)
				md := h.last
				if !cfg.Delta {
					md = h.Flush() // take flushed already
					each(md, func(_ pcommon.Resource, _ pmetric.Metric, p anyPoint) { assert.Zero(t, p.exemplars.Len()) })
					require.NoError(t, h.Take(batch, nil))
					md = h.Flush()
				}
				got := map[string][]string{}
				each(md, func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) {
					for _, e := range p.exemplars.All() {
						value := fmt.Sprint(e.IntValue())
						if e.ValueType() == pmetric.ExemplarValueTypeDouble {
							value = fmt.Sprint(e.DoubleValue())
						}
						span := e.SpanID()
						trace := e.TraceID()
						assert.Equal(t, span[7], trace[15])
						if m.Name() == "ws.message.size" {
							assert.Equal(t, pcommon.Timestamp(span[7]), e.Timestamp())
						}
						got[m.Name()] = append(got[m.Name()], fmt.Sprint(value, " ", span[7], " ", attributesLine(e.FilteredAttributes())))
					}
				})
				sizes := []string{"1 1 ws.connection.id=c1,ws.message.id=first of its bucket", "1000 3 ws.connection.id=c1"}
				if cfg.Exponential {
					sizes = slices.Insert(sizes, 1, "2 2 ws.connection.id=c1,ws.message.id=m2")
				}
				assert.Equal(t, map[string][]string{"ws.message.size": sizes, "ws.errors": {"1 4 ws.connection.id=c2"}}, got)
			}
		})
	}
}

// What has too many values for an attribute of a metric goes to exemplars.
func TestExemplarAttributes(t *testing.T) {
	conn := &observed.Conn{ID: "c1", URL: "ws://example.com/chat", PeerIP: "192.0.2.7"}
	long := strings.Repeat("é", maxExemplarBytes)
	const inherited = " net.peer.ip=192.0.2.7 ws.connection.id=c1 ws.url=ws://example.com/chat"
	tests := []struct {
		name string
		cfg  Config
		e    event
		want string
	}{
		{"nothing", Config{}, event{}, ""},
		{"inherited", Config{}, event{conn: conn}, inherited},
		{
			"semconv",
			Config{Conventions: Semconv},
			event{conn: conn},
			" network.peer.address=192.0.2.7 url.full=ws://example.com/chat ws.connection.id=c1",
		},
		{
			"both names",
			Config{Conventions: WSDup},
			event{conn: conn},
			" net.peer.ip=192.0.2.7 network.peer.address=192.0.2.7 url.full=ws://example.com/chat ws.connection.id=c1 ws.url=ws://example.com/chat",
		},
		{
			"what the event states wins",
			Config{},
			event{conn: conn, attrs: attrs{wire.AttrURL: "ws://u:p@b/c?q#f", wire.AttrPeerIP: "::1"}},
			" net.peer.ip=::1 ws.connection.id=c1 ws.url=ws://b/c",
		},
		{"even if that is empty", Config{}, event{conn: conn, attrs: attrs{wire.AttrURL: "", wire.AttrPeerIP: ""}}, " ws.connection.id=c1"},
		{"the query is allowed", Config{AllowURLQuery: true}, event{attrs: attrs{wire.AttrURL: "ws://u:p@b/c?q#f"}}, " ws.url=ws://b/c?q"},
		{"a close reason", Config{}, event{attrs: attrs{wire.AttrCloseReason: "bye"}}, " ws.close.reason=bye"},
		{
			"cut",
			Config{},
			event{attrs: attrs{wire.AttrURL: "ws://a/" + long, wire.AttrPeerIP: long, wire.AttrCloseReason: long}},
			" net.peer.ip=" + long[:128] + " ws.close.reason=" + long[:128] + " ws.url=ws://a/" + long[:120],
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, tt.cfg)
			// Memory is used again, values are not.
			before := event{kind: wire.KindError, keep: 1, attrs: attrs{
				wire.AttrConnectionID: "before", wire.AttrMessageID: "before", wire.AttrURL: "before", wire.AttrPeerIP: "before", wire.AttrCloseReason: "before",
			}}
			tt.e.kind, tt.e.keep = wire.KindError, 2
			require.NoError(t, h.Take(post(before), nil))
			h.Flush()
			require.NoError(t, h.Take(post(tt.e), nil))
			got := ""
			each(h.Flush(), func(_ pcommon.Resource, _ pmetric.Metric, p anyPoint) {
				raw := p.exemplars.At(0).FilteredAttributes().AsRaw()
				for _, k := range slices.Sorted(maps.Keys(raw)) {
					got += fmt.Sprintf(" %s=%v", k, raw[k])
				}
			})
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestExemplarsAreBounded(t *testing.T) {
	h := newHarness(t, Config{Exponential: true})
	b := post()
	for i := range 500 {
		b.Rows = append(b.Rows, event{kind: wire.KindSend, keep: 1, attrs: attrs{wire.AttrMessageSize: i * i * i}}.row())
	}
	require.NoError(t, h.Take(b, nil))
	each(h.Flush(), func(_ pcommon.Resource, m pmetric.Metric, p anyPoint) {
		if m.Name() == "ws.message.size" {
			assert.Equal(t, exemplarSlots, p.exemplars.Len())
		} else {
			assert.Zero(t, p.exemplars.Len())
		}
	})
}
