package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A set of ranges holds what was added, whatever the order, and is as short as can be.
func TestRanges(t *testing.T) {
	for range 200 {
		var r ranges
		added := map[uint64]bool{}
		for range rand.IntN(60) {
			n := rand.Uint64N(80) + 1
			if !added[n] {
				added[n] = true
				r.add(n)
			}
		}
		last, count := uint64(0), 0
		for i, span := range r {
			require.LessOrEqual(t, span[0], span[1])
			if i > 0 {
				require.Greater(t, span[0], last+1)
			}
			last = span[1]
			for n := span[0]; n <= span[1]; n++ {
				require.True(t, added[n])
				count++
			}
		}
		require.Len(t, added, count)
	}
}

func TestLedgerCheck(t *testing.T) {
	tests := map[string]struct {
		acknowledged, dropped ranges
		want                  string
	}{
		"right":        {ranges{{1, 4}, {8, 10}}, ranges{{5, 7}}, ""},
		"a gap":        {ranges{{1, 4}, {8, 10}}, ranges{{5, 6}}, "event 7 has no fate"},
		"two fates":    {ranges{{1, 5}, {8, 10}}, ranges{{5, 7}}, "event 5 has two"},
		"the end":      {ranges{{1, 9}}, nil, "10 events were sent, the last one known is 9"},
		"the begining": {ranges{{2, 10}}, nil, "event 1 has no fate"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := agentLedger{Sent: ranges{{1, 10}}, Acknowledged: tt.acknowledged, Dropped: map[string]ranges{"queue_full": tt.dropped}}
			if err := l.check(); tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

// Quantiles are right to one part in 64, and the greatest is exact.
func TestHistogram(t *testing.T) {
	h := &histogram{}
	assert.Zero(t, h.quantile(0.5))
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(rand.ExpFloat64() * float64(time.Duration(1)<<rand.IntN(40)))
		h.add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		assert.InDelta(t, float64(want), float64(h.quantile(q)), float64(want)/64+1, q)
		assert.GreaterOrEqual(t, h.quantile(q), want)
	}
	assert.Equal(t, all[len(all)-1], h.quantile(1))
	for i := range 63 * subBuckets / 64 * 57 {
		assert.Equal(t, i, bucketOf(uint64(bucketEnd(i))), "the end of a bucket is in it")
		assert.Equal(t, i+1, bucketOf(uint64(bucketEnd(i))+1), "and what follows is not")
	}
}
