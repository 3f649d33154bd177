package wsstats

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func request(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Connection", "Upgrade")
	return r
}

// Both ends of a handshake learn one id, and the server's span is the client's child.
func TestHandshakes(t *testing.T) {
	near, far := newFakeRecorder(), newFakeRecorder()
	asked := request("ws://example.com/chat?token=secret")
	client := clientHandshake(near, asked, []Attribute{Int("tenant", 1)})
	for name, values := range client.Header() {
		asked.Header[name] = values
	}
	server := serverHandshake(far, asked, []Attribute{String("user.id", "u-17")})
	answer := server.Header()
	accepted := server.Opened(http.Header{"Sec-Websocket-Protocol": {"chat"}}, nil)
	dialled := client.Opened(answer, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 80})

	assert.Equal(t, accepted.ID(), dialled.ID())
	assert.True(t, accepted.conn.shared)
	assert.True(t, dialled.conn.shared)
	assert.Equal(t, "ws://example.com/chat", dialled.conn.url)
	assert.Equal(t, "192.0.2.9", dialled.conn.peerIP)
	assert.Equal(t, "192.0.2.1", accepted.conn.peerIP, "of the request")
	assert.Equal(t, []Attribute{Int("tenant", 1)}, dialled.conn.attributes)
	assert.Equal(t, []Attribute{String("user.id", "u-17")}, accepted.conn.attributes)
	seed := wire.ConnectionSeed(dialled.ID())
	h := far.await(t, wire.KindHandshake, 1)
	assert.Equal(t, seed.SpanID(0, wire.SlotHandshake, wire.KindHandshake, RoleClient), h.extra.Parent.SpanID)
	assert.Equal(t, "chat", h.extra.Str(wire.AttrSubprotocol))
	assert.GreaterOrEqual(t, h.duration, int64(0))
	assert.Equal(t, "websocket", near.await(t, wire.KindHandshake, 1).extra.Str(wire.AttrUpgrade))
	dialled.Closed(1000, "", Local)
	accepted.Closed(1000, "", Remote)
	requireNothingReserved(t, near, far)
}

func TestHandshakeWithoutAnAgentAtTheOtherEnd(t *testing.T) {
	rec := newFakeRecorder()
	server := serverHandshake(rec, request("ws://example.com/"), nil)
	assert.Empty(t, server.Header(), "nobody asked")
	assert.False(t, server.Opened(nil, nil).conn.shared)
	client := clientHandshake(rec, request("wss://example.com/"), nil)
	c := client.Opened(http.Header{}, nil)
	assert.False(t, c.conn.shared)
	assert.Equal(t, "wss", c.conn.protocol)
	assert.Equal(t, netip.AddrPort{}, client.up.peer)
}

func TestHandshakeRefused(t *testing.T) {
	rec := newFakeRecorder()
	serverHandshake(rec, request("ws://example.com/"), nil).Refused(403, "")
	clientHandshake(rec, request("ws://example.com/"), nil).Refused(0, "timeout")
	refused := rec.of(wire.KindHandshake)
	require.Len(t, refused, 2)
	assert.Equal(t, "403", refused[0].extra.Str(wire.AttrErrorType))
	assert.Equal(t, "timeout", refused[1].extra.Str(wire.AttrErrorType))
	requireNothingReserved(t, rec)
}

// What a tap observes already, and the agent's own link, are not observed.
func TestHandshakeIsNotObservedTwice(t *testing.T) {
	rec := newFakeRecorder()
	rec.own = "collector:4390"
	own := clientHandshake(rec, request("ws://collector:4390/v1/wsstats"), nil)
	assert.Empty(t, own.Header())
	assert.Nil(t, own.Opened(nil, nil))
	own.Refused(403, "")

	r := request("ws://example.com/")
	a := &acceptance{}
	r = r.WithContext(context.WithValue(r.Context(), acceptanceKey{}, a))
	tapped := serverHandshake(rec, r, nil)
	assert.Empty(t, tapped.Header())
	assert.Nil(t, tapped.Opened(nil, nil))
	u := newClientUpgrade(rec, request("ws://example.com/"), false, nil)
	tp := u.succeed(http.Header{})
	a.stream.Store(openStream(nil, tp))
	assert.Same(t, tp.connection(), tapped.Opened(nil, nil))
	tapped.Refused(403, "")
	assert.Len(t, rec.all(), 1)
	tp.ended()

	parsed, err := url.Parse("ws://example.com/")
	require.NoError(t, err)
	h := (&Agent{cfg: &config{url: parsed}}).ClientHandshake(request("ws://example.com/"))
	assert.Nil(t, h.up)
}

// What a filter leaves alone no adapter observes: not below a handler, whatever
// became of the URL on the way, and not without one.
//
// Red when: a handshake below a handler whose filter refused the request, or one
// without a handler, is recorded; or below one that observes, is recorded twice.
func TestHandshakeOfFilteredRequests(t *testing.T) {
	rec := newFakeRecorder()
	rec.filter = func(r *http.Request) bool { return r.URL.Path != "/internal/chat" }
	adapter := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h := serverHandshake(rec, r, nil)
		assert.Empty(t, h.Header())
		assert.Nil(t, h.Opened(nil, nil))
		assert.Nil(t, ConnectionFromContext(r.Context()))
		h.Refused(403, "")
	})
	ask := func(handler http.Handler, target string) {
		handler.ServeHTTP(httptest.NewRecorder(), request(target))
	}
	const refused = "ws://example.com/internal/chat"
	ask(adapter, refused)
	ask(handler{rec, adapter}, refused)
	ask(handler{rec, http.StripPrefix("/internal", adapter)}, refused)
	h := clientHandshake(rec, request(refused), nil)
	assert.Empty(t, h.Header())
	assert.Nil(t, h.Opened(nil, nil))
	assert.Empty(t, rec.all())
	requireNothingReserved(t, rec)

	// Another agent's handler may want what this one's does not.
	other := newFakeRecorder()
	ask(handler{other, handler{rec, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NotNil(t, r.Context().Value(acceptanceKey{}).(*acceptance), "the connection is found by it")
		adapter(w, r)
	})}}, refused)
	assert.Len(t, other.of(wire.KindHandshake), 1)
	ask(handler{rec, handler{other, adapter}}, refused)
	assert.Len(t, other.of(wire.KindHandshake), 2)
	assert.Empty(t, rec.all())
	requireNothingReserved(t, other)
}
