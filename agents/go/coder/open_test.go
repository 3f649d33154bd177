package wsstatscoder

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/agents/go/internal/receivertest"
	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestAcceptRefused(t *testing.T) {
	r := receivertest.Start(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, err := Accept(r.Agent, w, req, nil)
		assert.Error(t, err)
	}))
	defer server.Close()
	_, resp, err := Dial(t.Context(), r.Agent, server.URL, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://evil.example"}}})
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
	refused := r.Events(wire.KindHandshake)
	require.Len(t, refused, 2)
	for _, h := range refused {
		assert.False(t, h.Bool(wire.AttrHandshakeSuccess))
		assert.Equal(t, int64(403), h.Int(wire.AttrStatusCode))
	}
}

// busy is a server that cannot give its connection away.
type busy struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (busy) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, http.ErrHijacked }

func TestAcceptWithoutConnection(t *testing.T) {
	r := receivertest.Start(t)
	req := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	for name, value := range map[string]string{
		"Connection": "upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(name, value)
	}
	recorder := httptest.NewRecorder()
	_, err := Accept(r.Agent, recorder, req, nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusNotImplemented, recorder.Code, "as without this package")
	_, err = Accept(r.Agent, busy{httptest.NewRecorder()}, req, nil)
	require.Error(t, err)
	lost := r.Events(wire.KindHandshake)
	require.Len(t, lost, 2)
	assert.Equal(t, "501", lost[0].Str(wire.AttrErrorType))
	assert.Equal(t, "not_hijacked", lost[1].Str(wire.AttrErrorType))
}

func TestDialFails(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), 1)
	defer cancelLate()
	for name, tt := range map[string]struct {
		ctx    context.Context
		target string
		cause  string
	}{
		"refused":  {t.Context(), "gopher://example.com", "no_answer"},
		"late":     {late, "ws://" + silent.Addr().String(), "timeout"},
		"canceled": {canceled, "ws://" + silent.Addr().String(), "canceled"},
		"no URL":   {t.Context(), "ws://[broken", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := receivertest.Start(t)
			ws, _, err := Dial(tt.ctx, r.Agent, tt.target, nil)
			require.Error(t, err)
			assert.Nil(t, ws)
			lost := r.Events(wire.KindHandshake)
			if tt.cause == "" {
				assert.Empty(t, lost)
				return
			}
			require.Len(t, lost, 1)
			assert.Equal(t, tt.cause, lost[0].Str(wire.AttrErrorType))
		})
	}
}

// The application's options and headers are kept, and pings are answered as it says.
func TestOptions(t *testing.T) {
	r := receivertest.Start(t)
	asked := make(chan string, 1)
	target := gorillaServer(t, func(ws *gorilla.Conn) {
		_ = ws.WriteMessage(gorilla.PingMessage, []byte("not answered"))
		gorillaEcho(ws)
	})
	opts := &websocket.DialOptions{
		HTTPHeader:     http.Header{"X-App": {"kept"}},
		OnPingReceived: func(_ context.Context, payload []byte) bool { asked <- string(payload); return false },
	}
	ws, _, err := Dial(t.Context(), r.Agent, target, opts)
	require.NoError(t, err)
	assert.Equal(t, http.Header{"X-App": {"kept"}}, opts.HTTPHeader, "it is the caller's")
	require.NoError(t, ws.Write(t.Context(), text, []byte("hi")))
	_, _, err = ws.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "not answered", <-asked)
	require.NoError(t, ws.CloseNow())
	r.RequireClose(1006, "", "none", false)
	assert.Len(t, r.Events(wire.KindPing), 1)
	assert.Empty(t, r.Events(wire.KindPong))
}

// Who only listens is told of the close, and ends one who talks.
func TestCloseRead(t *testing.T) {
	r := receivertest.Start(t)
	target := serve(t, r.Agent, nil, func(ctx context.Context, ws *Conn) { <-ws.CloseRead(ctx).Done() })
	ws, _, err := gorilla.DefaultDialer.Dial(target, nil)
	require.NoError(t, err)
	defer ws.Close()
	require.NoError(t, ws.WriteMessage(gorilla.TextMessage, []byte("hi")))
	_, _, err = ws.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, gorilla.ClosePolicyViolation))
	end := r.Await(wire.KindClose, 1)
	assert.Equal(t, int64(1008), end.Int(wire.AttrCloseCode))
	assert.Equal(t, "local", end.Str(wire.AttrCloseInitiator))
	assert.True(t, strings.HasPrefix(end.Str(wire.AttrCloseReason), "unexpected"))
}
