package wsstats

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	maxReplyBytes   = 64 << 10 // of a message of the receiver
	minMessageBytes = 1 << 10  // no receiver may ask for less
	maxEntries      = 512      // connections restated in one message
	maxHeartbeat    = time.Minute
	minHeartbeat    = 10 * time.Millisecond
	// What a welcome that leaves them out means: the protocol's defaults.
	defaultMessageBytes = 4 << 20
	defaultMaxEvents    = 8192
)

// session is one connection to the receiver. A goroutine reads; all else
// happens in run.
type session struct {
	*link
	ws       *websocket.Conn
	incoming chan incoming
	quit     chan struct{}

	welcomed   bool
	welcomedAt time.Time
	maxEvents  int
	maxBytes   int
	window     int64
	silence    time.Duration // that is too long

	heard        time.Time // the last message
	waitingSince time.Time // since when an answer is due, zero: none is

	restating   []*conn // that are still to be restated
	sent        int     // of numbers, from the first on: sent in this session and not answered
	outstanding int64   // their bytes
	encoded     uint64  // the number that enc.buf holds, 0: none
	retryAt     time.Time

	dueAt time.Time // when there is something to send, zero: not known

	goaway  *wire.GoAway
	broken  error     // a write failed: only the reader can tell why
	closed  bool      // the close frame is sent
	leaveAt time.Time // no later than this, zero: no haste
}

// incoming is a message of the receiver, or why there are no more.
type incoming struct {
	reply wire.Reply
	err   error
}

// ending is how a session ended.
type ending struct {
	err     error
	code    int    // of the receiver's close frame, 0: there was none
	text    string // of the receiver's close frame
	ours    bool   // the agent chose to end it
	stopped bool   // because of Shutdown
}

// violation is a breach of the protocol by the receiver.
type violation struct {
	code int // to close with
	text string
}

func (v *violation) Error() string { return "receiver: " + v.text }

func newSession(l *link, ws *websocket.Conn) *session {
	return &session{
		link:     l,
		ws:       ws,
		incoming: make(chan incoming, 64),
		quit:     make(chan struct{}),
		silence:  l.cfg.timing.silence,
		heard:    time.Now(),
	}
}

// run serves the session to its end.
func (s *session) run() ending {
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		s.read()
	}()
	e := s.serve()
	close(s.quit)
	_ = s.ws.Close()
	<-reader
	return e
}

func (s *session) serve() ending {
	s.enc.start(s.ws.Subprotocol() == wire.SubprotocolProto)
	s.write(s.enc.hello(s.instance, s.cfg.resource, s.cfg.aggregates > 0))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wrote := s.send(time.Now())
		if e := s.over(time.Now()); e != nil {
			return *e
		}
		if wrote {
			select {
			case in := <-s.incoming:
				if e := s.handle(in); e != nil {
					return *e
				}
			default:
			}
			continue
		}
		timer.Reset(time.Until(s.nextTime()))
		select {
		case in := <-s.incoming:
			if e := s.handle(in); e != nil {
				return *e
			}
		case <-s.agent.wake:
		case <-s.agent.stop:
		case <-timer.C:
		}
	}
}

// over tells whether the session ends by the agent's choice.
func (s *session) over(now time.Time) *ending {
	select {
	case <-s.agent.stop:
		s.sayClose(websocket.CloseNormalClosure, "")
		return &ending{ours: true, stopped: true}
	default:
	}
	if !s.closed && s.broken == nil && s.drained() {
		s.sayClose(websocket.CloseNormalClosure, "")
		s.leaveAt = now.Add(s.cfg.timing.closing)
	}
	if !s.leaveAt.IsZero() && !now.Before(s.leaveAt) {
		switch {
		case s.closed:
			return &ending{ours: true, stopped: true}
		case s.goaway != nil:
			return &ending{ours: true, err: errors.New("goaway without a close")}
		}
		// A receiver that does not read is left by the agent's choice.
		return &ending{err: s.broken, ours: errors.Is(s.broken, os.ErrDeadlineExceeded)}
	}
	if deadline := s.silentAt(now); !deadline.IsZero() && !now.Before(deadline) {
		return &ending{ours: true, err: fmt.Errorf("nothing heard from the receiver for %s", s.silence)}
	}
	return nil
}

// silentAt is when the receiver's silence is too long, zero where it owes nothing.
func (s *session) silentAt(now time.Time) time.Time {
	if s.welcomed && s.sent == 0 && s.window > 0 {
		s.waitingSince = time.Time{}
		return time.Time{}
	}
	if s.waitingSince.IsZero() {
		s.waitingSince = now
	}
	if s.heard.After(s.waitingSince) {
		return s.heard.Add(s.silence)
	}
	return s.waitingSince.Add(s.silence)
}

// nextTime is when there is something to do though nothing happens.
func (s *session) nextTime() time.Time {
	now := time.Now()
	next := now.Add(time.Hour)
	for _, t := range []time.Time{s.silentAt(now), s.leaveAt, s.dueAt} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// write sends one message and tells whether it could. A failure ends the
// session, but not before the reader had a chance to say what the receiver did.
func (s *session) write(data []byte) bool {
	messageType := websocket.TextMessage
	if s.enc.binary {
		messageType = websocket.BinaryMessage
	}
	_ = s.ws.SetWriteDeadline(time.Now().Add(s.silence))
	err := s.ws.WriteMessage(messageType, data)
	if err != nil {
		s.broken = plain(err)
		s.leaveAt = time.Now().Add(s.cfg.timing.closing)
	}
	return err == nil
}

func (s *session) sayClose(code int, text string) {
	s.closed = true
	deadline := time.Now().Add(s.cfg.timing.closing / 4)
	_ = s.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), deadline)
}

// read hands every message of the receiver to run, until none comes any more.
func (s *session) read() {
	for {
		reply, err := s.readReply()
		select {
		case s.incoming <- incoming{reply, err}:
		case <-s.quit:
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *session) readReply() (wire.Reply, error) {
	messageType, r, err := s.ws.NextReader()
	if err != nil {
		return wire.Reply{}, err
	}
	if messageType != websocket.TextMessage {
		return wire.Reply{}, &violation{websocket.CloseUnsupportedData, "expected text messages"}
	}
	data, err := io.ReadAll(io.LimitReader(r, maxReplyBytes+1))
	if err != nil {
		return wire.Reply{}, err
	}
	if len(data) > maxReplyBytes {
		return wire.Reply{}, &violation{websocket.CloseMessageTooBig, fmt.Sprintf("expected messages up to %d bytes", maxReplyBytes)}
	}
	reply, err := wire.DecodeReply(data)
	if err != nil {
		return reply, &violation{websocket.ClosePolicyViolation, "expected a message of the protocol"}
	}
	return reply, nil
}

// readEnd tells how the session ended from the reader's error.
func (s *session) readEnd(err error) *ending {
	var (
		v         *violation
		closeErr  *websocket.CloseError
		netErr    net.Error
		connError = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr)
	)
	switch {
	case s.closed:
		return &ending{ours: true, stopped: true}
	case errors.As(err, &v):
		s.sayClose(v.code, "")
		return &ending{ours: true, err: err}
	case errors.As(err, &closeErr) && closeErr.Code != websocket.CloseAbnormalClosure:
		return &ending{code: closeErr.Code, text: closeErr.Text, err: err}
	case connError || closeErr != nil:
		return &ending{err: fmt.Errorf("connection lost: %w", plain(err))}
	}
	return &ending{ours: true, err: err} // gorilla has closed it with 1002 or 1009
}

// plain is a network error without its addresses, whose ports are never twice the same.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
