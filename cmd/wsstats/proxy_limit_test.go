package main

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// WebSockets beyond --max-connections are told to come again, and counted; one
// that closes makes room, and other requests are none.
//
// Red when: one too many is let in, a place is not given back, or a plain request
// takes one.
func TestProxyMaxConnections(t *testing.T) {
	r := newReceiver(t, nil)
	r.keep = true
	p := startProxy(t, echo(t, nothing).URL, "--max-connections", "2", "--collector", r.endpoint())
	dial := func() (*websocket.Conn, *http.Response, error) {
		return websocket.DefaultDialer.Dial("ws://"+p.address, nil)
	}
	var open []*websocket.Conn
	for range 2 {
		ws, _, err := dial()
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.Close() })
		open = append(open, ws)
	}
	for range 3 {
		_, resp, err := dial()
		require.ErrorIs(t, err, websocket.ErrBadHandshake)
		assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		assert.Equal(t, "5", resp.Header.Get("Retry-After"))
		assert.Equal(t, http.StatusBadRequest, get(t, "http://"+p.address).StatusCode, "the application's: it is no handshake")
	}
	require.NoError(t, open[0].Close())
	turnedAway := 3
	require.Eventually(t, func() bool {
		ws, _, err := dial()
		if err != nil {
			turnedAway++ // the proxy has not seen the close yet
			return false
		}
		return assert.NoError(t, ws.Close())
	}, patience, 10*time.Millisecond)
	require.NoError(t, open[1].Close())
	p.finish(t)
	assert.Regexp(t, `msg=ended .* turned_away=`+strconv.Itoa(turnedAway)+"\n", p.errs.String())
	refused := 0
	for _, e := range kept(r.events(t), wire.KindHandshake) {
		if e.Int(wire.AttrStatusCode) == http.StatusServiceUnavailable {
			refused++
		}
	}
	assert.Equal(t, turnedAway, refused)
}
