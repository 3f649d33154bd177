package wsstats

import (
	"math"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// send writes at most one message, and tells whether it did.
func (s *session) send(now time.Time) bool {
	s.dueAt = time.Time{}
	if !s.welcomed || s.goaway != nil || s.broken != nil || s.closed {
		return false
	}
	if now.Before(s.retryAt) {
		s.dueAt = s.retryAt
		return false
	}
	if len(s.restating) > 0 {
		return s.restate()
	}
	if s.sent == len(s.numbers) && !s.cut(now) {
		return false
	}
	n := &s.numbers[s.sent]
	if s.encoded != n.seq {
		s.encode(s.sent)
		if n.rows > 0 && n.bytes > s.maxBytes { // it was sent before: to another receiver, in another encoding, or with less to define
			s.refit()
			s.encode(s.sent)
		}
	}
	// A message is never over the limit of one, which no open window is below.
	if s.window <= 0 || s.outstanding > 0 && s.outstanding+int64(n.bytes) > s.window {
		return false
	}
	s.encoded = 0
	s.sentUpTo = max(s.sentUpTo, n.seq)
	n.sentAt = now
	s.outstanding += int64(n.bytes)
	s.sent++
	s.enc.sent(s.scratch)
	return s.write(s.enc.buf)
}

// encode makes the message of the i-th unanswered number anew.
func (s *session) encode(i int) {
	n := &s.numbers[i]
	s.agent.mu.Lock()
	s.scratch = s.agent.ring.copyTo(s.scratch[:0], s.offset(i), n.rows)
	s.agent.mu.Unlock()
	data, err := s.enc.batch(n.seq, s.scratch, n.dropped, n.threshold)
	n.bytes = len(data)
	if err != nil { // more handles than there are: it is over every limit
		n.bytes = math.MaxInt
	}
	s.encoded = n.seq
}

// cut makes a number of what waits, if it is due and the window is open.
func (s *session) cut(now time.Time) bool {
	if s.window <= 0 || len(s.numbers) >= maxNumbers || !s.due(now) {
		return false
	}
	g := &s.agent.ring
	s.agent.mu.Lock()
	rows := g.take(min(s.cfg.maxEvents, s.maxEvents), min(s.cfg.maxBytes, s.maxBytes))
	dropped := g.report()
	all := !s.agent.waits()
	threshold := s.agent.meter.numbered(!g.waits())
	s.agent.mu.Unlock()

	s.numbers = append(s.numbers, number{seq: s.next, rows: rows, dropped: dropped, threshold: threshold})
	s.next++
	last := len(s.numbers) - 1
	n := &s.numbers[last]
	for s.encode(last); n.bytes > s.maxBytes && n.rows > 0; s.encode(last) {
		if n.rows == 1 {
			s.drop(last, reasonOversize)
			continue
		}
		// It was not sent yet: it may still stand for less.
		half := n.rows / 2
		s.agent.mu.Lock()
		g.setNumbered(g.numbered - (n.rows - half))
		s.agent.meter.putBack(threshold)
		s.agent.mu.Unlock()
		n.rows, all = half, false
	}
	if all {
		s.since = time.Time{} // else what is left is no younger, and follows at its time
	}
	return true
}

// due tells whether a batch is to be sent now, and else notes when.
func (s *session) due(now time.Time) bool {
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.waits() && !a.ring.unreported() {
		s.since = time.Time{}
		return false
	}
	if s.since.IsZero() {
		s.since = now
	}
	s.dueAt = s.since.Add(s.cfg.maxDelay)
	if hurry := a.closing || a.ring.urgent > a.ring.numbered; hurry || !now.Before(s.dueAt) {
		if a.seal(); a.ring.waits() || a.ring.unreported() {
			return true
		}
		s.dueAt = time.Time{} // there is room when something is answered
		return false
	}
	return a.full()
}

// drained tells whether Shutdown was called and nothing is left to do.
func (s *session) drained() bool {
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closing && a.ring.n == 0 && !a.meter.waits() && len(s.numbers) == 0 && !a.ring.unreported()
}

// restate declares some of the connections that are to be restated.
func (s *session) restate() bool {
	k := min(len(s.restating), maxEntries, s.maxEvents)
	data := s.enc.restate(s.restating[:k])
	for ; len(data) > s.maxBytes && k > 1; data = s.enc.restate(s.restating[:k]) {
		k /= 2
	}
	for _, c := range s.restating[:k] {
		c.declared = s.enc.session
	}
	s.restating = s.restating[k:]
	return len(data) > s.maxBytes || s.write(data)
}

// handle takes what came from the receiver; not nil: the session is over.
func (s *session) handle(in incoming) *ending {
	if in.err != nil {
		return s.readEnd(in.err)
	}
	s.heard = time.Now()
	var v *violation
	switch r := in.reply; {
	case r.Welcome != nil:
		v = s.welcome(r.Welcome)
	case r.Ack > 0:
		v = s.ack(&r)
	case r.Nack > 0:
		v = s.nack(&r)
	case r.Flow != nil:
		s.flow(r.Flow)
	case r.Error != nil:
		s.complain("wsstats: receiver: "+r.Error.Code+": "+r.Error.Message, nil)
	case r.GoAway != nil:
		if s.goaway == nil {
			s.goaway = r.GoAway
			s.leaveAt = s.heard.Add(s.cfg.timing.goaway)
		}
	}
	if v != nil {
		return s.readEnd(v)
	}
	return nil
}

func (s *session) welcome(w *wire.Welcome) *violation {
	if s.welcomed {
		return &violation{websocket.ClosePolicyViolation, "expected one welcome"}
	}
	if w.ResumeAfter > s.sentUpTo {
		// Somebody else counts under this instance: its numbers would hide ours.
		s.renew()
		return &violation{websocket.ClosePolicyViolation, "resume_after is beyond what was sent"}
	}
	s.welcomed, s.welcomedAt = true, s.heard
	s.agent.mu.Lock()
	s.agent.sessions++
	s.agent.rules.follow(w)
	if s.agent.meter != nil {
		s.agent.meter.learn(w, &s.agent.ring)
	}
	s.agent.mu.Unlock()
	s.window = w.WindowBytes
	s.maxEvents, s.maxBytes = defaultMaxEvents, defaultMessageBytes
	if w.MaxEvents > 0 {
		s.maxEvents = w.MaxEvents
	}
	if w.MaxMessageBytes > 0 {
		s.maxBytes = int(max(minMessageBytes, min(w.MaxMessageBytes, 1<<30)))
	}
	if w.HeartbeatS > 0 {
		heartbeat := time.Duration(min(w.HeartbeatS, maxHeartbeat.Seconds()) * float64(time.Second))
		s.silence = 3 * max(heartbeat, minHeartbeat)
	}
	for _, seq := range w.Refused { // their nacks may be lost, and resume_after covers them
		if i := slices.IndexFunc(s.numbers, func(n number) bool { return n.seq == seq }); i >= 0 {
			s.refused(i)
		}
	}
	s.acknowledge(w.ResumeAfter)
	if slices.ContainsFunc(s.numbers, func(n number) bool { return n.rows > s.maxEvents }) {
		s.refit()
	}
	s.restating = s.toRestate()
	return nil
}

func (s *session) flow(f *wire.Flow) {
	if f.WindowBytes != nil {
		s.window = *f.WindowBytes
	}
	s.agent.mu.Lock()
	s.agent.rules.setThreshold(f.SamplingThreshold)
	s.agent.mu.Unlock()
}

// refit empties the numbers that are to be sent and are over the receiver's
// limits; their records get new ones. From the last to the first, so that the
// records keep their order. How long a message is now is known only when it is
// encoded.
func (s *session) refit() {
	for i := len(s.numbers) - 1; i >= s.sent; i-- {
		n := &s.numbers[i]
		if n.rows == 0 {
			continue
		}
		if n.rows <= s.maxEvents {
			if s.encode(i); n.bytes <= s.maxBytes {
				continue
			}
		}
		s.agent.mu.Lock()
		s.agent.ring.putBack(s.offset(i), n.rows)
		s.agent.meter.putBack(n.threshold)
		s.agent.mu.Unlock()
		n.rows = 0
	}
	s.encoded = 0
}

// toRestate are the connections that are open or that an unanswered number names.
func (s *session) toRestate() []*conn {
	s.enc.message++
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	conns := make([]*conn, 0, len(a.conns))
	add := func(c *conn) {
		if c != nil && c.mentioned != s.enc.message {
			c.mentioned = s.enc.message
			conns = append(conns, c)
		}
	}
	for c := range a.conns {
		add(c)
	}
	for i := range a.ring.numbered {
		add(a.ring.at(i).conn)
	}
	return conns
}

// upTo is the highest number that the receiver may speak of.
func (s *session) upTo() uint64 {
	if s.sent == 0 {
		return s.taken
	}
	return s.numbers[s.sent-1].seq
}

func (s *session) ack(r *wire.Reply) *violation {
	if r.Ack > s.upTo() {
		return &violation{websocket.ClosePolicyViolation, "ack of a number that was not sent"}
	}
	if r.Ack <= s.taken {
		return nil
	}
	if r.Rejected != nil && r.Rejected.Count > 0 {
		s.rejected(r.Ack, r.Rejected)
	}
	s.answered(r.Ack)
	if s.complaint != "" {
		s.complaint = ""
		s.log.Info("wsstats: receiver takes events again")
	}
	return nil
}

// rejected counts the events of a number that were refused one by one.
func (s *session) rejected(seq uint64, r *wire.Rejected) {
	i := slices.IndexFunc(s.numbers, func(n number) bool { return n.seq == seq })
	count := min(r.Count, s.numbers[i].rows)
	s.agent.mu.Lock()
	s.agent.ring.rejected += uint64(count)
	s.agent.mu.Unlock()
	s.log.Debug("wsstats: receiver rejected events", "count", count, "first", r.First)
}

// answered frees the numbers up to seq, and their part of the window.
func (s *session) answered(seq uint64) {
	k, size := s.acknowledge(seq)
	s.sent -= k
	s.outstanding -= int64(size)
	s.suspicions = 0
}

func (s *session) nack(r *wire.Reply) *violation {
	if r.Nack > s.upTo() {
		if s.sent == 0 && len(s.numbers) > 0 && r.Nack <= s.sentUpTo {
			return nil // nacked already, and not sent again yet
		}
		return &violation{websocket.ClosePolicyViolation, "nack of a number that was not sent"}
	}
	if r.Nack <= s.taken {
		return nil
	}
	s.answered(r.Nack - 1)
	s.enc.forget()
	s.encoded = 0
	if r.Retryable {
		s.agent.mu.Lock()
		s.agent.nacks++
		s.agent.mu.Unlock()
		s.sent, s.outstanding = 0, 0
		t := s.cfg.timing
		s.retryAt = s.heard.Add(milliseconds(r.RetryAfterMs, t.minNackRetry, t.maxRetry))
		return nil
	}
	s.complain("wsstats: receiver refused events: "+r.Code+": "+r.Message, nil)
	s.refused(0)
	s.answered(r.Nack)
	return nil
}

// refused drops the events of the i-th number, which the receiver refused for good.
func (s *session) refused(i int) {
	if s.numbers[i].rows > 0 { // what told of drops alone is not told again: it would be refused for ever
		s.agent.mu.Lock()
		s.agent.ring.unreport(s.numbers[i].dropped)
		s.agent.mu.Unlock()
		s.drop(i, reasonRefused)
	}
}
