package wsstatsreceiver

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"

	"github.com/wsstats/wsstatsreceiver/internal/delivery"
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// retryAfter is when a refused message may come again.
const retryAfter = 500 * time.Millisecond

// newDecoder returns a decoder with the receiver's limits.
func (r *wsstatsReceiver) newDecoder() *wire.Decoder {
	l := r.cfg.Limits
	return &wire.Decoder{Limits: wire.Limits{
		Events: l.Events, Connections: l.Connections, Attributes: l.Attributes,
		KeyBytes: l.KeyBytes, ValueBytes: l.ValueBytes, Depth: l.Depth, Definitions: l.Definitions,
	}}
}

// work answers the messages of the queue in order, until there are none.
func (s *session) work() {
	decoder := s.r.decoders.Get().(*wire.Decoder)
	decoder.Definitions = &s.definitions
	defer func() {
		decoder.Definitions = nil
		s.r.decoders.Put(decoder)
	}()
	for {
		it, size, ok := s.next()
		if !ok {
			return
		}
		m := messagePool.Get().(*wire.Message)
		it.reserved = size
		s.handle(&it, decoder, m)
		putMessage(m)
		s.r.inHand.end(it.reserved)
		s.mu.Lock()
		s.give(&it)
		more := len(s.queue) > 0
		s.mu.Unlock()
		if !more {
			s.flushAcks()
		}
	}
}

// next takes the first message of the queue, and memory for what it becomes.
// Where there is no memory the worker ends until its turn comes. Where there is
// no message it ends too, and does what waited for that.
func (s *session) next() (it item, size int64, ok bool) {
	s.mu.Lock()
	turn := s.waiting // whose memory is taken by now
	s.waiting = nil
	if len(s.queue) > 0 {
		it = s.queue[0]
		size = it.form.translationBytes(it.data)
		switch {
		case turn != nil:
		case !s.first && it.form.isHello(it.data):
			s.r.inHand.force(size) // an agent has to hear that the pipeline blocks
		default:
			s.waiting = s.r.inHand.begin(size, func() { s.r.workers.begin(s) })
		}
		if s.waiting == nil {
			s.queue[0] = item{}
			s.queue = s.queue[1:]
			ok = true
		}
		s.mu.Unlock()
		return it, size, ok
	}
	s.queue = nil
	if s.ended {
		s.halt()
	}
	s.working = false
	stopped, dismissed := s.stopped, s.dismissed
	if stopped {
		close(s.done)
	}
	s.mu.Unlock()
	if turn != nil { // the message was given up meanwhile
		s.r.inHand.end(turn.bytes)
	}
	switch {
	case stopped:
		s.detach()
	case dismissed:
		s.closeWith(websocket.CloseGoingAway, "going away")
	}
	return item{}, 0, false
}

// handle answers one message.
func (s *session) handle(it *item, decoder *wire.Decoder, m *wire.Message) {
	first := !s.first
	s.first = true
	err := it.form.decode(decoder, it.data, m)
	if err == nil {
		it.seq = m.Batch.Seq // "seq" may be an attribute of a bare event
	}
	if it.seq != 0 {
		s.numbered = true
		if s.inst != nil && it.early {
			s.closeWith(websocket.ClosePolicyViolation, "a number before the welcome")
			return
		}
	}
	switch {
	case it.seq != 0:
		s.handleNumbered(it, m, err)
	case err != nil:
		s.refuseUnreadable(it, err)
	case m.Form == wire.FormHello:
		s.hello(&m.Hello, first)
	default:
		s.handleUnnumbered(it, m)
	}
}

// countMalformed ends a session that sends too many of them.
func (s *session) countMalformed() {
	s.malformed++
	s.r.noteDropped(s.ctx, 1, droppedMalformed)
	if s.malformed > s.r.cfg.Limits.MalformedMessages {
		s.closeWith(websocket.ClosePolicyViolation, "too many malformed messages")
	}
}

// refuseUnreadable answers a message without a readable number. Where numbers
// are in use it may have been one, and a gap would hide it: the session ends.
func (s *session) refuseUnreadable(it *item, err error) {
	s.countMalformed()
	s.r.logger.Debug("message refused", zap.Error(err))
	switch {
	case errors.Is(err, wire.ErrInvalidUTF8) && s.numbered:
		s.closeWith(websocket.CloseInvalidFramePayloadData, "invalid UTF-8")
	case s.numbered:
		s.closeWith(websocket.ClosePolicyViolation, "unreadable message")
	default:
		s.reply(&wire.Reply{Error: &wire.ErrorDetail{Code: errorCode(err), Message: err.Error(), Index: it.index}})
	}
}

func errorCode(err error) string {
	var m *wire.MessageError
	if errors.As(err, &m) {
		return m.Code
	}
	return wire.CodeMalformed
}

// reply sends waiting acknowledgements and then the reply.
func (s *session) reply(r *wire.Reply) {
	s.flushAcks()
	s.writer.send(r)
}

// hello opens the session: it takes the instance over from an older session,
// with heartbeats while that one finishes its message in hand.
func (s *session) hello(h *wire.Hello, first bool) {
	if s.inst != nil || !first {
		s.closeWith(websocket.ClosePolicyViolation, "hello must come first and once")
		return
	}
	s.setGreeting(true)
	key := delivery.Key{Subject: s.subject, Instance: strings.Clone(h.Instance)} // outlives the message
	inst := s.r.instances.Claim(key, func() {
		s.closeWith(websocket.ClosePolicyViolation, "taken over")
	})
	select {
	case inst.Hold() <- struct{}{}:
	case <-s.stopping:
		s.r.instances.Release(inst, false, s.r.now())
		return
	}
	s.inst, s.agent = inst, inst.State
	inst.Leave = false
	s.agent.resource = observed.NewResource(h.Resource, key.Instance)
	s.agent.aggregates = h.Aggregates
	s.resumeAfter = inst.Sequence.Last()
	s.setGreeting(false)
	s.reply(&wire.Reply{Welcome: s.welcome()})
}

func (s *session) setGreeting(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.greeting = on
	s.welcomed = !on
}

func (s *session) welcome() *wire.Welcome {
	cfg := s.r.cfg
	w := &wire.Welcome{
		ResumeAfter:       s.inst.Sequence.Last(),
		Refused:           s.inst.Sequence.Refused(),
		MaxMessageBytes:   int64(cfg.Limits.MessageBytes),
		MaxEvents:         cfg.Limits.Events,
		WindowBytes:       int64(cfg.Delivery.WindowBytes),
		HeartbeatS:        cfg.Keepalive.Heartbeat.Seconds(),
		SamplingRatio:     cfg.Traces.Sampling.Ratio,
		SamplingThreshold: wire.FormatThreshold(s.r.threshold),
		SamplingScope:     cfg.Traces.Sampling.Scope,
		TraceMode:         cfg.Traces.Mode,
		Dimensions:        append([]string{}, cfg.Metrics.Dimensions...),
		Signals:           []string{},
	}
	if s.r.nextTraces != nil {
		w.Signals = append(w.Signals, "traces")
	}
	if s.r.nextMetrics != nil {
		w.Signals = append(w.Signals, "metrics")
	}
	return w
}

// handleUnnumbered takes a message that is not acknowledged.
func (s *session) handleUnnumbered(it *item, m *wire.Message) {
	if it.refused {
		s.r.noteDropped(s.ctx, 1, droppedBudget)
		s.replyError(it, wire.CodeUnavailable, overBudget)
	}
	out := s.take(it, m, false)
	code, message := out.refusal()
	switch {
	case out.err != nil && out.permanent:
		s.r.noteDropped(s.ctx, len(m.Batch.Events), droppedRefused)
		s.replyError(it, code, message)
	case out.err != nil:
		s.r.noteDropped(s.ctx, len(m.Batch.Events), droppedUnavailable)
		s.replyError(it, code, message)
	case out.rejected.Count > 0:
		s.replyError(it, wire.CodeRejected, out.rejected.First)
	}
}

func (s *session) replyError(it *item, code, message string) {
	s.reply(&wire.Reply{Error: &wire.ErrorDetail{Code: code, Message: message, Index: it.index}})
}

// handleNumbered takes a message whose number is answered. An anonymous
// session's number is acknowledged and never remembered.
func (s *session) handleNumbered(it *item, m *wire.Message, err error) {
	tracesTaken := false
	if s.inst != nil {
		s.inst.Sequence.Heard(s.resumeAfter) // a number comes after the welcome, which told of them
		verdict, gap := s.inst.Sequence.Judge(it.seq)
		if gap > 0 {
			s.r.telemetry.ReceiverWsstatsGaps.Add(s.ctx, int64(min(gap, 1<<53)))
		}
		switch verdict {
		case delivery.Duplicate:
			s.r.telemetry.ReceiverWsstatsDuplicates.Add(s.ctx, 1)
			if err == nil && len(m.Batch.Connections) > 0 {
				s.declareOnly(it, m)
			}
			s.repeat(it)
			return
		case delivery.Finish:
			tracesTaken = true
		case delivery.Take:
		}
	}
	switch {
	case err != nil:
		s.countMalformed()
		if code := errorCode(err); code == wire.CodeUndefined {
			s.refuseForNow(it, code, err.Error()) // the agent defines anew
		} else {
			s.refuseForGood(it, code, err.Error())
		}
		return
	case it.refused:
		if len(m.Batch.Connections) > 0 {
			s.declareOnly(it, m)
		}
		s.refuseForNow(it, wire.CodeUnavailable, overBudget)
		return
	}
	out := s.take(it, m, tracesTaken)
	code, message := out.refusal()
	switch {
	case out.err != nil && out.permanent:
		s.r.noteDropped(s.ctx, len(m.Batch.Events), droppedRefused)
		s.refuseForGood(it, code, message)
	case out.err != nil:
		if out.tracesTaken && s.inst != nil {
			s.inst.Sequence.HalfTaken(it.seq)
		}
		s.refuseForNow(it, code, message)
	default:
		s.taken(it)
		s.acknowledge(it.seq, out.rejected)
	}
}

// repeat acknowledges a number that was taken before. Where it was refused for
// the byte budget, what followed it was ignored and has to be asked for.
func (s *session) repeat(it *item) {
	s.mu.Lock()
	it.uncount(s)
	again := s.skipped
	switch {
	case !it.refused:
		again = 0
	case again != 0:
		s.goBack(again)
	case s.awaiting == it.seq:
		s.awaiting = 0 // nothing has followed it yet, and what does is not to be ignored
	}
	s.mu.Unlock()
	s.reply(&wire.Reply{Ack: it.seq, Duplicate: true})
	if again != 0 {
		s.replyNotNow(again, wire.CodeUnavailable, overBudget)
	}
}

// declareOnly takes the connections of a message whose events are not taken.
func (s *session) declareOnly(it *item, m *wire.Message) {
	m.Batch.Events, m.Batch.Stats, m.Batch.Dropped = m.Batch.Events[:0], m.Batch.Stats[:0], m.Batch.Dropped[:0]
	s.take(it, m, true)
}

func (s *session) take(it *item, m *wire.Message, tracesTaken bool) outcome {
	began := time.Now()
	in := &incoming{m, it.arrival, len(it.data), it.reserved, tracesTaken}
	out := s.r.take(s.ctx, s.agent, in)
	it.reserved = in.reserved
	s.r.noteProcessed(s.ctx, began, out)
	if out.err == nil {
		s.r.noteDropped(s.ctx, out.rejected.Count, droppedRejected)
	}
	return out
}

// taken says that a number was taken.
func (s *session) taken(it *item) {
	if s.inst != nil {
		s.inst.Sequence.Taken(it.seq)
	}
	s.through(it)
}

// through says that a number is done with, by acceptance or by refusal for good.
func (s *session) through(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.uncount(s)
	if it.seq >= s.awaiting {
		s.awaiting = 0
	}
}

func (s *session) refuseForGood(it *item, code, message string) {
	if s.inst != nil {
		s.inst.Sequence.Refuse(it.seq)
	}
	s.through(it)
	s.reply(&wire.Reply{Nack: it.seq, Code: code, Message: message})
}

// refuseForNow asks for the number and all after it again. What follows it in
// the queue is forgotten: the agent sends that again too, and its window is
// empty from here on.
func (s *session) refuseForNow(it *item, code, message string) {
	s.mu.Lock()
	it.uncount(s)
	s.goBack(it.seq)
	s.mu.Unlock()
	s.replyNotNow(it.seq, code, message)
}

// goBack forgets what waits from a number on: it comes again. The caller holds s.mu.
func (s *session) goBack(seq uint64) {
	s.awaiting, s.unheard, s.skipped = seq, false, 0
	s.queue = slices.DeleteFunc(s.queue, func(queued item) bool {
		ahead := queued.seq > seq
		if ahead {
			s.give(&queued)
		}
		return ahead
	})
}

func (s *session) replyNotNow(seq uint64, code, message string) {
	s.reply(&wire.Reply{
		Nack: seq, Retryable: true, RetryAfterMs: retryAfter.Milliseconds(), Code: code, Message: message,
	})
}

// uncount takes an item out of the window and the byte budget: it is done with,
// before the agent hears of it and sends more. The caller holds s.mu.
func (it *item) uncount(s *session) {
	s.r.budget.Release(it.paid)
	it.paid = 0
	if it.counted {
		it.counted = false
		s.unanswered -= int64(len(it.data))
	}
}

// acknowledge says that a number was taken: at once where nothing more waits,
// else merged with the next ones for a while. Partial success is never merged.
func (s *session) acknowledge(seq uint64, rejected wire.Rejected) {
	if rejected.Count > 0 {
		s.reply(&wire.Reply{Ack: seq, Rejected: &rejected})
		return
	}
	s.mu.Lock()
	if s.pending == 0 && len(s.queue) > 0 {
		if delay := s.r.cfg.Delivery.AckDelay; s.ackTimer == nil {
			s.ackTimer = time.AfterFunc(delay, s.flushAcks)
		} else {
			s.ackTimer.Reset(delay)
		}
	}
	s.pending = max(s.pending, seq)
	s.mu.Unlock()
}

// flushAcks sends the acknowledgement that waits.
func (s *session) flushAcks() {
	s.writer.sendAck(func() uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		seq := s.pending
		s.pending = 0
		return seq
	})
}

// flushAcksWithin is flushAcks before a close, after which the agent would send
// again what is taken. It does not wait for ever for an agent that does not
// read: who closes a session may be the hello of another one.
func (s *session) flushAcksWithin(limit time.Duration) {
	s.mu.Lock()
	none := s.pending == 0
	s.mu.Unlock()
	if none {
		return
	}
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		s.flushAcks()
	}()
	select {
	case <-flushed:
	case <-time.After(limit):
	}
}
