package delivery

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBudget(t *testing.T) {
	b := NewBudget(10)
	assert.EqualValues(t, 10, b.Limit())
	assert.True(t, b.Acquire(0))
	assert.True(t, b.Acquire(7))
	assert.False(t, b.Acquire(4))
	assert.EqualValues(t, 7, b.Used(), "what is refused takes nothing")
	assert.True(t, b.Acquire(3))
	assert.False(t, b.Acquire(1))
	assert.True(t, b.Acquire(0))
	b.Release(7)
	assert.EqualValues(t, 3, b.Used())
	assert.True(t, b.Acquire(7))
	b.Release(10)
	assert.Zero(t, b.Used())
	assert.False(t, b.Acquire(11))
	assert.False(t, NewBudget(0).Acquire(1))
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	const limit, size = 100, 30
	b := NewBudget(limit)
	var held, most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10_000 {
				if !b.Acquire(size) {
					continue
				}
				n := held.Add(size)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				held.Add(-size)
				b.Release(size)
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, most.Load(), int64(limit))
	assert.Positive(t, most.Load())
	assert.Zero(t, b.Used())
}

func TestBudgetHalf(t *testing.T) {
	b := NewBudget(10)
	assert.True(t, b.AcquireHalf(5))
	assert.False(t, b.AcquireHalf(1))
	assert.True(t, b.Acquire(5))
	b.Release(7)
	assert.True(t, b.AcquireHalf(2))
	assert.EqualValues(t, 5, b.Used())
}

func TestBudgetReserve(t *testing.T) {
	const limit = 8 << 20
	b := NewBudget(limit)
	assert.True(t, b.Acquire(limit))
	assert.False(t, b.Acquire(1))
	assert.True(t, b.AcquireReserve(limit/8), "an eighth is set aside")
	assert.False(t, b.AcquireReserve(1))
	b.Release(limit / 8)
	assert.False(t, b.Acquire(1), "for nobody else")
	assert.EqualValues(t, limit, b.Used())
	small := NewBudget(1 << 10)
	assert.True(t, small.AcquireReserve(minReserve), "and at least so much")
}
