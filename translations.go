package wsstatsreceiver

import (
	"container/list"
	"context"
	"sync"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// What a message becomes while it is decoded, translated and in the hands of
// the pipeline is many times larger than what came: rows, spans, attributes,
// and the stack of the goroutine that waits. These are measured with
// BenchmarkMemoryBlocked, and rounded up.
const (
	bytesPerMessage = 16 << 10
	bytesPerObject  = 1536 // an event
	bytesPerMember  = 480  // an attribute
	minTranslations = 1 << 20
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
// message that needs more than there is in all goes alone.
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

// translationBytes is how much memory a message needs at the most.
func (f *form) translationBytes(data []byte) int64 {
	objects, members := f.size(data)
	return int64(bytesPerMessage + objects*bytesPerObject + members*bytesPerMember + len(data))
}

// maxPooledMessage keeps messages that grew large from holding memory for good.
const maxPooledMessage = 1 << 20

var messagePool = sync.Pool{New: func() any { return new(wire.Message) }}

// putMessage gives a message back that became so many bytes.
func putMessage(m *wire.Message, bytes int64) {
	if bytes <= maxPooledMessage {
		messagePool.Put(m)
	}
}
