package wsstatscoder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/agents/go/internal/receivertest"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const text = websocket.MessageText

var compressing = &websocket.AcceptOptions{
	CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1, Subprotocols: []string{"chat"},
}

// handler accepts with this package. The connection is closed when serving returns.
func handler(t *testing.T, agent *wsstats.Agent, opts *websocket.AcceptOptions, serving func(context.Context, *Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := Accept(agent, w, r, opts, wsstats.String("user.id", "u-17"))
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), receivertest.Patience)
		defer cancel()
		serving(ctx, ws)
	})
}

func serve(t *testing.T, agent *wsstats.Agent, opts *websocket.AcceptOptions, serving func(context.Context, *Conn)) string {
	t.Helper()
	s := httptest.NewServer(handler(t, agent, opts, serving))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/chat?token=secret"
}

func echo(ctx context.Context, ws *Conn) {
	for {
		typ, data, err := ws.Read(ctx)
		if err != nil || ws.Write(ctx, typ, data) != nil {
			return
		}
	}
}

// gorillaServer accepts with the other library, and runs serving.
func gorillaServer(t *testing.T, serving func(*gorilla.Conn)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := gorilla.Upgrader{EnableCompression: true}
		ws, err := u.Upgrade(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		defer ws.Close()
		serving(ws)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/chat?token=secret"
}

func gorillaEcho(ws *gorilla.Conn) {
	for {
		typ, data, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(typ, data) != nil {
			return
		}
	}
}

// A server tells of everything that a client of the other library does, of
// compressed messages their size after inflation.
func TestServer(t *testing.T) {
	r := receivertest.Start(t)
	target := serve(t, r.Agent, compressing, func(ctx context.Context, ws *Conn) {
		ws.SetReadLimit(-1)
		echo(ctx, ws)
	})
	d := gorilla.Dialer{EnableCompression: true, Subprotocols: []string{"chat"}}
	ws, resp, err := d.Dial(target, nil)
	require.NoError(t, err)
	defer ws.Close()
	assert.Contains(t, resp.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	assert.Empty(t, resp.Header.Get("Wsstats-Connection"), "nobody asked")
	long := bytes.Repeat([]byte("0123456789"), 10_000)
	require.NoError(t, ws.WriteMessage(gorilla.TextMessage, []byte("hi")))
	require.NoError(t, ws.WriteMessage(gorilla.BinaryMessage, long))
	require.NoError(t, ws.WriteMessage(gorilla.PingMessage, []byte("ping")))
	for _, want := range [][]byte{[]byte("hi"), long} {
		_, data, err := ws.ReadMessage()
		require.NoError(t, err)
		assert.Equal(t, want, data)
	}
	require.NoError(t, ws.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(4000, "bye")))
	_, _, err = ws.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, 4000))

	end := r.RequireClose(4000, "bye", "remote", true)
	assert.Equal(t, []string{"text 1 2", "binary 2 100000"}, r.Messages(wire.KindReceive))
	assert.Equal(t, []string{"text 1 2", "binary 2 100000"}, r.Messages(wire.KindSend))
	assert.True(t, r.Events(wire.KindSend)[0].HasDuration, "from before the write on")
	assert.Equal(t, int64(100_002), end.Int(wire.AttrBytesReceived))
	assert.Equal(t, []string{" 1 4"}, r.Messages(wire.KindPing))
	assert.Equal(t, []string{" 1 4"}, r.Messages(wire.KindPong))
	h := r.Await(wire.KindHandshake, 1)
	assert.Equal(t, "server", h.Str(wire.AttrRole))
	assert.Equal(t, "chat", h.Str(wire.AttrSubprotocol))
	assert.True(t, strings.HasSuffix(h.Str(wire.AttrURL), "/chat"), "no query")
	assert.Equal(t, []wsstats.Attribute{wsstats.String("user.id", "u-17")}, h.User)
}

// A client writes, reads and pings in every way that the library has.
func TestClient(t *testing.T) {
	r := receivertest.Start(t)
	ponged := make(chan string, 1)
	ws, _, err := Dial(t.Context(), r.Agent, gorillaServer(t, gorillaEcho), &websocket.DialOptions{
		CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1,
		OnPongReceived: func(_ context.Context, payload []byte) { ponged <- string(payload) },
	}, wsstats.Int("tenant", 1))
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()

	require.NoError(t, ws.Write(t.Context(), text, []byte("first")))
	w, err := ws.Writer(t.Context(), websocket.MessageBinary)
	require.NoError(t, err)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, ws.Write(canceled, text, nil), context.Canceled, "another message is under way")
	_, err = ws.Writer(canceled, text)
	require.ErrorIs(t, err, context.Canceled)
	_, err = w.Write([]byte("12345"))
	require.NoError(t, err)
	_, err = w.Write([]byte("6789"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Error(t, w.Close(), "it is closed")
	for _, want := range []string{"first", "123456789"} {
		_, data, err := ws.Read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
	}
	require.NoError(t, ws.Write(t.Context(), text, []byte("third")))
	_, reading, err := ws.Reader(t.Context())
	require.NoError(t, err)
	_, err = io.ReadAll(reading)
	require.NoError(t, err)
	_, err = reading.Read(make([]byte, 1))
	require.Error(t, err)
	ctx := ws.CloseRead(t.Context())
	assert.Equal(t, ctx, ws.CloseRead(t.Context()))
	require.NoError(t, ws.Ping(ctx))
	assert.Equal(t, "1", <-ponged)
	require.NoError(t, ws.Close(4001, "done"))
	<-ctx.Done()

	end := r.RequireClose(4001, "done", "local", true)
	assert.Equal(t, int64(3), end.Int(wire.AttrMessagesSent))
	messages := []string{"text 1 5", "binary 2 9", "text 3 5"}
	assert.Equal(t, messages, r.Messages(wire.KindSend))
	assert.Equal(t, messages, r.Messages(wire.KindReceive))
	ping := r.Await(wire.KindPing, 1)
	assert.Positive(t, ping.Duration)
	assert.Equal(t, "sent", ping.Str(wire.AttrDirection))
	assert.Equal(t, []string{" 1 1"}, r.Messages(wire.KindPong))
	h := r.Await(wire.KindHandshake, 1)
	assert.Equal(t, "client", h.Str(wire.AttrRole))
	assert.Equal(t, []wsstats.Attribute{wsstats.Int("tenant", 1)}, h.User)
}

// With both ends observed, one id and one trace a message, whoever writes when.
func TestBothEnds(t *testing.T) {
	near, far := receivertest.Start(t), receivertest.Start(t)
	const messages = 40
	handled := make(map[string]spanContext, messages)
	target := serve(t, far.Agent, nil, func(ctx context.Context, ws *Conn) {
		for range messages {
			typ, data, err := ws.Read(ctx)
			if !assert.NoError(t, err) {
				return
			}
			under, end := ws.Observed().Process(ctx, ws.Message())
			handled[string(data)] = trace.SpanContextFromContext(under)
			end(ws.Write(under, typ, data))
		}
		_ = ws.Close(websocket.StatusNormalClosure, "")
	})
	ws, _, err := Dial(t.Context(), near.Agent, target, nil)
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	var wg sync.WaitGroup
	for i := range messages { // a message is named by its size
		wg.Go(func() { assert.NoError(t, ws.Write(t.Context(), text, bytes.Repeat([]byte("x"), i))) })
	}
	for range messages {
		_, _, err := ws.Read(t.Context())
		require.NoError(t, err)
	}
	wg.Wait()
	_, _, err = ws.Read(t.Context())
	require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
	near.RequireClose(1000, "", "remote", true)
	far.RequireClose(1000, "", "local", true)

	client, accepted := near.Await(wire.KindHandshake, 1), far.Await(wire.KindHandshake, 1)
	id := client.Str(wire.AttrConnectionID)
	assert.Equal(t, id, accepted.Str(wire.AttrConnectionID))
	assert.True(t, client.Bool(wire.AttrShared) && accepted.Bool(wire.AttrShared))
	assert.Equal(t, near.Messages(wire.KindSend), far.Messages(wire.KindReceive), "ordinals are those of the wire")
	seed := wire.ConnectionSeed(id)
	for i, sent := range far.Events(wire.KindSend) {
		sc := handled[strings.Repeat("x", int(sent.Int(wire.AttrMessageSize)))]
		assert.Equal(t, seed.TraceID(uint64(i+1), wire.SlotClientData), wire.TraceID(sc.TraceID()))
		require.Len(t, sent.Links, 1)
		assert.Equal(t, wire.SpanID(sc.SpanID()), sent.Links[0].SpanID)
	}
}

type spanContext = trace.SpanContext

// Below a tap nothing counts twice.
func TestBelowTheTap(t *testing.T) {
	for name, tt := range map[string]struct {
		last []byte // what the client sends at the end, masked
		code int64
	}{
		"closed":      {[]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8}, 1000},
		"a violation": {[]byte{0xf1, 0x80, 0, 0, 0, 0}, 1002},
	} {
		t.Run(name, func(t *testing.T) {
			r := receivertest.Start(t)
			server := httptest.NewServer(r.Agent.Handler(handler(t, r.Agent, nil, func(ctx context.Context, ws *Conn) {
				assert.True(t, ws.Observed().Tapped())
				echo(ctx, ws)
			})))
			defer server.Close()
			ws, _, err := gorilla.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
			require.NoError(t, err)
			defer ws.Close()
			require.NoError(t, ws.WriteMessage(gorilla.TextMessage, []byte("hi")))
			_, _, err = ws.ReadMessage()
			require.NoError(t, err)
			_, err = ws.NetConn().Write(tt.last)
			require.NoError(t, err)
			_, _, err = ws.ReadMessage()
			require.True(t, gorilla.IsCloseError(err, int(tt.code)))
			end := r.Await(wire.KindClose, 1)
			assert.Equal(t, tt.code, end.Int(wire.AttrCloseCode))
			assert.Len(t, r.Events(wire.KindHandshake), 1)
			assert.Equal(t, []string{"text 1 2"}, r.Messages(wire.KindReceive))
			assert.Equal(t, []string{"text 1 2"}, r.Messages(wire.KindSend))
			assert.Empty(t, r.Events(wire.KindError))
		})
	}
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
		"gone":          {func(c net.Conn) { _ = c.Close() }, 1006, "none", "", ""},
		"reset":         {func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() }, 1006, "none", "", "reset"},
		"silent":        {func(net.Conn) {}, 1006, "none", "", "timeout"},
		"reserved bits": {frame(0xf1, 0), 1002, "local", "protocol_error", ""},
		"too big":       {frame(append([]byte{0x81, 101}, make([]byte, 101)...)...), 1009, "local", "message_too_big", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := receivertest.Start(t)
			peer := make(chan net.Conn, 1)
			target := gorillaServer(t, func(ws *gorilla.Conn) {
				peer <- ws.NetConn()
				_, _, _ = ws.ReadMessage()
			})
			ws, _, err := Dial(t.Context(), r.Agent, target, nil)
			require.NoError(t, err)
			ws.SetReadLimit(100)
			ctx, cancel := context.WithCancel(t.Context())
			if name == "silent" {
				ctx, cancel = context.WithTimeout(t.Context(), 1)
			}
			defer cancel()
			tt.peer(<-peer)
			_, _, err = ws.Read(ctx)
			require.Error(t, err)
			_ = ws.CloseNow()
			end := r.RequireClose(tt.code, "", tt.initiator, false)
			assert.Equal(t, tt.cause, end.Str(wire.AttrErrorType))
			if tt.error != "" {
				failed := r.Await(wire.KindError, 1)
				assert.Equal(t, tt.error, failed.Str(wire.AttrErrorType))
			} else {
				assert.Empty(t, r.Events(wire.KindError), "an abnormal close is no error twice")
			}
			require.Error(t, ws.Write(t.Context(), text, nil))
			_, err = ws.Writer(t.Context(), text)
			require.Error(t, err)
			require.Error(t, ws.Ping(t.Context()))
			require.Error(t, ws.Close(websocket.StatusNormalClosure, ""))
			assert.Empty(t, r.Events(wire.KindSend, wire.KindPing))
		})
	}
}

// To ask for a message in the middle of another is a mistake that ends nothing.
func TestReaderInTheMiddle(t *testing.T) {
	r := receivertest.Start(t)
	peer := make(chan net.Conn, 1)
	target := gorillaServer(t, func(ws *gorilla.Conn) {
		peer <- ws.NetConn()
		_, _, _ = ws.ReadMessage()
	})
	ws, _, err := Dial(t.Context(), r.Agent, target, nil)
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	conn := <-peer
	_, err = conn.Write([]byte{0x01, 1, 'a'})
	require.NoError(t, err)
	_, reading, err := ws.Reader(t.Context())
	require.NoError(t, err)
	_, _, err = ws.Reader(t.Context())
	require.ErrorContains(t, err, "not read to completion")
	_, err = conn.Write([]byte{0x80, 1, 'b'})
	require.NoError(t, err)
	data, err := io.ReadAll(reading)
	require.NoError(t, err)
	assert.Equal(t, "ab", string(data))
	assert.Equal(t, []string{"text 1 2"}, r.Messages(wire.KindReceive))
	assert.Empty(t, r.Events(wire.KindClose))
}

// Messages are written one after the other, or the ordinals are not those of the
// wire; and a close frame that was not written was not sent.
func TestWritersAreInALine(t *testing.T) {
	r := receivertest.Start(t)
	ws, _, err := Dial(t.Context(), r.Agent, gorillaServer(t, gorillaEcho), nil)
	require.NoError(t, err)
	ws.writing <- struct{}{} // another goroutine is between its write and its record
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, ws.Write(ctx, text, nil), context.DeadlineExceeded)
	ws.unlock()
	require.NoError(t, ws.Write(t.Context(), text, nil))

	require.NoError(t, ws.Conn.CloseNow())
	require.ErrorIs(t, ws.Close(websocket.StatusNormalClosure, "bye"), net.ErrClosed)
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
// sent, although that is read before the write returns; and so is a ping that has no
// answer. Red when: the close does not wait.
func TestCloseIsLast(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(context.Context, *Conn) error
		sent  string
	}{
		"message": {func(ctx context.Context, ws *Conn) error { return ws.Write(ctx, text, []byte("bye")) }, "text 1 3"},
		"writer": {func(ctx context.Context, ws *Conn) error {
			w, err := ws.Writer(ctx, text)
			return errors.Join(err, w.Close())
		}, "text 1 0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := receivertest.Start(t)
			late := &lateConn{written: make(chan struct{}, 1), until: make(chan struct{})}
			pinged := make(chan struct{})
			target := gorillaServer(t, func(ws *gorilla.Conn) {
				ws.SetPingHandler(func(string) error {
					close(pinged)
					return nil
				})
				_, _, err := ws.ReadMessage()
				assert.NoError(t, err)
				<-late.written
			})
			transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
				late.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				return late, err
			}}
			ws, _, err := Dial(t.Context(), r.Agent, target, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
			require.NoError(t, err)
			ping, failed := make(chan error, 1), make(chan error, 1)
			go func() { ping <- ws.Ping(t.Context()) }()
			<-pinged
			late.late.Store(true)
			go func() { failed <- tt.write(t.Context(), ws) }()
			_, _, err = ws.Read(t.Context())
			require.Error(t, err)
			close(late.until)
			require.NoError(t, <-failed)
			require.NoError(t, ws.CloseNow())
			require.Error(t, <-ping)

			r.RequireClose(1006, "", "none", false)
			assert.Equal(t, []string{tt.sent}, r.Messages(wire.KindSend))
			pings := r.Events(wire.KindPing)
			require.Len(t, pings, 1)
			assert.False(t, pings[0].HasDuration)
		})
	}
}

// closingConn's Close returns late.
type closingConn struct {
	net.Conn
	closing chan struct{} // closed when Close is called
	until   chan struct{} // closed when it may return
	once    sync.Once
}

func (c *closingConn) Close() error {
	c.once.Do(func() { close(c.closing) })
	<-c.until
	return c.Conn.Close()
}

// The peer's close frame tells how the connection ended, although the application
// finds it closed before whoever reads is told. Red when: the close does not wait
// for the reader.
func TestCloseWhileThePeerCloses(t *testing.T) {
	r := receivertest.Start(t)
	target := gorillaServer(t, func(ws *gorilla.Conn) {
		bye := gorilla.FormatCloseMessage(gorilla.CloseGoingAway, "restart")
		assert.NoError(t, ws.WriteControl(gorilla.CloseMessage, bye, time.Now().Add(receivertest.Patience)))
		_, _, err := ws.ReadMessage()
		assert.Error(t, err)
	})
	conn := &closingConn{closing: make(chan struct{}), until: make(chan struct{})}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		conn.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return conn, err
	}}
	ws, _, err := Dial(t.Context(), r.Agent, target, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)
	read := make(chan error, 1)
	go func() {
		_, _, err := ws.Read(t.Context())
		read <- err
	}()
	<-conn.closing
	closed := make(chan error, 1)
	go func() { closed <- ws.Close(websocket.StatusNormalClosure, "bye") }()
	<-ws.gone
	close(conn.until)
	require.ErrorIs(t, <-closed, net.ErrClosed)
	require.EqualValues(t, 2, r.Agent.Stats().Observed, "handshake and close are recorded when Close returns")
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(<-read))

	r.RequireClose(1001, "restart", "remote", true)
}
