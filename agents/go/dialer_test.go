package wsstats

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// proxyServer is an HTTP proxy that knows CONNECT. It counts the tunnels.
func proxyServer(t *testing.T) (*url.URL, *atomic.Int32) {
	t.Helper()
	var tunnels atomic.Int32
	var wg sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic dTpw" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if !assert.NoError(t, err) {
			return
		}
		near, _, err := w.(http.Hijacker).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		tunnels.Add(1)
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		wg.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
		_, _ = io.Copy(near, far)
		_ = near.Close()
	}))
	t.Cleanup(func() { s.Close(); wg.Wait() })
	u := mustParse(t, s.URL)
	u.User = url.UserPassword("u", "p")
	return u, &tunnels
}

// socksServer is a SOCKS 5 proxy without authentication (RFC 1928).
func socksServer(t *testing.T, target string) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		near, err := l.Accept()
		if err != nil {
			return
		}
		br := bufio.NewReader(near)
		_, _ = br.Discard(3) // version, one method: none
		_, _ = near.Write([]byte{5, 0})
		_, _ = br.Discard(4 + 4 + 2) // connect to an IPv4 address
		far, err := net.Dial("tcp", target)
		if !assert.NoError(t, err) {
			return
		}
		_, _ = near.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		wg.Go(func() { _, _ = io.Copy(far, br); _ = far.Close() })
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return &url.URL{Scheme: "socks5", Host: l.Addr().String()}
}

// What gorilla's own dialer can do is still done: proxies, TLS, its hooks.
func TestGorillaDialer(t *testing.T) {
	far := newFakeRecorder()
	plain := httptest.NewServer(handler{far, servers["gorilla"]})
	defer plain.Close()
	secure := httptest.NewTLSServer(handler{far, servers["gorilla"]})
	defer secure.Close()
	config := secure.Client().Transport.(*http.Transport).TLSClientConfig
	ws, wss := "ws"+strings.TrimPrefix(plain.URL, "http"), "wss"+strings.TrimPrefix(secure.URL, "https")
	proxyURL, tunnels := proxyServer(t)
	var dials atomic.Int32

	for _, tt := range []struct {
		name    string
		dialer  *gorilla.Dialer
		target  string
		tunnels int32
		dials   int32
	}{
		{"default", nil, ws, 0, 0},
		{"NetDial", &gorilla.Dialer{NetDial: func(network, addr string) (net.Conn, error) {
			dials.Add(1)
			return net.Dial(network, addr)
		}}, ws, 0, 1},
		{"NetDialContext under TLS", &gorilla.Dialer{TLSClientConfig: config, NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}, wss, 0, 1},
		{"NetDialTLSContext", &gorilla.Dialer{NetDialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, addr)
		}}, wss, 0, 1},
		{"proxy", &gorilla.Dialer{Proxy: http.ProxyURL(proxyURL)}, ws, 1, 0},
		{"proxy under TLS", &gorilla.Dialer{Proxy: http.ProxyURL(proxyURL), TLSClientConfig: config}, wss, 1, 0},
		{"no proxy under TLS", &gorilla.Dialer{Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }, TLSClientConfig: config}, wss, 0, 0},
		{"SOCKS under TLS", &gorilla.Dialer{Proxy: http.ProxyURL(socksServer(t, secure.Listener.Addr().String())), TLSClientConfig: config}, wss, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tunnels.Store(0)
			dials.Store(0)
			near := newFakeRecorder()
			c, _, err := gorillaDialer(near, tt.dialer).DialContext(t.Context(), tt.target, nil)
			require.NoError(t, err)
			echo(t, gorillaClient{c}, 1, "hello")
			require.NoError(t, gorillaClient{c}.close())
			assert.Equal(t, tt.target+"/", near.await(t, wire.KindHandshake, 1).conn.url)
			assert.Len(t, near.of(wire.KindHandshake), 1)
			assert.Equal(t, []summary{{1, 5, -1, 1, wire.MessageText}}, summaries(near.of(wire.KindSend)))
			requireClose(t, near.await(t, wire.KindClose, 1), 1000, "done", "local", true)
			assert.Equal(t, tt.tunnels, tunnels.Load())
			assert.Equal(t, tt.dials, dials.Load())
		})
	}
}

func TestGorillaDialerFails(t *testing.T) {
	refused := errors.New("refused")
	proxyURL, _ := proxyServer(t)
	proxyURL.User = nil
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	wss := "wss" + strings.TrimPrefix(secure.URL, "https")
	dead := func(context.Context, string, string) (net.Conn, error) { return nil, refused }
	deaf := func(context.Context, string, string) (net.Conn, error) { return &pipeConn{readErr: io.EOF}, nil }
	proxied := http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})

	for _, tt := range []struct {
		name   string
		dialer gorilla.Dialer
		want   string
	}{
		{"dial", gorilla.Dialer{NetDialContext: dead}, "refused"},
		{"certificate", gorilla.Dialer{}, "certificate"},
		{"the choice of a proxy", gorilla.Dialer{Proxy: func(*http.Request) (*url.URL, error) { return nil, refused }}, "refused"},
		{"proxy that is away", gorilla.Dialer{Proxy: proxied, NetDialContext: dead}, "refused"},
		{"proxy that hangs up", gorilla.Dialer{Proxy: proxied, NetDialContext: deaf}, "proxy: unexpected EOF"},
		{"proxy that refuses", gorilla.Dialer{Proxy: http.ProxyURL(proxyURL)}, "proxy: 407"},
		{"proxy of no known kind", gorilla.Dialer{Proxy: http.ProxyURL(&url.URL{Scheme: "gopher"})}, "unknown scheme"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := newFakeRecorder()
			_, _, err := gorillaDialer(rec, &tt.dialer).DialContext(t.Context(), wss, nil)
			require.ErrorContains(t, err, tt.want)
			assert.Empty(t, rec.all())
		})
	}
}

// gorilla's callers see the TLS handshake in their trace as before.
func TestGorillaDialerTrace(t *testing.T) {
	secure := httptest.NewTLSServer(servers["gorilla"])
	defer secure.Close()
	var started, done bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		TLSHandshakeStart: func() { started = true },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { done = err == nil },
	})
	d := gorillaDialer(newFakeRecorder(), &gorilla.Dialer{TLSClientConfig: secure.Client().Transport.(*http.Transport).TLSClientConfig})
	c, _, err := d.DialContext(ctx, "wss"+strings.TrimPrefix(secure.URL, "https"), nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	assert.True(t, started && done)
}
