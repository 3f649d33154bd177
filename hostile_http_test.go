package wsstatsreceiver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
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
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/extension/extensionauth"
)

// upgrade tries to connect and keeps the refusal.
func (h *hostile) upgrade(path string, header http.Header) {
	h.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{h.encoding.subprotocol}}
	_, resp, err := dialer.Dial("ws://"+h.r.sessions.addr.String()+path, header)
	require.ErrorIs(h, err, websocket.ErrBadHandshake)
	h.answer = readAnswer(h.T, resp)
}

func refused(refusal string) map[string]int64 {
	return once(`refused_requests{refusal="` + refusal + `"}`)
}

func TestHostileRequests(t *testing.T) {
	slow := limits
	rows := []hostileRow{
		{
			row: 1, name: "upgrade from a foreign page", status: http.StatusForbidden, shows: refused("origin"),
			do: func(h *hostile) { h.upgrade(h.r.cfg.Path, http.Header{"Origin": {"https://evil.test"}}) },
		},
		{
			row: 1, name: "POST of a foreign page", status: http.StatusForbidden, shows: refused("origin"),
			do: func(h *hostile) {
				h.answer = h.r.request(http.MethodPost, h.r.cfg.Path, http.Header{"Origin": {"null"}, "Content-Type": {"text/plain"}}, `{"event":"send"}`)
			},
		},
		{
			row: 4, name: "a POST whose body is slow", status: http.StatusBadRequest, shows: refused("malformed"),
			options: slow(func(l *LimitsConfig) { l.MessageTimeout = 100 * time.Millisecond }),
			do: func(h *hostile) {
				c := h.connect(h.r.sessions.addr.String())
				_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n{", h.r.cfg.Path)
				require.NoError(h, err)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				require.NoError(h, err)
				h.answer = readAnswer(h.T, resp)
			},
		},
		{
			row: 4, name: "a silent session", heard: []string{"close 1001"}, shows: closes("1001"),
			options: testOptions{config: func(cfg *Config) {
				cfg.Limits.IdleTimeout = 100 * time.Millisecond
				cfg.Keepalive.Heartbeat = 100 * time.Millisecond
			}},
			do: func(h *hostile) { h.join() },
		},
		{
			row: 17, name: "too many sessions", status: http.StatusServiceUnavailable, shows: refused("sessions"),
			options: limits(func(l *LimitsConfig) { l.Sessions = 1 }),
			do: func(h *hostile) {
				h.join()
				h.upgrade(h.r.cfg.Path, nil)
				assert.Equal(h, "5", h.answer.header.Get("Retry-After"))
			},
		},
		{
			row: 17, name: "too many sessions of one address", status: http.StatusServiceUnavailable, shows: refused("sessions_per_address"),
			options: limits(func(l *LimitsConfig) { l.SessionsPerAddress = 1 }),
			do: func(h *hostile) {
				h.join()
				h.upgrade(h.r.cfg.Path, http.Header{"X-Forwarded-For": {"192.0.2.7"}}) // which anybody can write
				assert.Equal(h, "5", h.answer.header.Get("Retry-After"))
			},
		},
		{
			row: 21, name: "a POST over the budget", status: http.StatusTooManyRequests, shows: refused("budget"),
			do: func(h *hostile) {
				require.True(h, h.r.budget.Acquire(h.r.budget.Limit()))
				h.answer = h.r.post("text/plain", `{"event":"send"}`)
				h.r.budget.Release(h.r.budget.Limit())
			},
		},
		{
			row: 21, name: "a POST that is over the budget while it comes", status: http.StatusTooManyRequests, shows: refused("budget"),
			do: func(h *hostile) {
				require.True(h, h.r.budget.Acquire(h.r.budget.Limit()-64<<10))
				h.answer = h.r.post("text/plain", `{"event":"send","x":"`+strings.Repeat("x", 1<<20)+`"}`)
				h.r.budget.Release(h.r.budget.Limit() - 64<<10)
				assert.Zero(h, h.r.budget.Used())
			},
		},
	}
	for name, header := range map[string]http.Header{
		"no credentials":             {},
		"wrong credentials":          {"Authorization": {"Bearer guess"}},
		"expired credentials":        {"Authorization": {"Bearer old"}},
		"wrong basic authentication": {"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:guess"))}},
		"a wrong browser token":      {protocolHeader: {bearerPrefix + base64.RawURLEncoding.EncodeToString([]byte("guess"))}},
	} {
		rows = append(rows, hostileRow{
			row: 2, name: name, status: http.StatusUnauthorized, shows: refused("credentials"),
			options: testOptions{host: hostWithExpiry(), config: authenticate},
			do: func(h *hostile) {
				h.upgrade(h.r.cfg.Path, header)
				assert.Equal(h, "the credentials are missing or wrong\n", h.answer.body, "and not what the authenticator says")
				assert.Zero(h, h.r.sessions.len())
			},
		})
	}
	rows = append(rows, hostileRow{
		row: 2, name: "a wrong token in the query", status: http.StatusUnauthorized, shows: refused("credentials"),
		options: testOptions{host: hostWithExpiry(), config: authenticate},
		do:      func(h *hostile) { h.upgrade(h.r.cfg.Path+"?token=guess", nil) },
	})
	runHostile(t, rows)
}

// hostWithExpiry knows a token that has expired, and whose authenticator tells
// more than it should.
func hostWithExpiry() *authHost {
	return &authHost{extension: extensionauth.ServerAuthenticateFunc(func(ctx context.Context, sources map[string][]string) (context.Context, error) {
		stated := http.Header(sources).Get("Authorization")
		if stated == "Bearer old" {
			return ctx, errors.New("expired: " + stated)
		}
		return ctx, errors.New("not known: " + stated)
	})}
}

// connect opens a TCP connection.
func (h *hostile) connect(address string) net.Conn {
	h.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(h, err)
	h.Cleanup(func() { _ = c.Close() })
	require.NoError(h, c.SetDeadline(time.Now().Add(waitFor)))
	return c
}

// Whoever does not say what it wants is not waited for.
func TestHostileSlowRequests(t *testing.T) {
	secure := func(cfg *Config) { serverTLS(t, cfg) }
	var rows []hostileRow
	for name, tt := range map[string]struct {
		config func(*Config)
		sends  string
	}{
		"nothing":           {nil, ""},
		"half a request":    {nil, "GET /v1/wsstats HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"},
		"nothing, with TLS": {secure, ""},
	} {
		rows = append(rows, hostileRow{
			row: 4, name: name,
			options: testOptions{config: func(cfg *Config) {
				cfg.Limits.HandshakeTimeout = 100 * time.Millisecond
				if tt.config != nil {
					tt.config(cfg)
				}
			}},
			do: func(h *hostile) {
				c := h.connect(h.r.sessions.addr.String())
				_, err := io.WriteString(c, tt.sends)
				require.NoError(h, err)
				began := time.Now()
				_, err = io.ReadAll(c)
				require.NoError(h, err, "cut by the receiver")
				assert.Less(h, time.Since(began), waitFor/2)
				assert.Zero(h, h.r.sessions.places())
			},
		})
	}
	runHostile(t, rows)
}

// serverTLS gives a configuration a certificate, and returns it.
func serverTLS(t *testing.T, cfg *Config) (cert []byte, tlsConfig *configtls.ServerConfig) {
	t.Helper()
	cert, key := selfSigned(t)
	server := configtls.NewDefaultServerConfig()
	server.CertPem, server.KeyPem = configopaque.String(cert), configopaque.String(key)
	cfg.HTTP.TLS = configoptional.Some(server)
	return cert, cfg.HTTP.TLS.Get()
}

func TestHostileTLS(t *testing.T) {
	clientCert, clientKey := selfSigned(t)
	strangerCert, strangerKey := selfSigned(t)
	known, err := tls.X509KeyPair(clientCert, clientKey)
	require.NoError(t, err)
	stranger, err := tls.X509KeyPair(strangerCert, strangerKey)
	require.NoError(t, err)
	ca := filepath.Join(t.TempDir(), "clients.pem")
	require.NoError(t, os.WriteFile(ca, clientCert, 0o600))
	mutual := testOptions{config: func(cfg *Config) {
		_, server := serverTLS(t, cfg)
		server.ClientCAFile = ca
	}}
	dial := func(h *hostile, certs ...tls.Certificate) (*websocket.Conn, error) {
		dialer := websocket.Dialer{TLSClientConfig: &tls.Config{Certificates: certs, InsecureSkipVerify: true}}
		conn, resp, err := dialer.Dial("wss"+strings.TrimPrefix(h.r.url(), "ws"), nil)
		if resp != nil {
			_ = resp.Body.Close()
		}
		return conn, err
	}
	refuses := func(certs ...tls.Certificate) func(h *hostile) {
		return func(h *hostile) {
			_, err := dial(h, certs...)
			require.Error(h, err)
			assert.Zero(h, h.r.sessions.places())
		}
	}
	runHostile(t, []hostileRow{
		{row: 3, name: "no certificate", options: mutual, do: refuses()},
		{row: 3, name: "a stranger's certificate", options: mutual, do: refuses(stranger)},
		{row: 3, name: "plain", options: mutual, status: http.StatusBadRequest, do: func(h *hostile) { h.upgrade(h.r.cfg.Path, nil) }},
		{row: 3, name: "the right certificate", options: mutual, do: func(h *hostile) {
			conn, err := dial(h, known)
			require.NoError(h, err)
			require.NoError(h, conn.Close())
		}},
	})
}
