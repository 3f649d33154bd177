package aggregate

import (
	"math"
	"sync/atomic"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// series is one stream of points: a metric, a resource and a set of attributes.
type series struct {
	key  key
	text string // see text.go

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

func newSeries(k key, text string, exponentialBuckets bool) *series {
	s := &series{key: k, text: text}
	info := &metricInfos[k.metric()]
	switch {
	case info.bounds == nil:
	case exponentialBuckets:
		s.hist = newExponential()
	default:
		s.hist = &explicit{bounds: info.bounds}
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

// exemplarSlots is how many exemplars a series keeps at most. It is not less
// than maxBuckets.
const exemplarSlots = 20

// maxExemplarID bounds the ids of an exemplar; a longer one is left out.
const maxExemplarID = 128

// exemplars holds the last exemplar of each slot since the last hand-over: one
// a bucket of an explicit histogram, one a range of values of an exponential
// one, one of a sum. A nil *exemplars keeps none.
type exemplars struct {
	place [exemplarSlots]uint8 // of a slot in list, plus 1
	list  []exemplar           // their memory is used again after a reset
}

type exemplar struct {
	value      float64
	time       int64
	traceID    [16]byte
	spanID     [8]byte
	connection []byte
	message    []byte
}

// put keeps an exemplar of the row where its span is sampled.
func (x *exemplars) put(slot int, value float64, row *observed.Row) {
	if x == nil || row == nil || !row.Keep {
		return
	}
	if x.place[slot] == 0 {
		if len(x.list) < cap(x.list) {
			x.list = x.list[:len(x.list)+1]
		} else {
			x.list = append(x.list, exemplar{})
		}
		x.place[slot] = uint8(len(x.list))
	}
	e := &x.list[x.place[slot]-1]
	e.value, e.time, e.traceID, e.spanID = value, row.End, row.TraceID, row.SpanID
	id := row.Str(wire.AttrConnectionID)
	if row.Conn != nil {
		id = row.Conn.ID
	}
	e.connection = appendID(e.connection[:0], id)
	e.message = appendID(e.message[:0], row.Str(wire.AttrMessageID))
}

func appendID(dst []byte, id string) []byte {
	if len(id) > maxExemplarID {
		return dst // cut it would be another id
	}
	return append(dst, id...)
}

func (x *exemplars) reset() {
	if x != nil {
		x.place = [exemplarSlots]uint8{}
		x.list = x.list[:0]
	}
}

// slot is the place of an exemplar of that value.
func slot(h histogram, v float64) int {
	if e, ok := h.(*explicit); ok {
		return e.bucket(v)
	}
	// The exponent and two bits more: near values share a slot at any scale.
	return int(math.Float64bits(v) >> (mantissaBits - 2) % exemplarSlots)
}
