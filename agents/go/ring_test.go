package wsstats

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func held(g *ring) []int64 {
	all := []int64{}
	for i := range g.n {
		all = append(all, g.at(i).size)
	}
	return all
}

func pushMessages(g *ring, from, to int64) {
	for size := from; size <= to; size++ {
		r := message(nil, size)
		g.push(&r)
	}
}

func TestRingPutBackKeepsOrder(t *testing.T) {
	g := &ring{maxBytes: 1 << 20}
	pushMessages(g, 1, 8)
	require.Equal(t, 6, g.take(6, 1<<20))
	early := g.flush()
	early.remaining = 2 // it was called when two records were held
	g.putBack(0, 3)     // 1 2 3 wait again, before 7
	assert.Equal(t, []int64{4, 5, 6, 1, 2, 3, 7, 8}, held(g))
	assert.Equal(t, 3, g.numbered)
	g.remove(0, 3)
	assert.False(t, isClosed(early.done)) // 1 and 2 are not gone
	assert.Equal(t, 3, g.take(3, 1<<20))
	g.remove(0, 3)
	assert.True(t, isClosed(early.done))
}

func TestRingRemoveInTheMiddle(t *testing.T) {
	g := &ring{maxBytes: 1 << 20}
	pushMessages(g, 1, 6)
	g.take(5, 1<<20)
	g.remove(2, 2)
	assert.Equal(t, []int64{1, 2, 5, 6}, held(g))
	assert.Equal(t, 3, g.numbered)
	assert.Equal(t, 4*rowBytes, g.bytes)
}

func TestRingFlushPassesWhatIsEvicted(t *testing.T) {
	g := &ring{maxBytes: 100 * rowBytes}
	pushMessages(g, 1, 100)
	f := g.flush()
	for range 20 { // each of these evicts a few
		r := event(nil, wire.KindClose)
		g.push(&r)
	}
	assert.EqualValues(t, 120, uint64(g.n)+g.dropped[reasonQueueFull])
	assert.Equal(t, int(100-g.dropped[reasonQueueFull]), f.remaining)
	assert.Equal(t, f.remaining, g.urgent)
}

func TestRingEvictsSamplesOnly(t *testing.T) {
	g := &ring{maxBytes: 100 * rowBytes}
	once := event(nil, wire.KindHandshake)
	for range 50 {
		g.push(&once)
		pushMessages(g, 1, 1)
	}
	for range 50 {
		g.push(&once)
	}
	assert.Equal(t, 100, g.n)
	for i := range g.n {
		assert.Equal(t, wire.KindHandshake, g.at(i).kind)
	}
	assert.EqualValues(t, 50, g.dropped[reasonQueueFull])
}

func TestRingEvictsNothingThatANumberStandsFor(t *testing.T) {
	g := &ring{maxBytes: 100 * rowBytes}
	pushMessages(g, 1, 100)
	g.take(90, 1<<20)
	for range 20 {
		r := event(nil, wire.KindClose)
		g.push(&r)
	}
	for i := range 90 {
		assert.EqualValues(t, i+1, g.at(i).size)
	}
	assert.Equal(t, 100, g.n)
	assert.EqualValues(t, 20, g.dropped[reasonQueueFull])
}

// Whatever is done to a ring, its sums agree with what it holds.
func TestRingSums(t *testing.T) {
	told := map[string]uint64{}
	g := &ring{maxBytes: 64 * rowBytes, outcome: func(o Outcome) { told[o.Dropped]++ }}
	for step := range 10_000 {
		switch rand.IntN(8) {
		case 0, 1, 2:
			pushMessages(g, int64(step), int64(step)+rand.Int64N(8))
		case 3:
			r := event(nil, wire.KindHandshake)
			if rand.IntN(2) == 0 {
				r.extra = &wire.Event{}
				r.extra.User = []wire.KeyValue{{Key: "room.id", Value: wire.StringValue("lobby")}}
			}
			g.push(&r)
		case 4:
			g.take(rand.IntN(10), 2000)
		case 5:
			g.acknowledge(rand.IntN(g.numbered + 1))
		case 6:
			if g.numbered > 0 {
				i := rand.IntN(g.numbered)
				g.putBack(i, rand.IntN(g.numbered-i+1))
			}
		case 7:
			g.flush()
			if g.numbered > 0 {
				i := rand.IntN(g.numbered)
				g.drop(i, rand.IntN(g.numbered-i+1), reasonRefused)
			}
		}
		bytes, waiting := 0, 0
		for i := range g.n {
			bytes += g.at(i).memory()
			if i >= g.numbered {
				waiting += g.at(i).jsonBytes()
			}
		}
		require.Equal(t, bytes, g.bytes)
		require.Equal(t, waiting, g.waiting)
		require.LessOrEqual(t, g.bytes, g.maxBytes)
		require.LessOrEqual(t, g.numbered, g.n)
		require.LessOrEqual(t, g.urgent, g.n)
		var lost uint64
		for why, count := range g.dropped {
			lost += count
			require.Equal(t, count, told[reasonNames[why]])
		}
		require.Equal(t, g.acknowledged, told[""])
		require.Equal(t, g.observed, g.acknowledged+lost+uint64(g.n))
	}
	g.discard()
	assert.Empty(t, g.flushes)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
