package wsstatscoder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/coder/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// Conn is a [websocket.Conn] that is observed. As there, one goroutine reads at a
// time, and all other methods may be called by any.
type Conn struct {
	*websocket.Conn
	observed *wsstats.Connection

	message wsstats.Message
	writing chan struct{} // holds one while a message is written: they are numbered in the order of the wire
	gone    chan struct{} // closed: the connection is over

	recorded chan struct{} // closed: the close was recorded

	closeRead sync.Once
	readEnded context.Context // of CloseRead

	mu    sync.Mutex
	end   ending
	holds int // calls that read or write: the close waits for them
}

func newConn() *Conn {
	return &Conn{writing: make(chan struct{}, 1), gone: make(chan struct{}), recorded: make(chan struct{}), end: vanished}
}

// Observed returns the connection as the agent knows it, for what only the
// application knows: [wsstats.Connection.Process], Sending, Failed and others.
// What this package records by itself is not to be told again.
func (c *Conn) Observed() *wsstats.Connection { return c.observed }

// Message returns the message that was read last, for [wsstats.Connection.Process].
// It belongs to the goroutine that reads; one that goes on elsewhere takes it along.
func (c *Conn) Message() wsstats.Message { return c.message }

// Read reads as [websocket.Conn.Read] does.
func (c *Conn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	typ, r, err := c.Reader(ctx)
	if err != nil {
		return 0, nil, err
	}
	data, err := io.ReadAll(r)
	return typ, data, err
}

// Reader returns a reader as [websocket.Conn.Reader] does. The message is
// recorded when it was read to its end.
func (c *Conn) Reader(ctx context.Context) (websocket.MessageType, io.Reader, error) {
	c.hold()
	defer c.release()
	typ, inner, err := c.Conn.Reader(ctx)
	if err != nil {
		c.readFailed(err)
		return typ, nil, err
	}
	return typ, &reader{c: c, inner: inner, typ: typ}, nil
}

func messageType(typ websocket.MessageType) wsstats.MessageType {
	if typ == websocket.MessageText {
		return wsstats.TextMessage
	}
	return wsstats.BinaryMessage
}

// reader counts a message while it is read.
type reader struct {
	c     *Conn
	inner io.Reader
	typ   websocket.MessageType
	size  int
	ended bool
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.c.hold()
	defer r.c.release()
	n, err := r.inner.Read(p)
	r.size += n
	if err == nil || r.ended {
		return n, err
	}
	r.ended = true
	if errors.Is(err, io.EOF) {
		r.c.message = r.c.observed.Received(messageType(r.typ), r.size)
	} else {
		r.c.readFailed(err)
	}
	return n, err
}

// CloseRead reads on as [websocket.Conn.CloseRead] does.
func (c *Conn) CloseRead(ctx context.Context) context.Context {
	c.closeRead.Do(func() {
		ctx, cancel := context.WithCancel(ctx)
		c.readEnded = ctx
		go func() {
			defer cancel()
			if _, _, err := c.Reader(ctx); err == nil {
				_ = c.Close(websocket.StatusPolicyViolation, "unexpected data message")
			}
		}()
	})
	return c.readEnded
}

// Write writes as [websocket.Conn.Write] does. The span that is active in ctx
// becomes a link of the send.
func (c *Conn) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	c.observed.Sending(ctx)
	c.hold()
	defer c.release()
	if err := c.Conn.Write(ctx, typ, p); err != nil {
		c.failed(err)
		return err
	}
	c.observed.Sent(messageType(typ), len(p))
	return nil
}

// Writer returns a writer as [websocket.Conn.Writer] does. The message is
// recorded when it is closed; the span that is active in ctx becomes a link.
func (c *Conn) Writer(ctx context.Context, typ websocket.MessageType) (io.WriteCloser, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	inner, err := c.Conn.Writer(ctx, typ)
	if err != nil {
		c.unlock()
		c.failed(err)
		return nil, err
	}
	c.observed.Sending(ctx)
	return &writer{WriteCloser: inner, c: c, typ: typ}, nil
}

// lock waits until this is the only message that is written.
func (c *Conn) lock(ctx context.Context) error {
	select {
	case c.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("failed to write: %w", ctx.Err())
	case <-c.gone:
		return fmt.Errorf("failed to write: %w", net.ErrClosed)
	}
}

func (c *Conn) unlock() { <-c.writing }

// writer counts a message while it is written.
type writer struct {
	io.WriteCloser
	c      *Conn
	typ    websocket.MessageType
	size   int
	closed bool
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.WriteCloser.Write(p)
	w.size += n
	if err != nil {
		w.c.failed(err)
	}
	return n, err
}

// Close ends the message.
func (w *writer) Close() error {
	w.c.hold()
	defer w.c.release()
	err := w.WriteCloser.Close()
	if w.closed {
		return err
	}
	w.closed = true
	defer w.c.unlock()
	if err != nil {
		w.c.failed(err)
		return err
	}
	w.c.observed.Sent(messageType(w.typ), w.size)
	return nil
}
