package wsstatsreceiver

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/wsstats/wsstatsreceiver/internal/delivery"
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// What a message becomes while it is decoded, translated and in the hands of
// the pipeline is many times larger than what came: rows, spans, attributes,
// and the stack of the goroutine that waits. These are measured with
// TestTranslationBytes, and rounded up.
const (
	bytesPerMessage   = 24 << 10
	bytesPerRow       = 960 // an event, a connection or a stat
	bytesPerUser      = 160 // an attribute of the user, an element of an array or a link, as decoded
	bytesPerSpan      = 448
	bytesPerAttribute = 80 // of a span, or an element of an array
	minTranslations   = 1 << 20
)

// overMemory is that a message becomes more than there may be of all together.
const overMemory = "the message becomes more in memory than delivery::budget_bytes"

var (
	errOverBudget = errors.New(overBudget)
	errOverMemory = consumererror.NewPermanent(errors.New(overMemory))
)

// translations bounds the memory of all messages that are being translated or
// are in the pipeline. Others wait as they came, which the byte budget is for,
// and first come, first served. Whoever waits costs no goroutine.
type translations struct {
	share  int64
	budget *delivery.Budget

	mu      sync.Mutex
	held    int64
	lent    int64     // by the budget: what is held beyond the share
	waiting list.List // of *turn
}

// turn is a place in the line for memory.
type turn struct {
	bytes int64
	take  func() // called once, when the memory is taken
	place *list.Element
}

// newTranslations sets aside an eighth of the byte budget, beyond it. As long as
// half of the budget is free, it lends what more is needed: a pipeline that takes
// its time then has more messages in hand at once.
func newTranslations(budget *delivery.Budget) *translations {
	return &translations{share: max(budget.Limit()/8, minTranslations), budget: budget}
}

// begin takes memory for a message that becomes so many bytes, which end gives
// back. Where there is none it returns a turn, and take is called later. A
// message that needs more than the share goes alone, and pays the rest when it
// is known (settle).
func (t *translations) begin(bytes int64, take func()) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	bytes = min(bytes, t.share)
	if t.waiting.Len() == 0 && t.hold(bytes) {
		return nil
	}
	next := &turn{bytes: bytes, take: take}
	next.place = t.waiting.PushBack(next)
	return next
}

// hold takes memory, if there is any. Nothing is lent to a message that goes
// alone: several of them would keep each other from the rest that they need. The
// caller holds t.mu.
func (t *translations) hold(bytes int64) bool {
	if more := t.held + bytes - t.share - t.lent; more > 0 {
		if bytes == t.share || !t.budget.AcquireHalf(more) {
			return false
		}
		t.lent += more
	}
	t.held += bytes
	return true
}

// drop gives memory back, first what the budget has lent. The caller holds t.mu.
func (t *translations) drop(bytes int64) {
	t.held -= bytes
	if back := t.lent - max(0, t.held-t.share); back > 0 {
		t.lent -= back
		t.budget.Release(back)
	}
}

// force takes memory whether there is any or not.
func (t *translations) force(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held += min(bytes, t.share)
}

// cancel gives a turn up. It returns false where its memory is taken already.
func (t *translations) cancel(waiting *turn) bool {
	t.mu.Lock()
	if waiting.place == nil {
		t.mu.Unlock()
		return false
	}
	t.waiting.Remove(waiting.place)
	waiting.place = nil
	t.serve() // it may have been in the way of smaller ones
	return true
}

func (t *translations) end(bytes int64) {
	t.mu.Lock()
	t.drop(min(bytes, t.share))
	t.serve()
}

// serve gives memory to those whose turn it is. The caller holds t.mu, which
// serve unlocks.
func (t *translations) serve() {
	var served []*turn
	for e := t.waiting.Front(); e != nil; e = t.waiting.Front() {
		next := e.Value.(*turn)
		if !t.hold(next.bytes) {
			break
		}
		t.waiting.Remove(e)
		next.place = nil
		served = append(served, next)
	}
	t.mu.Unlock()
	for _, next := range served {
		next.take()
	}
}

// wait is begin for those who have a goroutine to wait with.
func (t *translations) wait(ctx context.Context, bytes int64) error {
	taken := make(chan struct{})
	waiting := t.begin(bytes, func() { close(taken) })
	if waiting == nil {
		return nil
	}
	select {
	case <-taken:
		return nil
	case <-ctx.Done():
		if !t.cancel(waiting) {
			t.end(bytes)
		}
		return context.Cause(ctx)
	}
}

// translationBytes is how much memory a message needs at the most, but for
// what its events inherit.
func (f *form) translationBytes(data []byte) int64 {
	rows, members := f.size(data)
	return int64(bytesPerMessage+len(data)) + int64(rows)*(bytesPerRow+bytesPerSpan) + int64(members)*(bytesPerUser+bytesPerAttribute)
}

// settle brings the memory that was taken for a message by its size to what it
// has become. What it does not need, as most of its events may not be sampled,
// others have. What it needs beyond, because it is larger than the share or its
// events inherit much, is paid out of the byte budget, and returned.
func (r *wsstatsReceiver) settle(in *incoming, resolved *observed.Resolved) (paid int64, err error) {
	b := &in.Batch
	need := int64(bytesPerMessage+in.size) + int64(len(b.Events)+len(b.Connections)+len(b.Stats))*bytesPerRow +
		int64(resolved.Users)*bytesPerUser + int64(resolved.Spans)*bytesPerSpan + int64(resolved.Attributes)*bytesPerAttribute
	held := min(in.reserved, r.inHand.share)
	rest := need - held
	switch {
	case rest <= 0:
		r.inHand.end(held - need)
		in.reserved = need
		return 0, nil
	case rest > r.budget.Limit():
		return 0, errOverMemory
	case !r.budget.Acquire(rest):
		return 0, errOverBudget
	}
	return rest, nil
}

// maxPooledRows keeps large messages from holding memory for good.
const maxPooledRows = 1024

var (
	messagePool  = sync.Pool{New: func() any { return new(wire.Message) }}
	resolvedPool = sync.Pool{New: func() any { return new(observed.Resolved) }}
)

func putMessage(m *wire.Message) {
	if cap(m.Batch.Events) <= maxPooledRows && cap(m.Batch.Connections) <= maxPooledRows && cap(m.Batch.Stats) <= maxPooledRows {
		messagePool.Put(m)
	}
}

func putResolved(resolved *observed.Resolved) {
	if cap(resolved.Rows) <= maxPooledRows {
		resolvedPool.Put(resolved)
	}
}
