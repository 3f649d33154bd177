package wsstatsgorilla

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/agents/go/internal/receivertest"
	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestUpgradeRefused(t *testing.T) {
	r := receivertest.Start(t)
	u := Upgrader{Upgrader: gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return false }}, Agent: r.Agent}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ws, err := u.Upgrade(w, req, nil)
		assert.Error(t, err)
		assert.Nil(t, ws)
	}))
	defer server.Close()
	d := Dialer{Agent: r.Agent}
	ws, resp, err := d.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	require.ErrorIs(t, err, gorilla.ErrBadHandshake)
	assert.Nil(t, ws)
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
	refused := r.Events(wire.KindHandshake)
	require.Len(t, refused, 2)
	for _, h := range refused {
		assert.False(t, h.Bool(wire.AttrHandshakeSuccess))
		assert.Equal(t, int64(403), h.Int(wire.AttrStatusCode))
	}
}

func TestDialFails(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx    context.Context
		target string
		dial   func(ctx context.Context, network, addr string) (net.Conn, error)
		cause  string
	}{
		"refused": {t.Context(), "ws://" + silent.Addr().String(), func(context.Context, string, string) (net.Conn, error) {
			return nil, syscall.ECONNREFUSED
		}, "no_answer"},
		"silent":   {t.Context(), "ws://" + silent.Addr().String(), nil, "timeout"},
		"canceled": {canceled, "ws://" + silent.Addr().String(), nil, "canceled"},
		"no URL":   {t.Context(), "ws://[broken", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := receivertest.Start(t)
			d := Dialer{Dialer: gorilla.Dialer{NetDialContext: tt.dial, HandshakeTimeout: 50 * time.Millisecond}, Agent: r.Agent}
			ws, _, err := d.DialContext(tt.ctx, tt.target, nil)
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

// The link of the agent is not observed by the agent.
func TestOwnLink(t *testing.T) {
	r := receivertest.Start(t)
	d := Dialer{Dialer: gorilla.Dialer{Subprotocols: []string{wire.SubprotocolJSON}}, Agent: r.Agent}
	ws, _, err := d.Dial(r.Endpoint, nil)
	require.NoError(t, err)
	defer ws.Close()
	assert.Nil(t, ws.Observed())
	require.NoError(t, ws.WriteMessage(text, []byte(`{"events":[]}`)))
	require.NoError(t, ws.Close())
	assert.Empty(t, r.Events(wire.KindHandshake, wire.KindSend, wire.KindClose))
}

// gone is a client that has left before it is answered.
type gone struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (gone) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	near, far := net.Pipe()
	_, _ = near.Close(), far.Close()
	return near, bufio.NewReadWriter(bufio.NewReader(near), bufio.NewWriter(near)), nil
}

func TestUpgradeIsNotAnswered(t *testing.T) {
	r := receivertest.Start(t)
	req := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	for name, value := range map[string]string{
		"Connection": "upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(name, value)
	}
	u := Upgrader{Agent: r.Agent}
	_, err := u.Upgrade(gone{httptest.NewRecorder()}, req, nil)
	require.Error(t, err)
	lost := r.Events(wire.KindHandshake)
	require.Len(t, lost, 1)
	assert.Equal(t, "write_failed", lost[0].Str(wire.AttrErrorType))
}
