package wsstats

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func port(n int) string { return strconv.Itoa(n) }

// rawRequest is a handshake with further header lines.
func rawRequest(lines ...string) string {
	return "GET /raw?q=1 HTTP/1.1\r\nHost: example.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.test\r\n" +
		strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// dialRaw writes bytes to a server and returns the connection and the answer.
func dialRaw(t *testing.T, target, bytes string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(target, "ws://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = io.WriteString(c, bytes)
	require.NoError(t, err)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	require.NoError(t, err)
	return c, br, resp
}

func clientFrame(t *testing.T, op ws.OpCode, payload string) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, wsutil.WriteClientMessage(&b, op, []byte(payload)))
	return b.String()
}

// Frames that come in one packet with the handshake are seen, and the library
// finds them where it looks for them.
func TestBytesWithTheHandshake(t *testing.T) {
	for _, server := range []string{"coder", "gobwas", "x/net"} { // gorilla refuses such clients, gws loses the bytes
		t.Run(server, func(t *testing.T) {
			rec := newFakeRecorder()
			frames := clientFrame(t, ws.OpText, "first") + clientFrame(t, ws.OpText, "second")
			c, br, resp := dialRaw(t, serve(t, rec, servers[server]), rawRequest()+frames[:len(frames)-3])
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			_, err := io.WriteString(c, frames[len(frames)-3:])
			require.NoError(t, err)
			for _, want := range []string{"first", "second"} {
				got, err := wsutil.ReadServerText(struct {
					io.Reader
					io.Writer
				}{br, c})
				require.NoError(t, err)
				assert.Equal(t, want, string(got))
			}
			rec.await(t, wire.KindSend, 2)
			want := []summary{{1, 5, -1, 1, wire.MessageText}, {2, 6, -1, 1, wire.MessageText}}
			assert.Equal(t, want, summaries(rec.of(wire.KindReceive)))
			assert.Equal(t, want, summaries(rec.of(wire.KindSend)))

			require.NoError(t, c.Close())
			requireClose(t, rec.await(t, wire.KindClose, 1), 1006, "", "none", false)
			requireNothingReserved(t, rec)
		})
	}
	t.Run("gorilla", func(t *testing.T) {
		rec := newFakeRecorder()
		c, err := net.Dial("tcp", strings.TrimPrefix(serve(t, rec, servers["gorilla"]), "ws://"))
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, rawRequest()+clientFrame(t, ws.OpText, "first"))
		require.NoError(t, err)
		_, err = io.ReadAll(c)
		_ = err // an end or a reset
		h := rec.await(t, wire.KindHandshake, 1)
		assert.False(t, h.extra.Bool(wire.AttrHandshakeSuccess))
		assert.Equal(t, "abandoned", h.extra.Str(wire.AttrErrorType))
	})
}

// A peer that vanishes leaves a close with 1006, at every server.
func TestVanishedPeer(t *testing.T) {
	for server, next := range servers {
		t.Run(server, func(t *testing.T) {
			rec := newFakeRecorder()
			c, _, resp := dialRaw(t, serve(t, rec, next), rawRequest("Sec-WebSocket-Protocol: echo"))
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			assert.Empty(t, resp.Header[connectionHeader], "was not asked for")
			require.NoError(t, c.Close())
			end := rec.await(t, wire.KindClose, 1)
			requireClose(t, end, 1006, "", "none", false)
			assert.Equal(t, wire.DirectionUnknown, end.dir)
			assert.False(t, end.conn.shared)
			assert.Equal(t, "ws://example.test/raw", end.conn.url)
		})
	}
}

// An empty close frame is 1005, and a frame without a mask an error.
func TestRawClients(t *testing.T) {
	rec := newFakeRecorder()
	target := serve(t, rec, servers["gobwas"])
	c, _, _ := dialRaw(t, target, rawRequest())
	_, err := io.WriteString(c, clientFrame(t, ws.OpClose, ""))
	require.NoError(t, err)
	requireClose(t, rec.await(t, wire.KindClose, 1), 1005, "", "remote", true)

	rec = newFakeRecorder()
	c, _, _ = dialRaw(t, serve(t, rec, servers["gorilla"]), rawRequest())
	_, err = io.WriteString(c, "\x81\x06canary\x81\x06canary")
	require.NoError(t, err)
	requireClose(t, rec.await(t, wire.KindClose, 1), 1002, "bad MASK", "local", false)
	e := rec.await(t, wire.KindProtocolError, 1)
	assert.Equal(t, "mask_missing", e.extra.Str(wire.AttrErrorType))
	assert.Equal(t, "protocol", e.extra.Str(wire.AttrErrorCategory))
	assert.Equal(t, wire.DirectionReceived, e.dir)
	assert.Len(t, rec.of(wire.KindProtocolError), 1)
	assert.Empty(t, rec.of(wire.KindReceive))
	assert.NotContains(t, rec.String(), "canary")
}

// The connection id and the trace that the request names.
func TestServerConnectionID(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, server := range []string{"gorilla", "coder"} { // whose 101 goes out on the connection, and by WriteHeader
		t.Run(server, func(t *testing.T) {
			rec := newFakeRecorder()
			target := serve(t, rec, servers[server])
			opened := 0
			open := func(lines ...string) (*conn, record, string, net.Conn) {
				c, _, resp := dialRaw(t, target, rawRequest(lines...))
				require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
				require.LessOrEqual(t, len(resp.Header[connectionHeader]), 1)
				opened++
				h := rec.await(t, wire.KindHandshake, opened)
				return h.conn, h, resp.Header.Get(connectionHeader), c
			}
			adopted, h, answer, raw := open("wsstats-connection: "+strings.ToUpper(id), "traceparent: 00-"+trace+"-"+span+"-01", "tracestate: a=1", "tracestate: b=2")
			assert.Equal(t, id, adopted.id)
			assert.Equal(t, id, answer)
			assert.True(t, adopted.shared)
			assert.Equal(t, trace, hex.EncodeToString(h.extra.Parent.TraceID[:]))
			assert.Equal(t, span, hex.EncodeToString(h.extra.Parent.SpanID[:]))
			assert.Equal(t, "a=1,b=2", h.extra.Tracestate)
			assert.Equal(t, h.extra.Parent.TraceID, adopted.traceID)
			assert.Equal(t, wire.ConnectionSeed(id).SpanID(0, wire.SlotHandshake, wire.KindHandshake, wire.RoleServer), adopted.spanID)

			taken, h, answer, _ := open("Wsstats-Connection: "+id, "traceparent: 00-"+strings.Repeat("0", 32)+"-"+span+"-01")
			assert.NotEqual(t, id, taken.id)
			assert.Equal(t, taken.id, answer)
			assert.True(t, taken.shared)
			assert.Zero(t, h.extra.Parent)
			assert.Zero(t, taken.traceID)

			bad, _, answer, _ := open("Wsstats-Connection: " + id[1:])
			assert.Equal(t, bad.id, answer)
			assert.True(t, bad.shared)

			none, _, answer, _ := open()
			assert.Empty(t, answer)
			assert.False(t, none.shared)

			require.NoError(t, raw.Close())
			rec.await(t, wire.KindClose, 1)
			requireFree(t, rec, id)
			again, _, _, _ := open("Wsstats-Connection: " + id)
			assert.Equal(t, id, again.id, "free again")
		})
	}
}

func TestRefusedUpgrades(t *testing.T) {
	tests := []struct {
		name   string
		next   http.HandlerFunc
		status int64
		cause  string
	}{
		{"by the application", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, 403, "403"},
		{"after early hints", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNotFound)
		}, 404, "404"},
		{"by an origin check", func(w http.ResponseWriter, r *http.Request) {
			u := gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return false }}
			_, err := u.Upgrade(w, r, nil)
			assert.Error(t, err)
		}, 403, "403"},
		{"by silence", func(http.ResponseWriter, *http.Request) {}, 200, "200"},
		{"by a body", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, 200, "200"},
		{"by a stream", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("hello"))
		}, 200, "200"},
		{"by a flush", func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, 200, "200"},
		{"by hand", func(w http.ResponseWriter, _ *http.Request) {
			c, brw, err := w.(http.Hijacker).Hijack()
			if assert.NoError(t, err) {
				_, _ = brw.WriteString("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				_ = brw.Flush()
				_ = c.Close()
			}
		}, 429, "429"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			far := newFakeRecorder()
			target := serve(t, far, tt.next)
			for name, dial := range clients {
				if name != "coder" && tt.name == "after early hints" {
					continue // takes the hints for the answer
				}
				near := newFakeRecorder()
				_, err := dial(t, near, target, nil)
				require.Error(t, err, name)
				for rec, role := range map[*fakeRecorder]string{near: "client", far: "server"} {
					if rec == far {
						rec.await(t, wire.KindHandshake, 1)
					}
					hs := rec.of(wire.KindHandshake)
					require.NotEmpty(t, hs, name)
					h := hs[len(hs)-1]
					assert.Nil(t, h.conn)
					assert.False(t, h.extra.Bool(wire.AttrHandshakeSuccess))
					assert.True(t, h.extra.Has(wire.AttrHandshakeSuccess))
					assert.Equal(t, tt.status, h.extra.Int(wire.AttrStatusCode), name)
					assert.Equal(t, tt.cause, h.extra.Str(wire.AttrErrorType))
					assert.Equal(t, role, h.extra.Str(wire.AttrRole))
					assert.Equal(t, target+"/", h.extra.Str(wire.AttrURL))
					assert.Equal(t, "127.0.0.1", h.extra.Str(wire.AttrPeerIP))
					assert.Empty(t, rec.opened)
				}
				h := near.of(wire.KindHandshake)[0]
				assert.NotZero(t, h.extra.TraceID, "the ids that the request named are stated")
				assert.NotZero(t, h.extra.SpanID)
				requireNothingReserved(t, near)
			}
			requireNothingReserved(t, far)
		})
	}
}

func TestHandlerThatPanics(t *testing.T) {
	rec := newFakeRecorder()
	h := handler{rec, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("of the application") })}
	assert.PanicsWithValue(t, "of the application", func() { h.ServeHTTP(httptest.NewRecorder(), upgradeRequest()) })
	assert.Equal(t, "panic", rec.await(t, wire.KindHandshake, 1).extra.Str(wire.AttrErrorType))
	assert.False(t, rec.all()[0].extra.Has(wire.AttrStatusCode))

	h.next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols)
		_, _, err := w.(http.Hijacker).Hijack()
		assert.ErrorIs(t, err, http.ErrNotSupported)
	})
	h.ServeHTTP(httptest.NewRecorder(), upgradeRequest())
	assert.Equal(t, "not_hijacked", rec.await(t, wire.KindHandshake, 2).extra.Str(wire.AttrErrorType))
	requireNothingReserved(t, rec)
}

func upgradeRequest() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	return r
}

// Requests that are no handshake get the server's own writer.
func TestOtherRequests(t *testing.T) {
	rec := newFakeRecorder()
	var got http.ResponseWriter
	h := handler{rec, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { got = w })}
	for name, change := range map[string]func(*http.Request){
		"plain":         func(r *http.Request) { r.Header = http.Header{} },
		"no connection": func(r *http.Request) { r.Header.Del("Connection") },
		"other upgrade": func(r *http.Request) { r.Header.Set("Upgrade", "h2c") },
		"post":          func(r *http.Request) { r.Method = http.MethodPost },
		"http/2":        func(r *http.Request) { r.Method, r.ProtoMajor = http.MethodConnect, 2 },
	} {
		w, r := httptest.NewRecorder(), upgradeRequest()
		change(r)
		h.ServeHTTP(w, r)
		assert.Same(t, w, got, name)
	}
	assert.Empty(t, rec.all())
}

// The optional interfaces of the server's writer are there during a handshake too.
func TestWriterInterfaces(t *testing.T) {
	rec := newFakeRecorder()
	target := serve(t, rec, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, flusher := w.(http.Flusher)
		_, hijacker := w.(http.Hijacker)
		_, readerFrom := w.(io.ReaderFrom)
		_, notifier := w.(http.CloseNotifier) //nolint:staticcheck // still in use
		_, pusher := w.(http.Pusher)
		assert.True(t, flusher && hijacker && readerFrom && notifier)
		assert.False(t, pusher)
		assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
		servers["coder"].ServeHTTP(w, r)
	}))
	dialRaw(t, target, rawRequest())
	rec.await(t, wire.KindHandshake, 1)
}

// middleware has nothing of its own but Unwrap.
type middleware struct{ http.ResponseWriter }

func (m middleware) Unwrap() http.ResponseWriter { return m.ResponseWriter }

func TestHijackThroughUnwrap(t *testing.T) {
	for _, server := range []string{"gorilla", "coder"} { // which use http.ResponseController or the like
		rec := newFakeRecorder()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler{rec, servers[server]}.ServeHTTP(middleware{w}, r)
		}))
		t.Cleanup(s.Close)
		_, _, resp := dialRaw(t, "ws"+strings.TrimPrefix(s.URL, "http"), rawRequest())
		assert.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		assert.True(t, rec.await(t, wire.KindHandshake, 1).extra.Bool(wire.AttrHandshakeSuccess))
	}
}

// A handler may write the 101 in any pieces, with frames behind it, and with a
// header that it took over from elsewhere.
func TestAnswerInPieces(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	for name, asked := range map[string]string{"asked": id, "not asked": ""} {
		t.Run(name, func(t *testing.T) {
			rec := newFakeRecorder()
			answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nwsstats-connection: other\r\nX-Other: kept\r\n\r\n" +
				"\x81\x05hello"
			target := serve(t, rec, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := w.(http.Hijacker).Hijack()
				if !assert.NoError(t, err) {
					return
				}
				for _, b := range []byte(answer) {
					n, err := c.Write([]byte{b})
					assert.NoError(t, err)
					assert.Equal(t, 1, n)
				}
				assert.NoError(t, c.Close())
			}))
			var lines []string
			if asked != "" {
				lines = append(lines, connectionHeader+": "+asked)
			}
			_, br, resp := dialRaw(t, target, rawRequest(lines...))
			assert.Equal(t, asked, resp.Header.Get(connectionHeader))
			assert.LessOrEqual(t, len(resp.Header[connectionHeader]), 1)
			assert.Equal(t, "kept", resp.Header.Get("X-Other"))
			rest, err := io.ReadAll(br)
			require.NoError(t, err)
			assert.Equal(t, "\x81\x05hello", string(rest))
			rec.await(t, wire.KindClose, 1)
			assert.Equal(t, []summary{{1, 5, -1, 1, wire.MessageText}}, summaries(rec.of(wire.KindSend)))
		})
	}
}

// What is written on a hijacked connection that is no HTTP is left alone.
func TestForeignProtocol(t *testing.T) {
	rec := newFakeRecorder()
	target := serve(t, rec, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, brw, err := w.(http.Hijacker).Hijack()
		if assert.NoError(t, err) {
			_, _ = brw.WriteString("HELO you")
			_ = brw.Flush()
			_ = c.Close()
		}
	}))
	c, err := net.Dial("tcp", strings.TrimPrefix(target, "ws://"))
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, rawRequest())
	require.NoError(t, err)
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, "HELO you", string(got))
	assert.Equal(t, "unreadable_head", rec.await(t, wire.KindHandshake, 1).extra.Str(wire.AttrErrorType))
}

// One agent at both ends has two names for the two.
func TestAgentThatTalksToItself(t *testing.T) {
	rec := newFakeRecorder()
	target := serve(t, rec, servers["coder"])
	c, _, err := gorillaDialer(rec, nil).Dial(target, nil)
	require.NoError(t, err)
	echo(t, gorillaClient{c}, 1, "hello")
	_ = gorillaClient{c}.close()
	rec.await(t, wire.KindClose, 2)
	require.Len(t, rec.opened, 2)
	assert.NotEqual(t, rec.opened[0].id, rec.opened[1].id)
	assert.False(t, rec.opened[0].shared || rec.opened[1].shared)
	requireNothingReserved(t, rec)
}

// What the agent itself sends is not observed.
func TestOwnLink(t *testing.T) {
	rec, far := newFakeRecorder(), newFakeRecorder()
	target := serve(t, far, servers["coder"])
	rec.own = strings.TrimPrefix(target, "ws://")
	for name, dial := range clients {
		c, err := dial(t, rec, target, nil)
		require.NoError(t, err, name)
		echo(t, c, 1, "hello")
		_ = c.close()
	}
	assert.Empty(t, rec.all())
	assert.Empty(t, rec.opened)
}

// The public methods hang together.
func TestAgentTaps(t *testing.T) {
	a := &Agent{cfg: &config{url: mustParse(t, "ws://localhost:4390/v1/wsstats")}, closing: true}
	s := httptest.NewServer(a.Handler(servers["coder"]))
	defer s.Close()
	target := "ws" + strings.TrimPrefix(s.URL, "http")
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	assert.NotNil(t, a.Transport(nil))
	for _, dial := range []func() (client, error){
		func() (client, error) {
			c, _, err := a.Dialer(nil).Dial(target, nil)
			return gorillaClient{c}, err
		},
		func() (client, error) {
			c, _, err := websocket.Dial(t.Context(), target, &websocket.DialOptions{HTTPClient: &http.Client{Transport: a.Transport(base)}})
			return coderClient{c}, err
		},
		func() (client, error) {
			c, _, _, err := ws.Dialer{NetDial: a.DialContext(new(net.Dialer).DialContext)}.Dial(t.Context(), target)
			return gobwasClient{c, c}, err
		},
		func() (client, error) {
			c, _, _, err := ws.Dialer{WrapConn: a.ClientConn}.Dial(context.Background(), target)
			return gobwasClient{c, c}, err
		},
	} {
		c, err := dial()
		require.NoError(t, err)
		echo(t, c, 2, "hello")
		_ = c.close()
	}
	assert.NotZero(t, a.Stats().Observed)
}

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}
