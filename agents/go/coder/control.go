package wsstatscoder

import (
	"compress/flate"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// Ping pings as [websocket.Conn.Ping] does, and records the round trip.
func (c *Conn) Ping(ctx context.Context) error {
	c.hold()
	defer c.release()
	told, began := c.observed.Pinging(), time.Now()
	err := c.Conn.Ping(ctx)
	if err != nil {
		told(-1)
		c.failed(err)
		return err
	}
	told(time.Since(began))
	return nil
}

func (c *Conn) onPing(next func(context.Context, []byte) bool) func(context.Context, []byte) bool {
	return func(ctx context.Context, payload []byte) bool {
		c.observed.PingReceived(len(payload))
		answer := next == nil || next(ctx, payload)
		if answer {
			c.observed.PongSent(len(payload))
		}
		return answer
	}
}

func (c *Conn) onPong(next func(context.Context, []byte)) func(context.Context, []byte) {
	return func(ctx context.Context, payload []byte) {
		c.observed.PongReceived(len(payload))
		if next != nil {
			next(ctx, payload)
		}
	}
}

// ending is how a connection ends: what the first close frame says.
type ending struct {
	code      websocket.StatusCode
	reason    string
	initiator wsstats.Initiator
	clean     bool   // both ends have sent a close frame
	cause     string // why the network failed
	over      bool   // it is to be recorded when nothing is held
	recorded  bool
}

// vanished is the end of a connection without a close frame (RFC 6455 section 7.1.5).
var vanished = ending{code: websocket.StatusAbnormalClosure, initiator: wsstats.None}

// Close closes as [websocket.Conn.Close] does, and records the end of the connection.
func (c *Conn) Close(code websocket.StatusCode, reason string) error {
	undo := c.closing(code, reason, wsstats.Local)
	err := c.Conn.Close(code, reason)
	switch {
	case err == nil || websocket.CloseStatus(err) != -1:
		c.answered()
	case errors.Is(err, net.ErrClosed): // it was closed before, so that no close frame was sent
		undo()
	}
	c.closed()
	<-c.recorded
	return err
}

// CloseNow closes as [websocket.Conn.CloseNow] does, and records the end of the connection.
func (c *Conn) CloseNow() error {
	c.closed()
	err := c.Conn.CloseNow()
	<-c.recorded
	return err
}

// closing notes the first close frame. What it returns takes that back.
func (c *Conn) closing(code websocket.StatusCode, reason string, by wsstats.Initiator) (undo func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.end
	if c.end.initiator == wsstats.None {
		c.end.code, c.end.reason, c.end.initiator = code, reason, by
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.end.over {
			c.end = before
		}
	}
}

func (c *Conn) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end.clean = true
}

// readFailed is told of the error with which all reading ends.
func (c *Conn) readFailed(err error) {
	var closed websocket.CloseError
	var corrupt flate.CorruptInputError
	var netErr net.Error
	switch {
	case errors.As(err, &closed):
		c.closing(closed.Code, closed.Reason, wsstats.Remote)
		c.answered() // the library does, or was answered
	case errors.Is(err, net.ErrClosed):
		return // Close and CloseNow record it
	case strings.HasSuffix(err.Error(), "previous message not read to completion"):
		return // a mistake of the caller, after which the connection goes on
	case errors.Is(err, websocket.ErrMessageTooBig):
		c.closing(websocket.StatusMessageTooBig, "", wsstats.Local) // the library has sent it
		c.observed.Failed("message_too_big", "limit")
	case errors.As(err, &corrupt), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &netErr),
		errors.Is(err, context.Canceled):
		c.failed(err)
	default:
		c.closing(websocket.StatusProtocolError, "", wsstats.Local) // the library has sent it
		if !c.observed.Tapped() {
			c.observed.Failed("protocol_error", "protocol")
		}
	}
	c.closed()
}

// failed keeps why the network failed, for the close.
func (c *Conn) failed(err error) {
	cause := failure(err)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		cause = "reset"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end.cause == "" {
		c.end.cause = cause
	}
}

// closed records the close, or leaves it to release.
func (c *Conn) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.end.over {
		c.end.over = true
		close(c.gone)
	}
	c.settle()
}

// hold keeps the close back until release: what is sent is recorded after the
// write, a ping after its pong, and the close may be read before that; and what the
// peer's close frame said is known to whoever reads, while others see a closed
// connection already.
func (c *Conn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds++
}

func (c *Conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds--
	c.settle()
}

// settle records the close, once, when it is over and nothing is held. All that
// holds it is in a call of the library, which returns when the connection is closed.
func (c *Conn) settle() {
	if !c.end.over || c.holds > 0 || c.end.recorded {
		return
	}
	c.end.recorded = true
	defer close(c.recorded)
	attributes := []wsstats.Attribute{wsstats.Bool("ws.close.clean", c.end.clean)}
	if c.end.cause != "" && c.end.initiator == wsstats.None {
		attributes = append(attributes, wsstats.String("error.type", c.end.cause))
	}
	c.observed.Closed(int(c.end.code), c.end.reason, c.end.initiator, attributes...)
}
