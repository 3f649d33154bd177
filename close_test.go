package wsstatsreceiver

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Acknowledgements that wait to be merged go out before the receiver's own
// close, whoever closes.
// Red when: the close overtakes them.
func TestWhatIsTakenIsAcknowledgedBeforeAClose(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(r *testReceiver, a *testAgent)
		code int
		by   string // who closes: the worker does it after the second message
	}{
		"invalid UTF-8":     {func(_ *testReceiver, a *testAgent) { a.send("{\"\xff\":1}") }, 1007, "worker"},
		"unreadable":        {func(_ *testReceiver, a *testAgent) { a.send(`{"seq`) }, 1008, "worker"},
		"second hello":      {func(_ *testReceiver, a *testAgent) { a.send(`{"hello":{"instance":"i1"}}`) }, 1008, "worker"},
		"too big":           {func(_ *testReceiver, a *testAgent) { a.send(`{"x":"` + strings.Repeat("x", 2048) + `"}`) }, 1009, "reader"},
		"binary message":    {func(_ *testReceiver, a *testAgent) { _ = a.conn.WriteMessage(websocket.BinaryMessage, []byte("x")) }, 1003, "reader"},
		"too many pings":    {func(_ *testReceiver, a *testAgent) { floodOfPings(a) }, 1008, "reader"},
		"taken over":        {func(r *testReceiver, _ *testAgent) { r.dial(nil).send(`{"hello":{"instance":"i1"}}`) }, 1008, "another session"},
		"a close of itself": {func(r *testReceiver, _ *testAgent) { r.sessions.all()[0].closeWith(1001, "idle") }, 1001, "keepalive"},
	} {
		t.Run(name, func(t *testing.T) {
			gate := newGatedConsumer()
			r := startReceiver(t, testOptions{traces: gate, config: func(cfg *Config) {
				cfg.Limits.MessageBytes, cfg.Delivery.WindowBytes = 1024, 1024
			}})
			r.cfg.Delivery.AckDelay = time.Hour
			a, _ := r.greet("i1")
			a.send(batch(1, "c", 1))
			<-gate.entered
			a.send(batch(2, "c", 2))
			require.Eventually(t, func() bool { return r.received(1, 3) }, waitFor, pollEvery)
			if tt.by == "worker" { // it comes to this message before it has sent anything
				tt.do(r, a)
				require.Eventually(t, func() bool { return r.received(1, 4) }, waitFor, pollEvery)
			}
			gate.release <- nil
			<-gate.entered // the first one is taken, its acknowledgement waits
			if tt.by == "worker" {
				gate.release <- nil
				assert.Equal(t, []wire.Reply{{Ack: 2}}, a.expectClose(tt.code))
				return
			}
			tt.do(r, a)
			assert.Equal(t, []wire.Reply{{Ack: 1}}, a.expectClose(tt.code))
			gate.release <- nil
		})
	}
}

func floodOfPings(a *testAgent) {
	for range 1000 {
		_ = a.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(waitFor))
	}
}

// An agent that does not read must not hold up who closes its session: that may
// be the hello of its successor.
// Red when: closeWith waits for the writer as long as that takes.
func TestACloseDoesNotWaitForAnAgentThatDoesNotRead(t *testing.T) {
	r := startReceiver(t, testOptions{})
	r.greet("i1")
	s := r.sessions.all()[0]
	s.writer.mu.Lock() // as the worker does while its write blocks
	s.mu.Lock()
	s.pending = 1
	s.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.closeWith(websocket.ClosePolicyViolation, "taken over")
	}()
	select {
	case <-closed:
	case <-time.After(5 * linger):
		t.Error("it waits")
	}
	s.writer.mu.Unlock()
	<-closed
}
