package wsstatsgorilla

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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

const text = gorilla.TextMessage

// serve runs a server of this package. The connection is closed when serving returns.
func serve(t *testing.T, u Upgrader, serving func(*http.Request, *Conn)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler(t, u, serving))
	t.Cleanup(s.Close)
	return s
}

func handler(t *testing.T, u Upgrader, serving func(*http.Request, *Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := u.Upgrade(w, r, http.Header{"X-App": {"kept"}})
		if !assert.NoError(t, err) {
			return
		}
		defer ws.Close()
		serving(r, ws)
	})
}

// echo sends back what comes, until reading fails.
func echo(_ *http.Request, ws *Conn) {
	for {
		typ, data, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(typ, data) != nil {
			return
		}
	}
}

// coderServer accepts with the other library, and runs serving.
func coderServer(t *testing.T, serving func(ctx context.Context, ws *websocket.Conn)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1})
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), receivertest.Patience)
		defer cancel()
		serving(ctx, ws)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/chat?token=secret"
}

func coderEcho(ctx context.Context, ws *websocket.Conn) {
	for {
		typ, data, err := ws.Read(ctx)
		if err != nil || ws.Write(ctx, typ, data) != nil {
			return
		}
	}
}

// A server tells of everything that a client of the other library does, of
// compressed messages their size after inflation.
func TestServer(t *testing.T) {
	r := receivertest.Start(t)
	server := serve(t, Upgrader{
		Upgrader: gorilla.Upgrader{EnableCompression: true, Subprotocols: []string{"chat"}},
		Agent:    r.Agent,
		Attributes: func(req *http.Request) []wsstats.Attribute {
			return []wsstats.Attribute{wsstats.String("user.id", req.Header.Get("X-User"))}
		},
	}, echo)
	ws, resp, err := websocket.Dial(t.Context(), server.URL+"/chat?token=secret", &websocket.DialOptions{
		CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1,
		Subprotocols: []string{"chat"}, HTTPHeader: http.Header{"X-User": {"u-17"}},
	})
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	assert.Equal(t, "kept", resp.Header.Get("X-App"))
	assert.Contains(t, resp.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	ws.SetReadLimit(-1)
	long := bytes.Repeat([]byte("0123456789"), 10_000)
	for typ, data := range map[websocket.MessageType][]byte{websocket.MessageText: []byte("hi")} {
		require.NoError(t, ws.Write(t.Context(), typ, data))
	}
	require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, long))
	for _, want := range [][]byte{[]byte("hi"), long} {
		_, data, err := ws.Read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, data)
	}
	ctx := ws.CloseRead(t.Context())
	require.NoError(t, ws.Ping(ctx))
	require.NoError(t, ws.Close(4000, "bye"))

	end := r.RequireClose(4000, "bye", "remote", true)
	assert.Equal(t, []string{"text 1 2", "binary 2 100000"}, r.Messages(wire.KindReceive))
	assert.Equal(t, []string{"text 1 2", "binary 2 100000"}, r.Messages(wire.KindSend))
	assert.Equal(t, int64(100_002), end.Int(wire.AttrBytesReceived))
	assert.True(t, r.Events(wire.KindSend)[0].HasDuration, "from before the write on")
	ping, pong := r.Await(wire.KindPing, 1), r.Await(wire.KindPong, 1)
	assert.Equal(t, "received", ping.Str(wire.AttrDirection))
	assert.Equal(t, "sent", pong.Str(wire.AttrDirection))
	h := r.Await(wire.KindHandshake, 1)
	assert.Equal(t, "server", h.Str(wire.AttrRole))
	assert.Equal(t, "chat", h.Str(wire.AttrSubprotocol))
	assert.True(t, strings.HasSuffix(h.Str(wire.AttrURL), "/chat"), "no query")
	assert.Equal(t, []wsstats.Attribute{wsstats.String("user.id", "u-17")}, h.User)
}

// A client writes and reads in every way that the library has.
func TestClient(t *testing.T) {
	r := receivertest.Start(t)
	target := coderServer(t, coderEcho)
	d := Dialer{Dialer: gorilla.Dialer{EnableCompression: true}, Agent: r.Agent}
	ws, resp, err := d.Dial(target, nil)
	require.NoError(t, err)
	defer ws.Close()
	assert.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)

	require.NoError(t, ws.WriteMessage(text, []byte("first")))
	w, err := ws.NextWriter(gorilla.BinaryMessage)
	require.NoError(t, err)
	for _, write := range []func() error{
		func() error { _, err := w.Write([]byte("12")); return err },
		func() error { _, err := io.WriteString(w, "345"); return err },
		func() error { _, err := io.Copy(w, strings.NewReader("6789")); return err },
		w.Close,
	} {
		require.NoError(t, write())
	}
	require.Error(t, w.Close(), "it is closed")
	require.NoError(t, ws.WriteJSON(map[string]int{"n": 1}))
	pm, err := NewPreparedMessage(text, []byte("prepared"))
	require.NoError(t, err)
	require.NoError(t, ws.WritePreparedMessage(pm))
	_, err = NewPreparedMessage(99, nil)
	require.Error(t, err)
	_, err = ws.NextWriter(text) // the library ends it with the next message
	require.NoError(t, err)
	require.NoError(t, ws.WriteMessage(text, []byte("skipped")))
	require.NoError(t, ws.WriteMessage(text, []byte("last")))
	require.Error(t, ws.WriteMessage(99, nil))
	_, err = ws.NextWriter(99)
	require.Error(t, err)
	sent := []string{"text 1 5", "binary 2 9", "text 3 8", "text 4 8", "text 5 0", "text 6 7", "text 7 4"}
	assert.Equal(t, sent, r.Messages(wire.KindSend))

	_, data, err := ws.ReadMessage()
	require.NoError(t, err)
	assert.Equal(t, "first", string(data))
	_, nr, err := ws.NextReader()
	require.NoError(t, err)
	data, err = io.ReadAll(nr)
	require.NoError(t, err)
	assert.Equal(t, "123456789", string(data))
	n, err := nr.Read(make([]byte, 1))
	assert.Zero(t, n)
	require.Error(t, err)
	var v map[string]int
	require.NoError(t, ws.ReadJSON(&v))
	assert.Equal(t, map[string]int{"n": 1}, v)
	require.Error(t, ws.ReadJSON(&v), "prepared is no JSON")
	require.ErrorIs(t, ws.ReadJSON(&v), io.ErrUnexpectedEOF)
	_, _, err = ws.NextReader() // is not read
	require.NoError(t, err)
	_, data, err = ws.ReadMessage()
	require.NoError(t, err)
	assert.Equal(t, "last", string(data))
	received := slices.Clone(sent)
	received[5] = "text 6 -1"
	assert.Equal(t, received, r.Messages(wire.KindReceive))

	require.NoError(t, ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(1000, "done"), time.Now().Add(receivertest.Patience)))
	_, _, err = ws.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, 1000))
	require.ErrorIs(t, ws.WriteMessage(text, nil), gorilla.ErrCloseSent)
	end := r.RequireClose(1000, "done", "local", true)
	assert.Equal(t, int64(7), end.Int(wire.AttrMessagesSent))
	h := r.Await(wire.KindHandshake, 1)
	assert.Equal(t, "client", h.Str(wire.AttrRole))
	assert.True(t, strings.HasSuffix(h.Str(wire.AttrURL), "/chat"), "no query")
	assert.NotZero(t, h.Int(wire.AttrPeerPort))
}

// With both ends observed, one id and one trace a message, and the handler's
// calls in it.
func TestBothEnds(t *testing.T) {
	near, far := receivertest.Start(t), receivertest.Start(t)
	handled := make(chan trace.SpanContext, 3)
	server := serve(t, Upgrader{Agent: far.Agent}, func(r *http.Request, ws *Conn) {
		for {
			typ, data, err := ws.ReadMessage()
			if err != nil {
				return
			}
			ctx, end := ws.Observed().Process(r.Context(), ws.Message())
			handled <- trace.SpanContextFromContext(ctx)
			ws.Observed().Sending(ctx, wsstats.MessageID(string(data)))
			end(ws.WriteMessage(typ, data))
		}
	})
	d := Dialer{Agent: near.Agent}
	ws, _, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), nil, wsstats.Int("tenant", 1))
	require.NoError(t, err)
	defer ws.Close()
	for _, m := range []string{"m-1", "m-2", "m-3"} { // all are there when the first one is handled
		require.NoError(t, ws.WriteMessage(text, []byte(m)))
	}
	for range 3 {
		_, _, err := ws.ReadMessage()
		require.NoError(t, err)
	}
	require.NoError(t, ws.WriteMessage(gorilla.CloseMessage, nil))
	_, _, err = ws.ReadMessage()
	require.Error(t, err)
	near.RequireClose(1005, "", "local", true)
	far.RequireClose(1005, "", "remote", true)

	client, accepted := near.Await(wire.KindHandshake, 1), far.Await(wire.KindHandshake, 1)
	id := client.Str(wire.AttrConnectionID)
	assert.Equal(t, id, accepted.Str(wire.AttrConnectionID))
	assert.True(t, client.Bool(wire.AttrShared) && accepted.Bool(wire.AttrShared))
	assert.Equal(t, []wsstats.Attribute{wsstats.Int("tenant", 1)}, client.User)
	seed := wire.ConnectionSeed(id)
	for n := uint64(1); n <= 3; n++ {
		sc := <-handled
		assert.Equal(t, seed.TraceID(n, wire.SlotClientData), wire.TraceID(sc.TraceID()))
		sent := far.Events(wire.KindSend)[n-1]
		assert.Equal(t, "m-"+string(rune('0'+n)), sent.Str(wire.AttrMessageID))
		require.Len(t, sent.Links, 1)
		assert.Equal(t, wire.SpanID(sc.SpanID()), sent.Links[0].SpanID)
		assert.True(t, sent.HasDuration, "from before the write on")
		assert.Equal(t, int64(n), far.Events(wire.KindProcess)[n-1].Int(wire.AttrMessageSeq))
	}
}

// Below a tap nothing counts twice.
func TestBelowTheTap(t *testing.T) {
	r := receivertest.Start(t)
	server := httptest.NewServer(r.Agent.Handler(handler(t, Upgrader{Agent: r.Agent}, func(req *http.Request, ws *Conn) {
		assert.True(t, ws.Observed().Tapped())
		assert.Same(t, wsstats.ConnectionFromContext(req.Context()), ws.Observed())
		echo(req, ws)
	})))
	defer server.Close()
	ws, _, err := websocket.Dial(t.Context(), server.URL, nil)
	require.NoError(t, err)
	require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte("hi")))
	_, _, err = ws.Read(t.Context())
	require.NoError(t, err)
	ctx := ws.CloseRead(t.Context())
	require.NoError(t, ws.Ping(ctx))
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	r.RequireClose(1000, "", "remote", true)
	assert.Len(t, r.Events(wire.KindHandshake), 1)
	assert.Equal(t, []string{"text 1 2"}, r.Messages(wire.KindReceive))
	assert.Equal(t, []string{"text 1 2"}, r.Messages(wire.KindSend))
	assert.Len(t, r.Events(wire.KindPing), 1)
	assert.Len(t, r.Events(wire.KindPong), 1)
}

// A violation below a tap is the tap's to tell.
func TestViolationBelowTheTap(t *testing.T) {
	r := receivertest.Start(t)
	server := httptest.NewServer(r.Agent.Handler(handler(t, Upgrader{Agent: r.Agent}, echo)))
	defer server.Close()
	ws, _, err := gorilla.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	require.NoError(t, err)
	defer ws.Close()
	_, err = ws.NetConn().Write([]byte{0xf1, 0x80, 0, 0, 0, 0}) // reserved bits
	require.NoError(t, err)
	_, _, err = ws.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, gorilla.CloseProtocolError))
	r.Await(wire.KindClose, 1)
	assert.Len(t, r.Events(wire.KindProtocolError), 1)
	assert.Empty(t, r.Events(wire.KindError))
}
