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

// bufferSize is the capacity of a buffer of at least so many bytes.
func bufferSize(size int) int {
	if size > maxPooledBuffer {
		return size
	}
	return 1 << bits.Len(uint(max(size, minBuffer)-1))
}

// get returns an empty buffer of at least so many bytes and, beyond minBuffer,
// less than twice as many.
func (p *bufferPool) get(size int) *[]byte {
	if size = bufferSize(size); size <= maxPooledBuffer {
		if b, ok := p.pools[bits.Len(uint(size))-1-minBufferBits].Get().(*[]byte); ok {
			return b
		}
	}
	b := make([]byte, 0, size)
	return &b
}

func (p *bufferPool) put(b *[]byte) {
	if b != nil && cap(*b) <= maxPooledBuffer {
		*b = (*b)[:0]
		p.pools[bits.Len(uint(cap(*b)))-1-minBufferBits].Put(b)
	}
}
