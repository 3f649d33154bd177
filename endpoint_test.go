package wsstatsreceiver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/wsstats/wsstatsreceiver/internal/metadatatest"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// answer is an HTTP response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

// request sends a plain HTTP request to the receiver.
func (tr *testReceiver) request(method, path string, header http.Header, body string) answer {
	tr.t.Helper()
	req, err := http.NewRequestWithContext(tr.t.Context(), method, "http://"+tr.sessions.addr.String()+path, strings.NewReader(body))
	require.NoError(tr.t, err)
	if header != nil {
		req.Header = header
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	require.NoError(tr.t, err)
	return readAnswer(tr.t, resp)
}

// refusedDial tries to connect and returns why it could not.
func (tr *testReceiver) refusedDial(header http.Header, subprotocols ...string) answer {
	tr.t.Helper()
	dialer := websocket.Dialer{Subprotocols: subprotocols}
	conn, resp, err := dialer.Dial(tr.url(), header)
	if !assert.ErrorIs(tr.t, err, websocket.ErrBadHandshake) {
		_ = conn.Close()
		tr.t.FailNow()
	}
	return readAnswer(tr.t, resp)
}

func readAnswer(t testing.TB, resp *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

func TestPlainRequests(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{tel: tel})
	address := r.sessions.addr.String()

	got := r.request(http.MethodGet, "/v1/wsstats", nil, "")
	assert.Equal(t, http.StatusUpgradeRequired, got.status)
	assert.Equal(t, "websocket", got.header.Get("Upgrade"))
	assert.Equal(t, "connect with any WebSocket client to ws://"+address+"/v1/wsstats (subprotocol wsstats.v1.json) and send JSON events\n", got.body)

	got = r.request(http.MethodGet, "/", nil, "")
	assert.Equal(t, http.StatusNotFound, got.status)
	assert.Equal(t, "agents connect to /v1/wsstats\n", got.body)

	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions} {
		got = r.request(method, "/v1/wsstats", nil, "")
		assert.Equal(t, http.StatusMethodNotAllowed, got.status, method)
		assert.Equal(t, "GET, POST", got.header.Get("Allow"), method)
	}
	// An upgrade that is none: the library's own check.
	got = r.request(http.MethodGet, "/v1/wsstats", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"8"}}, "")
	assert.Equal(t, http.StatusBadRequest, got.status)
	assertRefused(t, tel, map[string]int64{"upgrade_required": 2, "method": 4})
}

// assertRefused checks the counter of refused requests.
func assertRefused(t *testing.T, tel *componenttest.Telemetry, want map[string]int64) {
	t.Helper()
	metadatatest.AssertEqualReceiverWsstatsRefusedRequests(t, tel, countsBy("refusal", want), metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
}

// countsBy are the points of a counter with one attribute.
func countsBy(key string, counts map[string]int64) []metricdata.DataPoint[int64] {
	points := make([]metricdata.DataPoint[int64], 0, len(counts))
	for value, n := range counts {
		points = append(points, metricdata.DataPoint[int64]{Attributes: attribute.NewSet(attribute.String(key, value)), Value: n})
	}
	return points
}

func TestSubprotocols(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{tel: tel})
	for _, tt := range []struct {
		offered []string
		picked  string
	}{
		{nil, ""},
		{[]string{"wsstats.v1.json"}, "wsstats.v1.json"},
		{[]string{"graphql-ws", "wsstats.v1.json"}, "wsstats.v1.json"},
	} {
		a := r.dial(nil, tt.offered...)
		assert.Equal(t, tt.picked, a.conn.Subprotocol())
		a.send(`{"hello":{"instance":"i1"}}`)
		require.NotNil(t, a.reply().Welcome, "JSON in each case")
	}
	got := r.refusedDial(nil, "wsstats.v2.json", "graphql-ws")
	assert.Equal(t, http.StatusBadRequest, got.status)
	assert.Equal(t, "supported subprotocols: wsstats.v1.json, wsstats.v1.proto\n", got.body)
	assertRefused(t, tel, map[string]int64{"subprotocol": 1})
}

func TestOrigins(t *testing.T) {
	allowed := []string{"https://app.example.com", "https://*.example.org", "http://LOCAL.example:8080"}
	for _, tt := range []struct {
		name    string
		allowed []string
		origin  string // HOST is the receiver's own
		ok      bool
	}{
		{"absent", allowed, "", true},
		{"same host", nil, "http://HOST", true},
		{"same host, other case", nil, "HTTP://HOST", true},
		{"same address, other port", nil, "http://127.0.0.1:1", false},
		{"none allowed", nil, "https://app.example.com", false},
		{"allowed", allowed, "https://app.example.com", true},
		{"allowed, other case", allowed, "https://APP.Example.com", true},
		{"configured in other case", allowed, "http://local.example:8080", true},
		{"other port", allowed, "https://app.example.com:8443", false},
		{"other scheme", allowed, "http://app.example.com", false},
		{"wildcard", allowed, "https://a.b.example.org", true},
		{"wildcard without a label", allowed, "https://example.org", false},
		{"longer than allowed", allowed, "https://app.example.com.evil.test", false},
		{"behind the wildcard", allowed, "https://x.example.org.evil.test", false},
		{"foreign", allowed, "https://evil.test", false},
		{"null", allowed, "null", false},
		{"everyone", []string{"*"}, "https://evil.test", true},
		{"everyone and null", []string{"*"}, "null", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tel := componenttest.NewTelemetry()
			r := startReceiver(t, testOptions{tel: tel, config: func(cfg *Config) {
				if tt.allowed != nil {
					cors := confighttp.NewDefaultCORSConfig()
					cors.AllowedOrigins = tt.allowed
					cfg.HTTP.CORS = configoptional.Some(cors)
				}
			}})
			header := http.Header{}
			if tt.origin != "" {
				header.Set("Origin", strings.Replace(tt.origin, "HOST", r.sessions.addr.String(), 1))
			}
			if tt.ok {
				_ = r.dial(header)
				header.Set("Content-Type", "text/plain")
				assert.Equal(t, http.StatusOK, r.request(http.MethodPost, r.cfg.Path, header, `{"event":"send"}`).status)
				assert.Equal(t, 1, r.traces.SpanCount())
				return
			}
			assert.Equal(t, http.StatusForbidden, r.refusedDial(header).status)
			header.Set("Content-Type", "text/plain")
			got := r.request(http.MethodPost, r.cfg.Path, header, `{"event":"send"}`)
			assert.Equal(t, http.StatusForbidden, got.status)
			assert.Equal(t, "the Origin is not allowed: list it in http::cors::allowed_origins\n", got.body)
			assert.Zero(t, r.traces.SpanCount())
			assertRefused(t, tel, map[string]int64{"origin": 2})
		})
	}
}

func TestSessionLimits(t *testing.T) {
	for refusal, set := range map[string]func(*LimitsConfig){
		"sessions":             func(l *LimitsConfig) { l.Sessions = 2 },
		"sessions_per_address": func(l *LimitsConfig) { l.SessionsPerAddress = 2 },
	} {
		t.Run(refusal, func(t *testing.T) {
			tel := componenttest.NewTelemetry()
			r := startReceiver(t, testOptions{tel: tel, config: func(cfg *Config) { set(&cfg.Limits) }})
			first := r.dial(nil)
			_ = r.dial(nil)
			got := r.refusedDial(nil)
			assert.Equal(t, http.StatusServiceUnavailable, got.status)
			assert.Equal(t, "5", got.header.Get("Retry-After"))
			assert.Equal(t, "too many sessions\n", got.body)
			assertRefused(t, tel, map[string]int64{refusal: 1})

			_ = first.conn.Close()
			require.Eventually(t, func() bool { return r.sessions.len() == 1 }, waitFor, pollEvery)
			require.Eventually(t, func() bool { return r.sessions.places() == 1 }, waitFor, pollEvery)
			_ = r.dial(nil) // the place is free again
		})
	}
}

// places is how many places of sessions are taken.
func (s *sessionSet) places() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserved
}

// An upgrade that the library refuses gives its place back.
func TestFailedUpgradeKeepsNoPlace(t *testing.T) {
	r := startReceiver(t, testOptions{})
	header := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"short"}}
	assert.Equal(t, http.StatusBadRequest, r.request(http.MethodGet, r.cfg.Path, header, "").status)
	assert.Zero(t, r.sessions.places())
}

func TestNothingNewWhileDraining(t *testing.T) {
	gate := newGatedConsumer()
	tel := componenttest.NewTelemetry()
	r := startReceiver(t, testOptions{traces: gate, tel: tel})
	a, _ := r.greet("i1")
	a.send(batch(1, "c", 1))
	<-gate.entered
	done := make(chan struct{})
	go func() { defer close(done); r.stopNow() }()
	require.Equal(t, "shutdown", a.reply().GoAway.Reason)
	a.send(batch(2, "c", 2)) // not taken, not answered
	a.send(`{"event":"send"}`)
	require.Eventually(t, func() bool { return r.received(1, 4) }, waitFor, pollEvery)

	// The port takes no connections any more: what is on its way over one that exists.
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		w := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), method, r.cfg.Path, strings.NewReader(`{"event":"send"}`))
		r.server.Handler.ServeHTTP(w, req)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Equal(t, "5", w.Header().Get("Retry-After"))
		assert.Equal(t, "the receiver is shutting down\n", w.Body.String())
	}
	assert.Equal(t, refusedShutdown, r.sessions.reserve("192.0.2.1", r.cfg.Limits), "nor one that is just upgraded")
	assertRefused(t, tel, map[string]int64{"shutdown": 2})

	gate.release <- nil
	assert.Equal(t, []wire.Reply{{Ack: 1}}, a.expectClose(websocket.CloseGoingAway))
	<-done
	assert.Empty(t, gate.entered, "nothing else was consumed")
}

// What is known of the agent's connection is known to the pipeline.
func TestClientInfo(t *testing.T) {
	r := startReceiver(t, testOptions{
		host: hostWithAuth(t, "canary"),
		config: func(cfg *Config) {
			authenticate(cfg)
			cfg.HTTP.IncludeMetadata = true
			cfg.Metrics.Temporality = delta
		},
	})
	header := http.Header{"Authorization": {"Bearer canary"}, "X-Tenant": {"blue"}}
	a := r.dial(header)
	a.send(batch(1, "c", 1))
	require.EqualValues(t, 1, a.reply().Ack)
	header.Set("Content-Type", "application/json")
	require.Equal(t, http.StatusOK, r.request(http.MethodPost, r.cfg.Path, header, `{"event":"send"}`).status)

	contexts := append(r.traces.Contexts(), r.metrics.Contexts()...)
	require.Len(t, contexts, 4)
	for _, ctx := range contexts {
		info := client.FromContext(ctx)
		require.NotNil(t, info.Addr)
		assert.Contains(t, info.Addr.String(), "127.0.0.1")
		require.NotNil(t, info.Auth)
		assert.Equal(t, "alice", info.Auth.GetAttribute("subject"))
		assert.Equal(t, []string{"blue"}, info.Metadata.Get("x-tenant"))
	}
}
