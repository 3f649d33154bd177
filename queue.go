package wsstatsreceiver

import (
	"bytes"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	// minCost is what a message in the queue costs of the byte budget at the
	// least: tiny ones cost memory beside their bytes.
	minCost = 512
	// maxRefusals is how many messages of a session that were refused for the
	// byte budget may wait for their answer.
	maxRefusals = 64

	overBudget = "too many messages are in hand"
)

// item is a message in the queue.
type item struct {
	form   *form
	data   []byte
	buffer *[]byte // to give back to the pool
	paid   int64   // to the budget
	seq    uint64
	// reserved is the memory that was taken for what it becomes.
	reserved int64
	index    uint64 // which message of the session, from 1
	arrival  time.Time
	early    bool // before the welcome
	counted  bool // in unanswered
	refused  bool // over the byte budget: data holds what is to be taken all the same
}

// payForHead pays for n more bytes of a message that begins with head. Where
// the budget is used up, what could be connections or a hello, which are
// taken all the same, may use the reserve.
func (s *session) payForHead(head []byte, n int64) bool {
	return s.r.budget.Acquire(n) ||
		s.form.unnumbered(head) && s.r.budget.AcquireReserve(n)
}

// enqueue takes a message into the queue, within the window and the budget.
func (s *session) enqueue(in *inbound) {
	s.r.noteReceived(s.ctx, in.size, viaWebSocket)
	it := item{form: s.form, data: *in.buffer, buffer: in.buffer, paid: in.paid, seq: s.form.peekSeq(*in.buffer), arrival: s.r.now()}
	if s.admit(&it, int64(in.size)) && (!in.over && s.pay(&it) || s.strip(&it, in.over)) {
		s.push(it)
		return
	}
	s.r.budget.Release(it.paid)
	buffers.put(it.buffer)
}

// admit tells whether the session takes the message at all. It ends a session
// that is over its window.
func (s *session) admit(it *item, size int64) bool {
	s.mu.Lock()
	s.lastHeard = time.Now()
	s.received++
	it.index = s.received
	it.early = !s.welcomed
	it.counted = it.seq != 0
	s.numberSeen = s.numberSeen || it.counted
	switch {
	case s.stopped || s.draining:
		s.mu.Unlock()
		if !it.counted {
			s.r.noteDropped(s.ctx, 1, droppedShutdown)
		}
		return false
	case s.skip(it):
		s.mu.Unlock()
		return false
	case it.counted && s.unanswered+size > int64(s.r.cfg.Delivery.WindowBytes):
		s.mu.Unlock()
		s.closeWith(websocket.ClosePolicyViolation, "over the window")
		return false
	}
	if it.counted && it.seq == s.awaiting {
		s.awaiting = 0 // it came again, and what follows it will not
	}
	s.mu.Unlock()
	return true
}

// skip tells whether a message is one that the agent sent before it heard of a
// refusal, and will send again. The caller holds s.mu.
func (s *session) skip(it *item) bool {
	if s.awaiting == 0 || it.seq <= s.awaiting {
		return false
	}
	if s.unheard && (s.skipped == 0 || it.seq < s.skipped) {
		s.skipped = it.seq
	}
	return true
}

// pay pays for a message that was read to its end.
func (s *session) pay(it *item) bool {
	size := int64(len(it.data))
	s.mu.Lock()
	// Numbered messages are bounded by the window; the others may fill the queue once more.
	full := s.queued+size > 2*int64(s.r.cfg.Delivery.WindowBytes)
	s.mu.Unlock()
	switch {
	case full:
		return false
	case it.paid > 0:
		return true
	}
	cost := max(size, minCost)
	if s.r.budget.Acquire(cost) {
		it.paid = cost
	}
	return it.paid > 0
}

// strip takes what is over the byte budget down to what is answered in its
// turn: a number, and the connections that are declared, which are always
// taken. A hello is let through: without it an agent could not even hear that
// it has to wait. Cut is that only the beginning of the message is there. It
// returns false where nothing is left, after an answer.
func (s *session) strip(it *item, cut bool) bool {
	m := messagePool.Get().(*wire.Message)
	defer putMessage(m)
	// By itself: what the session defined is the worker's, and a numbered binary
	// message that needs it comes again.
	readable := !cut && s.form.decode(s.r.newDecoder(), it.data, m) == nil
	switch {
	case readable && m.Form == wire.FormHello:
		return s.payReserve(it)
	case readable:
		it.seq = m.Batch.Seq // "seq" may be an attribute of a bare event
		it.counted = it.seq != 0
	default:
		m.Reset()
	}
	if it.seq == 0 && len(m.Batch.Connections) == 0 {
		s.mu.Lock()
		hidden := !readable && s.numberSeen
		s.mu.Unlock()
		s.r.noteDropped(s.ctx, 1, droppedBudget)
		if hidden { // it may have had a number, and a gap would hide it
			s.closeWith(websocket.ClosePolicyViolation, overBudget)
		} else {
			s.replyError(it, wire.CodeUnavailable, overBudget)
		}
		return false
	}
	left := wire.Message{Form: wire.FormBatch, Batch: wire.Batch{Seq: it.seq, Connections: m.Batch.Connections}}
	data := wire.AppendJSON(nil, &left)
	s.r.budget.Release(it.paid)
	buffers.put(it.buffer)
	it.form, it.data, it.buffer, it.paid, it.refused = &jsonForm, data, nil, 0, true
	if it.seq == 0 {
		return s.payReserve(it)
	}
	if len(left.Batch.Connections) > 0 && !s.r.budget.AcquireReserve(int64(len(data))) {
		left.Batch.Connections = nil // they come again with the number
		it.data = wire.AppendJSON(nil, &left)
	} else if len(left.Batch.Connections) > 0 {
		it.paid = int64(len(data))
	}
	return true
}

// payReserve pays for what has to be taken although the budget is used up. It
// ends the session where even the reserve is.
func (s *session) payReserve(it *item) bool {
	if it.paid > 0 {
		return true
	}
	cost := max(int64(len(it.data)), minCost)
	if !s.r.budget.AcquireReserve(cost) {
		s.closeWith(websocket.ClosePolicyViolation, overBudget)
		return false
	}
	it.paid = cost
	return true
}

// push puts a message into the queue and sees to it that somebody works on it.
func (s *session) push(it item) {
	s.mu.Lock()
	if it.refused {
		s.refusals++
	}
	s.queued += int64(len(it.data))
	if it.counted {
		s.unanswered += int64(len(it.data))
	}
	switch {
	case s.stopped, s.skip(&it): // by now
		s.give(&it)
		s.mu.Unlock()
		return
	case s.refusals > maxRefusals:
		s.give(&it)
		s.mu.Unlock()
		s.closeWith(websocket.ClosePolicyViolation, overBudget)
		return
	case it.refused && it.counted:
		s.awaiting, s.unheard = it.seq, true // all that follows comes again, so it need not be kept
	}
	if s.working && it.buffer != nil && 2*len(it.data) <= cap(*it.buffer) {
		// It has to wait, and not in more memory than it paid for.
		it.data = bytes.Clone(it.data)
		buffers.put(it.buffer)
		it.buffer = nil
	}
	s.queue = append(s.queue, it)
	begin := !s.working
	s.working = true
	s.mu.Unlock()
	if begin {
		s.r.workers.begin(s)
	}
}

// give returns what an item holds. The caller holds s.mu.
func (s *session) give(it *item) {
	size := int64(len(it.data))
	s.queued -= size
	if it.counted {
		s.unanswered -= size
	}
	if it.refused {
		s.refusals--
	}
	s.r.budget.Release(it.paid)
	buffers.put(it.buffer)
	*it = item{}
}
