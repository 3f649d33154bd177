package e2e

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// TestHostileCertificates has a collector with TLS, and one that asks for a
// certificate besides: only who has the right one gets further than TLS.
func TestHostileCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ours, foreign := newAuthority(t), newAuthority(t)
	server := ours.issue(t, x509.ExtKeyUsageServerAuth, time.Hour)
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ours.cert.Raw)
	writePEM(t, filepath.Join(dir, "server.pem"), "CERTIFICATE", server.Certificate[0])
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	require.NoError(t, err)
	writePEM(t, filepath.Join(dir, "server.key"), "PRIVATE KEY", key)

	asking := freePorts(t, 1)[0]
	files := "cert_file: " + dir + "/server.pem, key_file: " + dir + "/server.key"
	c := startCollector(t,
		"receivers::wsstats::http::tls: {"+files+"}",
		"receivers::wsstats/mutual::http: {endpoint: "+asking+", tls: {"+files+", client_ca_file: "+dir+"/ca.pem}}",
		"service::pipelines::traces::receivers: [wsstats, wsstats/mutual]",
		"service::pipelines::metrics::receivers: [wsstats, wsstats/mutual]")

	presenting := func(cert *tls.Certificate) *tls.Config {
		config := &tls.Config{RootCAs: ours.pool()}
		if cert != nil { // whatever the server says that it wants to see
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		return config
	}
	right := ours.issue(t, x509.ExtKeyUsageClientAuth, time.Hour)
	old := presenting(right)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11

	for name, tt := range map[string]struct {
		endpoint, scheme string
		config           *tls.Config
		says             string // in the agent's log; nothing: it joins
	}{
		"plain":              {c.endpoint, "ws", nil, "got 400"},
		"a server not known": {c.endpoint, "wss", &tls.Config{RootCAs: foreign.pool()}, "unknown authority"},
		"TLS 1.1":            {c.endpoint, "wss", old, "protocol version"},
		"TLS":                {c.endpoint, "wss", presenting(nil), ""},
		"plain, mutual":      {asking, "ws", nil, "got 400"},
		"no certificate":     {asking, "wss", presenting(nil), "certificate required"},
		"a stranger's":       {asking, "wss", presenting(foreign.issue(t, x509.ExtKeyUsageClientAuth, time.Hour)), "unknown certificate authority"},
		"an expired one":     {asking, "wss", presenting(ours.issue(t, x509.ExtKeyUsageClientAuth, -time.Minute)), "expired certificate"},
		"one for servers":    {asking, "wss", presenting(server), "bad certificate"},
		"the right one":      {asking, "wss", presenting(right), ""},
	} {
		t.Run(name, func(t *testing.T) {
			joins := tt.says == ""
			// By hand: an upgrade and a POST.
			dialer := websocket.Dialer{TLSClientConfig: tt.config}
			ws, resp, err := dialer.Dial(tt.scheme+"://"+tt.endpoint+"/v1/wsstats", nil)
			if joins {
				require.NoError(t, err)
				require.NoError(t, ws.Close())
			} else {
				require.Error(t, err)
				if tt.scheme == "ws" {
					assert.Equal(t, http.StatusBadRequest, readAnswer(t, resp).status)
				}
			}
			transport := &http.Transport{TLSClientConfig: tt.config, DisableKeepAlives: true}
			posted, err := (&http.Client{Transport: transport}).Post(strings.Replace(tt.scheme, "ws", "http", 1)+"://"+tt.endpoint+"/v1/wsstats",
				"application/json", strings.NewReader(`{"event":"send","test.name":"`+name+`"}`))
			switch {
			case joins:
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, readAnswer(t, posted).status)
			case tt.scheme == "ws":
				require.NoError(t, err)
				assert.Equal(t, http.StatusBadRequest, readAnswer(t, posted).status)
			default:
				require.Error(t, err)
			}

			// By an agent.
			var log lockedBuffer
			agent, err := wsstats.NewAgent(
				wsstats.WithEndpoint(tt.scheme+"://"+tt.endpoint),
				wsstats.WithTLSConfig(tt.config),
				wsstats.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			)
			require.NoError(t, err)
			agent.Observe(wsstats.Opening{Role: wsstats.RoleClient, URL: "ws://chat.example", Attributes: []wsstats.Attribute{wsstats.String("test.name", name)}}).
				Closed(websocket.CloseNormalClosure, "", wsstats.Local)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if joins {
				require.NoError(t, agent.Shutdown(ctx))
				assert.Empty(t, log.String())
				return
			}
			require.Eventually(t, func() bool { return strings.Contains(log.String(), tt.says) }, waitTimeout, waitTick, "%q in %s", tt.says, &log)
			cancel()
			require.Error(t, agent.Shutdown(ctx))
		})
	}
	c.stop(t)
	arrived := make(map[string]int)
	for _, s := range c.spans(t) {
		name, _ := s.Attributes().Get("test.name")
		arrived[name.Str()]++
	}
	assert.Equal(t, map[string]int{"TLS": 3, "the right one": 3}, arrived, "a POST's, and an agent's handshake and close")
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign(t, template, template, key.Public())
	return a
}

// issue makes a certificate for this machine.
func (a *authority) issue(t *testing.T, usage x509.ExtKeyUsage, valid time.Duration) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cert := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "machine"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, a.cert, key.Public())
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) sign(t *testing.T, template, parent *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return cert
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func writePEM(t *testing.T, path, kind string, raw []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600))
}
