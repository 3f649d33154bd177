package wsstats

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bounds are those of the i-th bucket.
func (h *histogram) bounds(i int) (low, high float64) {
	at := func(index int) float64 { return math.Exp2(math.Ldexp(float64(int(h.offset)+index), -int(h.scale))) }
	return at(i), at(i + 1)
}

// Every value is in the bucket that OTLP has for it, powers of two below their
// upper bound.
func TestBucketIndex(t *testing.T) {
	for power := -30; power <= 62; power++ {
		v := math.Ldexp(1, power)
		assert.EqualValues(t, power<<histogramScale-1, bucketIndex(v), "2^%d", power)
		assert.EqualValues(t, power<<histogramScale, bucketIndex(math.Nextafter(v, math.Inf(1))), "above 2^%d", power)
		assert.EqualValues(t, power<<histogramScale-1, bucketIndex(math.Nextafter(v, 0)), "below 2^%d", power)
	}
	for i := range subBounds[1:] {
		bound := math.Float64frombits(1023<<mantissaBits | subBounds[i+1]) // just below 2^((i+1)/8)
		assert.EqualValues(t, i, bucketIndex(bound))
		assert.EqualValues(t, i+1, bucketIndex(math.Nextafter(bound, 2)))
	}
	for range 10_000 {
		v := math.Exp(rand.Float64()*80 - 40)
		assert.EqualValues(t, math.Ceil(math.Log2(v)*8)-1, bucketIndex(v), v)
	}
}

// Red when: a lower scale or an earlier first bucket loses or moves a count, or a
// value that is not known is among the extremes.
func TestHistogram(t *testing.T) {
	shapes := map[string]func() float64{
		"sizes":     func() float64 { return float64(rand.IntN(1 << rand.IntN(20))) },
		"all sizes": func() float64 { return float64(rand.Int64N(math.MaxInt64)>>rand.IntN(63) + 1) },
		"durations": func() float64 { return math.Exp(rand.NormFloat64()*3 - 7) },
		"falling":   func() func() float64 { v := 1e18; return func() float64 { v /= 1.7; return v } }(),
		"one":       func() float64 { return 128 },
		"zero":      func() float64 { return 0 },
		"unknown":   func() func() float64 { i := -1; return func() float64 { i++; return []float64{-1, 5, 9}[i%3] } }(),
		"none":      func() float64 { return -1 },
		"extremes":  func() float64 { return math.Exp2(float64(rand.IntN(2000) - 1000)) },
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			var h histogram
			for round := range 2 { // the second in the memory of the first
				var values []float64
				for range 200 {
					v, n := shape(), 1+rand.IntN(3)
					h.observe(v, uint64(n))
					for range n {
						values = append(values, v)
					}
				}
				requireHolds(t, &h, values)
				assert.LessOrEqual(t, len(h.buckets), maxBuckets)
				if name == "sizes" {
					assert.EqualValues(t, histogramScale, h.scale, "of a usual range")
				}
				if h.reset(); round == 0 {
					assert.Zero(t, h.count)
					assert.Zero(t, h.unsized)
				}
			}
		})
	}
}

// requireHolds checks a histogram against all that it was given.
func requireHolds(t *testing.T, h *histogram, values []float64) {
	t.Helper()
	require.EqualValues(t, len(values), h.count)
	var zero, unsized uint64
	sum, low, high := 0.0, math.Inf(1), 0.0
	want := make([]uint64, len(h.buckets))
	for _, v := range values {
		if v < 0 {
			zero, unsized = zero+1, unsized+1
			continue
		}
		sum, low, high = sum+v, min(low, v), max(high, v)
		if v == 0 {
			zero++
			continue
		}
		i := int(bucketIndex(v)>>(histogramScale-h.scale) - h.offset)
		require.GreaterOrEqual(t, i, 0)
		require.Less(t, i, len(want))
		want[i]++
		from, to := h.bounds(i)
		require.GreaterOrEqual(t, v, from*(1-1e-12))
		require.LessOrEqual(t, v, to*(1+1e-12))
	}
	require.Equal(t, want, append([]uint64{}, h.buckets...))
	require.Equal(t, zero, h.zero)
	require.Equal(t, unsized, h.unsized)
	require.Equal(t, int(unsized) < len(values), h.valued())
	if !h.valued() {
		require.Zero(t, h.sum)
		return
	}
	require.InEpsilon(t, 1+sum, 1+h.sum, 1e-9)
	require.InDelta(t, low, h.min, 0)
	require.InDelta(t, high, h.max, 0)
}

func TestHistogramSumIsFinite(t *testing.T) {
	var h histogram
	h.observe(math.MaxFloat64, 3)
	assert.InDelta(t, math.MaxFloat64, h.sum, 0)
}
