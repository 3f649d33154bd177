package wsstats

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// activeSpan is a context with a span of the application.
func activeSpan(t *testing.T, flags trace.TraceFlags, tracestate string) (context.Context, wire.TraceContext) {
	t.Helper()
	state, err := trace.ParseTraceState(tracestate)
	require.NoError(t, err)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5}, TraceFlags: flags, TraceState: state})
	return trace.ContextWithSpanContext(t.Context(), span), wire.TraceContext{TraceID: wire.TraceID{1, 2, 3}, SpanID: wire.SpanID{4, 5}, Flags: byte(flags)}
}

// A client's handshake is the child of the application's active span, and the
// server's is its child, however the client is tapped and whatever was left in
// the request's headers.
func TestActiveSpan(t *testing.T) {
	stale := http.Header{
		traceparentHeader: {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		tracestateHeader:  {"stale=1"},
	}
	dials := map[string]func(context.Context, recorder, string, http.Header) (client, error){
		"dialer": func(ctx context.Context, rec recorder, url string, header http.Header) (client, error) {
			c, _, err := gorillaDialer(rec, nil).DialContext(ctx, url, header)
			return gorillaClient{c}, err
		},
		"transport": func(ctx context.Context, rec recorder, url string, header http.Header) (client, error) {
			base := &http.Transport{}
			t.Cleanup(base.CloseIdleConnections)
			c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &transport{rec, base}}, HTTPHeader: header})
			return coderClient{c}, err
		},
		"dial function": func(ctx context.Context, rec recorder, url string, header http.Header) (client, error) {
			d := ws.Dialer{NetDial: dialContext(rec, new(net.Dialer).DialContext), Header: ws.HandshakeHeaderHTTP(header)}
			c, _, _, err := d.Dial(ctx, url)
			return gobwasClient{c, c}, err
		},
	}
	for name, dial := range dials {
		for _, tracestate := range []string{"vendor=value", ""} {
			for _, header := range []http.Header{nil, stale} {
				t.Run(name+" "+tracestate, func(t *testing.T) {
					near, far := newFakeRecorder(), newFakeRecorder()
					target := serve(t, far, servers["coder"])
					ctx, parent := activeSpan(t, 0, tracestate)
					c, err := dial(ctx, near, target, header.Clone())
					require.NoError(t, err)
					nh, fh := near.await(t, wire.KindHandshake, 1), far.await(t, wire.KindHandshake, 1)
					_ = c.close()
					assert.Equal(t, parent, nh.extra.Parent)
					assert.Equal(t, tracestate, nh.extra.Tracestate)
					assert.Equal(t, wire.TraceContext{TraceID: parent.TraceID, SpanID: nh.conn.spanID, Flags: parent.Flags}, fh.extra.Parent)
					assert.Equal(t, tracestate, fh.extra.Tracestate)
					assert.Equal(t, parent.TraceID, fh.conn.traceID)
				})
			}
		}
	}
}

// Where no span is active the request's own traceparent is the parent.
func TestNoActiveSpan(t *testing.T) {
	r := upgradeRequest()
	r.Header.Set(traceparentHeader, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	r.Header.Set(tracestateHeader, "kept=1")
	u := newClientUpgrade(newFakeRecorder(), r, false, nil)
	assert.Equal(t, wire.SpanID{0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7}, u.parent.SpanID)
	assert.Equal(t, "kept=1", u.tracestate)
	assert.NotContains(t, u.requestHeader(), tracestateHeader, "it stays as it is")
	unreserve(u.rec, u.id)
}

// Red when: a WebSocket that a filter refuses is observed, or gets a header.
func TestFilter(t *testing.T) {
	near, far := newFakeRecorder(), newFakeRecorder()
	for _, rec := range []*fakeRecorder{near, far} {
		rec.filter = func(r *http.Request) bool { return r.URL.Path != "/health" }
	}
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, r.URL.Path == "/health", r.Header.Get(connectionHeader) == "")
		servers["coder"].ServeHTTP(w, r)
	})
	target := serve(t, far, app)
	for name, dial := range clients {
		for _, path := range []string{"/health", "/chat"} {
			c, err := dial(t, near, target+path, nil)
			require.NoError(t, err, name)
			echo(t, c, 1, "hello")
			_ = c.close()
		}
	}
	far.await(t, wire.KindClose, len(clients))
	assert.Len(t, near.opened, len(clients))
	assert.Len(t, far.opened, len(clients))
	requireNothingReserved(t, near, far)

	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)),
		WithFilter(func(r *http.Request) bool { return r.URL.Path != "/a" }),
		WithFilter(func(r *http.Request) bool { return r.URL.Path != "/b" }))
	for path, want := range map[string]bool{"/a": false, "/b": false, "/c": true} {
		r := upgradeRequest()
		r.URL.Path = path
		assert.Equal(t, want, a.wants(r), path)
	}
}

// An agent does not observe its own link: neither where the application has put
// the agent's taps in place of the defaults, nor where the receiver is behind a
// handler of the same process. What it sends would be sent, and so on.
func TestAgentDoesNotObserveItsLink(t *testing.T) { eachEncoding(t, testAgentDoesNotObserveItsLink) }

func testAgentDoesNotObserveItsLink(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	front := httptest.NewUnstartedServer(nil)
	endpoint := "ws://" + front.Listener.Addr().String()
	a := newAgent(t, WithEndpoint(endpoint), WithBatch(10, 1<<20, 1))

	dialer, rt := *gorilla.DefaultDialer, http.DefaultTransport
	t.Cleanup(func() { *gorilla.DefaultDialer, http.DefaultTransport = dialer, rt })
	*gorilla.DefaultDialer = *a.Dialer(nil)
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	http.DefaultTransport = a.Transport(base)
	front.Config.Handler = a.Handler(r.server.Config.Handler)
	front.Start()
	defer front.Close()

	p := r.welcomed(0)
	recordMessages(a, nil, 1, 1)
	flushing := inBackground(t, a.Flush)
	assert.Len(t, p.batch(1).Events, 1)
	p.ack(1)
	require.NoError(t, <-flushing)

	// The application may speak to the receiver itself, by its taps.
	c, _, err := gorilla.DefaultDialer.Dial(endpoint+defaultPath, http.Header{"Sec-Websocket-Protocol": {e.subprotocol}})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	cc, _, err := websocket.Dial(t.Context(), endpoint+defaultPath, &websocket.DialOptions{Subprotocols: []string{e.subprotocol}})
	require.NoError(t, err)
	require.NoError(t, cc.CloseNow())

	assert.EqualValues(t, 1, a.Stats().Observed)
	requireNothingReserved(t, a)
}

// A link that comes by another way is known by the subprotocol that was agreed
// on, at each tap.
func TestLinksOfOthers(t *testing.T) {
	near, far := newFakeRecorder(), newFakeRecorder()
	u := gorilla.Upgrader{Subprotocols: []string{wire.SubprotocolJSON}}
	target := serve(t, far, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r, nil)
		if assert.NoError(t, err) {
			defer c.Close()
			typ, data, err := c.ReadMessage()
			assert.NoError(t, err)
			assert.NoError(t, c.WriteMessage(typ, data))
		}
	}))
	d := gorillaDialer(near, &gorilla.Dialer{Subprotocols: []string{wire.SubprotocolProto, wire.SubprotocolJSON}})
	c, _, err := d.Dial(target, nil)
	require.NoError(t, err)
	echo(t, gorillaClient{c}, 1, "hello")
	require.NoError(t, c.Close())
	assert.Empty(t, near.all())
	assert.Empty(t, far.all())
	requireNothingReserved(t, near, far)
}
