package wsstats

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// The promises of docs/protocol.md about an agent's delivery that no other
// test keeps.

// Tests shorten the times; these are the protocol's.
func TestTimesOfTheProtocol(t *testing.T) {
	assert.Equal(t, 30*time.Second, defaultTiming.silence, "where the heartbeat is not known")
	assert.Equal(t, 10*time.Second, defaultTiming.goaway, "from a goaway to the close")
	assert.Equal(t, 5*time.Second, defaultTiming.poison, "from a message to an end without a close frame")
}

// Silence is too long after three heartbeats, counted from the later of the
// last message and the moment that the agent began to wait.
func TestThreeHeartbeatsOfSilence(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)))
	s := newSession(newLink(a), nil)
	start := time.Now()
	s.heard = start
	assert.Equal(t, start.Add(defaultTiming.silence+time.Second), s.silentAt(start.Add(time.Second)), "for the welcome")
	assert.Nil(t, s.welcome(&wire.Welcome{HeartbeatS: 2, WindowBytes: 1}))
	assert.Zero(t, s.silentAt(start.Add(time.Minute)), "it waits for nothing")

	s.sent = 1
	began := start.Add(2 * time.Minute)
	assert.Equal(t, began.Add(6*time.Second), s.silentAt(began))
	assert.Equal(t, began.Add(6*time.Second), s.silentAt(began.Add(time.Second)), "it began then, not now")
	s.heard = began.Add(3 * time.Second)
	assert.Equal(t, began.Add(9*time.Second), s.silentAt(began.Add(4*time.Second)))

	s.sent, s.window = 0, 0
	assert.NotZero(t, s.silentAt(began), "for a window that is not 0")
}

// Red when: the messages without an answer are bounded in bytes alone.
func TestUnansweredNumbersAreBounded(t *testing.T) { eachEncoding(t, testUnansweredNumbersAreBounded) }

func testUnansweredNumbersAreBounded(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	p := r.welcomed(0)
	recordMessages(a, nil, 1, maxNumbers+10)
	for seq := range uint64(maxNumbers) {
		p.batch(seq + 1)
	}
	p.nothing()
}

// Both nacks give the window back: each of these messages fills it.
func TestNacksFreeTheWindow(t *testing.T) { eachEncoding(t, testNacksFreeTheWindow) }

func testNacksFreeTheWindow(t *testing.T, e encoding) {
	for _, retryable := range []bool{true, false} {
		r := newReceiver(t, e, nil)
		a := r.agent(batchOf(1))
		recordMessages(a, nil, 1, 3)
		p := r.accept()
		p.welcome(func(w *wire.Welcome) { w.WindowBytes = 1 })
		seq := uint64(1)
		for range 2 {
			p.batch(seq)
			p.reply(wire.Reply{Nack: seq, Retryable: retryable, Code: wire.CodeRefused})
			if !retryable {
				seq++
			}
		}
		p.batch(seq)
	}
}

// A fleet that is sent away does not come back all at once, and none before it was asked to.
func TestReconnectAfterAGoAwayIsSpread(t *testing.T) {
	l := newLink(newAgent(t, WithEndpoint("ws://"+closedPort(t))))
	s := newSession(l, nil)
	s.goaway = &wire.GoAway{ReconnectAfterMs: 1000}
	least, most := time.Hour, time.Duration(0)
	for range 200 {
		after := l.afterSession(s, ending{code: websocket.CloseGoingAway})
		least, most = min(least, after), max(most, after)
	}
	assert.GreaterOrEqual(t, least, time.Second)
	assert.LessOrEqual(t, most, 2*time.Second)
	assert.Greater(t, most-least, 200*time.Millisecond)
}

// Red when: a message is held to account for a session that the receiver had
// sent away, or in which it was not sent.
func TestSessionsThatTellNothingOfAMessage(t *testing.T) {
	eachEncoding(t, testSessionsThatTellNothingOfAMessage)
}

func testSessionsThatTellNothingOfAMessage(t *testing.T, e encoding) {
	tests := map[string]func(*peer){
		"sent away": func(p *peer) {
			p.welcome(nil)
			p.batch(1)
			p.reply(wire.Reply{GoAway: &wire.GoAway{}})
			p.close(websocket.CloseInternalServerErr, "")
		},
		"window of 0": func(p *peer) {
			p.welcome(func(w *wire.Welcome) { w.WindowBytes = 0 })
			p.close(websocket.CloseInternalServerErr, "")
		},
	}
	for name, session := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, e, nil)
			a := r.agent(batchOf(1))
			recordMessages(a, nil, 1, 1)
			p := r.welcomed(0)
			p.batch(1)
			p.close(websocket.CloseGoingAway, "")
			for range poisonSessions {
				session(r.accept())
			}
			p = r.welcomed(0)
			assert.Equal(t, []int64{1}, sizes(p.batch(1)))
			p.ack(1)
			flushed(t, a)
		})
	}
}
