package aggregate

import (
	"math"
	"sync/atomic"
)

// series is one stream of points: a metric, a resource and a set of attributes.
type series struct {
	key    key
	labels *labels

	start   int64 // Unix ns: of the next point
	touched int64 // Unix ns: when it last took something
	// dirty says that it took something that was not handed on yet, fresh that
	// nothing of it was handed on ever (delta only).
	dirty, fresh bool

	sum       uint64    // of a sum
	hist      histogram // of a histogram
	gauge     *gauge    // of ws.connections.active
	exemplars *exemplars
}

func newSeries(k key, l *labels, exponentialBuckets bool) *series {
	s := &series{key: k, labels: l}
	info := &metricInfos[k.metric()]
	switch {
	case info.bounds == nil:
	case exponentialBuckets:
		s.hist = newExponential()
	default:
		s.hist = newExplicit(info.bounds)
	}
	if info.exemplars {
		s.exemplars = &exemplars{}
	}
	return s
}

// add adds to a sum, which stops at the largest value that a point can hold.
func (s *series) add(n uint64) { s.sum = saturatingAdd(s.sum, n) }

func saturatingAdd(a, b uint64) uint64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

func saturatingMul(a, b uint64) uint64 {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

// restart empties the series after its delta was handed on or refused.
func (s *series) restart() {
	s.dirty = false
	s.sum = 0
	if s.hist != nil {
		s.hist.reset()
	}
	s.exemplars.reset()
}

// gauge counts the live connections of one series. It is shared by all
// resources: a connection may be opened in a batch of one resource and closed
// in one of another.
type gauge struct {
	owner   *resource
	series  *series
	value   atomic.Int64
	changed atomic.Int64 // Unix ns
	flushed int64        // the value at the last flush; of the owner
}

// Add implements observed.Counter.
func (g *gauge) Add(delta int64) { g.value.Add(delta) }
