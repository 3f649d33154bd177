package wsstatsreceiver

import (
	"math/bits"
	"sync"
)

const (
	minBufferBits = 12
	// minBuffer is the memory that every message may have before the byte budget is asked.
	minBuffer = 1 << minBufferBits
	// maxPooledBuffer keeps one large message from holding memory for good.
	maxPooledBuffer = 1 << 20
)

// bufferPool holds memory that messages are read into, by its size: a message
// begins in the smallest, so that a small or slow one never sits in what a
// large one has left.
type bufferPool struct {
	pools [9]sync.Pool // of minBuffer, twice that, up to maxPooledBuffer
}

var buffers bufferPool

// get returns an empty buffer of at least so many bytes and, beyond minBuffer,
// less than twice as many.
func (p *bufferPool) get(size int) *[]byte {
	if size > maxPooledBuffer {
		b := make([]byte, 0, size)
		return &b
	}
	size = max(size, minBuffer)
	class := bits.Len(uint(size-1)) - minBufferBits
	if b, ok := p.pools[class].Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, minBuffer<<class)
	return &b
}

func (p *bufferPool) put(b *[]byte) {
	if b != nil && cap(*b) <= maxPooledBuffer {
		*b = (*b)[:0]
		p.pools[bits.Len(uint(cap(*b)))-1-minBufferBits].Put(b)
	}
}
