package wsstats

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// pipeConn is a connection whose other end is in the test's hands.
type pipeConn struct {
	net.Conn
	in       bytes.Buffer // to be read
	out      bytes.Buffer // was written
	readErr  error        // once in is empty
	writeErr error
	closed   int
}

func (p *pipeConn) Read(b []byte) (int, error) {
	if p.in.Len() == 0 {
		return 0, p.readErr
	}
	return p.in.Read(b)
}

func (p *pipeConn) Write(b []byte) (int, error) {
	if p.writeErr != nil {
		return 0, p.writeErr
	}
	return p.out.Write(b)
}

func (p *pipeConn) Close() error         { p.closed++; return nil }
func (p *pipeConn) RemoteAddr() net.Addr { return nil }

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

// A client's request goes out whole, with two more lines, in whatever pieces it
// was written, and so do frames that follow at once.
func TestRequestInPieces(t *testing.T) {
	request := rawRequest("X-Other: kept", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "wsstats-connection: of another")
	for _, piece := range []int{1, 7, 100, 1 << 20} {
		rec, raw := newFakeRecorder(), &pipeConn{readErr: io.EOF}
		c := clientConn(context.Background(), rec, raw)
		for rest := []byte(request + "\x81\x80abcd"); len(rest) > 0; {
			n, err := c.Write(rest[:min(piece, len(rest))])
			require.NoError(t, err)
			require.Equal(t, min(piece, len(rest)), n)
			rest = rest[n:]
		}
		br := bufio.NewReader(&raw.out)
		r, err := http.ReadRequest(br)
		require.NoError(t, err)
		rest, err := io.ReadAll(br)
		require.NoError(t, err)
		assert.Equal(t, "\x81\x80abcd", string(rest))
		assert.Equal(t, "/raw?q=1", r.RequestURI)
		assert.Equal(t, "kept", r.Header.Get("X-Other"))
		require.Len(t, r.Header[connectionHeader], 1)
		require.Len(t, r.Header["Traceparent"], 1)
		id := r.Header.Get(connectionHeader)
		span := wire.ConnectionSeed(id).SpanID(0, wire.SlotHandshake, wire.KindHandshake, wire.RoleClient)
		assert.Equal(t, "00-4bf92f3577b34da6a3ce929d0e0e4736-"+hex.EncodeToString(span[:])+"-00", r.Header.Get("Traceparent"))

		raw.in.WriteString("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + switching + connectionHeader + ": " + id + "\r\n\r\n\x81\x02hi")
		var read []byte
		for range 400 {
			b := make([]byte, min(piece, 4096))
			n, err := c.Read(b)
			read = append(read, b[:n]...)
			if err != nil {
				break
			}
		}
		assert.True(t, strings.HasSuffix(string(read), "\r\n\r\n\x81\x02hi"))
		require.NoError(t, c.Close())
		h := rec.await(t, wire.KindHandshake, 1)
		assert.True(t, h.conn.shared)
		assert.Equal(t, id, h.conn.id)
		assert.Equal(t, "00f067aa0ba902b7", hex.EncodeToString(h.extra.Parent.SpanID[:]))
		assert.Zero(t, h.extra.TraceID, "derived, in the parent's trace")
		assert.Equal(t, h.extra.Parent.TraceID, h.conn.traceID)
		assert.Equal(t, span, h.conn.spanID)
		assert.Equal(t, []summary{{1, 0, -1, 1, wire.MessageText}}, summaries(rec.of(wire.KindSend)))
		assert.Equal(t, []summary{{1, 2, -1, 1, wire.MessageText}}, summaries(rec.of(wire.KindReceive)))
		requireClose(t, rec.await(t, wire.KindClose, 1), 1006, "", "none", false)
		assert.Equal(t, 1, raw.closed)
	}
}

// What the client does with the server's answer to its connection id.
func TestClientConnectionID(t *testing.T) {
	const other, held = "fedcba9876543210fedcba9876543210", "00000000000000000000000000000001"
	for _, parent := range []string{"", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
		tests := []struct {
			name, answer, want string // "": the client's own
			shared, stated     bool
		}{
			{"none", "", "", false, false},
			{"another", connectionHeader + ": " + strings.ToUpper(other) + "\r\n", other, true, true},
			{"no such value", connectionHeader + ": x\r\n", "", false, false},
			{"held already", connectionHeader + ": " + held + "\r\n", "", false, false},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				rec, raw := newFakeRecorder(), &pipeConn{readErr: io.EOF}
				reserve(rec, held, wire.RoleServer)
				c := clientConn(context.Background(), rec, raw)
				lines := []string{}
				if parent != "" {
					lines = append(lines, parent)
				}
				_, err := io.WriteString(c, rawRequest(lines...))
				require.NoError(t, err)
				r, err := http.ReadRequest(bufio.NewReader(&raw.out))
				require.NoError(t, err)
				sent, ok := parseTraceparent(r.Header.Get(traceparentHeader))
				require.True(t, ok)
				raw.in.WriteString(switching + tt.answer + "\r\n")
				_, err = io.ReadAll(c)
				require.NoError(t, err)

				h := rec.await(t, wire.KindHandshake, 1)
				want := tt.want
				if want == "" {
					want = r.Header.Get(connectionHeader)
				}
				assert.Equal(t, want, h.conn.id)
				assert.Equal(t, tt.shared, h.conn.shared)
				assert.Equal(t, tt.stated, h.extra.TraceID == sent.TraceID)
				assert.Equal(t, tt.stated, h.extra.SpanID == sent.SpanID)
				if tt.stated {
					assert.Zero(t, h.extra.Parent.TraceID, "one form of the two")
					assert.Equal(t, sent.TraceID, h.conn.traceID)
					assert.Equal(t, sent.SpanID, h.conn.spanID)
				}
				assert.Equal(t, parent != "", h.extra.ParentSpanID != wire.SpanID{} || h.extra.Parent.SpanID != wire.SpanID{})
				unreserve(rec, held)
				requireNothingReserved(t, rec)
			})
		}
	}
}

func TestHandshakesThatFail(t *testing.T) {
	reset := errors.New("reset")
	tests := []struct {
		name   string
		read   string
		err    error
		status int64
		cause  string
	}{
		{"no answer", "", io.EOF, 0, "no_answer"},
		{"half an answer", "HTTP/1.1 101 Sw", reset, 0, "no_answer"},
		{"time-out", "", os.ErrDeadlineExceeded, 0, "timeout"},
		{"dead peer", "", syscall.ETIMEDOUT, 0, "no_answer"},
		{"refused", "HTTP/1.1 401 Unauthorized\r\n\r\n", io.EOF, 401, "401"},
		{"not HTTP", "SSH-2.0\r\n\r\n", io.EOF, 0, "malformed_answer"},
		{"endless", "HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("A: b\r\n", maxHead/6), io.EOF, 0, "head_too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec, raw := newFakeRecorder(), &pipeConn{readErr: tt.err}
			c := clientConn(context.Background(), rec, raw)
			_, err := io.WriteString(c, rawRequest())
			require.NoError(t, err)
			raw.in.WriteString(tt.read)
			_, err = io.ReadAll(c)
			if errors.Is(tt.err, io.EOF) {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, tt.err)
			}
			require.NoError(t, c.Close())
			require.Len(t, rec.all(), 1)
			h := rec.all()[0]
			assert.Nil(t, h.conn)
			assert.Equal(t, tt.status, h.extra.Int(wire.AttrStatusCode))
			assert.Equal(t, tt.cause, h.extra.Str(wire.AttrErrorType))
			assert.Equal(t, "ws://example.test/raw", h.extra.Str(wire.AttrURL))
			requireNothingReserved(t, rec)
		})
	}

	t.Run("write", func(t *testing.T) {
		rec := newFakeRecorder()
		c := clientConn(context.Background(), rec, &pipeConn{writeErr: reset})
		n, err := io.WriteString(c, rawRequest())
		require.ErrorIs(t, err, reset)
		assert.Zero(t, n)
		assert.Equal(t, "write_failed", rec.all()[0].extra.Str(wire.AttrErrorType))

		up := newServerUpgrade(rec, upgradeRequest())
		raw := &pipeConn{writeErr: reset}
		c = wrapConn(raw, serverStream(raw, up))
		_, err = io.WriteString(c, switching+"\r\n")
		require.ErrorIs(t, err, reset)
		assert.Equal(t, "write_failed", rec.all()[1].extra.Str(wire.AttrErrorType))
	})
	t.Run("early data", func(t *testing.T) {
		rec := newFakeRecorder()
		c := clientConn(context.Background(), rec, &pipeConn{})
		for _, s := range []string{rawRequest(), strings.Repeat("x", maxHead), "y", "z"} {
			_, err := io.WriteString(c, s)
			require.NoError(t, err)
		}
		assert.Equal(t, "early_data", rec.all()[0].extra.Str(wire.AttrErrorType))
	})
	t.Run("closed", func(t *testing.T) {
		rec := newFakeRecorder()
		c := clientConn(context.Background(), rec, &pipeConn{})
		_, err := io.WriteString(c, rawRequest())
		require.NoError(t, err)
		require.NoError(t, c.Close())
		assert.Equal(t, "abandoned", rec.all()[0].extra.Str(wire.AttrErrorType))
	})
}

// Bytes that are no WebSocket handshake pass as they are, and leave no trace.
func TestOtherBytes(t *testing.T) {
	for name, sent := range map[string]string{
		"TLS":         "\x16\x03\x01\x02\x00",
		"HTTP":        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"other GET":   "GET over with it\r\n\r\nbody",
		"almost":      "GEX",
		"endless":     "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", maxHead/6),
		"half a head": "GET / HTTP/1.1\r\nHo",
	} {
		t.Run(name, func(t *testing.T) {
			rec, raw := newFakeRecorder(), &pipeConn{readErr: io.EOF}
			c := clientConn(context.Background(), rec, raw)
			for rest := sent; rest != ""; {
				n, err := io.WriteString(c, rest[:min(len(rest), 3)])
				require.NoError(t, err)
				rest = rest[n:]
			}
			raw.in.WriteString("answer\r\n\r\n")
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			assert.Equal(t, "answer\r\n\r\n", string(got))
			require.NoError(t, c.Close())
			assert.Equal(t, sent, raw.out.String())
			assert.Empty(t, rec.all())
			requireNothingReserved(t, rec)
		})
	}
}

// Read and write deadlines and the optional methods reach the connection below.
func TestConnMethods(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	rec := newFakeRecorder()
	dial := dialContext(rec, new(net.Dialer).DialContext)
	c, err := dial(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()

	assert.Equal(t, far.LocalAddr().String(), c.RemoteAddr().String())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(-time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, ok := c.(syscall.Conn)
	assert.True(t, ok)
	assert.IsType(t, &net.TCPConn{}, c.(interface{ NetConn() net.Conn }).NetConn())
	require.NoError(t, c.(interface{ CloseRead() error }).CloseRead())
	require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
	_, err = far.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)

	_, ok = clientConn(context.Background(), rec, &tls.Conn{}).(tlsState)
	assert.True(t, ok)
	_, ok = clientConn(context.Background(), rec, struct {
		net.Conn
		halfCloser
	}{}).(halfCloser)
	assert.True(t, ok)
	_, ok = clientConn(context.Background(), rec, &pipeConn{}).(halfCloser)
	assert.False(t, ok)

	_, err = dialContext(rec, func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrClosedPipe })(t.Context(), "", "")
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

// A transport tells of what it could not reach, and hands on what is not its own.
func TestTransport(t *testing.T) {
	rec := newFakeRecorder()
	base := &http.Transport{}
	rt := &transport{rec, base}
	hc := &http.Client{Transport: rt}
	defer hc.CloseIdleConnections()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, _, err = websocket.Dial(t.Context(), "ws://"+l.Addr().String(), &websocket.DialOptions{HTTPClient: hc})
	require.Error(t, err)
	h := rec.await(t, wire.KindHandshake, 1)
	assert.Equal(t, "no_answer", h.extra.Str(wire.AttrErrorType))
	assert.False(t, h.extra.Has(wire.AttrPeerIP))

	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header[connectionHeader])
		_, _ = io.WriteString(w, "hello")
	}))
	defer s.Close()
	resp, err := hc.Get(s.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Len(t, rec.all(), 1)
	(&transport{rec, nil}).CloseIdleConnections()

	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, _, err = websocket.Dial(ctx, "ws://"+l.Addr().String(), &websocket.DialOptions{HTTPClient: hc})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, "timeout", rec.await(t, wire.KindHandshake, 2).extra.Str(wire.AttrErrorType))

	r := upgradeRequest()
	r.URL.Host = s.Listener.Addr().String()
	r.URL.Scheme, r.RequestURI = "http", ""
	answered := &transport{rec, roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}, Body: struct {
			io.ReadWriter
			io.Closer
		}{&bytes.Buffer{}, io.NopCloser(nil)}}, nil
	})}
	resp, err = answered.RoundTrip(r)
	require.NoError(t, err)
	_, ok := resp.Body.(halfCloser)
	assert.False(t, ok)
	require.NoError(t, resp.Body.Close())
	requireClose(t, rec.await(t, wire.KindClose, 1), 1006, "", "none", false)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A 101's body can end the sending direction alone.
func TestHalfClosedBody(t *testing.T) {
	near, far := newFakeRecorder(), newFakeRecorder()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodGet, "http"+strings.TrimPrefix(serve(t, far, servers["gobwas"]), "ws"), nil)
	require.NoError(t, err)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	resp, err := (&transport{near, base}).RoundTrip(r)
	require.NoError(t, err)
	body := resp.Body.(io.ReadWriteCloser)
	require.NoError(t, body.(halfCloser).CloseWrite())
	_, err = io.ReadAll(body)
	require.NoError(t, err)
	requireClose(t, near.await(t, wire.KindClose, 1), 1006, "", "none", false)
	require.NoError(t, body.Close())
	requireClose(t, far.await(t, wire.KindClose, 1), 1006, "", "none", false)
	assert.Len(t, near.of(wire.KindClose), 1)
}

func TestSetHeader(t *testing.T) {
	head := "GET /a:b HTTP/1.1\r\nHost: x\r\nwsstats-CONNECTION: old\r\nX:  kept \r\n\r\n"
	assert.Equal(t, "GET /a:b HTTP/1.1\r\nHost: x\r\nX:  kept \r\nWsstats-Connection: new\r\n\r\n",
		string(setHeader([]byte(head), http.Header{connectionHeader: {"new"}})))
	assert.Equal(t, "GET /a:b HTTP/1.1\r\nHost: x\r\nX:  kept \r\n\r\n",
		string(setHeader([]byte(head), http.Header{connectionHeader: nil})))
}

// A deadline is not the end of a connection; a failed write alone is not
// either, as the peer's close frame may still be there to read.
func TestErrorsOfAnOpenConnection(t *testing.T) {
	rec, raw := newFakeRecorder(), &pipeConn{readErr: os.ErrDeadlineExceeded}
	up := newClientUpgrade(rec, upgradeRequest(), false, nil)
	c := wrapConn(raw, openStream(raw, up.succeed(http.Header{})))
	buf := make([]byte, 64)
	_, err := c.Read(buf)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Empty(t, rec.of(wire.KindClose))

	raw.writeErr = io.ErrClosedPipe
	_, err = c.Write(maskedFrame(ws.OpText, true, "x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	assert.Empty(t, rec.of(wire.KindClose))
	raw.in.Write(serverFrame(ws.OpClose, true, closeFrame(1012, "restart")))
	raw.readErr = io.EOF
	_, err = io.ReadAll(c)
	require.NoError(t, err)
	requireClose(t, rec.await(t, wire.KindClose, 1), 1012, "restart", "remote", false)
	require.NoError(t, c.Close())
	assert.Len(t, rec.of(wire.KindClose), 1)
}
