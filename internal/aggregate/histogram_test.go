package aggregate

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestExplicitBuckets(t *testing.T) {
	for m, info := range metricInfos {
		if info.bounds == nil {
			continue
		}
		h := newExplicit(info.bounds)
		assert.Less(t, len(info.bounds.upper), maxBuckets)
		for i, bound := range info.bounds.upper {
			assert.Equal(t, i, h.bucket(bound), "%s: an upper bound is of its bucket", metricInfos[m].Name)
			assert.Equal(t, i+1, h.bucket(math.Nextafter(bound, math.Inf(1))), metricInfos[m].Name)
		}
		assert.Zero(t, h.bucket(0))
	}
	assert.GreaterOrEqual(t, exemplarSlots, maxBuckets)
}

func TestExplicitMerge(t *testing.T) {
	h := newExplicit(metricInfos[queueSize].bounds)
	h.merge(&wire.Stat{Count: 13, Sum: 100, ZeroCount: 2, Offset: -1, Buckets: []uint64{1, 2, 3, 0, 5}})
	// The midpoints are 2^-0.5, 2^0.5, 2^1.5 and 2^3.5.
	assert.Equal(t, []uint64{3, 5, 5}, h.counts[:3])
	assert.Equal(t, uint64(13), h.count)
	assert.InDelta(t, 100, h.sum, 0)
	// No bucket is lost, wherever it is.
	h.reset()
	h.merge(&wire.Stat{Count: 2, Offset: math.MaxInt32, Buckets: []uint64{2}})
	h.merge(&wire.Stat{Count: 3, Offset: math.MinInt32, Buckets: []uint64{3}, Scale: -maxStatScale})
	assert.Equal(t, uint64(3), h.counts[0])
	assert.Equal(t, uint64(2), h.counts[len(h.upper)])
}

func TestMantissaBounds(t *testing.T) {
	const precision = 300
	root := big.NewFloat(2).SetPrec(precision)
	for range tableScale {
		root.Sqrt(root)
	}
	power := big.NewFloat(1).SetPrec(precision)
	for i, bound := range mantissaBounds {
		low := big.NewFloat(math.Float64frombits(bound | 1023<<mantissaBits))
		high := big.NewFloat(math.Float64frombits((bound + 1) | 1023<<mantissaBits))
		assert.LessOrEqual(t, low.Cmp(power), 0, "%d", i)
		assert.Positive(t, high.Cmp(power), "%d", i)
		power.Mul(power, root)
	}
}

// checkIndex checks that v is in its bucket, by logarithms.
func checkIndex(t *testing.T, v float64, scale int32) {
	t.Helper()
	const ulps = 1e-9
	at := math.Ldexp(math.Log2(v), int(scale))
	i := float64(bucketIndex(v, scale))
	tolerance := ulps * math.Max(1, math.Abs(at))
	if !(i < at+tolerance && at <= i+1+tolerance) {
		t.Errorf("%v at scale %d: bucket %v, log %v", v, scale, i, at)
	}
}

func TestBucketIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		v := math.Float64frombits(random.Uint64() & (1<<63 - 1))
		if v == 0 || !measurable(v) {
			continue
		}
		checkIndex(t, v, int32(random.IntN(31))-10)
		checkIndex(t, 1+float64(random.IntN(1<<20)), int32(random.IntN(31))-10)
	}
	// A power of two is the upper bound of its bucket at every scale.
	for scale := int32(-10); scale <= maxScale; scale++ {
		for _, exp := range []int{-1074, -1022, -3, -1, 0, 1, 10, 1023} {
			want := math.Ceil(math.Ldexp(float64(exp), int(scale))) - 1
			assert.InDelta(t, want, bucketIndex(math.Ldexp(1, exp), scale), 0, "2^%d at scale %d", exp, scale)
		}
	}
	// The ends of a table's bucket.
	for scale := int32(1); scale <= tableScale; scale++ {
		for i, bound := range mantissaBounds {
			if i == 0 || i%(1<<(tableScale-scale)) != 0 {
				continue
			}
			v := math.Float64frombits(bound | 1023<<mantissaBits)
			next := math.Nextafter(v, 2)
			assert.Equal(t, bucketIndex(v, scale)+1, bucketIndex(next, scale))
		}
	}
	// Lowering the scale is halving the index.
	for range 2_000 {
		v := random.ExpFloat64()
		for scale := int32(-9); scale <= maxScale; scale++ {
			require.Equal(t, bucketIndex(v, scale)>>1, bucketIndex(v, scale-1), "%v at %d", v, scale)
		}
	}
}

// buckets counts values at a scale, as a model.
func buckets(values []float64, scale int32) map[int64]uint64 {
	m := map[int64]uint64{}
	for _, v := range values {
		m[bucketIndex(v, scale)]++
	}
	return m
}

func (h *exponential) model() map[int64]uint64 {
	m := map[int64]uint64{}
	for i, n := range h.counts {
		if n > 0 {
			m[h.offset+int64(i)] = n
		}
	}
	return m
}

func TestExponentialKeepsTheHighestScale(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, spread := range []float64{1e-6, 0.01, 1, 10, 300} {
		h := newExponential()
		var values []float64
		low, high := math.Inf(1), 0.0
		for range 1000 {
			v := math.Exp2((random.Float64() - 0.5) * spread)
			values = append(values, v)
			low, high = min(low, v), max(high, v)
			h.observe(v, 1)
		}
		assert.Equal(t, buckets(values, h.scale), h.model())
		assert.LessOrEqual(t, len(h.counts), maxSize)
		if h.scale < maxScale {
			assert.GreaterOrEqual(t, bucketIndex(high, h.scale+1)-bucketIndex(low, h.scale+1), int64(maxSize), "scale %d is lower than it has to be", h.scale)
		}
	}
}

func TestExponentialExtremes(t *testing.T) {
	h := newExponential()
	h.observe(math.MaxFloat64, 1)
	h.observe(math.SmallestNonzeroFloat64, 1)
	h.observe(0, 2)
	h.observe(1, math.MaxUint64) // more than there is room for
	assert.Equal(t, uint64(math.MaxUint64), h.count)
	assert.Equal(t, uint64(2), h.zero)
	total := h.zero
	for _, n := range h.counts {
		total += n
	}
	assert.Equal(t, h.count, total)
	assert.InDelta(t, math.MaxFloat64, h.sum, 0)
	h.observe(1, 1)
	assert.Equal(t, uint64(math.MaxUint64), h.count)
	h.merge(&wire.Stat{Count: 1, Buckets: []uint64{1}})
	assert.Equal(t, uint64(math.MaxUint64), h.count)
	h.reset()
	assert.Equal(t, digest{}, h.digest)
	assert.Equal(t, int32(maxScale), h.scale)
}

func TestExponentialMerge(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		h := newExponential()
		var values []float64
		for range 1 + random.IntN(4) {
			part := newExponential()
			if random.IntN(2) == 0 {
				part.scale = int32(random.IntN(8)) - 2
			}
			around := random.Float64() * 20
			for range random.IntN(300) {
				v := math.Exp2(around + random.NormFloat64())
				values = append(values, v)
				part.observe(v, 1)
			}
			h.merge(&wire.Stat{
				Count: part.count, Sum: part.sum, Min: part.min, HasMin: true, Max: part.max, HasMax: true,
				Scale: part.scale, Offset: int32(part.offset), Buckets: part.counts,
			})
		}
		require.Equal(t, buckets(values, h.scale), h.model())
		require.LessOrEqual(t, len(h.counts), maxSize)
		require.Equal(t, uint64(len(values)), h.count)
	}
}

func TestExponentialMergeOfUnusualStats(t *testing.T) {
	for _, s := range []wire.Stat{
		{Count: 3, Scale: maxStatScale, Offset: math.MaxInt32, Buckets: []uint64{1, 2}},
		{Count: 3, Scale: -maxStatScale, Offset: math.MinInt32, Buckets: []uint64{1, 2}},
		{Count: 3, Scale: 20, Offset: math.MaxInt32, Buckets: []uint64{1, 2}},
		{Count: 3, Scale: 25, Offset: -7, Buckets: []uint64{1, 0, 0, 2}},
		{Count: 1000, Buckets: append(make([]uint64, 100_000), 1000)},
	} {
		require.True(t, validStat(&s))
		h := newExponential()
		h.merge(&s)
		h.observe(5, 2)
		h.observe(1e-300, 1)
		var total uint64
		for _, n := range h.counts {
			total += n
		}
		assert.Equal(t, s.Count+3, total)
		assert.LessOrEqual(t, len(h.counts), maxSize)
		assert.InDelta(t, h.offset, float64(int32(h.offset)), 0)
	}
}

func TestValidStat(t *testing.T) {
	valid := wire.Stat{Count: 3, ZeroCount: 1, Buckets: []uint64{0, 2}, Sum: 4, HasMin: true, HasMax: true, Max: 2}
	tests := map[string]func(*wire.Stat){
		"":                 func(*wire.Stat) {},
		"zeros":            func(s *wire.Stat) { s.ZeroCount = 4 },
		"unsized":          func(s *wire.Stat) { s.Unsized = 2 },
		"too few":          func(s *wire.Stat) { s.Count = 4 },
		"too many":         func(s *wire.Stat) { s.Buckets = []uint64{3} },
		"around the clock": func(s *wire.Stat) { s.Buckets = []uint64{math.MaxUint64, 3} },
		"sum":              func(s *wire.Stat) { s.Sum = math.NaN() },
		"min":              func(s *wire.Stat) { s.Min = -1 },
		"max":              func(s *wire.Stat) { s.Max = math.Inf(1) },
		"low scale":        func(s *wire.Stat) { s.Scale = math.MinInt32 },
		"high scale":       func(s *wire.Stat) { s.Scale = math.MaxInt32 },
	}
	for name, spoil := range tests {
		s := valid
		spoil(&s)
		assert.Equal(t, name == "", validStat(&s), name)
	}
}
