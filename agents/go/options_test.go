package wsstats

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestDefaults(t *testing.T) {
	for _, key := range []string{envEndpoint, envToken, envService, envAttributes, envAggregates} {
		t.Setenv(key, "")
	}
	c, err := newConfig(nil)
	require.NoError(t, err)
	assert.Equal(t, "ws://localhost:4390/v1/wsstats", c.url.String())
	assert.Empty(t, c.header)
	assert.Empty(t, c.resource)
	assert.Equal(t, 512, c.maxEvents)
	assert.Equal(t, 256<<10, c.maxBytes)
	assert.Equal(t, time.Second, c.maxDelay)
	assert.Equal(t, 4<<20, c.queueBytes)
	assert.Zero(t, c.aggregates)
}

func TestEnvironmentAndOptions(t *testing.T) {
	t.Setenv(envEndpoint, "wss://collector.example.com")
	t.Setenv(envToken, "from-env")
	t.Setenv(envAggregates, "1000")
	t.Setenv(envService, "service-env")
	t.Setenv(envAttributes, "service.name=ignored, deployment.environment = a%2Cb ,zone=1")

	c, err := newConfig(nil)
	require.NoError(t, err)
	assert.Equal(t, "wss://collector.example.com/v1/wsstats", c.url.String())
	assert.Equal(t, "Bearer from-env", c.header.Get("Authorization"))
	assert.Equal(t, 1000, c.aggregates)
	assert.Equal(t, []wire.KeyValue{
		{Key: "deployment.environment", Value: wire.StringValue("a,b")},
		{Key: "service.name", Value: wire.StringValue("service-env")},
		{Key: "zone", Value: wire.StringValue("1")},
	}, c.resource)

	c, err = newConfig([]Option{
		WithEndpoint("ws://127.0.0.1:1/path?tenant=a"), WithToken("mine"), WithServiceName("mine"),
		WithResource(map[string]string{"zone": "2", "service.name": "not this"}),
		WithHeader(http.Header{"x-tenant": {"a", "b"}}), WithTLSConfig(&tls.Config{ServerName: "name"}),
		WithBatch(1, 2, 3), WithMaxQueueBytes(minQueueBytes), WithLogger(slog.New(slog.DiscardHandler)),
		WithAggregates(0),
	})
	require.NoError(t, err)
	assert.Zero(t, c.aggregates)
	assert.Equal(t, "ws://127.0.0.1:1/path?tenant=a", c.url.String())
	assert.Equal(t, http.Header{"Authorization": {"Bearer mine"}, "X-Tenant": {"a", "b"}}, c.header)
	assert.Equal(t, "name", c.tls.ServerName)
	assert.Equal(t, wire.StringValue("mine"), c.resource[1].Value)
	assert.Equal(t, wire.StringValue("2"), c.resource[2].Value)
}

func TestABadEnvironmentIsLeftOut(t *testing.T) {
	for _, attributes := range []string{"novalue", "=x", "a=%zz", "a=1,b", "a=1,"} {
		t.Setenv(envAttributes, attributes)
		c, err := newConfig([]Option{WithLogger(slog.New(slog.DiscardHandler)), WithServiceName("chat")})
		require.NoError(t, err)
		assert.Equal(t, []wire.KeyValue{{Key: "service.name", Value: wire.StringValue("chat")}}, c.resource, attributes)
	}
	for _, rate := range []string{"-1", "many", "1e3", "99999999999"} {
		var log strings.Builder
		t.Setenv(envAttributes, "")
		t.Setenv(envAggregates, rate)
		c, err := newConfig([]Option{WithLogger(slog.New(slog.NewTextHandler(&log, nil)))})
		require.NoError(t, err)
		assert.Zero(t, c.aggregates)
		assert.Contains(t, log.String(), "WSSTATS_AGGREGATES: expected an integer of at least 0")
	}
}

func TestBadOptions(t *testing.T) {
	tests := map[string]struct {
		option Option
		want   string
	}{
		"scheme":      {WithEndpoint("http://localhost:4390"), `expected the scheme ws or wss, got "http"`},
		"no URL":      {WithEndpoint("ws://secret\x7f"), "expected a URL"},
		"no host":     {WithEndpoint("ws:///v1/wsstats"), "expected a host"},
		"user":        {WithEndpoint("ws://u:p@localhost"), "user information"},
		"fragment":    {WithEndpoint("ws://localhost/#f"), "fragment"},
		"header":      {WithHeader(http.Header{"upgrade": {"x"}}), "header Upgrade: cannot be set"},
		"header line": {WithToken("a\r\nb"), `header "Authorization": expected no control characters`},
		"batch":       {WithBatch(0, 1, 1), "batch: expected values above 0"},
		"aggregates":  {WithAggregates(-1), "aggregates: expected a rate of at least 0 messages a second, got -1"},
		"queue":       {WithMaxQueueBytes(1), "queue: expected at least 16384 bytes, got 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := NewAgent(tt.option)
			assert.Nil(t, a)
			require.ErrorContains(t, err, tt.want)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "99999999999999999999": 0,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute,
		"Thu, 01 Jan 2025 00:01:00 GMT": 0,
	}
	for value, want := range tests {
		assert.Equal(t, want, retryAfter(http.Header{"Retry-After": {value}}, now), value)
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{min: 100, max: 1000}
	ceilings := []time.Duration{100, 200, 400, 800, 1000, 1000}
	for _, ceiling := range ceilings {
		assert.LessOrEqual(t, b.next(), ceiling)
	}
	for range 100 {
		assert.LessOrEqual(t, b.next(), b.max) // never overflows
	}
	b.reset()
	assert.LessOrEqual(t, b.next(), b.min)
	assert.Equal(t, time.Second, milliseconds(1<<62, 0, time.Second))
	assert.Equal(t, time.Millisecond, milliseconds(-1, time.Millisecond, time.Second))
	assert.Equal(t, 7*time.Millisecond, milliseconds(7, 0, time.Second))
}
