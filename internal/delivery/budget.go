package delivery

import "sync/atomic"

// Budget bounds the bytes that all sessions have in hand together.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Acquire takes n bytes, or none and returns false where they are not there.
func (b *Budget) Acquire(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// AcquireHalf is Acquire for what can wait as long as half of the bytes are taken.
func (b *Budget) AcquireHalf(n int64) bool {
	if b.used.Add(n) > b.limit/2 {
		b.used.Add(-n)
		return false
	}
	return true
}

// minReserve is the least that is set aside.
const minReserve = 64 << 10

// AcquireReserve is Acquire for what must not be refused as long as there is
// any memory for it: an eighth of the limit is set aside beyond it.
func (b *Budget) AcquireReserve(n int64) bool {
	if b.used.Add(n) > b.limit+max(b.limit/8, minReserve) {
		b.used.Add(-n)
		return false
	}
	return true
}

// Release gives n bytes back.
func (b *Budget) Release(n int64) { b.used.Add(-n) }

// Used is how many bytes are taken, those of the reserve too.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit is how many bytes there are.
func (b *Budget) Limit() int64 { return b.limit }
