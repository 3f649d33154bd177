package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// selfSigned writes a certificate for 127.0.0.1, which is its own authority.
func selfSigned(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	return cert, key, renew(t, cert, key)
}

// renew writes another one into the same files.
func renew(t *testing.T, cert, key string) (pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(cert, certPEM, 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

// TLS ends at the proxy and begins anew behind it, for WebSockets, which need
// HTTP/1.1, and for requests, which have HTTP/2 on both sides.
func TestProxyTLS(t *testing.T) {
	cert, key, pool := selfSigned(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	r := newReceiver(t, nil)
	r.keep = true
	var proto string
	handler := echo(t, func(r *http.Request) { proto = r.Proto }).Config.Handler
	app := httptest.NewUnstartedServer(handler)
	app.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	app.EnableHTTP2 = true
	app.StartTLS()
	defer app.Close()
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: pool}}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()

	tests := map[string]struct {
		args   []string
		status int
	}{
		"an authority of one's own": {[]string{"--ca", cert}, http.StatusBadRequest}, // the application's: it is no handshake
		"no authority asked":        {[]string{"--insecure-skip-verify"}, http.StatusBadRequest},
		"not trusted":               {nil, http.StatusBadGateway},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, app.URL, append(tt.args, "--cert", cert, "--key", key, "--collector", r.endpoint())...)
			resp, err := client.Get("https://" + p.address)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, tt.status, resp.StatusCode)
			assert.Equal(t, "HTTP/2.0", resp.Proto)
			ws, _, err := dialer.Dial("wss://"+p.address, nil)
			if tt.status == http.StatusBadGateway {
				require.ErrorIs(t, err, websocket.ErrBadHandshake)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "HTTP/1.1", proto)
			message := bytes.Repeat([]byte("x"), 100_000)
			require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, message))
			_, data, err := ws.ReadMessage()
			require.NoError(t, err)
			assert.Equal(t, message, data)
			require.NoError(t, ws.Close())
			p.finish(t)
		})
	}
	for _, e := range kept(r.events(t), wire.KindReceive) {
		assert.Equal(t, int64(100_000), e.Int(wire.AttrMessageSize))
	}
	for _, e := range kept(r.events(t), wire.KindHandshake) {
		assert.Equal(t, "wss", e.Str(wire.AttrProtocol))
	}
	assert.Len(t, kept(r.events(t), wire.KindReceive), 2)
}

// A certificate that is renewed under a running proxy is the one of new connections,
// and old ones live on. Of files that are no pair one line tells, and the last pair
// is kept.
//
// Red when: the files are read once, or a broken one ends TLS or is told of again.
func TestProxyTLSRenewal(t *testing.T) {
	cert, key, pool := selfSigned(t)
	p := startProxy(t, echo(t, nothing).URL, "--cert", cert, "--key", key, "--collector", newReceiver(t, nil).endpoint())
	dial := func(pool *x509.CertPool) (*websocket.Conn, error) {
		dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: pool}}
		ws, _, err := dialer.Dial("wss://"+p.address, nil)
		return ws, err
	}
	speaks := func(ws *websocket.Conn) bool {
		if !assert.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("hello"))) {
			return false
		}
		_, data, err := ws.ReadMessage()
		return assert.NoError(t, err) && assert.Equal(t, "hello", string(data))
	}
	old, err := dial(pool)
	require.NoError(t, err)
	defer old.Close()

	require.NoError(t, os.WriteFile(cert, []byte("broken"), 0o600))
	const warning = "certificate not read again, the last one is kept"
	kept := func() bool {
		ws, err := dial(pool)
		return assert.NoError(t, err) && assert.NoError(t, ws.Close())
	}
	require.Eventually(t, func() bool { return kept() && strings.Contains(p.errs.String(), warning) }, patience, 50*time.Millisecond)
	time.Sleep(certificateAge) // the files are looked at again
	kept()
	assert.Equal(t, 1, strings.Count(p.errs.String(), warning), p.errs)
	assert.NotContains(t, p.errs.String(), "read again\"")

	renewed := renew(t, cert, key)
	require.Eventually(t, func() bool {
		ws, err := dial(renewed)
		return err == nil && speaks(ws) && assert.NoError(t, ws.Close())
	}, patience, 50*time.Millisecond)
	_, err = dial(pool)
	require.ErrorAs(t, err, new(x509.UnknownAuthorityError), "the old one is gone")
	speaks(old)
	assert.Contains(t, p.errs.String(), `msg="certificate read again"`)
}

// Certificates that are not to be had are found before anything is served.
func TestProxyTLSMistakes(t *testing.T) {
	cert, _, _ := selfSigned(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, tt := range []struct {
		args []string
		errs string
	}{
		{[]string{"--cert", cert, "--key", cert}, "--cert and --key: tls: found a certificate rather than a key"},
		{[]string{"--cert", "absent.pem", "--key", "absent.pem"}, "--cert and --key: open absent.pem"},
		{[]string{"--ca", "absent.pem"}, "--ca: open absent.pem"},
		{[]string{"--ca", empty}, "--ca: expected certificates in PEM form"},
	} {
		status, _, errs := wsstatsIn(t.Context(), "", append([]string{"proxy", "--target", "http://localhost"}, tt.args...)...)
		assert.Equal(t, 1, status)
		assert.Contains(t, errs, tt.errs)
	}
}
