package wsstatsgorilla

import (
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// Conn is a [websocket.Conn] that is observed. As there, one goroutine reads and
// one writes at a time.
type Conn struct {
	*websocket.Conn
	observed *wsstats.Connection

	reading *reader // the message that NextReader is at; nil: none
	message wsstats.Message
	writing *writer // the message that NextWriter is at; nil: none

	handlers handlers // the application's, or the library's
	defaults handlers // the library's

	mu    sync.Mutex
	pings []*ping // sent and unanswered, oldest first, at most maxPings
	end   ending
	cause string // why the network failed
	holds int    // what is being written: the close waits for it
	over  bool   // the close is to be recorded, or was
}

func newConn(ws *websocket.Conn, observed *wsstats.Connection) *Conn {
	if ws == nil {
		return nil
	}
	c := &Conn{Conn: ws, observed: observed, end: vanished}
	c.handle()
	return c
}

// Observed returns the connection as the agent knows it, for what only the
// application knows: [wsstats.Connection.Process], Sending, Failed and others.
// What this package records by itself is not to be told again.
func (c *Conn) Observed() *wsstats.Connection { return c.observed }

// Message returns the message that was read last, for [wsstats.Connection.Process].
// It belongs to the goroutine that reads; one that goes on elsewhere takes it along.
func (c *Conn) Message() wsstats.Message { return c.message }

// ReadMessage reads as [websocket.Conn.ReadMessage] does.
func (c *Conn) ReadMessage() (messageType int, p []byte, err error) {
	messageType, r, err := c.NextReader()
	if err != nil {
		return messageType, nil, err
	}
	p, err = io.ReadAll(r)
	return messageType, p, err
}

// ReadJSON reads as [websocket.Conn.ReadJSON] does, and the rest of the message.
func (c *Conn) ReadJSON(v any) error {
	_, r, err := c.NextReader()
	if err != nil {
		return err
	}
	err = json.NewDecoder(r).Decode(v)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // an empty message
	}
	_, _ = io.Copy(io.Discard, r) // an error stays, for the next read
	return err
}

// NextReader returns a reader as [websocket.Conn.NextReader] does. The message is
// recorded when it was read to its end; the size of one that was not is not known.
func (c *Conn) NextReader() (messageType int, r io.Reader, err error) {
	skipped := c.reading
	c.reading = nil
	messageType, inner, err := c.Conn.NextReader()
	if skipped != nil && err == nil {
		c.received(skipped.typ, -1) // the library has read over its rest
	}
	if err != nil {
		c.readFailed(err)
		return messageType, nil, err
	}
	c.reading = &reader{c: c, inner: inner, typ: messageType}
	return messageType, c.reading, nil
}

func (c *Conn) received(typ, size int) { c.message = c.observed.Received(messageType(typ), size) }

func messageType(typ int) wsstats.MessageType {
	if typ == websocket.TextMessage {
		return wsstats.TextMessage
	}
	return wsstats.BinaryMessage
}

// reader counts a message while it is read.
type reader struct {
	c     *Conn
	inner io.Reader
	typ   int
	size  int
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.inner.Read(p)
	r.size += n
	if err == nil || r.c.reading != r { // it was told of already
		return n, err
	}
	r.c.reading = nil
	if errors.Is(err, io.EOF) {
		r.c.received(r.typ, r.size)
	} else {
		r.c.readFailed(err)
	}
	return n, err
}

// WriteMessage writes as [websocket.Conn.WriteMessage] does.
func (c *Conn) WriteMessage(messageType int, data []byte) error {
	return c.write(messageType, data, func() error { return c.Conn.WriteMessage(messageType, data) })
}

// write has a whole message written, and records it.
func (c *Conn) write(typ int, data []byte, do func() error) error {
	if typ != websocket.TextMessage && typ != websocket.BinaryMessage {
		return c.control(typ, data, do)
	}
	c.finish()
	c.observed.Sending(noContext)
	c.hold()
	defer c.release()
	if err := do(); err != nil {
		c.failed(err)
		return err
	}
	c.observed.Sent(messageType(typ), len(data))
	return nil
}

// finish records a message that was not closed: the library ends it now.
func (c *Conn) finish() {
	if c.writing != nil {
		c.writing.sent()
	}
}

// WriteJSON writes as [websocket.Conn.WriteJSON] does.
func (c *Conn) WriteJSON(v any) error {
	w, err := c.NextWriter(websocket.TextMessage)
	if err != nil {
		return err
	}
	failed := json.NewEncoder(w).Encode(v)
	return errors.Join(failed, w.Close())
}

// NextWriter returns a writer as [websocket.Conn.NextWriter] does. The message is
// recorded when it is closed.
func (c *Conn) NextWriter(messageType int) (io.WriteCloser, error) {
	c.finish()
	inner, err := c.Conn.NextWriter(messageType)
	if err != nil {
		c.failed(err)
		return nil, err
	}
	c.observed.Sending(noContext)
	c.writing = &writer{WriteCloser: inner, c: c, typ: messageType}
	return c.writing, nil
}

// PreparedMessage is a [websocket.PreparedMessage] whose size is known.
type PreparedMessage struct {
	*websocket.PreparedMessage
	typ  int
	data []byte
}

// NewPreparedMessage prepares as [websocket.NewPreparedMessage] does.
func NewPreparedMessage(messageType int, data []byte) (*PreparedMessage, error) {
	pm, err := websocket.NewPreparedMessage(messageType, data)
	if err != nil {
		return nil, err
	}
	return &PreparedMessage{pm, messageType, data}, nil
}

// WritePreparedMessage writes as [websocket.Conn.WritePreparedMessage] does.
func (c *Conn) WritePreparedMessage(pm *PreparedMessage) error {
	return c.write(pm.typ, pm.data, func() error { return c.Conn.WritePreparedMessage(pm.PreparedMessage) })
}

// writer counts a message while it is written.
type writer struct {
	io.WriteCloser
	c    *Conn
	typ  int
	size int
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.WriteCloser.Write(p)
	w.size += n
	return n, err
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) {
	n, err := io.WriteString(w.WriteCloser, s)
	w.size += n
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.WriteCloser, r)
	w.size += int(n)
	return n, err
}

// Close ends the message.
func (w *writer) Close() error {
	w.c.hold()
	defer w.c.release()
	if err := w.WriteCloser.Close(); err != nil {
		w.c.failed(err)
		return err
	}
	w.sent()
	return nil
}

// sent records the message, once.
func (w *writer) sent() {
	if w.c.writing == w {
		w.c.writing = nil
		w.c.observed.Sent(messageType(w.typ), w.size)
	}
}
