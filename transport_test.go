package wsstatsreceiver

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
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// selfSigned returns a certificate for 127.0.0.1 and its key, in PEM.
func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestTLS(t *testing.T) {
	cert, key := selfSigned(t)
	r := startReceiver(t, testOptions{config: func(cfg *Config) {
		server := configtls.NewDefaultServerConfig()
		server.CertPem, server.KeyPem = configopaque.String(cert), configopaque.String(key)
		cfg.HTTP.TLS = configoptional.Some(server)
	}})
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(cert))
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	conn, resp, err := dialer.Dial("wss"+strings.TrimPrefix(r.url(), "ws"), nil)
	require.NoError(t, err)
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	a := &testAgent{t: t, conn: conn}
	a.send(`{"hello":{"instance":"i1"}}`)
	require.NotNil(t, a.reply().Welcome)
	a.send(batch(1, "c", 1))
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())

	_, _, err = websocket.DefaultDialer.Dial(r.url(), nil)
	require.Error(t, err, "and no other way")
}

// dialWith connects with a dialer of one's own.
func (tr *testReceiver) dialWith(dialer *websocket.Dialer) *testAgent {
	tr.t.Helper()
	conn, resp, err := dialer.Dial(tr.url(), nil)
	require.NoError(tr.t, err)
	_ = resp.Body.Close()
	tr.t.Cleanup(func() { _ = conn.Close() })
	return &testAgent{t: tr.t, conn: conn}
}

func TestCompression(t *testing.T) {
	for _, on := range []bool{false, true} {
		r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Compression = on }})
		dialer := &websocket.Dialer{EnableCompression: true}
		conn, resp, err := dialer.Dial(r.url(), nil)
		require.NoError(t, err)
		_ = resp.Body.Close()
		t.Cleanup(func() { _ = conn.Close() })
		want := ""
		if on {
			want = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		}
		assert.Equal(t, want, resp.Header.Get("Sec-WebSocket-Extensions"))
		a := &testAgent{t: t, conn: conn}
		for seq := 1; seq < 4; seq++ {
			a.send(batch(seq, "c", seq))
			assert.Equal(t, wire.Reply{Ack: uint64(seq)}, a.reply())
		}
	}
}

// A compressed message is small on the wire: its size must be counted after
// inflation, and inflation must stop at the limit.
func TestInflationBomb(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) {
		cfg.Compression = true
		cfg.Limits.MessageBytes = 64 << 10
	}})
	a := r.dialWith(&websocket.Dialer{EnableCompression: true})
	a.send(sized(1, 64<<10))
	assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	a.send(sized(2, 1<<20)) // a kilobyte, once compressed
	a.expectClose(websocket.CloseMessageTooBig)
	assert.Equal(t, 1, r.traces.SpanCount())
}

// sized is a numbered message of one event and so many bytes.
func sized(seq, size int) string {
	message := batch(seq, "c", seq)
	head, tail := message[:len(message)-3], message[len(message)-3:]
	filler := `,"filler":"`
	return head + filler + strings.Repeat("x", size-len(message)-len(filler)-1) + `"` + tail
}

func TestMessageSizes(t *testing.T) {
	const limit = 4096
	for name, buffer := range map[string]int{"one frame": 2 * limit, "fragments": 256} {
		for size, ok := range map[int]bool{limit - 1: true, limit: true, limit + 1: false, 2 * limit: false} {
			t.Run(name, func(t *testing.T) {
				r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Limits.MessageBytes = limit }})
				a := r.dialWith(&websocket.Dialer{WriteBufferSize: buffer})
				a.t = t
				message := []byte(sized(1, size))
				require.Len(t, message, size)
				w, err := a.conn.NextWriter(websocket.TextMessage)
				require.NoError(t, err)
				_, err = bytes.NewReader(message).WriteTo(w)
				require.NoError(t, err)
				require.NoError(t, w.Close())
				if ok {
					assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
				} else {
					a.expectClose(websocket.CloseMessageTooBig)
					assert.Zero(t, r.traces.SpanCount())
				}
			})
		}
	}
}
