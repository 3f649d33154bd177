package wsstats

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	maxNumbers     = 1024 // unanswered at once
	poisonSessions = 3    // that end badly in a row before a number is given up
)

// link delivers an agent's ring, session after session. It outlives them: it
// knows which records each unanswered number stands for. It belongs to one
// goroutine.
type link struct {
	agent *Agent
	cfg   *config
	log   *slog.Logger

	instance string
	next     uint64   // the number of the next batch, from 1
	taken    uint64   // the highest number that was answered
	sentUpTo uint64   // the highest number that was ever sent
	numbers  []number // the unanswered ones, ascending

	since time.Time // when the oldest record without a number began to wait, zero: none does

	enc     encoder
	scratch []record // of the number that enc holds

	backoff    backoff
	suspect    uint64 // the number that sessions break on
	suspicions int    // how many did so in a row
	complaint  string // what was logged last
}

// number is an unanswered batch. Its records are in the ring, in the order of
// the numbers.
type number struct {
	seq       uint64
	rows      int    // how many records it stands for
	bytes     int    // its length when last encoded
	threshold uint64 // by which messages were left out beside it, 0: none were
	dropped   dropCounts
	sentAt    time.Time // last
}

func newLink(a *Agent) *link {
	return &link{
		agent:    a,
		cfg:      a.cfg,
		log:      a.cfg.logger,
		instance: newInstance(),
		next:     1,
		backoff:  backoff{min: a.cfg.timing.minBackoff, max: a.cfg.timing.maxBackoff},
	}
}

// run keeps a session up until Shutdown.
func (l *link) run(ctx context.Context) {
	after := jitter(l.cfg.timing.firstJitter)
	for l.pause(after) {
		ws, err := l.connect(ctx)
		if err != nil {
			if ctx.Err() != nil || l.finished() {
				return // Shutdown cut it
			}
			l.complain("wsstats: receiver not reached", err)
			after = l.afterRefusal(err)
			continue
		}
		s := newSession(l, ws)
		after = l.afterSession(s, s.run())
	}
}

// pause waits, and tells whether to go on.
func (l *link) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	drain := l.agent.drain
	for !l.finished() {
		select {
		case <-l.agent.stop:
		case <-drain:
			drain = nil
		case <-timer.C:
			return true
		}
	}
	return false
}

// finished tells whether Shutdown waits for nothing more.
func (l *link) finished() bool {
	select {
	case <-l.agent.stop:
		return true
	default:
	}
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	return l.agent.closing && l.agent.ring.n == 0 && !l.agent.meter.waits()
}

// afterRefusal is the pause after a failed dial.
func (l *link) afterRefusal(err error) time.Duration {
	t := l.cfg.timing
	after := l.backoff.next()
	var r *refusal
	if !errors.As(err, &r) {
		return after
	}
	if r.status < http.StatusInternalServerError && r.status != http.StatusTooManyRequests {
		// A configuration that is wrong is not right a second later.
		after = t.maxBackoff/2 + jitter(t.maxBackoff/2)
	}
	return max(after, min(r.after, t.maxRetry)+jitter(r.after/10))
}

// afterSession draws the conclusions of how a session ended, and returns the
// pause before the next.
func (l *link) afterSession(s *session, e ending) time.Duration {
	t := l.cfg.timing
	if s.welcomed && time.Since(s.welcomedAt) >= t.stable {
		l.backoff.reset()
	}
	switch {
	case s.goaway != nil:
		after := milliseconds(s.goaway.ReconnectAfterMs, 0, t.maxRetry)
		return max(after, l.backoff.min/2) + jitter(max(after/2, l.backoff.min/2))
	case e.code == websocket.CloseNormalClosure, e.code == websocket.CloseGoingAway:
	case e.code == websocket.ClosePolicyViolation && strings.HasPrefix(e.text, "taken over"):
		l.complain("wsstats: another agent came with the same instance", nil)
		l.renew()
	default:
		if !e.stopped {
			l.complain("wsstats: link lost", e.err)
		}
		l.judge(s, e)
	}
	return l.backoff.next()
}

// judge looks for a number that sessions break on. Only one that was sent, and
// was first in line, is held against what followed.
func (l *link) judge(s *session, e ending) {
	if e.ours || s.sent == 0 {
		return
	}
	first := &l.numbers[0]
	switch e.code {
	case websocket.CloseProtocolError, websocket.CloseUnsupportedData, websocket.CloseInvalidFramePayloadData,
		websocket.ClosePolicyViolation, websocket.CloseMessageTooBig, websocket.CloseInternalServerErr:
	case 0:
		if time.Since(first.sentAt) > l.cfg.timing.poison {
			l.suspicions = 0
			return
		}
	default:
		l.suspicions = 0
		return
	}
	if l.suspect != first.seq {
		l.suspect, l.suspicions = first.seq, 0
	}
	if l.suspicions++; l.suspicions == poisonSessions {
		l.suspicions = 0
		l.log.Warn("wsstats: batch given up, the link broke on it again and again", "seq", first.seq, "events", first.rows)
		l.drop(0, reasonPoison)
	}
}

// renew begins a new counter of numbers: what is not answered waits again.
func (l *link) renew() {
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	for i := range l.numbers {
		l.agent.ring.unreport(l.numbers[i].dropped)
		l.agent.meter.putBack(l.numbers[i].threshold)
	}
	l.agent.ring.setNumbered(0)
	l.numbers = l.numbers[:0]
	l.instance = newInstance()
	l.next, l.taken, l.sentUpTo, l.suspicions = 1, 0, 0, 0
}

// acknowledge frees all numbers up to seq and returns how many, and their bytes.
func (l *link) acknowledge(seq uint64) (k, size int) {
	rows := 0
	for ; k < len(l.numbers) && l.numbers[k].seq <= seq; k++ {
		rows += l.numbers[k].rows
		size += l.numbers[k].bytes
	}
	l.agent.mu.Lock()
	l.agent.ring.acknowledge(rows)
	l.agent.mu.Unlock()
	l.numbers = slices.Delete(l.numbers, 0, k)
	l.taken = max(l.taken, seq)
	return k, size
}

// drop gives up the records of the i-th unanswered number. The number stays.
func (l *link) drop(i int, why reason) {
	n := &l.numbers[i]
	l.agent.mu.Lock()
	l.agent.ring.drop(l.offset(i), n.rows, why)
	l.agent.mu.Unlock()
	n.rows = 0
}

// offset is where in the ring the records of the i-th unanswered number begin.
func (l *link) offset(i int) (rows int) {
	for _, n := range l.numbers[:i] {
		rows += n.rows
	}
	return rows
}

// complain logs a trouble unless it was the last thing logged.
func (l *link) complain(msg string, err error) {
	text := msg
	if err != nil {
		text += ": " + err.Error()
	}
	if text == l.complaint {
		return
	}
	l.complaint = text
	if err != nil {
		l.log.Warn(msg, "error", err)
	} else {
		l.log.Warn(msg)
	}
}
