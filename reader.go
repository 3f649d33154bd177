package wsstatsreceiver

import (
	"errors"
	"io"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// errTooLarge is that a message is over limits::message_bytes.
var errTooLarge = errors.New("message over limits::message_bytes")

// read takes messages off the socket until the connection ends.
func (s *session) read() {
	k := s.r.cfg.Keepalive
	limit := int64(s.r.cfg.Limits.MessageBytes)
	// Without compression this refuses a message by its declared length; with
	// compression it counts compressed bytes, and readMessage bounds the rest.
	s.conn.SetReadLimit(limit)
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
		if errors.Is(err, errTooLarge) || errors.Is(err, websocket.ErrReadLimit) {
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
	if kind != websocket.TextMessage {
		s.closeWith(websocket.CloseUnsupportedData, "a session of "+wire.SubprotocolJSON+" takes text messages")
	}
	if s.isStopped() {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	buffer := buffers.get()
	data, err := readMessage(body, (*buffer)[:0], limit)
	*buffer = data
	if err != nil {
		buffers.put(buffer)
		return err
	}
	s.enqueue(item{data: data, buffer: buffer, seq: wire.PeekSeq(data), arrival: s.r.now()})
	return nil
}

// readMessage reads what is there, growing as bytes come, up to the limit.
func readMessage(body io.Reader, data []byte, limit int64) ([]byte, error) {
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := body.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return data, errTooLarge
		case errors.Is(err, io.EOF):
			return data, nil
		case err != nil:
			return data, err
		}
	}
}

// enqueue takes a message into the queue, within the window and the budget.
func (s *session) enqueue(it item) {
	size := int64(len(it.data))
	s.r.noteReceived(s.ctx, len(it.data), viaWebSocket)
	window := int64(s.r.cfg.Delivery.WindowBytes)

	s.mu.Lock()
	s.lastHeard = time.Now()
	s.received++
	it.index = s.received
	it.early = !s.welcomed
	it.counted = it.seq != 0
	switch {
	case s.stopped || s.draining:
		s.mu.Unlock()
		buffers.put(it.buffer)
		if it.seq == 0 {
			s.r.noteDropped(s.ctx, 1, droppedShutdown)
		}
		return
	case s.awaiting != 0 && it.seq > s.awaiting:
		// The agent sent it before it heard of the refusal, and will again.
		s.mu.Unlock()
		buffers.put(it.buffer)
		return
	case it.counted && s.unanswered+size > window:
		s.mu.Unlock()
		buffers.put(it.buffer)
		s.closeWith(websocket.ClosePolicyViolation, "over the window")
		return
	}
	if it.counted && it.seq == s.awaiting {
		s.awaiting = 0 // it came again, and what follows it will not
	}
	// Numbered messages are bounded by the window; the others may fill the queue once more.
	it.budgeted = s.queued+size <= 2*window && s.r.budget.Acquire(size)
	if !it.budgeted {
		s.refuse(&it)
		size = int64(len(it.data))
	}
	s.queued += size
	if it.counted {
		s.unanswered += size
	}
	s.queue = append(s.queue, it)
	begin := !s.working
	s.working = true
	s.mu.Unlock()
	if begin {
		go s.work()
	}
}

// refuse strips a message that is over the budget down to its number and the
// connections that it declares, which are always taken. A hello is let through:
// without it an agent could not even hear that it has to wait.
func (s *session) refuse(it *item) {
	m := messagePool.Get().(*wire.Message)
	defer messagePool.Put(m)
	err := s.r.newDecoder().DecodeJSON(it.data, m)
	if err == nil && m.Form == wire.FormHello {
		return
	}
	it.refused = true
	if err != nil || m.Form != wire.FormBatch {
		m.Reset()
	}
	stripped := wire.Message{Form: wire.FormBatch, Batch: wire.Batch{Seq: it.seq, Connections: m.Batch.Connections}}
	var data []byte
	if it.seq != 0 || len(stripped.Batch.Connections) > 0 {
		data = wire.AppendJSON(nil, &stripped)
	}
	buffers.put(it.buffer)
	it.data, it.buffer = data, nil
}

// give returns what an item holds. The caller holds s.mu.
func (s *session) give(it *item) {
	size := int64(len(it.data))
	s.queued -= size
	if it.counted {
		s.unanswered -= size
		it.counted = false
	}
	if it.budgeted {
		s.r.budget.Release(size)
	}
	if it.buffer != nil {
		buffers.put(it.buffer)
	}
	it.data, it.buffer = nil, nil
}
