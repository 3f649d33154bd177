package wsstatsgorilla

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/agents/go/internal/receivertest"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// dial connects to a server of the other library.
func dial(t *testing.T, r *receivertest.Receiver, serving func(context.Context, *websocket.Conn)) *Conn {
	t.Helper()
	d := Dialer{Agent: r.Agent}
	ws, _, err := d.Dial(coderServer(t, serving), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

func soon() time.Time { return time.Now().Add(receivertest.Patience) }

// A ping lasts until its pong; one that has none is told of at the end.
func TestPings(t *testing.T) {
	r := receivertest.Start(t)
	ws := dial(t, r, coderEcho)
	answered := make(chan string, 3)
	ws.SetPongHandler(func(payload string) error {
		answered <- payload
		return nil
	})
	require.NoError(t, ws.WriteControl(gorilla.PingMessage, []byte("a"), soon()))
	require.NoError(t, ws.WriteMessage(gorilla.PingMessage, []byte("b")))
	require.NoError(t, ws.WriteControl(gorilla.PongMessage, []byte("unasked"), soon()))
	require.NoError(t, ws.WriteMessage(text, []byte("hi")))
	_, _, err := ws.ReadMessage()
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, []string{<-answered, <-answered})
	pings := r.Events(wire.KindPing)
	require.Len(t, pings, 2)
	for _, p := range pings {
		assert.Positive(t, p.Duration)
		assert.Equal(t, "sent", p.Str(wire.AttrDirection))
	}
	assert.Equal(t, []string{" 1 7", " 1 1", " 2 1"}, r.Messages(wire.KindPong), "sent, and received twice")

	require.Error(t, ws.WriteControl(gorilla.PingMessage, make([]byte, 126), soon()), "it is not sent")
	for range maxPings + 1 {
		require.NoError(t, ws.WriteControl(gorilla.PingMessage, []byte("c"), soon()))
	}
	require.NoError(t, ws.Close())
	require.Error(t, ws.WriteControl(gorilla.PingMessage, nil, soon()))
	pings = r.Events(wire.KindPing)
	require.Len(t, pings, 2+maxPings+1)
	assert.False(t, pings[len(pings)-1].HasDuration)
	r.RequireClose(1006, "", "none", false)
}

// The handlers are the application's, and the library's again where it takes them back.
func TestHandlers(t *testing.T) {
	r := receivertest.Start(t)
	closed := make(chan int, 1)
	ws := dial(t, r, func(ctx context.Context, ws *websocket.Conn) {
		assert.NoError(t, ws.Ping(ws.CloseRead(ctx)))
		assert.NoError(t, ws.Ping(ctx))
		_ = ws.Close(websocket.StatusNormalClosure, "")
	})
	answer := ws.PingHandler()
	ws.SetPingHandler(func(payload string) error {
		ws.SetPingHandler(nil)
		return answer(payload)
	})
	ws.SetPongHandler(nil)
	require.NoError(t, ws.PongHandler()(""))
	shut := ws.CloseHandler()
	ws.SetCloseHandler(nil)
	ws.SetCloseHandler(func(code int, text string) error {
		closed <- code
		return shut(code, text)
	})
	_, _, err := ws.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, 1000))
	assert.Equal(t, 1000, <-closed)
	r.RequireClose(1000, "", "remote", true)
	assert.Len(t, r.Events(wire.KindPing), 2)
	assert.Len(t, r.Events(wire.KindPong), 2)
}

// However reading ends, the connection has one close, that says how.
func TestReadErrors(t *testing.T) {
	frame := func(b ...byte) func(net.Conn) {
		return func(c net.Conn) { _, _ = c.Write(b) }
	}
	for name, tt := range map[string]struct {
		peer      func(net.Conn) // what it does after the handshake
		code      int64
		initiator string
		error     string
		cause     string // error.type of the close
	}{
		"gone":           {func(c net.Conn) { _ = c.Close() }, 1006, "none", "", ""},
		"reset":          {func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() }, 1006, "none", "", "reset"},
		"silent":         {func(net.Conn) {}, 1006, "none", "", "timeout"},
		"reserved bits":  {frame(0xf1, 0), 1002, "local", "protocol_error", ""},
		"masked":         {frame(0x81, 0x80, 0, 0, 0, 0), 1002, "local", "protocol_error", ""},
		"too big":        {frame(append([]byte{0x81, 101}, make([]byte, 101)...)...), 1009, "local", "message_too_big", ""},
		"in the message": {func(c net.Conn) { _, _ = c.Write([]byte{0x01, 1, 'a'}); _ = c.Close() }, 1006, "none", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := receivertest.Start(t)
			hijacked := make(chan net.Conn, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				ws, err := new(gorilla.Upgrader).Upgrade(w, req, nil)
				if assert.NoError(t, err) {
					hijacked <- ws.NetConn()
				}
			}))
			defer server.Close()
			d := Dialer{Agent: r.Agent}
			ws, _, err := d.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
			require.NoError(t, err)
			peer := <-hijacked
			defer peer.Close()
			ws.SetReadLimit(100)
			if name == "silent" {
				require.NoError(t, ws.SetReadDeadline(time.Now().Add(time.Millisecond)))
			}
			tt.peer(peer)
			_, _, err = ws.ReadMessage()
			require.Error(t, err)
			_ = ws.Close()
			end := r.RequireClose(tt.code, "", tt.initiator, false)
			assert.Equal(t, tt.cause, end.Str(wire.AttrErrorType))
			if tt.error != "" {
				failed := r.Await(wire.KindError, 1)
				assert.Equal(t, tt.error, failed.Str(wire.AttrErrorType))
			} else {
				assert.Empty(t, r.Events(wire.KindError), "an abnormal close is no error twice")
			}
		})
	}
}

// A close frame that could not be written was not sent.
func TestCloseIsNotSent(t *testing.T) {
	r := receivertest.Start(t)
	ws := dial(t, r, coderEcho)
	_ = ws.NetConn().Close()
	require.Error(t, ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(1000, ""), soon()))
	_ = ws.Close()
	r.RequireClose(1006, "", "none", false)
}

// lateConn's writes return late.
type lateConn struct {
	net.Conn
	late    atomic.Bool
	written chan struct{} // gets one when a write is done
	until   chan struct{} // closed when it may return
}

func (c *lateConn) Write(p []byte) (int, error) {
	late := c.late.Load()
	n, err := c.Conn.Write(p)
	if late {
		c.written <- struct{}{}
		<-c.until
	}
	return n, err
}

// What was sent is recorded before the close that it has caused, in whichever way it was
// sent, although that is read before the write returns. Red when: the close does not wait.
func TestCloseIsLast(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(*Conn) error
		sent  wire.Kind
		want  string
	}{
		"message": {func(ws *Conn) error { return ws.WriteMessage(text, []byte("bye")) }, wire.KindSend, "text 1 3"},
		"writer": {func(ws *Conn) error {
			w, err := ws.NextWriter(text)
			return errors.Join(err, w.Close())
		}, wire.KindSend, "text 1 0"},
		"pong": {func(ws *Conn) error { return ws.WriteControl(gorilla.PongMessage, []byte("bye"), soon()) }, wire.KindPong, " 1 3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := receivertest.Start(t)
			late := &lateConn{written: make(chan struct{}, 1), until: make(chan struct{})}
			d := Dialer{Agent: r.Agent}
			d.NetDialContext = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
				late.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				return late, err
			}
			ws, _, err := d.Dial(coderServer(t, func(_ context.Context, ws *websocket.Conn) {
				<-late.written
				_ = ws.CloseNow()
			}), nil)
			require.NoError(t, err)
			late.late.Store(true)
			failed := make(chan error, 1)
			go func() { failed <- tt.write(ws) }()
			_, _, err = ws.ReadMessage()
			require.Error(t, err)
			close(late.until)
			require.NoError(t, <-failed)
			require.NoError(t, ws.Close())

			r.RequireClose(1006, "", "none", false)
			assert.Equal(t, []string{tt.want}, r.Messages(tt.sent))
		})
	}
}
