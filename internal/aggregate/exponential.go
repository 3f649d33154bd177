package aggregate

import (
	"math"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	// maxSize is how many buckets an exponential histogram has at most.
	maxSize = 160
	// maxScale is the scale that an empty histogram starts with.
	maxScale = 20
)

// exponential is a base-2 exponential histogram with the meaning that OTLP
// gives its fields: bucket i of scale s is (2^(i/2^s), 2^((i+1)/2^s)].
type exponential struct {
	digest
	scale  int32
	zero   uint64
	offset int64 // index of counts[0]
	counts []uint64
}

func newExponential() *exponential { return &exponential{scale: maxScale} }

func (h *exponential) observe(v float64, n uint64) {
	n = h.take(v, n)
	switch {
	case n == 0:
	case v == 0:
		h.zero += n
	default:
		h.put(bucketIndex(v, h.scale), n)
	}
}

func (h *exponential) merge(s *wire.Stat) {
	if !h.takeStat(s) {
		return
	}
	h.zero += s.ZeroCount
	if h.scale > s.Scale {
		h.downscale(uint(int64(h.scale) - int64(s.Scale)))
	}
	for i, n := range s.Buckets {
		if n > 0 {
			index := (int64(s.Offset) + int64(i)) >> uint(int64(s.Scale)-int64(h.scale))
			h.put(min(max(index, math.MinInt32), math.MaxInt32), n)
		}
	}
}

// put adds to the bucket of that index at the present scale, and lowers the
// scale where the buckets would be too many.
func (h *exponential) put(index int64, n uint64) {
	if len(h.counts) == 0 {
		h.offset = index
		h.counts = append(h.counts, n)
		return
	}
	low, high := min(h.offset, index), max(h.offset+int64(len(h.counts))-1, index)
	if high-low >= maxSize {
		shift := uint(0)
		for high>>shift-low>>shift >= maxSize {
			shift++
		}
		h.downscale(shift)
		index >>= shift
	}
	if index < h.offset {
		h.extend(h.offset - index)
	}
	at := int(index - h.offset)
	for len(h.counts) <= at {
		h.counts = append(h.counts, 0)
	}
	h.counts[at] += n
}

// extend adds d empty buckets in front.
func (h *exponential) extend(d int64) {
	old := len(h.counts)
	for range d {
		h.counts = append(h.counts, 0)
	}
	copy(h.counts[d:], h.counts[:old])
	clear(h.counts[:d])
	h.offset -= d
}

// downscale lowers the scale by merging each 2^shift buckets into one.
func (h *exponential) downscale(shift uint) {
	h.scale -= int32(shift)
	if len(h.counts) == 0 {
		return
	}
	offset := h.offset >> shift
	used := 0
	for i, n := range h.counts {
		h.counts[i] = 0
		at := int((h.offset+int64(i))>>shift - offset)
		h.counts[at] += n
		used = at + 1
	}
	h.offset = offset
	h.counts = h.counts[:used]
}

func (h *exponential) reset() {
	*h = exponential{scale: maxScale, counts: h.counts[:0]}
}

// tableScale is the highest scale for which bucketIndex is exact for every
// value; above it a value within an ulp or so of a bound may count beside it.
const tableScale = 6

const mantissaBits = 52

// bucketIndex returns the index of the bucket of v, which is positive and finite.
func bucketIndex(v float64, scale int32) int64 {
	bits := math.Float64bits(v)
	exp := int64(bits>>mantissaBits) - 1023
	mantissa := bits & (1<<mantissaBits - 1)
	if exp == -1023 { // subnormal
		bits = math.Float64bits(v * (1 << mantissaBits))
		exp = int64(bits>>mantissaBits) - 1023 - mantissaBits
		mantissa = bits & (1<<mantissaBits - 1)
	}
	if mantissa == 0 { // a power of two is an upper bound at every scale
		if scale > 0 {
			return exp<<scale - 1
		}
		return (exp - 1) >> -scale
	}
	switch {
	case scale <= 0:
		return exp >> -scale
	case scale <= tableScale:
		i := firstBound[mantissa>>(mantissaBits-guessBits)]
		for int(i) < len(mantissaBounds)-1 && mantissa > mantissaBounds[i+1] {
			i++
		}
		return exp<<scale + int64(i)>>(tableScale-scale)
	}
	fraction := math.Float64frombits(mantissa | 1023<<mantissaBits)
	i := int64(math.Ceil(math.Log2(fraction)*float64(int64(1)<<scale))) - 1
	return exp<<scale + min(max(i, 0), 1<<scale-1)
}

// guessBits is how many leading bits of a mantissa say where to look in mantissaBounds.
const guessBits = 7

// firstBound is, for the leading bits of a mantissa, the last of
// mantissaBounds that is below all mantissas with these bits.
var firstBound = func() (first [1 << guessBits]uint8) {
	i := uint8(0)
	for lead := range first {
		for int(i) < len(mantissaBounds)-1 && uint64(lead)<<(mantissaBits-guessBits) > mantissaBounds[i+1] {
			i++
		}
		first[lead] = i
	}
	return first
}()

// mantissaBounds are the mantissas of 2^(i/64), rounded down: a mantissa is above
// the bound if and only if it is greater.
var mantissaBounds = [1 << tableScale]uint64{
	0x0000000000000, 0x02c9a3e778060, 0x059b0d3158574, 0x0874518759bc8,
	0x0b5586cf9890f, 0x0e3ec32d3d1a2, 0x11301d0125b50, 0x1429aaea92ddf,
	0x172b83c7d517a, 0x1a35beb6fcb75, 0x1d4873168b9aa, 0x2063b88628cd6,
	0x2387a6e756238, 0x26b4565e27cdd, 0x29e9df51fdee1, 0x2d285a6e4030b,
	0x306fe0a31b715, 0x33c08b26416ff, 0x371a7373aa9ca, 0x3a7db34e59ff6,
	0x3dea64c123422, 0x4160a21f72e29, 0x44e086061892d, 0x486a2b5c13cd0,
	0x4bfdad5362a27, 0x4f9b2769d2ca6, 0x5342b569d4f81, 0x56f4736b527da,
	0x5ab07dd485429, 0x5e76f15ad2148, 0x6247eb03a5584, 0x6623882552224,
	0x6a09e667f3bcc, 0x6dfb23c651a2e, 0x71f75e8ec5f73, 0x75feb564267c8,
	0x7a11473eb0186, 0x7e2f336cf4e62, 0x82589994cce12, 0x868d99b4492ec,
	0x8ace5422aa0db, 0x8f1ae99157736, 0x93737b0cdc5e4, 0x97d829fde4e4f,
	0x9c49182a3f090, 0xa0c667b5de564, 0xa5503b23e255c, 0xa9e6b5579fdbf,
	0xae89f995ad3ad, 0xb33a2b84f15fa, 0xb7f76f2fb5e46, 0xbcc1e904bc1d2,
	0xc199bdd85529c, 0xc67f12e57d14b, 0xcb720dcef9069, 0xd072d4a07897b,
	0xd5818dcfba487, 0xda9e603db3285, 0xdfc97337b9b5e, 0xe502ee78b3ff6,
	0xea4afa2a490d9, 0xefa1bee615a27, 0xf50765b6e4540, 0xfa7c1819e90d8,
}
