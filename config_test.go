package wsstatsreceiver

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

// loadConfig loads a section of testdata/config.yaml over the defaults.
func loadConfig(t *testing.T, name string) (*Config, error) {
	t.Helper()
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	require.True(t, all.IsSet(name), name)
	section, err := all.Sub(name)
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	return cfg, section.Unmarshal(cfg)
}

func TestLoadConfig(t *testing.T) {
	cfg, err := loadConfig(t, "wsstats/defaults")
	require.NoError(t, err)
	require.NoError(t, confmap.Validate(cfg))
	assert.Equal(t, createDefaultConfig(), cfg)
	assert.Equal(t, "localhost:4390", cfg.HTTP.NetAddr.Endpoint)

	cfg, err = loadConfig(t, "wsstats/all")
	require.NoError(t, err)
	require.NoError(t, confmap.Validate(cfg))
	http := confighttp.NewDefaultServerConfig()
	http.NetAddr.Endpoint = "0.0.0.0:4391"
	http.IncludeMetadata = true
	cors := confighttp.NewDefaultCORSConfig()
	cors.AllowedOrigins = []string{"https://app.example.com", "https://*.example.org"}
	http.CORS = configoptional.Some(cors)
	http.CompressionAlgorithms = []string{"", "gzip"}
	assert.Equal(t, &Config{
		HTTP:        http,
		Path:        "/agents",
		Conventions: ConventionsDup,
		Traces: TracesConfig{
			Mode:            "connection",
			Layout:          "flat",
			ErrorCloseCodes: []int64{3001, 4999},
			Sampling:        SamplingConfig{Ratio: 0.25, Scope: "connection"},
		},
		Metrics: MetricsConfig{
			Temporality:      "delta",
			FlushInterval:    5 * time.Second,
			Histogram:        "exponential",
			Dimensions:       []string{"room.id", "tenant"},
			CardinalityLimit: 3000,
			MaxResources:     50,
			Expiration:       2 * time.Hour,
		},
		Delivery: DeliveryConfig{
			WindowBytes: 4_000_000,
			BudgetBytes: 64 << 20,
			AckDelay:    10 * time.Millisecond,
			DedupeTTL:   20 * time.Minute,
			ResumeGrace: time.Minute,
		},
		Keepalive: KeepaliveConfig{
			PingInterval:           15 * time.Second,
			PongTimeout:            5 * time.Second,
			Heartbeat:              4 * time.Second,
			MaxConnectionAge:       time.Hour,
			MaxConnectionAgeJitter: 0.2,
		},
		Limits: LimitsConfig{
			MessageBytes:       1 << 20,
			Events:             1000,
			Attributes:         32,
			KeyBytes:           100,
			ValueBytes:         1000,
			Depth:              8,
			MalformedMessages:  10,
			Connections:        1024,
			Definitions:        2048,
			Sessions:           500,
			SessionsPerAddress: 5,
			Fragments:          64,
			MessageTimeout:     20 * time.Second,
			ControlFrames:      20,
			HandshakeTimeout:   3 * time.Second,
			IdleTimeout:        30 * time.Minute,
		},
		Compression:   true,
		AllowURLQuery: true,
	}, cfg)
}

// The section with all options must not forget one that is added later.
func TestLoadConfigNamesEveryOption(t *testing.T) {
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	section, err := all.Sub("wsstats/all")
	require.NoError(t, err)
	for _, key := range optionKeys(reflect.TypeFor[Config](), "") {
		assert.True(t, section.IsSet(strings.ReplaceAll(key, ".", confmap.KeyDelimiter)), key)
	}
}

func TestByteSizes(t *testing.T) {
	for name, want := range map[string]ByteSize{
		"size/unit": 4 << 20, "size/number": 4 << 20, "size/decimal": 4_000_000,
	} {
		cfg, err := loadConfig(t, name)
		require.NoError(t, err, name)
		assert.Equal(t, want, cfg.Limits.MessageBytes, name)
	}
	for name, text := range map[string]string{"size/text": "big", "size/negative": "-4MiB", "size/too_large": "9EiB"} {
		_, err := loadConfig(t, name)
		assert.ErrorContains(t, err, `"`+text+`" is not a size in bytes: write a number or a size such as 4MiB`, name)
	}
}

func TestConfigThatCannotBeLoaded(t *testing.T) {
	for name, text := range map[string]string{
		"unknown/top":    "invalid keys: endpoint",
		"unknown/http":   "invalid keys: endpint",
		"unknown/nested": "invalid keys: rate",
		"unknown/type":   "'metrics.flush_interval' time: invalid duration",
	} {
		_, err := loadConfig(t, name)
		assert.ErrorContains(t, err, text, name)
	}
}

func TestValidate(t *testing.T) {
	cases := map[string]string{
		"endpoint":               `http::endpoint is empty: give an address to listen on, such as localhost:4390`,
		"compression_algorithms": `http::compression_algorithms is ["gzip" "zstd"]: it must list "" too, or every upgrade, which has no Content-Encoding, is refused`,
		"path_relative":          `path is "v1/wsstats": it must start with a slash and have no space, brace, query or fragment, such as /v1/wsstats`,
		"path_query":             `path is "/v1/wsstats?x": it must start with a slash and have no space, brace, query or fragment, such as /v1/wsstats`,
		"path_pattern":           `path is "/v1/{any}": it must start with a slash and have no space, brace, query or fragment, such as /v1/wsstats`,
		"conventions":            `conventions is "otel": it must be one of ws, ws/dup, semconv`,
		"mode":                   `traces::mode is "session": it must be one of message, connection`,
		"layout":                 `traces::layout is "deep": it must be one of flat, scope`,
		"error_close_codes": `traces::error_close_codes[1] is 1008: only codes from 3000 to 4999 can be chosen, the others are fixed by the conventions` + "\n" +
			`traces::error_close_codes[2] is 5000: only codes from 3000 to 4999 can be chosen, the others are fixed by the conventions`,
		"ratio_high":      `traces::sampling::ratio is 1.5: it must be from 0 (only errors and lifecycle) to 1 (everything)`,
		"ratio_low":       `traces::sampling::ratio is -0.1: it must be from 0 (only errors and lifecycle) to 1 (everything)`,
		"ratio_nan":       `traces::sampling::ratio is NaN: it must be from 0 (only errors and lifecycle) to 1 (everything)`,
		"scope":           `traces::sampling::scope is "trace": it must be one of message, connection`,
		"temporality":     `metrics::temporality is "both": it must be one of cumulative, delta`,
		"flush_interval":  `metrics::flush_interval is 0s: it must be more than 0s`,
		"histogram":       `metrics::histogram is "native": it must be one of explicit, exponential`,
		"dimension_empty": `metrics::dimensions[0] is empty: name an attribute, such as room.id`,
		"dimension_twice": `metrics::dimensions[1] is "room.id" a second time: name each attribute once`,
		"dimension_reserved": strings.Join([]string{
			`metrics::dimensions[0] is "ws.url": attributes of the conventions cannot be dimensions, only the application's own`,
			`metrics::dimensions[1] is "net.peer.ip": attributes of the conventions cannot be dimensions, only the application's own`,
			`metrics::dimensions[2] is "error.type": attributes of the conventions cannot be dimensions, only the application's own`,
			`metrics::dimensions[3] is "http.status_code": attributes of the conventions cannot be dimensions, only the application's own`,
			`metrics::dimensions[4] is "http.response.status_code": attributes of the conventions cannot be dimensions, only the application's own`,
			`metrics::dimensions[5] is "otel.metric.overflow": attributes of the conventions cannot be dimensions, only the application's own`,
			`metrics::dimensions[6] is "reason": attributes of the conventions cannot be dimensions, only the application's own`,
		}, "\n"),
		"cardinality_limit":         `metrics::cardinality_limit is 0: it must be at least 1`,
		"max_resources":             `metrics::max_resources is 0: it must be at least 1`,
		"expiration":                `metrics::expiration is 9s: it must be 0s (never) or at least metrics::flush_interval (10s)`,
		"window_bytes":              `delivery::window_bytes is 2097152: it must be at least limits::message_bytes (4194304), or the largest message could never be sent`,
		"budget_bytes":              `delivery::budget_bytes is 2097152: it must be at least limits::message_bytes (4194304), or the largest message could never be taken`,
		"ack_delay":                 `delivery::ack_delay is 2s: it must be from 0s to 1s`,
		"dedupe_ttl":                `delivery::dedupe_ttl is 0s: it must be more than 0s`,
		"resume_grace":              `delivery::resume_grace is 11m0s: it must be from 0s to delivery::dedupe_ttl (10m0s)`,
		"resume_grace_negative":     `delivery::resume_grace is -1s: it must be from 0s to delivery::dedupe_ttl (10m0s)`,
		"ping_interval":             `keepalive::ping_interval is 0s: it must be more than 0s`,
		"pong_timeout":              `keepalive::pong_timeout is -1s: it must be more than 0s`,
		"heartbeat":                 `keepalive::heartbeat is 99ms: it must be at least 100ms`,
		"max_connection_age":        `keepalive::max_connection_age is -1s: it must be 0s (never) or more`,
		"max_connection_age_jitter": `keepalive::max_connection_age_jitter is 1.1: it must be from 0 to 1`,
		"message_bytes":             `limits::message_bytes is 1023: it must be at least 1KiB`,
		"limits": strings.Join([]string{
			`limits::events is 0: it must be at least 1`,
			`limits::attributes is 0: it must be at least 1`,
			`limits::key_bytes is 0: it must be at least 1`,
			`limits::value_bytes is 0: it must be at least 1`,
			`limits::malformed_messages is 0: it must be at least 1`,
			`limits::connections is 0: it must be at least 1`,
			`limits::definitions is 0: it must be at least 1`,
			`limits::sessions is 0: it must be at least 1`,
			`limits::sessions_per_address is 0: it must be at least 1`,
			`limits::fragments is 0: it must be at least 1`,
			`limits::control_frames is 0: it must be at least 1`,
			`limits::depth is 5: it must be at least 6`,
			`limits::message_timeout is 0s: it must be more than 0s`,
			`limits::handshake_timeout is 0s: it must be more than 0s`,
			`limits::idle_timeout is 0s: it must be more than 0s`,
		}, "\n"),
		"several": `path is "": it must start with a slash and have no space, brace, query or fragment, such as /v1/wsstats` + "\n" +
			`conventions is "otel": it must be one of ws, ws/dup, semconv`,
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			cfg, err := loadConfig(t, "invalid/"+name)
			require.NoError(t, err)
			assert.EqualError(t, cfg.Validate(), want)
		})
	}
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	for section := range all.ToStringMap() {
		if name, ok := strings.CutPrefix(section, "invalid/"); ok {
			assert.Contains(t, cases, name, "a section without a test")
		}
	}
}

// optionKeys are the dotted keys of a configuration. The options of http are
// the collector's own: it is one key.
func optionKeys(typ reflect.Type, prefix string) []string {
	var keys []string
	for i := range typ.NumField() {
		field := typ.Field(i)
		key := prefix + field.Tag.Get("mapstructure")
		switch {
		case !field.IsExported():
		case field.Type.Kind() == reflect.Struct && field.Type.PkgPath() == typ.PkgPath():
			keys = append(keys, optionKeys(field.Type, key+".")...)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}
