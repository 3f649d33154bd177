package main

import (
	"math/bits"
	"sync"
	"time"
)

// subBuckets is how many buckets of a histogram a power of two has: a quantile
// is off by 1/64 at most.
const subBuckets = 64

// histogram counts durations. It is safe for concurrent use.
type histogram struct {
	mu      sync.Mutex
	count   uint64
	max     time.Duration
	buckets [subBuckets * 64]uint64
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	h.max = max(h.max, d)
	h.buckets[bucketOf(uint64(d))]++
}

// quantile returns the duration that the part q of all does not exceed, 0
// where there is none.
func (h *histogram) quantile(q float64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	rank, sum := uint64(q*float64(h.count)), uint64(0)
	for i, n := range &h.buckets {
		if sum += n; sum > rank {
			return min(bucketEnd(i), h.max)
		}
	}
	return h.max
}

func bucketOf(v uint64) int {
	shift := max(0, bits.Len64(v)-7) // the 7 highest bits tell the bucket
	return shift*subBuckets + int(v>>shift)
}

// bucketEnd is the highest value of a bucket.
func bucketEnd(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i)
	}
	shift := i/subBuckets - 1
	return time.Duration(uint64(i-shift*subBuckets+1)<<shift - 1)
}
