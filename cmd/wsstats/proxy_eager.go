package main

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
)

// eager is a ResponseWriter for httputil.ReverseProxy, which reads a hijacked
// connection past its buffer: what a client has sent right behind its upgrade
// request would be lost.
type eager struct{ http.ResponseWriter }

// Unwrap keeps what http.ResponseController finds below.
func (w eager) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack implements http.Hijacker.
func (w eager) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil || brw.Reader.Buffered() == 0 {
		return conn, brw, err
	}
	early, err := brw.Reader.Peek(brw.Reader.Buffered())
	return &earlyConn{Conn: conn, early: bytes.Clone(early)}, brw, err
}

// earlyConn is read from its early bytes first.
type earlyConn struct {
	net.Conn
	early []byte
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// CloseWrite ends the sending direction, as connections of TCP and TLS can.
func (c *earlyConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
