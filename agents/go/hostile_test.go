package wsstats

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// A receiver that breaks the protocol is left, and a good one afterwards finds
// that nothing was lost.
func TestHostileReceiver(t *testing.T) { eachEncoding(t, testHostileReceiver) }

func testHostileReceiver(t *testing.T, e encoding) {
	tests := map[string]struct {
		say  func(*peer)
		code int // that the agent closes with
	}{
		"garbage":        {func(p *peer) { p.text("\x00{{{") }, websocket.ClosePolicyViolation},
		"wrong types":    {func(p *peer) { p.text(`{"ack":"one"}`) }, websocket.ClosePolicyViolation},
		"negative ack":   {func(p *peer) { p.text(`{"ack":-1}`) }, websocket.ClosePolicyViolation},
		"ack not sent":   {func(p *peer) { p.ack(99) }, websocket.ClosePolicyViolation},
		"nack not sent":  {func(p *peer) { p.reply(wire.Reply{Nack: 99}) }, websocket.ClosePolicyViolation},
		"second welcome": {func(p *peer) { p.welcome(nil) }, websocket.ClosePolicyViolation},
		"huge message":   {func(p *peer) { p.text(strings.Repeat("x", maxReplyBytes+1)) }, websocket.CloseMessageTooBig},
		"endless message": {func(p *peer) {
			w, err := p.ws.NextWriter(websocket.TextMessage)
			require.NoError(p.t, err)
			_, err = w.Write(make([]byte, 4*maxReplyBytes)) // in fragments, none of them the last
			require.NoError(p.t, err)
		}, websocket.CloseMessageTooBig},
		"binary message":      {func(p *peer) { _ = p.ws.WriteMessage(websocket.BinaryMessage, []byte("{}")) }, websocket.CloseUnsupportedData},
		"a frame out of line": {func(p *peer) { _, _ = p.ws.UnderlyingConn().Write([]byte{0x83, 0}) }, websocket.CloseProtocolError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, e, nil)
			a := r.agent(batchOf(1))
			recordMessages(a, nil, 1, 1)
			for range poisonSessions + 1 { // none of this is the message's fault
				p := r.welcomed(0)
				p.batch(1)
				tt.say(p)
				assert.Equal(t, tt.code, p.closeCode())
				p.cut()
			}
			p := r.welcomed(0)
			assert.Equal(t, []int64{1}, sizes(p.batch(1)))
			p.ack(1)
			flushed(t, a)
		})
	}
}

func TestHarmlessOddities(t *testing.T) { eachEncoding(t, testHarmlessOddities) }

func testHarmlessOddities(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	recordMessages(a, nil, 1, 1)
	p := r.welcomed(0)
	p.batch(1)
	p.text(`{}`)
	p.text(`{"from_version_2":{}}`)
	p.reply(wire.Reply{Error: &wire.ErrorDetail{Code: wire.CodeRejected, Message: "no"}})
	p.text(`{"flow":{"window_bytes":-5}}`)
	p.text(`{"nack":1,"retryable":true,"retry_after_ms":-1}`)
	p.text(`{"nack":1,"retryable":true}`) // while it is not sent again yet
	p.text(`{"flow":{"window_bytes":100000}}`)
	p.batch(1)
	p.ack(1)
	p.ack(1)
	p.reply(wire.Reply{Nack: 1})
	flushed(t, a)
	assert.EqualValues(t, 1, a.Stats().Acknowledged)
}

func TestNacksForEver(t *testing.T) { eachEncoding(t, testNacksForEver) }

func testNacksForEver(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1), WithMaxQueueBytes(minQueueBytes))
	recordMessages(a, nil, 1, 1)
	p := r.welcomed(0)
	for nacks := 0; nacks < 50; {
		if p.read().Batch.Seq == 1 { // a receiver ignores the numbers after it
			p.reply(wire.Reply{Nack: 1, Retryable: true})
			recordMessages(a, nil, 2, 50)
			nacks++
		}
	}
	requireBalanced(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.Shutdown(ctx), context.DeadlineExceeded)
}

func TestAReceiverThatDoesNotRead(t *testing.T) { eachEncoding(t, testAReceiverThatDoesNotRead) }

func testAReceiverThatDoesNotRead(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(WithBatch(512, 1<<20, time.Hour), WithMaxQueueBytes(64<<20))
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.WindowBytes = 1 << 40 })
	recordMessages(a, nil, 1, 100_000) // more than the sockets' buffers hold
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	at := time.Now()
	require.ErrorIs(t, a.Shutdown(ctx), context.DeadlineExceeded)
	assert.Less(t, time.Since(at), 5*time.Second)
}

func TestHostileHandshakes(t *testing.T) {
	const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	tests := map[string]func(net.Conn){
		"not HTTP": func(c net.Conn) { _, _ = io.WriteString(c, "hello\r\n\r\n") },
		"endless headers": func(c net.Conn) {
			_, _ = io.WriteString(c, switching)
			for range 64 << 10 {
				if _, err := io.WriteString(c, "X-Filler: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
			t.Error("64 MB of headers were read")
		},
		"wrong accept key": func(c net.Conn) { _, _ = io.WriteString(c, switching+"Sec-WebSocket-Accept: x\r\n\r\n") },
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			again := make(chan struct{}, 1000)
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					again <- struct{}{}
					_, _ = bufio.NewReader(c).ReadString('\n')
					answer(c)
					_ = c.Close()
				}
			}()
			a := newAgent(t, WithEndpoint("ws://"+l.Addr().String()))
			for range 3 { // it comes back
				<-again
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, a.Shutdown(ctx))
			_ = l.Close()
			<-served
		})
	}
}
