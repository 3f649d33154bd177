package main

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	unknownSilence = 30 * time.Second // of a receiver whose heartbeat is not known
	maxPoison      = 3                // sessions in a row that may break on a number
	poisonTime     = 5 * time.Second  // an end so soon after it was sent may be its doing
	minPause       = 50 * time.Millisecond
	maxPause       = 5 * time.Second // between two attempts to connect
	minRetry       = 100 * time.Millisecond
	maxRetry       = time.Minute // after a refusal for now
)

// errTooLarge is about a batch that the receiver wants smaller.
var errTooLarge = errors.New("over the receiver's limits")

// fate is what became of a batch.
type fate struct {
	dropped    string // why, "": it was taken
	rejected   int    // of its events, one by one
	nacks      uint64 // retryable
	reconnects uint64
	said       string // the last complaint
}

// link delivers batches one after the other: the next one is sent when the one
// before is answered. It belongs to one goroutine.
type link struct {
	o     *replayOptions
	hello wire.Hello
	seq   uint64            // of the last batch
	open  map[string][]byte // connections that are open, by id: a message that declares each
	buf   []byte

	session *session      // nil: none
	ever    bool          // there was one
	pause   time.Duration // before the next one; an answer ends it
	gone    error         // why the receiver is not tried any more
}

func newLink(o *replayOptions, hello *wire.Hello) *link {
	l := &link{o: o, hello: *hello, open: map[string][]byte{}}
	l.hello.Instance = rand.Text()
	if l.hello.AgentName == "" {
		l.hello.AgentName, l.hello.AgentVersion = "wsstats-replay", wsstats.Version
	}
	return l
}

// deliver sends a batch under the next number until it is answered. The error is errTooLarge.
func (l *link) deliver(ctx context.Context, b *wire.Batch) (fate, error) {
	var f fate
	l.seq++
	b.Seq = l.seq
	for broken, sent := 0, false; ; {
		if ctx.Err() != nil {
			f.dropped = "shutdown"
			return f, nil
		}
		if l.session == nil {
			settled, err := l.connect(ctx, &f)
			if err != nil {
				f.dropped, f.said = reasonAway(ctx), err.Error()
				return f, nil
			}
			if settled {
				l.settle(b, &f)
				return f, nil
			}
		}
		l.buf = wire.AppendJSON(l.buf[:0], &wire.Message{Form: wire.FormBatch, Batch: *b})
		if l.session.tooLarge(b, len(l.buf)) {
			if sent { // the number stands for these events: nobody gets it
				l.give(ctx, b, &f)
			} else {
				l.seq--
			}
			f.dropped = "oversize"
			return f, errTooLarge
		}
		answer := l.exchange(ctx, int64(len(l.buf)))
		sent = sent || !l.session.sentAt.IsZero()
		switch {
		case ctx.Err() != nil:
			f.dropped = "shutdown"
			return f, nil
		case answer == nil:
			if broken++; !l.session.brokeOnIt() {
				broken = 0
			}
			l.hangUp()
			if broken == maxPoison {
				f.dropped = "poison"
				l.give(ctx, b, &f)
				return f, nil
			}
		case answer.Ack > 0:
			if answer.Rejected != nil {
				f.rejected, f.said = answer.Rejected.Count, answer.Rejected.First
			}
			l.settle(b, &f)
			return f, nil
		case answer.Retryable:
			broken = 0
			f.nacks++
			waited := l.idle(ctx, min(max(minRetry, time.Duration(answer.RetryAfterMs)*time.Millisecond), maxRetry))
			f.reconnects += waited.reconnects
		default:
			f.dropped, f.said = "refused", answer.Message
			return f, nil
		}
	}
}

// settle notes what a batch declared that the receiver has.
func (l *link) settle(b *wire.Batch, f *fate) {
	if f.dropped == "" {
		l.note(b)
	}
}

// give has the number of a batch stand for nothing, so that there is no gap. One
// attempt is enough. A new session may know that the receiver has it after all.
func (l *link) give(ctx context.Context, b *wire.Batch, f *fate) {
	if l.session == nil {
		why := f.dropped
		f.dropped = ""
		settled, err := l.connect(ctx, f)
		if settled {
			l.settle(b, f)
			return
		}
		if f.dropped = why; err != nil {
			return
		}
	}
	l.buf = wire.AppendJSON(l.buf[:0], &wire.Message{Form: wire.FormBatch, Batch: wire.Batch{Seq: l.seq}})
	if answer := l.exchange(ctx, int64(len(l.buf))); answer == nil || answer.Retryable {
		l.hangUp() // a refused number would have to come again, before any other
	}
}

func reasonAway(ctx context.Context) string {
	if ctx.Err() != nil {
		return "shutdown"
	}
	return "not_reached"
}

// exchange sends l.buf, whose window may be 0 for now, and returns its ack or
// nack, nil where the session has ended.
func (l *link) exchange(ctx context.Context, size int64) *wire.Reply {
	s := l.session
	s.sentAt = time.Time{}
	silence := unknownSilence
	if s.welcome.HeartbeatS > 0 {
		silence = time.Duration(3 * s.welcome.HeartbeatS * float64(time.Second))
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for written := false; ; {
		if !written && s.window >= size {
			written, s.sentAt = true, time.Now()
			_ = s.ws.WriteMessage(websocket.TextMessage, l.buf) // the reader knows why it fails
		}
		select {
		case reply, ok := <-s.replies:
			switch {
			case !ok:
				return nil
			case reply.Ack >= l.seq || reply.Nack == l.seq && written:
				l.pause = 0
				return reply
			case reply.Flow != nil && reply.Flow.WindowBytes != nil:
				s.window = *reply.Flow.WindowBytes
			}
			timer.Reset(silence)
		case <-timer.C:
			s.silent = true
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// idle waits, and keeps the session up meanwhile.
func (l *link) idle(ctx context.Context, d time.Duration) (f fate) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		var replies chan *wire.Reply
		if l.session == nil && l.ever && l.gone == nil {
			_, _ = l.connect(ctx, &f) // deliver tells of its error
		}
		if l.session != nil {
			replies = l.session.replies
		}
		select {
		case reply, ok := <-replies:
			switch {
			case !ok:
				l.hangUp()
			case reply.Flow != nil && reply.Flow.WindowBytes != nil:
				l.session.window = *reply.Flow.WindowBytes
			}
		case <-timer.C:
			return f
		case <-ctx.Done():
			return f
		}
	}
}

// connect opens a session, for the time of --drain at most, and restates the
// open connections. It tells whether the receiver has answered the number at hand
// before.
func (l *link) connect(ctx context.Context, f *fate) (settled bool, err error) {
	if l.gone != nil {
		return false, l.gone
	}
	for until := time.Now().Add(l.o.drain); ; {
		sleep(ctx, l.pause)
		l.pause = min(max(minPause, 2*l.pause), maxPause)
		s, err := l.dial(ctx)
		if err == nil {
			l.session = s
			break
		}
		if ctx.Err() != nil || time.Now().Add(l.pause).After(until) {
			l.gone = err
			return false, err
		}
	}
	if l.ever {
		f.reconnects++
	}
	l.ever = true
	for _, declaration := range l.open {
		if l.session.ws.WriteMessage(websocket.TextMessage, declaration) != nil {
			break // exchange finds out
		}
	}
	w := &l.session.welcome
	if settled = w.ResumeAfter >= l.seq; settled && slices.Contains(w.Refused, l.seq) {
		f.dropped = "refused"
	}
	return settled, nil
}

func (l *link) hangUp() {
	if l.session != nil {
		l.session.end()
	}
	l.session = nil
}
