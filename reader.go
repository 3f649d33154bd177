package wsstatsreceiver

import (
	"compress/flate"
	"errors"
	"io"
	"time"

	"github.com/gorilla/websocket"
)

// read takes messages off the socket until the connection ends.
func (s *session) read() {
	k := s.r.cfg.Keepalive
	limit := int64(s.r.cfg.Limits.MessageBytes)
	// Without compression this refuses a message by its declared length; with
	// compression it counts compressed bytes, and inbound bounds the rest.
	s.conn.SetReadLimit(limit)
	if g, ok := s.conn.NetConn().(*guard); ok {
		g.maxMessage, g.beforeClose = limit, func() { s.flushAcksWithin(linger) }
	}
	between := true // two messages: only then an agent's control frames are a sign of life
	alive := func() {
		if between {
			s.expect(k.PingInterval + k.PongTimeout)
		}
	}
	answerPing := s.conn.PingHandler()
	s.conn.SetPingHandler(func(data string) error {
		alive()
		return answerPing(data)
	})
	s.conn.SetPongHandler(func(string) error {
		alive()
		return nil
	})
	for {
		between = true
		alive()
		kind, body, err := s.conn.NextReader()
		if err == nil {
			between = false
			s.expect(s.r.cfg.Limits.MessageTimeout)
			err = s.receive(kind, body, limit)
		}
		if err == nil {
			continue
		}
		var corrupt flate.CorruptInputError
		if errors.As(err, &corrupt) {
			s.closeWith(websocket.CloseInvalidFramePayloadData, "the message cannot be inflated")
		} else if errors.Is(err, errTooLarge) || errors.Is(err, websocket.ErrReadLimit) {
			s.closeWith(websocket.CloseMessageTooBig, errTooLarge.Error())
		} else if code, breach := breachOf(s.conn); breach != nil {
			s.closeWith(code, breach.Error())
		} else {
			return
		}
		s.drainSocket()
		return
	}
}

// drainSocket reads on for a while after a close that answers what cannot be
// read any more: closing a socket with unread bytes would take back what was sent.
func (s *session) drainSocket() {
	conn := below(s.conn)
	_ = conn.SetReadDeadline(time.Now().Add(linger))
	_, _ = io.Copy(io.Discard, conn)
}

// expect sets how long the next bytes may take: after a close no longer than
// it lingers, whatever the agent goes on sending and whichever of the two
// goroutines comes last.
func (s *session) expect(within time.Duration) {
	_ = s.conn.SetReadDeadline(time.Now().Add(within))
	s.mu.Lock()
	until := s.lingerUntil
	s.mu.Unlock()
	if !until.IsZero() {
		_ = s.conn.SetReadDeadline(until)
	}
}

func (s *session) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// receive reads one message and puts it into the queue.
func (s *session) receive(kind int, body io.Reader, limit int64) error {
	if kind != s.form.kind {
		s.closeWith(websocket.CloseUnsupportedData, "a session of "+s.form.subprotocol+" takes "+s.form.takes)
	}
	if s.isStopped() {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	var in inbound
	if err := in.read(body, int(limit), s.lastSize, s.payForHead); err != nil {
		s.r.budget.Release(in.paid)
		buffers.put(in.buffer)
		return err
	}
	s.lastSize = in.size
	s.enqueue(&in)
	return nil
}
