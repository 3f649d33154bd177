package wsstats

import "math"

const (
	// histogramScale is the scale that a histogram begins with: eight buckets for
	// each doubling, so a value is known to about 9 %. Powers of two, which are the
	// bounds of sizes and counts in the receiver, are bounds at every scale from 0 on.
	histogramScale = 3
	// maxBuckets is how many buckets it has at most (a receiver takes 320): at the
	// first scale from above 1 B to 1 MiB, or 1 µs to 1 s. A wider range has a lower scale.
	maxBuckets = 160

	mantissaBits = 52
)

// subBounds are the mantissas of 2^(i/8), rounded down: a mantissa is above the
// bound if and only if it is greater.
var subBounds = [1 << histogramScale]uint64{
	0x0000000000000, 0x172b83c7d517a, 0x306fe0a31b715, 0x4bfdad5362a27,
	0x6a09e667f3bcc, 0x8ace5422aa0db, 0xae89f995ad3ad, 0xd5818dcfba487,
}

// histogram is a base-2 exponential histogram with the meaning that OTLP gives
// its fields: bucket i of scale s is (2^(i/2^s), 2^((i+1)/2^s)].
type histogram struct {
	count    uint64
	unsized  uint64 // of zero, of values that are not known
	sum      float64
	min, max float64
	zero     uint64
	scale    int32
	offset   int32    // index of buckets[0]
	buckets  []uint64 // at most maxBuckets
}

// observe adds n observations of v, which is finite; negative: not known. It
// allocates only where a value is out of the range of those before it.
func (h *histogram) observe(v float64, n uint64) {
	if v < 0 {
		h.count, h.zero, h.unsized = h.count+n, h.zero+n, h.unsized+n
		return
	}
	if !h.valued() {
		h.min, h.max = v, v
		h.scale = histogramScale
	} else {
		h.min, h.max = min(h.min, v), max(h.max, v)
	}
	h.count += n
	h.sum = min(h.sum+v*float64(n), math.MaxFloat64)
	if v == 0 {
		h.zero += n
		return
	}
	h.put(bucketIndex(v)>>(histogramScale-h.scale), n)
}

// valued tells whether any value is known.
func (h *histogram) valued() bool { return h.count > h.unsized }

// put adds to the bucket of that index at the present scale, and lowers the
// scale where there would be too many.
func (h *histogram) put(index int32, n uint64) {
	if len(h.buckets) == 0 {
		h.offset = index
	}
	low, high := min(h.offset, index), max(h.offset+int32(len(h.buckets))-1, index)
	for high-low >= maxBuckets {
		low, high, index = low>>1, high>>1, index>>1
		h.halve()
	}
	if d := int(h.offset - index); d > 0 {
		old := len(h.buckets)
		h.extend(old + d)
		copy(h.buckets[d:], h.buckets[:old])
		clear(h.buckets[:d])
		h.offset = index
	}
	at := int(index - h.offset)
	if at >= len(h.buckets) {
		h.extend(at + 1)
	}
	h.buckets[at] += n
}

// extend adds empty buckets at the end.
func (h *histogram) extend(n int) {
	if n > cap(h.buckets) {
		grown := make([]uint64, len(h.buckets), min(maxBuckets, max(2*n, 16)))
		copy(grown, h.buckets)
		h.buckets = grown
	}
	old := len(h.buckets)
	h.buckets = h.buckets[:n]
	clear(h.buckets[old:])
}

// halve lowers the scale by one: two buckets become one.
func (h *histogram) halve() {
	h.scale--
	if len(h.buckets) == 0 {
		return
	}
	offset, used := h.offset>>1, 0
	for i, n := range h.buckets {
		h.buckets[i] = 0
		at := int((h.offset+int32(i))>>1 - offset)
		h.buckets[at] += n
		used = at + 1
	}
	h.offset, h.buckets = offset, h.buckets[:used]
}

// reset empties the histogram and keeps its memory.
func (h *histogram) reset() { *h = histogram{buckets: h.buckets[:0]} }

// bucketIndex is the index at histogramScale of the bucket of v, which is
// positive and finite.
func bucketIndex(v float64) int32 {
	bits := math.Float64bits(v)
	octave := int32(bits>>mantissaBits) - 1023
	mantissa := bits & (1<<mantissaBits - 1)
	if mantissa == 0 {
		return octave<<histogramScale - 1 // a power of two is an upper bound
	}
	// 2^x lies below the line from 1 to 2, by less than one bucket.
	sub := int32(mantissa >> (mantissaBits - histogramScale))
	if sub < 1<<histogramScale-1 && mantissa > subBounds[sub+1] {
		sub++
	}
	return octave<<histogramScale + sub
}
