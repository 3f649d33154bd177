package wsstats

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xnet "golang.org/x/net/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// oneFrame is a buffer that keeps gorilla from fragmenting the messages of these
// tests, which x/net does not put together again.
const oneFrame = 64 << 10

// The servers echo messages and answer pings and closes, as their libraries do.
var servers = map[string]http.Handler{
	"gorilla": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := gorilla.Upgrader{
			EnableCompression: true, Subprotocols: []string{"echo"}, WriteBufferSize: oneFrame,
			CheckOrigin: func(*http.Request) bool { return true },
		}
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			typ, data, err := c.ReadMessage()
			if err != nil || c.WriteMessage(typ, data) != nil {
				return
			}
		}
	}),
	"coder": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1, InsecureSkipVerify: true, Subprotocols: []string{"echo"},
		})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			typ, data, err := c.Read(context.WithoutCancel(r.Context()))
			if err != nil || c.Write(context.WithoutCancel(r.Context()), typ, data) != nil {
				return
			}
		}
	}),
	"gobwas": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "echo" }}
		c, brw, _, err := u.Upgrade(r, w)
		if err != nil {
			return
		}
		defer c.Close()
		rw := struct {
			io.Reader
			io.Writer
		}{brw.Reader, c}
		for {
			data, op, err := wsutil.ReadClientData(rw)
			if err != nil || wsutil.WriteServerMessage(c, op, data) != nil {
				return
			}
		}
	}),
	"x/net": xnet.Server{
		Handshake: func(c *xnet.Config, _ *http.Request) error {
			if len(c.Protocol) > 0 {
				c.Protocol = c.Protocol[:1]
			}
			return nil
		},
		Handler: func(c *xnet.Conn) {
			for {
				var m xnetMessage
				if xnetCodec.Receive(c, &m) != nil || xnetCodec.Send(c, m) != nil {
					return
				}
			}
		},
	},
	"gws": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := gws.NewUpgrader(gwsEcho{}, &gws.ServerOption{SubProtocols: []string{"echo"}}).Upgrade(w, r)
		if err != nil {
			return
		}
		c.ReadLoop()
	}),
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnPing(c *gws.Conn, payload []byte) { _ = c.WritePong(payload) }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

type xnetMessage struct {
	typ  byte
	data []byte
}

var xnetCodec = xnet.Codec{
	Marshal: func(v any) ([]byte, byte, error) { m := v.(xnetMessage); return m.data, m.typ, nil },
	Unmarshal: func(data []byte, typ byte, v any) error {
		*v.(*xnetMessage) = xnetMessage{typ, data}
		return nil
	},
}

// client is a connection of any client library. Types are RFC 6455 opcodes.
type client interface {
	send(typ int, data string) error
	receive() (int, string, error)
	close() error // with 1000 and the reason "done" where the library can; waits for the answer where it can
}

// The clients dial a ws or wss URL with a tap.
var clients = map[string]func(t *testing.T, rec recorder, url string, config *tls.Config) (client, error){
	"gorilla": func(t *testing.T, rec recorder, url string, config *tls.Config) (client, error) {
		d := gorillaDialer(rec, &gorilla.Dialer{TLSClientConfig: config, Subprotocols: []string{"echo"}, WriteBufferSize: oneFrame})
		c, _, err := d.DialContext(t.Context(), url, nil)
		return gorillaClient{c}, err
	},
	"coder": func(t *testing.T, rec recorder, url string, config *tls.Config) (client, error) {
		base := &http.Transport{TLSClientConfig: config}
		t.Cleanup(base.CloseIdleConnections)
		hc := &http.Client{Transport: &transport{rec, base}}
		c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{"echo"}})
		return coderClient{c}, err
	},
	"gobwas": func(t *testing.T, rec recorder, url string, config *tls.Config) (client, error) {
		d := ws.Dialer{TLSConfig: config, Protocols: []string{"echo"}, WrapConn: func(c net.Conn) net.Conn { return clientConn(context.Background(), rec, c) }}
		c, br, _, err := d.Dial(t.Context(), url)
		if err != nil {
			return nil, err
		}
		r := io.Reader(c)
		if br != nil {
			r = br
		}
		return gobwasClient{c, r}, nil
	},
	"x/net": func(t *testing.T, rec recorder, url string, config *tls.Config) (client, error) {
		xc, err := xnet.NewConfig(url, "http://localhost/")
		require.NoError(t, err)
		xc.Protocol = []string{"echo"}
		dial := new(net.Dialer).DialContext
		if config != nil {
			dial = (&tls.Dialer{Config: config}).DialContext
		}
		conn, err := dialContext(rec, dial)(t.Context(), "tcp", xc.Location.Host)
		if err != nil {
			return nil, err
		}
		c, err := xnet.NewClient(xc, conn)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return xnetClient{c}, nil
	},
}

type gorillaClient struct{ *gorilla.Conn }

func (c gorillaClient) send(typ int, data string) error { return c.WriteMessage(typ, []byte(data)) }
func (c gorillaClient) receive() (int, string, error) {
	typ, data, err := c.ReadMessage()
	return typ, string(data), err
}

func (c gorillaClient) close() error {
	err := c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(1000, "done"), time.Time{})
	for err == nil {
		_, _, err = c.ReadMessage()
	}
	return c.Conn.Close()
}

type coderClient struct{ *websocket.Conn }

func (c coderClient) send(typ int, data string) error {
	return c.Write(context.Background(), websocket.MessageType(typ), []byte(data))
}

func (c coderClient) receive() (int, string, error) {
	typ, data, err := c.Read(context.Background())
	return int(typ), string(data), err
}
func (c coderClient) close() error { return c.Close(websocket.StatusNormalClosure, "done") }

type gobwasClient struct {
	net.Conn
	r io.Reader
}

func (c gobwasClient) send(typ int, data string) error {
	return wsutil.WriteClientMessage(c.Conn, ws.OpCode(typ), []byte(data))
}

func (c gobwasClient) receive() (int, string, error) {
	data, op, err := wsutil.ReadServerData(struct {
		io.Reader
		io.Writer
	}{c.r, c.Conn})
	return int(op), string(data), err
}

func (c gobwasClient) close() error {
	// In one write: x/net goes as soon as it has seen the header.
	_, err := c.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "done")))))
	for err == nil {
		_, _, err = c.receive()
	}
	return c.Conn.Close()
}

type xnetClient struct{ *xnet.Conn }

func (c xnetClient) send(typ int, data string) error {
	return xnetCodec.Send(c.Conn, xnetMessage{byte(typ), []byte(data)})
}

func (c xnetClient) receive() (int, string, error) {
	var m xnetMessage
	err := xnetCodec.Receive(c.Conn, &m)
	return int(m.typ), string(m.data), err
}
func (c xnetClient) close() error { return c.Conn.Close() }

// serve runs an observed server and returns its ws URL.
func serve(t *testing.T, rec recorder, next http.Handler) string {
	t.Helper()
	s := httptest.NewServer(handler{rec, next})
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func echo(t *testing.T, c client, typ int, data string) {
	t.Helper()
	require.NoError(t, c.send(typ, data))
	gotType, got, err := c.receive()
	require.NoError(t, err)
	require.Equal(t, typ, gotType)
	require.Equal(t, data, got, "an echo of %d bytes came back as %d others", len(data), len(got))
}

// Every client library against every server library, a tap at both ends: what
// one end sends is what the other receives, under one connection id.
func TestLibraries(t *testing.T) {
	const canary = "canary-of-the-payload"
	payloads := []string{"", canary, strings.Repeat(canary, 50), strings.Repeat(canary, 1500)}
	for server, next := range servers {
		for name, dial := range clients {
			t.Run(name+" to "+server, func(t *testing.T) {
				near, far := newFakeRecorder(), newFakeRecorder()
				target := serve(t, far, next)
				c, err := dial(t, near, target+"/chat%20room/x?token=secret-of-the-query", nil)
				require.NoError(t, err)
				for i, payload := range payloads {
					echo(t, c, 1+i%2, payload)
				}
				_ = c.close()

				nearEnd, farEnd := near.await(t, wire.KindClose, 1), far.await(t, wire.KindClose, 1)
				reason := "done"
				if name == "x/net" {
					reason = ""
				}
				requireClose(t, nearEnd, 1000, reason, "local", nearEnd.extra.Bool(wire.AttrCloseClean))
				requireClose(t, farEnd, 1000, reason, "remote", farEnd.extra.Bool(wire.AttrCloseClean))
				if name != "x/net" && server != "x/net" { // whose ends do not wait, or answer
					assert.True(t, nearEnd.extra.Bool(wire.AttrCloseClean))
					assert.True(t, farEnd.extra.Bool(wire.AttrCloseClean))
				}

				require.Len(t, near.opened, 1)
				require.Len(t, far.opened, 1)
				nc, fc := near.opened[0], far.opened[0]
				assert.Regexp(t, "^[0-9a-f]{32}$", nc.id)
				assert.Equal(t, nc.id, fc.id)
				assert.True(t, nc.shared && fc.shared)
				assert.Equal(t, wire.RoleClient, nc.role)
				assert.Equal(t, wire.RoleServer, fc.role)
				for _, c := range []*conn{nc, fc} {
					assert.Equal(t, target+"/chat%20room/x", c.url)
					assert.Equal(t, "ws", c.protocol)
					assert.Equal(t, "127.0.0.1", c.peerIP)
					assert.NotZero(t, c.peerPort)
					assert.NotZero(t, c.openedAt)
				}
				u, err := url.Parse(target)
				require.NoError(t, err)
				assert.Equal(t, u.Port(), port(nc.peerPort))

				sent := summaries(near.of(wire.KindSend))
				require.Len(t, sent, len(payloads))
				for i, m := range sent {
					assert.Equal(t, int64(i+1), m.seq)
					if m.compressed < 0 {
						assert.Equal(t, int64(len(payloads[i])), m.size)
					}
					assert.Equal(t, []wire.MessageType{wire.MessageText, wire.MessageBinary}[i%2], m.typ)
				}
				assert.Equal(t, sent, summaries(far.of(wire.KindReceive)))
				assert.Equal(t, summaries(far.of(wire.KindSend)), summaries(near.of(wire.KindReceive)))
				assert.Len(t, far.of(wire.KindSend), len(payloads))
				for _, r := range []record{nearEnd, farEnd} {
					assert.Equal(t, int64(len(payloads)), r.extra.Int(wire.AttrMessagesSent))
					assert.Equal(t, int64(len(payloads)), r.extra.Int(wire.AttrMessagesReceived))
				}
				assert.Equal(t, nearEnd.extra.Int(wire.AttrBytesSent), farEnd.extra.Int(wire.AttrBytesReceived))
				assert.Equal(t, nearEnd.extra.Int(wire.AttrBytesReceived), farEnd.extra.Int(wire.AttrBytesSent))

				for _, rec := range []*fakeRecorder{near, far} {
					h := rec.all()[0]
					require.Equal(t, wire.KindHandshake, h.kind)
					assert.Same(t, rec.opened[0], h.conn)
					assert.Positive(t, h.duration)
					assert.True(t, h.extra.Bool(wire.AttrHandshakeSuccess))
					assert.Equal(t, int64(101), h.extra.Int(wire.AttrStatusCode))
					assert.Equal(t, "GET", h.extra.Str(wire.AttrHTTPMethod))
					assert.Equal(t, "websocket", strings.ToLower(h.extra.Str(wire.AttrUpgrade)))
					assert.Equal(t, "echo", h.extra.Str(wire.AttrSubprotocol))
					assert.Empty(t, rec.of(wire.KindProtocolError))
					assert.Len(t, rec.of(wire.KindClose), 1)
					assert.Len(t, rec.of(wire.KindHandshake), 1)
					assert.NotContains(t, rec.String(), canary)
					assert.NotContains(t, rec.String(), "secret-of-the-query")
				}
				// The server's handshake span is the child of the client's.
				nh, fh := near.all()[0].extra, far.all()[0].extra
				seed := wire.ConnectionSeed(nc.id)
				assert.Zero(t, nh.TraceID)
				assert.Zero(t, nh.Parent)
				assert.Equal(t, seed.TraceID(0, wire.SlotHandshake), fh.Parent.TraceID)
				assert.Equal(t, seed.SpanID(0, wire.SlotHandshake, wire.KindHandshake, wire.RoleClient), fh.Parent.SpanID)
				requireNothingReserved(t, near, far)
			})
		}
	}
}

// The same over TLS.
func TestSecure(t *testing.T) {
	for name, dial := range clients {
		t.Run(name, func(t *testing.T) {
			near, far := newFakeRecorder(), newFakeRecorder()
			s := httptest.NewTLSServer(handler{far, servers["gorilla"]})
			t.Cleanup(s.Close)
			config := s.Client().Transport.(*http.Transport).TLSClientConfig
			target := "wss" + strings.TrimPrefix(s.URL, "https")
			_, err := dial(t, near, target, &tls.Config{})
			require.Error(t, err, "the certificate is checked")
			require.Empty(t, near.opened)

			if name == "gobwas" {
				config = config.Clone()
				config.ServerName = "127.0.0.1" // which it takes with the port else
			}
			c, err := dial(t, near, target, config)
			require.NoError(t, err)
			echo(t, c, 1, "hello")
			_ = c.close()
			near.await(t, wire.KindClose, 1)
			far.await(t, wire.KindClose, 1)
			for _, rec := range []*fakeRecorder{near, far} {
				assert.Equal(t, "wss", rec.opened[0].protocol)
				assert.Equal(t, target+"/", rec.opened[0].url)
				assert.Equal(t, "127.0.0.1", rec.opened[0].peerIP)
				assert.Equal(t, []summary{{1, 5, -1, 1, wire.MessageText}}, summaries(rec.of(wire.KindSend)))
				assert.Equal(t, []summary{{1, 5, -1, 1, wire.MessageText}}, summaries(rec.of(wire.KindReceive)))
			}
			assert.Equal(t, near.opened[0].id, far.opened[0].id)
		})
	}
}

// Every server answers the pings of a client, whose tap knows the round trip.
func TestPings(t *testing.T) {
	for server, next := range servers {
		t.Run(server, func(t *testing.T) {
			near, far := newFakeRecorder(), newFakeRecorder()
			c, _, err := gorillaDialer(near, &gorilla.Dialer{Subprotocols: []string{"echo"}}).Dial(serve(t, far, next), nil)
			require.NoError(t, err)
			defer c.Close()
			for _, payload := range []string{"", "canary", "canary"} {
				require.NoError(t, c.WriteControl(gorilla.PingMessage, []byte(payload), time.Time{}))
			}
			echo(t, gorillaClient{c}, 1, "") // the pongs come before it
			near.await(t, wire.KindPing, 3)

			for i, size := range []int64{0, 6, 6} {
				ping, pong := near.of(wire.KindPing)[i], near.of(wire.KindPong)[i]
				assert.Equal(t, int64(i+1), ping.seq)
				assert.Equal(t, size, ping.size)
				assert.Equal(t, wire.DirectionSent, ping.dir)
				assert.Positive(t, ping.duration)
				assert.Equal(t, int64(i+1), pong.seq)
				assert.Equal(t, wire.DirectionReceived, pong.dir)
				assert.LessOrEqual(t, ping.time, pong.time)

				ping, pong = far.of(wire.KindPing)[i], far.of(wire.KindPong)[i]
				assert.Equal(t, int64(i+1), ping.seq)
				assert.Equal(t, size, ping.size)
				assert.Equal(t, wire.DirectionReceived, ping.dir)
				assert.Equal(t, int64(-1), ping.duration)
				assert.Equal(t, int64(i+1), pong.seq)
				assert.Equal(t, wire.DirectionSent, pong.dir)
			}
			assert.NotContains(t, near.String()+far.String(), "canary")
		})
	}
}

// A server's ping has its round trip too.
func TestServerPing(t *testing.T) {
	near, far := newFakeRecorder(), newFakeRecorder()
	target := serve(t, far, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		ctx := c.CloseRead(context.WithoutCancel(r.Context()))
		assert.NoError(t, c.Ping(ctx))
		assert.NoError(t, c.Close(4001, "bye"))
	}))
	c, _, err := gorillaDialer(near, nil).Dial(target, nil)
	require.NoError(t, err)
	_, _, err = c.ReadMessage()
	require.Error(t, err)
	require.NoError(t, c.Close())
	assert.Positive(t, far.await(t, wire.KindPing, 1).duration)
	requireClose(t, far.await(t, wire.KindClose, 1), 4001, "bye", "local", true)
	requireClose(t, near.await(t, wire.KindClose, 1), 4001, "bye", "remote", true)
	assert.Equal(t, wire.DirectionSent, far.await(t, wire.KindClose, 1).dir)
	assert.Equal(t, wire.DirectionReceived, near.await(t, wire.KindClose, 1).dir)
}

func TestCompression(t *testing.T) {
	text := strings.Repeat("compressible ", 1000)
	check := func(t *testing.T, near, far *fakeRecorder) {
		near.await(t, wire.KindClose, 1)
		far.await(t, wire.KindClose, 1)
		sent, received := summaries(near.of(wire.KindSend)), summaries(near.of(wire.KindReceive))
		assert.Equal(t, sent, summaries(far.of(wire.KindReceive)))
		assert.Equal(t, received, summaries(far.of(wire.KindSend)))
		for _, m := range append(sent, received...) {
			assert.Equal(t, int64(-1), m.size)
			assert.Positive(t, m.compressed)
			assert.Less(t, m.compressed, int64(len(text)))
		}
		assert.Len(t, sent, 1)
	}
	t.Run("gorilla", func(t *testing.T) {
		near, far := newFakeRecorder(), newFakeRecorder()
		d := gorillaDialer(near, &gorilla.Dialer{EnableCompression: true})
		c, _, err := d.Dial(serve(t, far, servers["gorilla"]), nil)
		require.NoError(t, err)
		echo(t, gorillaClient{c}, 1, text)
		_ = gorillaClient{c}.close()
		check(t, near, far)
	})
	t.Run("coder", func(t *testing.T) {
		near, far := newFakeRecorder(), newFakeRecorder()
		base := &http.Transport{}
		defer base.CloseIdleConnections()
		c, _, err := websocket.Dial(t.Context(), serve(t, far, servers["coder"]), &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: &transport{near, base}}, CompressionMode: websocket.CompressionNoContextTakeover,
		})
		require.NoError(t, err)
		echo(t, coderClient{c}, 1, text)
		_ = coderClient{c}.close()
		check(t, near, far)
	})
}

// A client that writes in fragments: one message, of many frames.
func TestFragments(t *testing.T) {
	near, far := newFakeRecorder(), newFakeRecorder()
	d := gorillaDialer(near, &gorilla.Dialer{WriteBufferSize: 512})
	c, _, err := d.Dial(serve(t, far, servers["gobwas"]), nil)
	require.NoError(t, err)
	defer c.Close()
	w, err := c.NextWriter(gorilla.BinaryMessage)
	require.NoError(t, err)
	for range 4 {
		_, err = io.WriteString(w, strings.Repeat("x", 512))
		require.NoError(t, err)
	}
	require.NoError(t, c.WriteControl(gorilla.PingMessage, []byte("between"), time.Time{}))
	require.NoError(t, w.Close())
	_, data, err := c.ReadMessage()
	require.NoError(t, err)
	require.Len(t, data, 2048)

	sent := near.await(t, wire.KindSend, 1)
	assert.Equal(t, int64(2048), sent.size)
	assert.Greater(t, sent.frames, int32(3))
	assert.Positive(t, sent.duration, "from its first frame to its last")
	received := far.await(t, wire.KindReceive, 1)
	assert.Equal(t, summary{1, 2048, -1, sent.frames, wire.MessageBinary}, summaries([]record{received})[0])
	assert.Equal(t, wire.KindPing, far.all()[1].kind, "before the message that it was in")
	assert.Empty(t, far.of(wire.KindProtocolError))
}
