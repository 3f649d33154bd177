package aggregate

import (
	"math"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// histogram takes the observations of a series, with explicit or exponential
// buckets.
type histogram interface {
	// observe adds n observations of v, which is finite and not negative.
	observe(v float64, n uint64)
	// merge adds what an agent aggregated; s is valid.
	merge(s *wire.Stat)
	reset()
}

// digest is what both kinds of histogram keep beside their buckets.
type digest struct {
	count    uint64
	sum      float64
	min, max float64
	// The smallest and largest value are not known once a stat did not say them.
	noMin, noMax bool
}

// take adds to the digest. It returns how many of n the buckets have to take:
// less only where the count would overflow.
func (d *digest) take(v float64, n uint64) uint64 {
	n = min(n, math.MaxUint64-d.count)
	if n == 0 {
		return 0
	}
	d.extremes(v, v)
	d.count += n
	d.sum = min(d.sum+v*float64(n), math.MaxFloat64)
	return n
}

func (d *digest) extremes(low, high float64) {
	if d.count == 0 {
		d.min, d.max = low, high
		return
	}
	d.min, d.max = min(d.min, low), max(d.max, high)
}

// takeStat adds the digest of a stat and tells whether the buckets follow.
func (d *digest) takeStat(s *wire.Stat) bool {
	if s.Count == 0 || s.Count > math.MaxUint64-d.count {
		return false
	}
	d.extremes(s.Min, s.Max)
	d.noMin = d.noMin || !s.HasMin
	d.noMax = d.noMax || !s.HasMax
	d.count += s.Count
	d.sum = min(d.sum+s.Sum, math.MaxFloat64)
	return true
}

// maxStatScale bounds the scale of a stat, either way, to what shifts by it can
// bear. It is far beyond what the range of a double can use.
const maxStatScale = 60

// validStat tells whether a stat is what the protocol wants: its counts add
// up, and its numbers are finite and not negative.
func validStat(s *wire.Stat) bool {
	if s.Scale < -maxStatScale || s.Scale > maxStatScale {
		return false
	}
	left := s.Count
	if s.ZeroCount > left || s.Unsized > s.ZeroCount {
		return false
	}
	left -= s.ZeroCount
	for _, n := range s.Buckets {
		if n > left {
			return false
		}
		left -= n
	}
	return left == 0 && measurable(s.Sum) && (!s.HasMin || measurable(s.Min)) && (!s.HasMax || measurable(s.Max))
}

// measurable tells whether a value is finite and not negative.
func measurable(v float64) bool { return v >= 0 && v <= math.MaxFloat64 }

// explicit is a histogram with given bounds.
type explicit struct {
	digest
	*bounds
	counts [maxBuckets]uint64
}

func newExplicit(b *bounds) *explicit { return &explicit{bounds: b} }

// bounds are the upper bounds of buckets.
type bounds struct {
	upper []float64
	// first is where to look for a value, by its exponent (IEEE 754): the first
	// bucket that has some value with it. The next one is the last in question,
	// nearly always, where to try all of them costs a misprediction an event.
	first [1 << exponentBits]uint8
}

const exponentBits = 11

func newBounds(upper ...float64) *bounds {
	b := &bounds{upper: upper}
	for e := range b.first {
		lowest := math.Float64frombits(uint64(e) << mantissaBits)
		for int(b.first[e]) < len(upper) && lowest > upper[b.first[e]] {
			b.first[e]++
		}
	}
	return b
}

// bucket is where a value belongs that is not negative.
func (b *bounds) bucket(v float64) int {
	i := int(b.first[math.Float64bits(v)>>mantissaBits&(1<<exponentBits-1)])
	for i < len(b.upper) && v > b.upper[i] {
		i++
	}
	return i
}

func (h *explicit) observe(v float64, n uint64) {
	if n = h.take(v, n); n > 0 {
		h.counts[h.bucket(v)] += n
	}
}

// merge puts each exponential bucket whole into the one that holds its
// geometric midpoint.
func (h *explicit) merge(s *wire.Stat) {
	if !h.takeStat(s) {
		return
	}
	h.counts[0] += s.ZeroCount
	for i, n := range s.Buckets {
		if n > 0 {
			middle := math.Exp2(math.Ldexp(float64(s.Offset)+float64(i)+0.5, -int(s.Scale)))
			h.counts[h.bucket(middle)] += n
		}
	}
}

func (h *explicit) reset() { *h = explicit{bounds: h.bounds} }
