package wsstatsreceiver

import "sync"

// maxPooledBuffer keeps one large message from holding memory for good.
const maxPooledBuffer = 1 << 20

// bufferPool holds memory that messages are read into.
type bufferPool struct{ pool sync.Pool }

var buffers bufferPool

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 4096)
	return &b
}

func (p *bufferPool) put(b *[]byte) {
	if b != nil && cap(*b) <= maxPooledBuffer {
		p.pool.Put(b)
	}
}
