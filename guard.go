package wsstatsreceiver

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire/frame"
)

// guard counts the raw frames of an agent. The WebSocket library does not: in
// one read of a message it takes any number of empty fragments and answers any
// number of pings.
type guard struct {
	net.Conn
	parser       frame.Parser
	maxFragments int
	maxControl   int // a second
	maxMessage   int64
	beforeClose  func() // called before the library sees that a message is over maxMessage and closes at once

	fragments int   // of the message at hand
	size      int64 // of the message at hand
	control   int   // in the second that began at since
	since     time.Time
	breach    error
}

var (
	errFragments     = errors.New("too many fragments of a message")
	errControlFrames = errors.New("too many control frames")
)

// Read reads from the connection and looks at the headers of what came.
func (g *guard) Read(p []byte) (int, error) {
	if g.breach != nil {
		return 0, g.breach
	}
	n, err := g.Conn.Read(p)
	g.parser.Feed(p[:n], g)
	if g.breach != nil {
		return 0, g.breach
	}
	return n, err
}

// Frame counts a frame.
func (g *guard) Frame(h frame.Header) {
	if !h.Opcode.Control() {
		if h.Opcode != frame.Continuation {
			g.fragments, g.size = 0, 0
		}
		if g.fragments++; g.fragments > g.maxFragments {
			g.breach = errFragments
		}
		if g.size += min(h.Length, g.maxMessage+1); g.size > g.maxMessage && g.beforeClose != nil {
			g.beforeClose()
			g.beforeClose = nil
		}
		return
	}
	if now := time.Now(); now.Sub(g.since) >= time.Second {
		g.since, g.control = now, 0
	}
	if g.control++; g.control > g.maxControl {
		g.breach = errControlFrames
	}
}

// Message is of no interest.
func (*guard) Message(frame.Message) {}

// Control is of no interest.
func (*guard) Control(frame.Opcode, []byte) {}

// Violation ends the connection: behind one, frames cannot be counted.
func (g *guard) Violation(v frame.Violation) { g.breach = v }

// guarded hijacks connections behind a guard.
type guarded struct {
	http.ResponseWriter
	limits      LimitsConfig
	compression bool
}

// Hijack hands the connection out behind a guard.
func (w guarded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	g := &guard{
		Conn: conn, maxFragments: w.limits.Fragments, maxControl: w.limits.ControlFrames,
		parser: frame.Parser{Masking: frame.MaskRequired, Compression: w.compression},
	}
	// A client must not send before the answer; the library refuses one that
	// did, so nothing passes the guard in this buffer.
	return g, rw, nil
}

// breachOf returns what an agent did against the rules of frames and the close
// code that answers it, nil where there is nothing.
func breachOf(conn *websocket.Conn) (int, error) {
	g, ok := conn.NetConn().(*guard)
	if !ok || g.breach == nil {
		return 0, nil
	}
	var v frame.Violation
	if errors.As(g.breach, &v) {
		if v == frame.CloseReason {
			return websocket.CloseInvalidFramePayloadData, v
		}
		return websocket.CloseProtocolError, v
	}
	return websocket.ClosePolicyViolation, g.breach
}

// below is the connection without its guard.
func below(conn *websocket.Conn) net.Conn {
	c := conn.NetConn()
	if g, ok := c.(*guard); ok {
		return g.Conn
	}
	return c
}
