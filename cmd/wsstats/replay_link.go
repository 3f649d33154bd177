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
	maxPause       = 5 * time.Second  // between two attempts to connect
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

	session *session // nil: none
	ever    bool     // there was one
	gone    error    // why the receiver is not tried any more
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
		if l.session == nil {
			taken, err := l.connect(ctx, &f)
			if err != nil {
				f.dropped, f.said = reasonAway(ctx), err.Error()
				return f, nil
			}
			if taken {
				l.note(b)
				return f, nil
			}
			if f.dropped != "" {
				return f, nil
			}
		}
		l.buf = wire.AppendJSON(l.buf[:0], &wire.Message{Form: wire.FormBatch, Batch: *b})
		if s := l.session; int64(len(l.buf)) > s.welcome.MaxMessageBytes || len(b.Events) > s.welcome.MaxEvents {
			if sent { // the number stands for these events: nobody gets it
				l.give(ctx, &f)
			} else {
				l.seq--
			}
			f.dropped = "oversize"
			return f, errTooLarge
		}
		answer := l.exchange(ctx, int64(len(l.buf)), &sent)
		switch {
		case ctx.Err() != nil:
			f.dropped = "shutdown"
			return f, nil
		case answer == nil:
			if sent && poisonous(l.session.code) {
				broken++
			}
			l.hangUp()
			if broken == maxPoison {
				f.dropped = "poison"
				l.give(ctx, &f)
				return f, nil
			}
		case answer.Ack > 0:
			if answer.Rejected != nil {
				f.rejected, f.said = answer.Rejected.Count, answer.Rejected.First
			}
			l.note(b)
			return f, nil
		case answer.Retryable:
			broken = 0
			f.nacks++
			sleep(ctx, max(100*time.Millisecond, time.Duration(answer.RetryAfterMs)*time.Millisecond))
		default:
			f.dropped, f.said = "refused", answer.Message
			return f, nil
		}
	}
}

// give has the number stand for nothing, so that there is no gap. One attempt is enough.
func (l *link) give(ctx context.Context, f *fate) {
	if l.session == nil {
		if _, err := l.connect(ctx, f); err != nil {
			return
		}
	}
	l.buf = wire.AppendJSON(l.buf[:0], &wire.Message{Form: wire.FormBatch, Batch: wire.Batch{Seq: l.seq}})
	var sent bool
	if l.exchange(ctx, int64(len(l.buf)), &sent) == nil {
		l.hangUp()
	}
}

func reasonAway(ctx context.Context) string {
	if ctx.Err() != nil {
		return "shutdown"
	}
	return "not_reached"
}

// poisonous tells whether a close speaks against the message.
func poisonous(code int) bool {
	return slices.Contains([]int{1002, 1003, 1007, 1008, 1009, 1011}, code)
}

// exchange sends l.buf, whose window may be 0 for now, and returns its ack or
// nack, nil where the session has ended.
func (l *link) exchange(ctx context.Context, size int64, sent *bool) *wire.Reply {
	s := l.session
	silence := unknownSilence
	if s.welcome.HeartbeatS > 0 {
		silence = time.Duration(3 * s.welcome.HeartbeatS * float64(time.Second))
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for written := false; ; {
		if !written && s.window >= size {
			written, *sent = true, true
			if s.ws.WriteMessage(websocket.TextMessage, l.buf) != nil {
				return nil
			}
		}
		select {
		case reply, ok := <-s.replies:
			switch {
			case !ok:
				return nil
			case reply.Ack >= l.seq || reply.Nack == l.seq && written:
				return reply
			case reply.Flow != nil && reply.Flow.WindowBytes != nil:
				s.window = *reply.Flow.WindowBytes
			}
			timer.Reset(silence)
		case <-timer.C:
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
// open connections. It tells whether the number at hand was taken before.
func (l *link) connect(ctx context.Context, f *fate) (taken bool, err error) {
	if l.gone != nil {
		return false, l.gone
	}
	until := time.Now().Add(l.o.drain)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, maxPause) {
		s, err := l.dial(ctx)
		if err == nil {
			l.session = s
			break
		}
		if ctx.Err() != nil || time.Now().Add(pause).After(until) {
			l.gone = err
			return false, err
		}
		sleep(ctx, pause)
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
	if w.ResumeAfter >= l.seq && slices.Contains(w.Refused, l.seq) {
		f.dropped = "refused"
		return false, nil
	}
	return w.ResumeAfter >= l.seq, nil
}

func (l *link) hangUp() {
	if l.session != nil {
		l.session.end()
	}
	l.session = nil
}
