package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// lingering is how long a client may go on after the application has ended its
// direction. Libraries wait up to 30 s for the other end of a closed WebSocket,
// and an application that has gone altogether looks the same from here.
const lingering = time.Minute

// upgrading is a ResponseWriter for httputil.ReverseProxy, which reads a hijacked
// connection past its buffer: what a client has sent right behind its upgrade
// request would be lost. It also waits without end for a client that never closes.
type upgrading struct {
	http.ResponseWriter
	lingering time.Duration
}

// Unwrap keeps what http.ResponseController finds below.
func (w upgrading) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack implements http.Hijacker.
func (w upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return conn, brw, err
	}
	early, err := brw.Reader.Peek(brw.Reader.Buffered())
	return &clientConn{Conn: conn, early: bytes.Clone(early), lingering: w.lingering}, brw, err
}

// clientConn is the connection with a client, read from its early bytes first.
type clientConn struct {
	net.Conn
	early     []byte
	lingering time.Duration
}

func (c *clientConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// ReadFrom implements io.ReaderFrom for io.Copy, which would take 32 KiB for
// each direction of a connection on which nothing happens.
func (c *clientConn) ReadFrom(r io.Reader) (int64, error) { return forward(c.Conn, r) }

// WriteTo implements io.WriterTo.
func (c *clientConn) WriteTo(w io.Writer) (int64, error) { return forward(w, c) }

const (
	smallBuffer = 2 << 10
	largeBuffer = 32 << 10
)

var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// forward copies until the end of r. While much comes it has a large buffer.
func forward(w io.Writer, r io.Reader) (written int64, err error) {
	small := make([]byte, smallBuffer)
	var large *[largeBuffer]byte
	for buffer := small; ; {
		n, readErr := r.Read(buffer)
		if n > 0 {
			var m int
			if m, err = w.Write(buffer[:n]); err != nil {
				return written + int64(m), err
			}
			written += int64(m)
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return written, nil
		case readErr != nil:
			return written, readErr
		case large == nil && n == len(small):
			large = largeBuffers.Get().(*[largeBuffer]byte)
			buffer = large[:]
		case large != nil && n <= len(small):
			largeBuffers.Put(large)
			large, buffer = nil, small
		}
	}
}

// CloseWrite ends the direction to the client, as connections of TCP and TLS can.
func (c *clientConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return c.Close()
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	return c.SetReadDeadline(time.Now().Add(c.lingering))
}
