package wsstats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// neverBusy has an agent aggregate, and leave nothing out.
const neverBusy = 1 << 30

// counted are the stats of a batch: their attributes to count and sum.
func counted(b *wire.Batch) map[string]string {
	all := map[string]string{}
	for i := range b.Stats {
		s := &b.Stats[i]
		labels := []string{s.Metric.String()}
		for _, a := range []wire.Attr{wire.AttrRole, wire.AttrDirection, wire.AttrMessageType} {
			if s.Has(a) {
				labels = append(labels, s.Str(a))
			}
		}
		for _, kv := range s.User {
			labels = append(labels, fmt.Sprintf("%s=%s%d", kv.Key, kv.Value.Str, kv.Value.Int()))
		}
		key := strings.Join(labels, " ")
		if _, twice := all[key]; twice {
			key += " twice"
		}
		all[key] = fmt.Sprintf("%d, %g", s.Count, s.Sum)
		if s.Unsized > 0 {
			all[key] += fmt.Sprintf(", %d unsized", s.Unsized)
		}
	}
	return all
}

// messagesIn is how many messages the stats of a batch tell of.
func messagesIn(b *wire.Batch) (n uint64) {
	for i := range b.Stats {
		if b.Stats[i].Metric == wire.MetricMessageSize {
			n += b.Stats[i].Count
		}
	}
	return n
}

func withAttributes(r record, attributes ...Attribute) record {
	r.setAttributes(attributes)
	return r
}

// Stats are delivered as events are: under a number that stands for the same
// when it is sent again, acknowledged, and waited for by Flush.
func TestStatsAreDelivered(t *testing.T) { eachEncoding(t, testStatsAreDelivered) }

func testStatsAreDelivered(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1000), WithAggregates(neverBusy))
	p := r.welcomed(0)
	assert.True(t, p.hello.Aggregates)
	awaitKnown(t, a)
	c := newConn("a81b")
	a.open(c)
	recordMessages(a, c, 1, 4)
	sent := message(c, 100)
	sent.kind, sent.typ = wire.KindSend, wire.MessageBinary
	a.record(sent)
	a.record(event(c, wire.KindPing)) // counts by itself

	flushing := inBackground(t, a.Flush)
	want := map[string]string{
		"ws.message.size server received text": "4, 10",
		"ws.message.size server sent binary":   "1, 100",
	}
	b := p.batch(1)
	assert.Equal(t, want, counted(b))
	assert.Len(t, b.Events, 6, "each event is there beside")
	assert.False(t, b.HasThreshold, "nothing was left out")
	s := &b.Stats[0]
	assert.Equal(t, []uint64{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1}, s.Buckets)
	assert.Equal(t, []int64{3, -1, 0}, []int64{int64(s.Scale), int64(s.Offset), int64(s.ZeroCount)})
	assert.InDelta(t, 1, s.Min, 0)
	assert.InDelta(t, 4, s.Max, 0)
	assert.Equal(t, sent.time, s.Start)
	assert.WithinDuration(t, time.Now(), time.Unix(0, s.Time), patience)
	first := string(p.data)
	p.close(websocket.CloseGoingAway, "")

	p = r.welcomed(0)
	p.batch(0) // its connection
	b = p.batch(1)
	assert.Equal(t, want, counted(b))
	if e.subprotocol == wire.SubprotocolJSON {
		_, was, _ := strings.Cut(first, `"events"`)
		_, is, _ := strings.Cut(string(p.data), `"events"`)
		assert.Equal(t, was, is)
	}
	select {
	case err := <-flushing:
		require.FailNow(t, "flushed before the ack", "%v", err)
	default:
	}
	requireBalanced(t, a)
	assert.EqualValues(t, 8, a.Stats().Held)
	p.ack(1)
	require.NoError(t, <-flushing)
	requireBalanced(t, a)
	assert.EqualValues(t, 8, a.Stats().Acknowledged)

	recordMessages(a, c, 7, 7)
	flushing = inBackground(t, a.Flush)
	assert.Equal(t, map[string]string{"ws.message.size server received text": "1, 7"}, counted(p.batch(2)), "counted anew")
	p.ack(2)
	require.NoError(t, <-flushing)
}

// What each kind of event counts is what the receiver makes of it.
func TestMeasured(t *testing.T) {
	const typ, queue = "ws.message.type", "ws.queue.size"
	c := newConn("a81b")
	c.attributes = []Attribute{String("room.id", "lobby")}
	process := event(c, wire.KindProcess)
	process.typ = wire.MessageText
	timed := process
	timed.duration = int64(250 * time.Millisecond)
	compressed := message(c, 9)
	compressed.compressed = true
	broadcast := event(c, wire.KindBroadcast)
	broadcast.typ, broadcast.size = wire.MessageText, 5
	anySize := event(c, wire.KindBroadcast)
	anySize.size = -1
	batchSend := event(nil, wire.KindBatchSend)
	batchSend.size = 5
	anyWay := event(c, wire.KindMessage)
	anyWay.size = 3

	const lobby = " room.id=lobby0"
	tests := map[string]struct {
		record record
		want   map[string]string
	}{
		"message":    {message(c, 5), map[string]string{"ws.message.size server received text" + lobby: "1, 5"}},
		"no conn":    {message(nil, 5), map[string]string{"ws.message.size received text": "1, 5"}},
		"own room":   {withAttributes(message(c, 5), Int("room.id", 7)), map[string]string{"ws.message.size server received text room.id=7": "1, 5"}},
		"compressed": {compressed, map[string]string{"ws.message.size server received text" + lobby: "1, 0, 1 unsized"}},
		"undirected": {anyWay, map[string]string{"ws.message.size server" + lobby: "1, 3"}},
		"directed":   {withAttributes(anyWay, String("ws.direction", "sent")), map[string]string{"ws.message.size server sent" + lobby: "1, 3"}},
		"timed":      {timed, map[string]string{"ws.processing.time text" + lobby: "1, 0.25"}},
		"in ms":      {withAttributes(process, Int("ws.processing.time_ms", 50)), map[string]string{"ws.processing.time text" + lobby: "1, 0.05"}},
		"both":       {withAttributes(timed, Int("ws.processing.time_ms", 50)), map[string]string{"ws.processing.time text" + lobby: "1, 0.25"}},
		"untimed":    {process, map[string]string{}},
		"queue": {withAttributes(message(c, 5), Int(queue, 3)), map[string]string{
			"ws.message.size server received text" + lobby: "1, 5", "ws.queue.size server" + lobby: "1, 3",
		}},
		"broadcast": {withAttributes(broadcast, Int("ws.broadcast.recipients", 40)), map[string]string{
			"ws.message.size server sent text" + lobby: "40, 200", "ws.broadcast.recipients" + lobby: "1, 40",
		}},
		"broadcast of any size": {withAttributes(anySize, Int("ws.broadcast.recipients", 40)), map[string]string{
			"ws.message.size server sent" + lobby: "40, 0, 40 unsized", "ws.broadcast.recipients" + lobby: "1, 40",
		}},
		"to nobody":    {withAttributes(broadcast, Int("ws.broadcast.recipients", 0)), map[string]string{"ws.broadcast.recipients" + lobby: "1, 0"}},
		"to whomever":  {broadcast, map[string]string{}},
		"batch":        {withAttributes(batchSend, Int("ws.batch.size", 3), String("ws.role", "client")), map[string]string{"ws.message.size client sent": "3, 15"}},
		"ping":         {event(c, wire.KindPing), map[string]string{}},
		"ping by type": {withAttributes(event(c, wire.KindSend), String(typ, "ping"), Int(queue, 3)), map[string]string{}},
		"close":        {event(c, wire.KindClose), map[string]string{}},
		"odd values": {
			withAttributes(event(c, wire.KindReceive), String(typ, "smoke"), String("ws.role", "guest"), Int("ws.message.size", 4)),
			map[string]string{"ws.message.size _OTHER received _OTHER" + lobby: "1, 4"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, g := newMeter(neverBusy, 1<<20, new(spanRules)), ring{maxBytes: 1 << 20}
			welcomed(m, &wire.Welcome{Dimensions: []string{"user.id", "room.id"}}, &g)
			assert.False(t, m.take(&tt.record))
			require.True(t, m.seal(&g, 1))
			e := encoder{}
			_, err := e.batch(1, g.copyTo(nil, 0, g.n), dropCounts{}, 0)
			require.NoError(t, err)
			assert.Equal(t, tt.want, counted(&e.msg.Batch))
			assert.False(t, m.waits())
		})
	}
}

// Until the first welcome nobody knows the dimensions. What is recorded before
// is measured then, by them; what had no room is measured without.
func TestMeasuredAtTheFirstWelcome(t *testing.T) {
	eachEncoding(t, testMeasuredAtTheFirstWelcome)
}

func testMeasuredAtTheFirstWelcome(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1000), WithAggregates(neverBusy), WithMaxQueueBytes(minQueueBytes))
	p := r.accept()
	inRoom := withAttributes(message(nil, 1), String("room.id", "lobby"))
	fit := uint64(minQueueBytes / inRoom.memory())
	for range 3 * fit {
		a.record(inRoom)
	}
	a.record(event(nil, wire.KindError)) // has an eighth of them leave
	p.welcome(func(w *wire.Welcome) { w.Dimensions = []string{"room.id"} })
	got := map[string]uint64{}
	flushing := inBackground(t, a.Flush)
	for seq := uint64(1); got["lobby"]+got[""] < 3*fit; seq++ {
		b := p.batch(seq)
		for i := range b.Stats {
			room := ""
			if len(b.Stats[i].User) > 0 {
				room = b.Stats[i].User[0].Value.Str
			}
			got[room] += b.Stats[i].Count
		}
		p.ack(seq)
	}
	require.NoError(t, <-flushing)
	assert.Equal(t, 3*fit, got["lobby"]+got[""], "all of them, and none twice")
	assert.InDelta(t, fit, got["lobby"], float64(fit)/4)
	assert.Equal(t, got[""], a.Stats().Dropped["queue_full"], "their spans are lost")
}

// Red when: a count is lost while the receiver cannot be reached, however long
// and however many.
func TestNoOutageLosesACount(t *testing.T) { eachEncoding(t, testNoOutageLosesACount) }

func testNoOutageLosesACount(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1000), WithAggregates(neverBusy), WithMaxQueueBytes(minQueueBytes))
	r.welcomed(0).cut()
	p := r.accept()
	const n = 50_000
	recordMessages(a, nil, 1, n)
	requireBalanced(t, a)
	assert.NotZero(t, a.Stats().Dropped["queue_full"])
	p.welcome(nil)
	flushing := inBackground(t, a.Flush)
	var messages uint64
	var sum float64
	for seq := uint64(1); messages < n; seq++ {
		b := p.batch(seq)
		messages += messagesIn(b)
		for i := range b.Stats {
			sum += b.Stats[i].Sum
		}
		p.ack(seq)
	}
	require.NoError(t, <-flushing)
	assert.EqualValues(t, n, messages)
	assert.InDelta(t, n*(n+1)/2, sum, 0)
}

// Series that are too many to be held share one, without their dimensions.
func TestSeriesAreBounded(t *testing.T) {
	m, g := newMeter(neverBusy, 64<<10, new(spanRules)), ring{maxBytes: 1 << 30}
	welcomed(m, &wire.Welcome{Dimensions: []string{"user.id"}}, &g)
	const n = 5000
	for round := range 2 {
		for i := range n {
			r := withAttributes(message(nil, 1), Int("user.id", i))
			m.take(&r)
		}
		assert.LessOrEqual(t, m.bytes, m.maxBytes+1000)
		assert.Greater(t, len(m.series), 100)
		require.True(t, m.seal(&g, 1))
		var all, alone uint64
		for i := range g.n {
			if s := g.at(i).stat; s.dimensions == nil {
				alone += s.count
			} else {
				all += s.count
			}
		}
		assert.EqualValues(t, n*(round+1), all+alone)
		assert.Positive(t, alone)
		assert.Empty(t, m.series, "makes room for others")
		assert.Zero(t, m.bytes)
	}
}

// Stats go before message samples in the queue, and stay out of one that is full
// of what cannot be dropped, until there is room.
func TestSealMakesRoom(t *testing.T) {
	m, g := newMeter(neverBusy, 1<<20, new(spanRules)), ring{maxBytes: 16 << 10}
	welcomed(m, &wire.Welcome{}, &g)
	r := message(nil, 1)
	for range 1000 {
		m.take(&r)
		g.push(&r)
	}
	require.True(t, m.seal(&g, 1))
	assert.EqualValues(t, 1000, g.at(g.n-1).stat.count)
	assert.LessOrEqual(t, g.bytes, g.maxBytes)

	g.setNumbered(g.n) // it is sent, and waits for its ack
	for g.dropped[reasonQueueFull] < 2000 {
		late := event(nil, wire.KindError)
		g.push(&late)
	}
	m.take(&r)
	require.False(t, m.seal(&g, 1))
	assert.True(t, m.waits(), "it goes on counting")
	m.take(&r)
	g.setNumbered(g.n)
	g.acknowledge(g.n)
	require.True(t, m.seal(&g, 1))
	assert.EqualValues(t, 2, g.at(0).stat.count)
}

// What only stats tell of is dropped with them, by their reason.
func TestDroppedStats(t *testing.T) {
	refused := func(t *testing.T, a *Agent, p *peer) {
		flushing := inBackground(t, a.Flush)
		p.batch(1)
		p.reply(wire.Reply{Nack: 1, Code: wire.CodeRefused})
		require.NoError(t, <-flushing)
		a.record(event(nil, wire.KindError))
		flushing = inBackground(t, a.Flush)
		b := p.batch(2)
		assert.Equal(t, map[string]uint64{"refused": a.Stats().Dropped["refused"]}, dropped(b))
		p.ack(2)
		require.NoError(t, <-flushing)
	}
	shutdown := func(t *testing.T, a *Agent, p *peer) {
		p.cut()
		ctx, cancel := contextThatIsOver()
		defer cancel()
		require.Error(t, a.Shutdown(ctx))
	}
	for reason, end := range map[string]func(*testing.T, *Agent, *peer){"refused": refused, "shutdown": shutdown} {
		t.Run(reason, func(t *testing.T) {
			r := newReceiver(t, encodings[EncodingProto], nil)
			a := r.agent(batchOf(1000), WithAggregates(1))
			p := r.accept()
			p.welcome(func(w *wire.Welcome) { w.SamplingThreshold = wire.FormatThreshold(wire.NeverSampled) })
			c := newConn("a81b")
			awaitKnown(t, a)
			for i := range int64(100) {
				m := message(c, 1)
				m.seq = i + 1
				a.record(m)
			}
			assert.EqualValues(t, 99, a.Stats().Unsampled)
			end(t, a, p)
			requireBalanced(t, a)
			assert.InDelta(t, 100, a.Stats().Dropped[reason], 1, "and the stat itself, where it was made")
		})
	}
}

// awaitKnown waits until the agent has taken in the welcome.
func awaitKnown(t *testing.T, a *Agent) {
	t.Helper()
	requireSoon(t, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.meter.known
	})
}

// By default an agent does not aggregate.
func TestNoAggregates(t *testing.T) {
	r := newReceiver(t, encodings[EncodingJSON], nil)
	a := r.agent(batchOf(1))
	p := r.welcomed(0)
	assert.False(t, p.hello.Aggregates)
	recordMessages(a, nil, 1, 1)
	b := p.batch(1)
	assert.Empty(t, b.Stats)
	p.ack(1)
	flushed(t, a)
}

// A connection remembers where its messages count. Red when: it still does after
// the series was let go of, or is kept apart by other dimensions.
func TestSeriesOfAConnection(t *testing.T) {
	m, g := newMeter(neverBusy, 1, new(spanRules)), ring{maxBytes: 1 << 20} // lets go of them at each seal
	c := newConn("a81b")
	c.attributes = []Attribute{String("room.id", "lobby"), String("user.id", "u-17")}
	sent := message(c, 2)
	sent.kind = wire.KindSend
	binary := message(c, 3)
	binary.typ = wire.MessageBinary
	for _, dimension := range []string{"", "room.id", "user.id", "none"} {
		m.maxBytes = 1 << 20
		welcomed(m, &wire.Welcome{Dimensions: []string{dimension}}, &g)
		for _, enough := range []int{1 << 20, 1} {
			for range 3 {
				for _, r := range []record{message(c, 1), sent, binary} {
					assert.False(t, m.take(&r))
				}
			}
			m.maxBytes = enough
			require.True(t, m.seal(&g, 1))
			require.Equal(t, 3, g.n)
			for i, sum := range []float64{3, 6, 9} {
				s := g.at(i).stat
				assert.EqualValues(t, 3, s.count)
				assert.InDelta(t, sum, s.sum, 0)
				if dimension == "room.id" || dimension == "user.id" {
					require.Len(t, s.dimensions, 1)
					assert.Equal(t, dimension, s.dimensions[0].Key)
				} else {
					assert.Empty(t, s.dimensions)
				}
			}
			g.setNumbered(g.n)
			g.acknowledge(g.n)
		}
	}
}

// welcomed takes over what a welcome says, as a session does.
func welcomed(m *meter, w *wire.Welcome, g *ring) {
	m.follow(w)
	m.learn(w, g)
}
