package wsstatsgorilla

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// maxPings bounds the sent pings of a connection that wait for their pong.
const maxPings = 16

var noContext = context.Background()

// handlers are those of control frames.
type handlers struct {
	ping func(payload string) error
	pong func(payload string) error
	shut func(code int, text string) error
}

// handle puts what records control frames before the handlers. The connection is
// new: it has the library's own.
func (c *Conn) handle() {
	answerPing, answerClose := c.Conn.PingHandler(), c.Conn.CloseHandler()
	c.defaults = handlers{
		ping: func(payload string) error {
			c.hold()
			defer c.release()
			err := answerPing(payload)
			if err == nil {
				c.observed.PongSent(len(payload))
			}
			return err
		},
		pong: c.Conn.PongHandler(),
		shut: func(code int, text string) error {
			c.closing(code, text, wsstats.Local)
			return answerClose(code, text)
		},
	}
	c.handlers = c.defaults
	c.Conn.SetPingHandler(func(payload string) error {
		c.observed.PingReceived(len(payload))
		return c.handlers.ping(payload)
	})
	c.Conn.SetPongHandler(func(payload string) error {
		c.answered(payload)
		c.observed.PongReceived(len(payload))
		return c.handlers.pong(payload)
	})
	c.Conn.SetCloseHandler(func(code int, text string) error {
		c.closing(code, text, wsstats.Remote)
		return c.handlers.shut(code, text)
	})
}

// PingHandler returns the handler of pings.
func (c *Conn) PingHandler() func(appData string) error { return c.handlers.ping }

// PongHandler returns the handler of pongs.
func (c *Conn) PongHandler() func(appData string) error { return c.handlers.pong }

// CloseHandler returns the handler of close frames.
func (c *Conn) CloseHandler() func(code int, text string) error { return c.handlers.shut }

// SetPingHandler sets a handler as [websocket.Conn.SetPingHandler] does.
func (c *Conn) SetPingHandler(h func(appData string) error) {
	if c.handlers.ping = h; h == nil {
		c.handlers.ping = c.defaults.ping
	}
}

// SetPongHandler sets a handler as [websocket.Conn.SetPongHandler] does.
func (c *Conn) SetPongHandler(h func(appData string) error) {
	if c.handlers.pong = h; h == nil {
		c.handlers.pong = c.defaults.pong
	}
}

// SetCloseHandler sets a handler as [websocket.Conn.SetCloseHandler] does.
func (c *Conn) SetCloseHandler(h func(code int, text string) error) {
	if c.handlers.shut = h; h == nil {
		c.handlers.shut = c.defaults.shut
	}
}

// WriteControl writes as [websocket.Conn.WriteControl] does.
func (c *Conn) WriteControl(messageType int, data []byte, deadline time.Time) error {
	return c.control(messageType, data, func() error { return c.Conn.WriteControl(messageType, data, deadline) })
}

// control has a control frame written. It is noted before, as its answer may be
// read before the write returns.
func (c *Conn) control(typ int, data []byte, write func() error) error {
	c.hold()
	defer c.release()
	switch typ {
	case websocket.PingMessage:
		sent := c.pinging(string(data))
		err := write()
		if err != nil {
			c.forget(sent)
		}
		return err
	case websocket.CloseMessage:
		code, reason := websocket.CloseNoStatusReceived, ""
		if len(data) >= 2 {
			code, reason = int(binary.BigEndian.Uint16(data)), string(data[2:])
		}
		undo := c.closing(code, reason, wsstats.Local)
		err := write()
		if err != nil {
			undo()
		}
		return err
	}
	err := write()
	if err == nil && typ == websocket.PongMessage {
		c.observed.PongSent(len(data))
	}
	return err
}

// ping is a sent ping. A pong repeats its payload, at most 125 bytes.
type ping struct {
	payload string
	at      time.Time
	told    func(roundTrip time.Duration, attributes ...wsstats.Attribute)
}

// pinging notes a ping; the oldest makes room.
func (c *Conn) pinging(payload string) *ping {
	p := &ping{payload, time.Now(), c.observed.Pinging()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pings) == maxPings {
		c.pings[0].told(-1)
		c.pings = slices.Delete(c.pings, 0, 1)
	}
	c.pings = append(c.pings, p)
	return p
}

func (c *Conn) forget(p *ping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.pings, p); i >= 0 {
		c.pings = slices.Delete(c.pings, i, i+1)
	}
}

// answered records the ping of a pong: the oldest with its payload. Those before
// it stay, as a peer may answer the latest alone (RFC 6455 section 5.5.3).
func (c *Conn) answered(payload string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.pings, func(p *ping) bool { return p.payload == payload }); i >= 0 {
		c.pings[i].told(time.Since(c.pings[i].at))
		c.pings = slices.Delete(c.pings, i, i+1)
	}
}

// ending is how a connection ends: what the first close frame says.
type ending struct {
	code      int
	reason    string
	initiator wsstats.Initiator
	sent      bool // a close frame was
	received  bool
}

// vanished is the end of a connection without a close frame (RFC 6455 section 7.1.5).
var vanished = ending{code: websocket.CloseAbnormalClosure, initiator: wsstats.None}

// closing notes a close frame. What it returns takes that back.
func (c *Conn) closing(code int, reason string, by wsstats.Initiator) (undo func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.end
	if c.end.initiator == wsstats.None {
		c.end.code, c.end.reason, c.end.initiator = code, reason, by
	}
	if by == wsstats.Local {
		c.end.sent = true
	} else {
		c.end.received = true
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end = before
	}
}

// readFailed is told of the error with which all reading ends.
func (c *Conn) readFailed(err error) {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed):
	case errors.Is(err, websocket.ErrReadLimit):
		c.closing(websocket.CloseMessageTooBig, "", wsstats.Local) // the library has sent it
		c.observed.Failed("message_too_big", "limit")
	case strings.HasPrefix(err.Error(), "websocket: "):
		c.closing(websocket.CloseProtocolError, "", wsstats.Local) // the library has sent it
		if !c.observed.Tapped() {
			c.observed.Failed("protocol_error", "protocol")
		}
	default:
		c.failed(err)
	}
	c.closed()
}

// failed keeps why the network failed, for the close.
func (c *Conn) failed(err error) {
	var netErr net.Error
	cause := ""
	switch {
	case errors.As(err, &netErr) && netErr.Timeout():
		cause = "timeout"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		cause = "reset"
	default:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == "" {
		c.cause = cause
	}
}

// closed records the close, or leaves it to release. That happens once.
func (c *Conn) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	if c.holds == 0 {
		c.recordClose()
	}
}

// hold keeps the close back until release: what is written is recorded after the
// write, and the peer's answer to it, a close for one, may be read before that.
func (c *Conn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds++
}

func (c *Conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds--; c.holds == 0 && c.over {
		c.recordClose() // once: the agent takes no second one
	}
}

func (c *Conn) recordClose() {
	for _, p := range c.pings {
		p.told(-1)
	}
	c.pings = nil
	attributes := []wsstats.Attribute{wsstats.Bool("ws.close.clean", c.end.sent && c.end.received)}
	if c.cause != "" && c.end.initiator == wsstats.None {
		attributes = append(attributes, wsstats.String("error.type", c.cause))
	}
	c.observed.Closed(c.end.code, c.end.reason, c.end.initiator, attributes...)
}

// Close closes as [websocket.Conn.Close] does, and records the end of the connection.
func (c *Conn) Close() error {
	c.closed()
	return c.Conn.Close()
}
