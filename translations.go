package wsstatsreceiver

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// What a message becomes while it is decoded, translated and in the hands of
// the pipeline is many times larger than what came: rows, spans, attributes,
// and the stack of the goroutine that waits. These are measured with
// TestTranslationBytes, and rounded up.
const (
	bytesPerMessage = 20 << 10
	bytesPerRow     = 960 // an event, a connection or a stat
	bytesPerSpan    = 576
	bytesPerMember  = 240 // an attribute, or an element of an array
	minTranslations = 1 << 20
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
	share int64

	mu      sync.Mutex
	held    int64
	waiting list.List // of *turn
}

// turn is a place in the line for memory.
type turn struct {
	bytes int64
	take  func() // called once, when the memory is taken
	place *list.Element
}

// newTranslations sets aside an eighth of the byte budget, beyond it.
func newTranslations(budget int64) *translations {
	return &translations{share: max(budget/8, minTranslations)}
}

// begin takes memory for a message that becomes so many bytes, which end gives
// back. Where there is none it returns a turn, and take is called later. A
// message that needs more than there is in all goes alone, and pays the rest
// when it is known (payRest).
func (t *translations) begin(bytes int64, take func()) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	bytes = min(bytes, t.share)
	if t.waiting.Len() == 0 && t.held+bytes <= t.share {
		t.held += bytes
		return nil
	}
	next := &turn{bytes: bytes, take: take}
	next.place = t.waiting.PushBack(next)
	return next
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
	t.held -= min(bytes, t.share)
	t.serve()
}

// serve gives memory to those whose turn it is. The caller holds t.mu, which
// serve unlocks.
func (t *translations) serve() {
	var served []*turn
	for e := t.waiting.Front(); e != nil; e = t.waiting.Front() {
		next := e.Value.(*turn)
		if t.held+next.bytes > t.share {
			break
		}
		t.held += next.bytes
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
	return translationBytes(len(data), rows, rows, members)
}

func translationBytes(size, rows, spans, members int) int64 {
	return int64(bytesPerMessage + size + rows*bytesPerRow + spans*bytesPerSpan + members*bytesPerMember)
}

// payRest pays out of the byte budget for what a message has become beyond the
// memory that was taken for it by its size: because it is larger than the share,
// or its events inherit much. It returns what it has paid.
func (r *wsstatsReceiver) payRest(in *incoming, resolved *observed.Resolved) (int64, error) {
	b := &in.Batch
	rest := translationBytes(in.size, len(b.Events)+len(b.Connections)+len(b.Stats), resolved.Spans, resolved.Members) - min(in.reserved, r.inHand.share)
	switch {
	case rest <= 0:
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
