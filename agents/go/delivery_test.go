package wsstats

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestHelloWelcomeAck(t *testing.T) { eachEncoding(t, testHelloWelcomeAck) }

func testHelloWelcomeAck(t *testing.T, e encoding) {
	t.Setenv(envService, "chat")
	r := newReceiver(t, e, nil)
	a := r.agent(WithToken("secret"), WithResource(map[string]string{"room": "lobby"}), batchOf(2))
	c := newConn("a81b")
	recordMessages(a, c, 1, 2)

	p := r.accept()
	req := <-r.requests
	assert.Equal(t, "/v1/wsstats", req.URL.Path)
	assert.Equal(t, "Bearer secret", req.Header.Get("Authorization"))
	assert.Len(t, p.hello.Instance, 32)
	assert.Equal(t, agentName, p.hello.AgentName)
	assert.Equal(t, Version, p.hello.AgentVersion)
	assert.Equal(t, []wire.KeyValue{
		{Key: "room", Value: wire.StringValue("lobby")},
		{Key: "service.name", Value: wire.StringValue("chat")},
	}, p.hello.Resource)

	// Heartbeats may come before the welcome, and no number is sent before it.
	zero := int64(0)
	p.reply(wire.Reply{Flow: &wire.Flow{WindowBytes: &zero}})
	p.welcome(nil)

	b := p.batch(1)
	assert.Equal(t, []int64{1, 2}, sizes(b))
	requireBalanced(t, a)
	assert.EqualValues(t, 2, a.Stats().Held)
	p.ack(1)
	flushed(t, a)
	assert.Equal(t, Stats{Sessions: 1, Observed: 2, Acknowledged: 2, Dropped: map[string]uint64{}}, a.Stats())
}

func TestResendAfterReconnect(t *testing.T) { eachEncoding(t, testResendAfterReconnect) }

func testResendAfterReconnect(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	recordMessages(a, nil, 1, 6)
	p := r.welcomed(0)
	first := []*wire.Batch{p.batch(1), p.batch(2), p.batch(3)}
	p.ack(1)
	require.Eventually(t, func() bool { return a.Stats().Acknowledged == 2 }, patience, time.Millisecond)
	p.cut()

	q := r.welcomed(1)
	assert.Equal(t, p.hello.Instance, q.hello.Instance)
	for seq := uint64(2); seq <= 3; seq++ {
		b := q.batch(seq)
		assert.Equal(t, sizes(first[seq-1]), sizes(b))
		assert.Equal(t, first[seq-1].Events, b.Events)
	}
	recordMessages(a, nil, 7, 8)
	assert.Equal(t, []int64{7, 8}, sizes(q.batch(4)))
	q.ack(4)
	flushed(t, a)
	assert.EqualValues(t, 8, a.Stats().Acknowledged)
}

func TestResumeAfterFreesWhatWasTaken(t *testing.T) {
	eachEncoding(t, testResumeAfterFreesWhatWasTaken)
}

func testResumeAfterFreesWhatWasTaken(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	recordMessages(a, nil, 1, 6)
	p := r.welcomed(0)
	p.batch(1)
	p.batch(2)
	p.batch(3)
	p.cut() // its acks are lost
	q := r.welcomed(2)
	assert.Equal(t, []int64{5, 6}, sizes(q.batch(3)))
	assert.EqualValues(t, 4, a.Stats().Acknowledged)
	q.ack(3)
	flushed(t, a)
}

// Red when: what was refused while nobody listened counts as acknowledged.
func TestWelcomeTellsOfRefusals(t *testing.T) { eachEncoding(t, testWelcomeTellsOfRefusals) }

func testWelcomeTellsOfRefusals(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	recordMessages(a, nil, 1, 8)
	p := r.welcomed(0)
	for seq := range uint64(4) {
		p.batch(seq + 1)
	}
	p.cut() // the ack of 1, the nack of 2 and the ack of 3 are lost
	q := r.accept()
	q.welcome(func(w *wire.Welcome) { w.ResumeAfter, w.Refused = 3, []uint64{2, 9} })
	assert.Equal(t, []int64{7, 8}, sizes(q.batch(4)))
	q.ack(4)
	flushed(t, a)
	assert.EqualValues(t, 6, a.Stats().Acknowledged)
	assert.EqualValues(t, 2, a.Stats().Dropped["refused"])
}

func TestResumeAfterOfAnotherDrawsANewInstance(t *testing.T) {
	eachEncoding(t, testResumeAfterOfAnotherDrawsANewInstance)
}

func testResumeAfterOfAnotherDrawsANewInstance(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	recordMessages(a, nil, 1, 2)
	p := r.welcomed(7)
	assert.Equal(t, websocket.ClosePolicyViolation, p.closeCode())
	q := r.welcomed(0)
	assert.NotEqual(t, p.hello.Instance, q.hello.Instance)
	assert.Equal(t, []int64{1, 2}, sizes(q.batch(1)))
	q.ack(1)
	flushed(t, a)
}

func TestRetryableNackGoesBack(t *testing.T) { eachEncoding(t, testRetryableNackGoesBack) }

func testRetryableNackGoesBack(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 3)
	p := r.welcomed(0)
	for seq := uint64(1); seq <= 3; seq++ {
		p.batch(seq)
	}
	at := time.Now()
	p.reply(wire.Reply{Nack: 2, Retryable: true, RetryAfterMs: 60, Code: wire.CodeUnavailable})
	assert.Equal(t, []int64{2}, sizes(p.batch(2)))
	assert.GreaterOrEqual(t, time.Since(at), 60*time.Millisecond)
	assert.Equal(t, []int64{3}, sizes(p.batch(3)))
	assert.EqualValues(t, 1, a.Stats().Acknowledged)
	p.ack(3)
	flushed(t, a)
}

func TestRefusedIsDroppedAndReported(t *testing.T) { eachEncoding(t, testRefusedIsDroppedAndReported) }

func testRefusedIsDroppedAndReported(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	recordMessages(a, nil, 1, 4)
	p := r.welcomed(0)
	p.batch(1)
	p.batch(2)
	p.reply(wire.Reply{Nack: 2, Code: wire.CodeRefused, Message: "no"})
	flushed(t, a)
	assert.Equal(t, Stats{Sessions: 1, Observed: 4, Acknowledged: 2, Dropped: map[string]uint64{"refused": 2}}, a.Stats())
	recordMessages(a, nil, 5, 6)
	b := p.batch(3)
	assert.Equal(t, []int64{5, 6}, sizes(b))
	assert.Equal(t, map[string]uint64{"refused": 2}, dropped(b))
	p.ack(3)
	flushed(t, a)
}

func TestWhatARefusedNumberReportedIsReportedAgain(t *testing.T) {
	eachEncoding(t, testWhatARefusedNumberReportedIsReportedAgain)
}

func testWhatARefusedNumberReportedIsReportedAgain(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 1)
	p := r.welcomed(0)
	p.batch(1)
	p.reply(wire.Reply{Nack: 1, Code: wire.CodeRefused})
	flushed(t, a)
	recordMessages(a, nil, 2, 2)
	assert.Equal(t, map[string]uint64{"refused": 1}, dropped(p.batch(2)))
	p.reply(wire.Reply{Nack: 2, Code: wire.CodeRefused})
	flushed(t, a)
	recordMessages(a, nil, 3, 3)
	assert.Equal(t, map[string]uint64{"refused": 2}, dropped(p.batch(3)))
	p.ack(3)
	flushed(t, a)
}

func TestRefusedReportOfDropsIsNotRepeatedForEver(t *testing.T) {
	eachEncoding(t, testRefusedReportOfDropsIsNotRepeatedForEver)
}

func testRefusedReportOfDropsIsNotRepeatedForEver(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(WithBatch(2, 1<<20, 10*time.Millisecond))
	recordMessages(a, nil, 1, 2)
	p := r.welcomed(0)
	p.batch(1)
	p.reply(wire.Reply{Nack: 1, Code: wire.CodeRefused})
	b := p.batch(2) // of drops alone, for nothing else comes
	assert.Empty(t, b.Events)
	assert.Equal(t, map[string]uint64{"refused": 2}, dropped(b))
	p.reply(wire.Reply{Nack: 2, Code: wire.CodeRefused})
	p.nothing()
}

func TestPartialSuccessIsCounted(t *testing.T) { eachEncoding(t, testPartialSuccessIsCounted) }

func testPartialSuccessIsCounted(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(4))
	recordMessages(a, nil, 1, 4)
	p := r.welcomed(0)
	p.batch(1)
	p.reply(wire.Reply{Ack: 1, Rejected: &wire.Rejected{Count: 3, First: "events[0]: no"}})
	flushed(t, a)
	assert.Equal(t, Stats{Sessions: 1, Observed: 4, Acknowledged: 4, Rejected: 3, Dropped: map[string]uint64{}}, a.Stats())
}

func TestGoAway(t *testing.T) { eachEncoding(t, testGoAway) }

func testGoAway(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 2)
	p := r.welcomed(0)
	p.batch(1)
	p.batch(2)
	at := time.Now()
	p.reply(wire.Reply{GoAway: &wire.GoAway{Reason: "shutdown", ReconnectAfterMs: 50}})
	p.ack(1) // acks of what is in hand still come
	require.Eventually(t, func() bool { return a.Stats().Acknowledged == 1 }, patience, time.Millisecond)
	recordMessages(a, nil, 3, 3)
	p.nothing()
	p.close(websocket.CloseGoingAway, "")
	q := r.welcomed(0)
	assert.GreaterOrEqual(t, time.Since(at), 50*time.Millisecond)
	assert.Equal(t, []int64{2}, sizes(q.batch(2)))
	assert.Equal(t, []int64{3}, sizes(q.batch(3)))
	q.ack(3)
	flushed(t, a)
}

func TestGoAwayWithoutAClose(t *testing.T) { eachEncoding(t, testGoAwayWithoutAClose) }

func testGoAwayWithoutAClose(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1), withTiming(func(tm *timing) { tm.goaway = 30 * time.Millisecond }))
	p := r.welcomed(0)
	p.reply(wire.Reply{GoAway: &wire.GoAway{}})
	recordMessages(a, nil, 1, 1)
	q := r.welcomed(0)
	assert.Equal(t, []int64{1}, sizes(q.batch(1)))
	q.ack(1)
	flushed(t, a)
}

func TestTakenOverDrawsANewInstance(t *testing.T) { eachEncoding(t, testTakenOverDrawsANewInstance) }

func testTakenOverDrawsANewInstance(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	recordMessages(a, nil, 1, 6)
	p := r.welcomed(0)
	for seq := uint64(1); seq <= 3; seq++ {
		p.batch(seq)
	}
	p.ack(1)
	p.close(websocket.ClosePolicyViolation, "taken over")
	q := r.welcomed(0)
	assert.NotEqual(t, p.hello.Instance, q.hello.Instance)
	assert.Equal(t, []int64{3, 4}, sizes(q.batch(1)))
	assert.Equal(t, []int64{5, 6}, sizes(q.batch(2)))
	q.ack(2)
	flushed(t, a)
	assert.EqualValues(t, 6, a.Stats().Acknowledged)
}

func TestPoison(t *testing.T) { eachEncoding(t, testPoison) }

func testPoison(t *testing.T, e encoding) {
	ends := map[string]func(*peer){"no close frame": func(p *peer) { _ = p.ws.UnderlyingConn().Close() }}
	for _, code := range []int{1002, 1003, 1007, 1008, 1009, 1011} {
		ends[strconv.Itoa(code)] = func(p *peer) { p.close(code, "malformed") }
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, e, nil)
			a := r.agent(batchOf(2))
			recordMessages(a, nil, 1, 4)
			for i := range 3 {
				if i == 2 { // neither of these counts, or begins the count anew
					p := r.welcomed(0)
					p.batch(1)
					p.close(websocket.CloseGoingAway, "")
				}
				p := r.welcomed(0)
				assert.Equal(t, []int64{1, 2}, sizes(p.batch(1)))
				end(p)
			}
			p := r.welcomed(0)
			assert.Empty(t, p.batch(1).Events)
			assert.Equal(t, []int64{3, 4}, sizes(p.batch(2)))
			p.ack(2)
			flushed(t, a)
			assert.Equal(t, Stats{Sessions: 5, Observed: 4, Acknowledged: 2, Dropped: map[string]uint64{"poison": 2}}, a.Stats())
		})
	}
}

func TestAnAnswerBeginsThePoisonCountAnew(t *testing.T) {
	eachEncoding(t, testAnAnswerBeginsThePoisonCountAnew)
}

func testAnAnswerBeginsThePoisonCountAnew(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 1)
	for i := range 5 {
		p := r.welcomed(0)
		assert.Equal(t, []int64{1}, sizes(p.batch(1)))
		if i%2 == 1 {
			p.reply(wire.Reply{Nack: 1, Retryable: true})
			p.batch(1)
		}
		p.close(websocket.ClosePolicyViolation, "")
	}
	p := r.welcomed(0)
	assert.Equal(t, []int64{1}, sizes(p.batch(1)))
	p.ack(1)
	flushed(t, a)
}

func TestEndsThatAreNotTheMessagesDoing(t *testing.T) {
	eachEncoding(t, testEndsThatAreNotTheMessagesDoing)
}

func testEndsThatAreNotTheMessagesDoing(t *testing.T, e encoding) {
	tests := map[string]func(*peer){
		"an application's code": func(p *peer) { p.close(4000, "") },
		"long after the message": func(p *peer) {
			time.Sleep(5 * time.Millisecond)
			_ = p.ws.UnderlyingConn().Close()
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, e, nil)
			a := r.agent(batchOf(1), withTiming(func(tm *timing) { tm.poison = time.Millisecond }))
			recordMessages(a, nil, 1, 1)
			for i := range 2 * poisonSessions {
				p := r.welcomed(0)
				require.Equal(t, []int64{1}, sizes(p.batch(1)))
				if i%poisonSessions == 1 { // breaks the row of two that are
					end(p)
				} else {
					p.close(websocket.CloseProtocolError, "")
				}
			}
			p := r.welcomed(0)
			assert.Equal(t, []int64{1}, sizes(p.batch(1)))
			p.ack(1)
			flushed(t, a)
		})
	}
}

func TestSilenceReconnects(t *testing.T) { eachEncoding(t, testSilenceReconnects) }

func testSilenceReconnects(t *testing.T, e encoding) {
	tests := map[string]func(*peer){
		"no welcome":  func(*peer) {},
		"no ack":      func(p *peer) { p.welcome(func(w *wire.Welcome) { w.HeartbeatS = 0.01 }) },
		"window of 0": func(p *peer) { p.welcome(func(w *wire.Welcome) { w.HeartbeatS, w.WindowBytes = 0.01, 0 }) },
	}
	for name, say := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, e, nil)
			a := r.agent(batchOf(1), withTiming(func(tm *timing) { tm.silence = 30 * time.Millisecond }))
			recordMessages(a, nil, 1, 1)
			say(r.accept())
			q := r.welcomed(0)
			q.batch(1)
			q.ack(1)
			flushed(t, a)
		})
	}
}

func TestHeartbeatsKeepASessionThatOwesAnAnswer(t *testing.T) {
	eachEncoding(t, testHeartbeatsKeepASessionThatOwesAnAnswer)
}

func testHeartbeatsKeepASessionThatOwesAnAnswer(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 1)
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.HeartbeatS = 0.1 })
	p.batch(1)
	for range 10 { // longer than three heartbeats
		time.Sleep(50 * time.Millisecond) // the receiver's own pace
		p.reply(wire.Reply{Flow: &wire.Flow{}})
	}
	p.ack(1)
	flushed(t, a)
	assert.Empty(t, r.accepted)
}

func TestAnIdleSessionMayBeSilent(t *testing.T) { eachEncoding(t, testAnIdleSessionMayBeSilent) }

func testAnIdleSessionMayBeSilent(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.HeartbeatS = 0.01 })
	time.Sleep(100 * time.Millisecond) // three heartbeats and more
	recordMessages(a, nil, 1, 1)
	p.batch(1)
	p.ack(1)
	flushed(t, a)
}

func TestFlushSendsAtOnceAndWaitsForItsOwnOnly(t *testing.T) {
	eachEncoding(t, testFlushSendsAtOnceAndWaitsForItsOwnOnly)
}

func testFlushSendsAtOnceAndWaitsForItsOwnOnly(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(100))
	p := r.welcomed(0)
	flushed(t, a) // nothing is held
	recordMessages(a, nil, 1, 2)
	flush := inBackground(t, a.Flush)
	assert.Equal(t, []int64{1, 2}, sizes(p.batch(1)))
	recordMessages(a, nil, 3, 3)
	p.ack(1)
	require.NoError(t, <-flush)
	assert.EqualValues(t, 1, a.Stats().Held)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.Flush(ctx), context.DeadlineExceeded)
	p.batch(2)
	p.ack(2)
	flushed(t, a)
}

// An event waits as long as WithBatch says, however many links break meanwhile.
func TestDelaySurvivesReconnects(t *testing.T) {
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithBatch(100, 1<<20, time.Minute))
	recordMessages(a, newConn("a81b"), 1, 1)
	l, start := newLink(a), time.Now()
	assert.False(t, newSession(l, nil).due(start))
	assert.False(t, newSession(l, nil).due(start.Add(59*time.Second)))
	assert.True(t, newSession(l, nil).due(start.Add(time.Minute)))
}
