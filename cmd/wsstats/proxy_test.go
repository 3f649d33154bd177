package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const patience = 10 * time.Second

// runningProxy is wsstats proxy, in this process.
type runningProxy struct {
	address string
	errs    *lockedBuffer
	stop    context.CancelFunc // as SIGTERM does
	ended   chan int           // its exit status
}

// lockedBuffer is written and read at once.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

func startProxy(t *testing.T, target string, args ...string) *runningProxy {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &runningProxy{errs: &lockedBuffer{}, stop: stop, ended: make(chan int, 1)}
	args = append([]string{"proxy", "--listen", "127.0.0.1:0", "--target", target}, args...)
	go func() { p.ended <- run(ctx, args, streams{strings.NewReader(""), io.Discard, p.errs}) }()
	t.Cleanup(func() { p.finish(t) })
	require.Eventually(t, func() bool {
		m := listening.FindStringSubmatch(p.errs.String())
		if m != nil {
			p.address = m[1]
		}
		return m != nil || len(p.ended) > 0
	}, patience, time.Millisecond)
	require.NotEmpty(t, p.address, p.errs.String())
	return p
}

// finish ends the proxy, once.
func (p *runningProxy) finish(t *testing.T) {
	p.stop()
	select {
	case status := <-p.ended:
		assert.Zero(t, status, p.errs.String())
		p.ended <- status
	case <-time.After(patience):
		t.Errorf("the proxy does not end: %s", p.errs)
	}
}

// echo is an application that sends each message back.
func echo(t *testing.T, seen func(*http.Request)) *httptest.Server {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: true}
	return application(t, func(w http.ResponseWriter, r *http.Request) {
		seen(r)
		ws, err := upgrader.Upgrade(w, r, http.Header{"Wsstats-Connection": {strings.Repeat("f", 32)}})
		if err != nil {
			return
		}
		defer ws.Close()
		for {
			kind, data, err := ws.ReadMessage()
			if err != nil || ws.WriteMessage(kind, data) != nil {
				return
			}
		}
	})
}

func nothing(*http.Request) {}

func application(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// What a client and an application exchange is reported, once, from the side of
// the server. Red when: the client's connection id goes on to the application.
func TestProxyReports(t *testing.T) {
	r := newReceiver(t, nil)
	r.keep = true
	var got http.Header
	app := echo(t, func(r *http.Request) { got = r.Header.Clone() })
	p := startProxy(t, app.URL, "--collector", r.endpoint(), "--service-name", "chat")

	id := strings.Repeat("0a", 16)
	ws, resp, err := websocket.DefaultDialer.Dial("ws://"+p.address+"/room?token=secret", http.Header{"Wsstats-Connection": {id}})
	require.NoError(t, err)
	assert.Equal(t, id, resp.Header.Get("Wsstats-Connection"), "not the application's")
	assert.NotContains(t, got, "Wsstats-Connection")
	for range 3 {
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("canary-payload")))
		_, data, err := ws.ReadMessage()
		require.NoError(t, err)
		assert.Equal(t, "canary-payload", string(data))
	}
	require.NoError(t, ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye"), time.Now().Add(patience)))
	_, _, err = ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, 1000), "%v", err)
	require.NoError(t, ws.Close())
	assert.Equal(t, http.StatusBadRequest, get(t, "http://"+p.address+"/?token=secret").StatusCode)
	p.finish(t)

	kinds := map[wire.Kind]int{}
	for _, e := range r.events(t) {
		kinds[e.Kind]++
		assert.Equal(t, id, e.Str(wire.AttrConnectionID))
		switch e.Kind {
		case wire.KindHandshake:
			assert.Equal(t, "server", e.Str(wire.AttrRole))
			assert.Equal(t, "ws://"+p.address+"/room", e.Str(wire.AttrURL))
			assert.True(t, e.Bool(wire.AttrShared))
		case wire.KindReceive, wire.KindSend:
			assert.Equal(t, int64(14), e.Int(wire.AttrMessageSize))
		case wire.KindClose:
			assert.Equal(t, int64(1000), e.Int(wire.AttrCloseCode))
			assert.Equal(t, "remote", e.Str(wire.AttrCloseInitiator))
			assert.Equal(t, int64(3), e.Int(wire.AttrMessagesSent))
		}
	}
	assert.Equal(t, map[wire.Kind]int{wire.KindHandshake: 1, wire.KindReceive: 3, wire.KindSend: 3, wire.KindClose: 1}, kinds)
	require.Len(t, r.hellos, 1)
	assert.Contains(t, string(r.hellos[0]), `"service.name":"chat"`)
	everything := string(bytes.Join(r.lines, nil)) + p.errs.String()
	assert.NotContains(t, everything, "canary")
	assert.NotContains(t, everything, "secret")
	assert.Contains(t, p.errs.String(), "msg=ended observed=8 acknowledged=8 rejected=0 dropped=0 unrecorded=0")
}

// An upgrade that the application refuses is its answer, and is reported.
func TestProxyRefused(t *testing.T) {
	r := newReceiver(t, nil)
	r.keep = true
	app := application(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Why", "full")
		http.Error(w, "no room", http.StatusServiceUnavailable)
	})
	p := startProxy(t, app.URL, "--collector", r.endpoint())
	_, resp, err := websocket.DefaultDialer.Dial("ws://"+p.address, nil)
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.Equal(t, "full", resp.Header.Get("X-Why"))
	body, _ := io.ReadAll(resp.Body)
	assert.Equal(t, "no room\n", string(body))
	p.finish(t)
	events := r.events(t)
	require.Len(t, events, 1)
	assert.False(t, events[0].Bool(wire.AttrHandshakeSuccess))
	assert.Equal(t, int64(503), events[0].Int(wire.AttrStatusCode))
}

// An application that is away is a 502, and one line for many of them.
func TestProxyApplicationAway(t *testing.T) {
	app := echo(t, nothing)
	address := app.Listener.Addr().String()
	app.Close()
	p := startProxy(t, "http://"+address, "--collector", newReceiver(t, nil).endpoint())
	for range 3 {
		_, resp, err := websocket.DefaultDialer.Dial("ws://"+p.address+"/?token=secret", nil)
		require.ErrorIs(t, err, websocket.ErrBadHandshake)
		assert.Equal(t, http.StatusBadGateway, resp.StatusCode)
	}
	assert.Equal(t, 1, strings.Count(p.errs.String(), `level=WARN msg="request not forwarded"`), p.errs)
	assert.NotContains(t, p.errs.String(), "secret")
	assert.NotContains(t, p.errs.String(), "forwarded again")

	back := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: patience}
	l := listenAt(t, address)
	go func() { _ = back.Serve(l) }()
	defer back.Close()
	assert.Equal(t, http.StatusNotFound, get(t, "http://"+p.address).StatusCode)
	assert.Equal(t, 1, strings.Count(p.errs.String(), "requests are forwarded again"), p.errs)
}

// While it drains, nothing new is accepted, and what is open goes on until it ends by itself.
func TestProxyDrains(t *testing.T) {
	r := newReceiver(t, nil)
	r.keep = true
	app := echo(t, nothing)
	p := startProxy(t, app.URL, "--collector", r.endpoint(), "--drain", patience.String())
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.address, nil)
	require.NoError(t, err)
	p.stop()
	require.Eventually(t, func() bool {
		_, _, err := websocket.DefaultDialer.Dial("ws://"+p.address, nil)
		return err != nil
	}, patience, time.Millisecond)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("still there?")))
	_, data, err := ws.ReadMessage()
	require.NoError(t, err)
	assert.Equal(t, "still there?", string(data))
	assert.Empty(t, p.ended)
	require.NoError(t, ws.Close())
	p.finish(t)
	assert.NotContains(t, p.errs.String(), "closing what is still open")
	assert.Len(t, kept(r.events(t), wire.KindClose), len(kept(r.events(t), wire.KindHandshake)))
}

// What does not end in time is closed, and its close is reported.
func TestProxyDrainEnds(t *testing.T) {
	r := newReceiver(t, nil)
	r.keep = true
	app := echo(t, nothing)
	p := startProxy(t, app.URL, "--collector", r.endpoint(), "--drain", "20ms")
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.address, nil)
	require.NoError(t, err)
	defer ws.Close()
	p.stop()
	_, _, err = ws.ReadMessage()
	require.Error(t, err)
	p.finish(t)
	assert.Contains(t, p.errs.String(), `level=WARN msg="closing what is still open" open=1`)
	closes := kept(r.events(t), wire.KindClose)
	require.Len(t, closes, 1)
	assert.Equal(t, int64(1006), closes[0].Int(wire.AttrCloseCode))
}

// A client that never closes does not stay for ever when the application has.
// Red when: the time after a half-close has no end.
func TestProxyLingers(t *testing.T) {
	app := echo(t, nothing)
	o, err := parseProxy([]string{"--target", app.URL}, streams{err: io.Discard})
	require.NoError(t, err)
	f := newForwarder(o)
	f.lingering = 20 * time.Millisecond
	defer f.transport.CloseIdleConnections()
	returned := make(chan struct{})
	s := application(t, func(w http.ResponseWriter, r *http.Request) {
		f.ServeHTTP(w, r)
		close(returned)
	})
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.URL, "http"), nil)
	require.NoError(t, err)
	defer ws.Close()
	require.NoError(t, ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(patience)))
	select {
	case <-returned:
	case <-time.After(patience):
		t.Fatal("the connection is still forwarded")
	}
}

// What keeps the proxy from its work is told before it begins.
func TestProxyDoesNotStart(t *testing.T) {
	taken := listenAt(t, "127.0.0.1:0")
	defer taken.Close()
	for _, tt := range []struct {
		args []string
		errs string
	}{
		{[]string{"--listen", taken.Addr().String()}, "wsstats: proxy: listen tcp " + taken.Addr().String()},
		{[]string{"--listen", "127.0.0.1:0", "--record", t.TempDir()}, "wsstats: proxy: --record: open "},
	} {
		status, _, errs := wsstatsIn(t.Context(), "", append([]string{
			"proxy", "--target", "http://localhost", "--collector", newReceiver(t, nil).endpoint(),
		}, tt.args...)...)
		assert.Equal(t, 1, status)
		assert.Contains(t, errs, tt.errs)
	}
}

// get asks over a connection of its own.
func get(t *testing.T, url string) *http.Response {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func kept(events []wire.Event, kind wire.Kind) (of []wire.Event) {
	for _, e := range events {
		if e.Kind == kind {
			of = append(of, e)
		}
	}
	return of
}
