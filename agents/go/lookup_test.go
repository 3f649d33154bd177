package wsstats

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// What the application tells of a tapped connection joins what the tap sees.
func TestTappedConnection(t *testing.T) {
	rec := newFakeRecorder()
	handled := make(chan *Connection, 1)
	server := httptest.NewServer(handler{rec, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Nil(t, ConnectionFromContext(r.Context()), "it is not open yet")
		u := gorilla.Upgrader{EnableCompression: true}
		ws, err := u.Upgrade(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		defer ws.Close()
		c := ConnectionFromContext(r.Context())
		assert.Same(t, c, ConnectionOf(ws.NetConn()))
		assert.True(t, c.Tapped())
		for {
			typ, data, err := ws.ReadMessage()
			if err != nil {
				break
			}
			ctx, end := c.Process(r.Context(), c.Received(MessageType(typ), len(data)))
			c.Sending(ctx, MessageID(string(data)))
			err = ws.WriteMessage(typ, data)
			c.Sent(TextMessage, len(data)) // the tap has seen it
			end(err)
		}
		_ = ws.Close()
		assert.Equal(t, int64(4), c.Received(TextMessage, 1).seq, "what came before the close is read after it")
		c.SendingBatch(r.Context(), TextMessage, 1, 1)
		c.Closed(4711, "not so", Local)
		handled <- c
	})})
	defer server.Close()

	client := newFakeRecorder()
	ws, resp, err := gorillaDialer(client, nil).Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.NotEmpty(t, ConnectionOf(ws.NetConn()).ID())
	near := ConnectionOf(ws.NetConn())
	near.SendingBroadcast()
	messages := []string{"m-1", "m-2", "m-3"}
	for _, m := range messages { // before any answer is read: the server's buffer holds them all
		require.NoError(t, ws.WriteMessage(gorilla.TextMessage, []byte(m)))
	}
	for _, m := range messages {
		_, data, err := ws.ReadMessage()
		require.NoError(t, err)
		assert.Equal(t, m, string(data))
	}
	near.Failed("bad_answer", "application")
	require.NoError(t, ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(1000, "bye"), time.Now().Add(patience)))
	_, _, err = ws.ReadMessage()
	require.Error(t, err)
	_ = ws.Close()
	far := <-handled

	requireClose(t, rec.await(t, wire.KindClose, 1), 1000, "bye", "remote", true)
	assert.Equal(t, near.ID(), far.ID(), "one connection at both ends")
	assert.Len(t, rec.of(wire.KindReceive), 3)
	assert.Len(t, rec.of(wire.KindSend), 3)
	assert.Empty(t, rec.of(wire.KindBatchSend), "after the close")
	seed := wire.ConnectionSeed(far.ID())
	for i, p := range rec.of(wire.KindProcess) {
		assert.Equal(t, int64(i+1), p.seq, "the ordinal is that of the message that was handled, not of the latest one that arrived")
		sent := rec.of(wire.KindSend)[i]
		assert.Equal(t, messages[i], (*sent.attributes)[0].Value.Str)
		n := uint64(i + 1)
		assert.Equal(t, &spanIDs{seed.TraceID(n, wire.SlotClientData), seed.SpanID(n, wire.SlotClientData, wire.KindProcess, RoleServer)}, sent.active)
	}
	assert.Len(t, rec.of(wire.KindProcess), 3)

	assert.Equal(t, []int64{2, 3}, []int64{client.of(wire.KindSend)[0].seq, client.of(wire.KindSend)[1].seq}, "the first one was a broadcast's")
	assert.Len(t, client.of(wire.KindSend), 2)
	assert.Equal(t, int64(3), client.await(t, wire.KindClose, 1).extra.Int(wire.AttrMessagesSent))
	assert.Equal(t, "bad_answer", client.await(t, wire.KindError, 1).extra.Str(wire.AttrErrorType))
	requireNothingReserved(t, rec, client)
}

func TestConnectionOfTransport(t *testing.T) {
	rec := newFakeRecorder()
	server := httptest.NewServer(servers["coder"])
	defer server.Close()
	client := &http.Client{Transport: &transport{rec, http.DefaultTransport}}
	defer client.CloseIdleConnections()
	serving := context.WithValue(t.Context(), acceptanceKey{}, &acceptance{}) // a handler that dials
	ctx := ContextForDial(serving)
	assert.Nil(t, ConnectionFromContext(ctx))
	ws, resp, err := websocket.Dial(ctx, server.URL, &websocket.DialOptions{HTTPClient: client})
	require.NoError(t, err)
	assert.Nil(t, resp.Body)
	c := ConnectionFromContext(ctx)
	require.NotNil(t, c)
	assert.Nil(t, ConnectionFromContext(serving))
	c.Sending(t.Context(), MessageID("m-1"))
	require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte("hi")))
	_, _, err = ws.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "m-1", (*rec.await(t, wire.KindSend, 1).attributes)[0].Value.Str)
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	assert.Equal(t, c.ID(), rec.await(t, wire.KindClose, 1).conn.id)
}

func TestNotTapped(t *testing.T) {
	assert.Nil(t, ConnectionFromContext(t.Context()))
	tp := newObservedUpgrade(newFakeRecorder(), Opening{}).succeed(http.Header{})
	defer tp.ended()
	assert.Same(t, tp.connection(), ConnectionOf(newBody(nil, openStream(nil, tp))))
	assert.Nil(t, ConnectionOf(io.NopCloser(strings.NewReader(""))))
	assert.Nil(t, ConnectionOf(wrapConn(nil, clientStream(nil, nil))), "not open yet")
}

// Without anything told, a tapped message still costs no allocation.
func TestTappedConnectionDoesNotAllocate(t *testing.T) {
	u := newObservedUpgrade(&discard{}, Opening{Role: RoleServer})
	tp := u.succeed(http.Header{})
	c := tp.connection()
	frame := []byte{0x81, 2, 'h', 'i'}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		tp.sent(frame)
		c.SendingBroadcast()
		tp.sent(frame)
		c.Received(TextMessage, 2)
	}))
}
