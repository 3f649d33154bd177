package wsstatsreceiver

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
)

// Config is the configuration of the receiver.
type Config struct {
	// HTTP is the server that agents connect to. Its default endpoint is localhost:4390.
	HTTP confighttp.ServerConfig `mapstructure:"http"`
	// Path is where agents connect. Default: /v1/wsstats.
	Path string `mapstructure:"path"`
	// Conventions chooses attribute names: ws (default), ws/dup or semconv.
	Conventions Conventions `mapstructure:"conventions"`

	Traces    TracesConfig    `mapstructure:"traces"`
	Metrics   MetricsConfig   `mapstructure:"metrics"`
	Delivery  DeliveryConfig  `mapstructure:"delivery"`
	Keepalive KeepaliveConfig `mapstructure:"keepalive"`
	Limits    LimitsConfig    `mapstructure:"limits"`

	// Compression accepts permessage-deflate (RFC 7692), without context takeover. Default: false.
	Compression bool `mapstructure:"compression"`
	// AllowURLQuery keeps the query of URLs; user information and fragments are always cut. Default: false.
	AllowURLQuery bool `mapstructure:"allow_url_query"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// Conventions chooses the attribute names of spans and metrics.
type Conventions string

// The conventions: the ws.* and legacy names, these and their stable twins, or the twins where there are any.
const (
	ConventionsWS      Conventions = "ws"
	ConventionsDup     Conventions = "ws/dup"
	ConventionsSemconv Conventions = "semconv"
)

// TracesConfig says how spans are made.
type TracesConfig struct {
	// Mode is message (default: a message is a trace) or connection (a connection is one).
	Mode string `mapstructure:"mode"`
	// Layout is flat (default: every span carries its connection's attributes) or
	// scope (they stand on a scope of the connection, once a message).
	Layout string `mapstructure:"layout"`
	// ErrorCloseCodes are the close codes of 3000 to 4999 that are errors.
	ErrorCloseCodes []int64        `mapstructure:"error_close_codes"`
	Sampling        SamplingConfig `mapstructure:"sampling"`

	_ struct{}
}

// SamplingConfig is consistent probability sampling of the spans of messages, pings and pongs.
type SamplingConfig struct {
	// Ratio is the part that is kept, from 0 to 1. Default: 1.
	Ratio float64 `mapstructure:"ratio"`
	// Scope is message (default) or connection (all messages of a connection or none).
	Scope string `mapstructure:"scope"`

	_ struct{}
}

// MetricsConfig says how metrics are made.
type MetricsConfig struct {
	// Temporality is cumulative (default) or delta.
	Temporality string `mapstructure:"temporality"`
	// FlushInterval is how often cumulative metrics are handed on. Default: 10s.
	FlushInterval time.Duration `mapstructure:"flush_interval"`
	// Histogram is explicit (default) or exponential.
	Histogram string `mapstructure:"histogram"`
	// Dimensions are the user attributes that become metric attributes.
	Dimensions []string `mapstructure:"dimensions"`
	// CardinalityLimit is how many series a metric of a resource has. Default: 2000.
	CardinalityLimit int `mapstructure:"cardinality_limit"`
	// MaxResources is how many resources are kept apart. Default: 1000.
	MaxResources int `mapstructure:"max_resources"`
	// Expiration is how long an idle series is kept. Default: 1h.
	Expiration time.Duration `mapstructure:"expiration"`

	_ struct{}
}

// DeliveryConfig bounds what is in hand and what is remembered of agents.
type DeliveryConfig struct {
	// WindowBytes is how many unanswered bytes of numbered messages a session may have. Default: 4MiB.
	WindowBytes ByteSize `mapstructure:"window_bytes"`
	// BudgetBytes is how many bytes of messages all sessions may have in hand. Default: 64MiB.
	BudgetBytes ByteSize `mapstructure:"budget_bytes"`
	// AckDelay is how long acknowledgements wait to be merged while more is read. Default: 50ms.
	AckDelay time.Duration `mapstructure:"ack_delay"`
	// DedupeTTL is how long the last number of an agent that is gone is remembered. Default: 10m.
	DedupeTTL time.Duration `mapstructure:"dedupe_ttl"`
	// ResumeGrace is how long an agent may be away before its connections are taken for lost. Default: 30s.
	ResumeGrace time.Duration `mapstructure:"resume_grace"`

	_ struct{}
}

// KeepaliveConfig is how dead sessions are found and old ones renewed.
type KeepaliveConfig struct {
	// PingInterval is how often a session is pinged. Default: 30s.
	PingInterval time.Duration `mapstructure:"ping_interval"`
	// PongTimeout is how long an answer may take. Default: 10s.
	PongTimeout time.Duration `mapstructure:"pong_timeout"`
	// Heartbeat is how often an agent that waits for an answer hears something. Default: 10s.
	Heartbeat time.Duration `mapstructure:"heartbeat"`
	// MaxConnectionAge ends sessions of that age with a goaway. Default: 0s, never.
	MaxConnectionAge time.Duration `mapstructure:"max_connection_age"`
	// MaxConnectionAgeJitter spreads the age by this part of it, from 0 to 1. Default: 0.1.
	MaxConnectionAgeJitter float64 `mapstructure:"max_connection_age_jitter"`

	_ struct{}
}

// LimitsConfig bounds what an agent may send.
type LimitsConfig struct {
	// MessageBytes is the size of a message, after inflation. Default: 4MiB.
	MessageBytes ByteSize `mapstructure:"message_bytes"`
	// Events a message. Default: 8192.
	Events int `mapstructure:"events"`
	// Attributes of the user an event. Default: 64.
	Attributes int `mapstructure:"attributes"`
	// KeyBytes is the length of an attribute's key; an event with a longer one is rejected. Default: 256.
	KeyBytes int `mapstructure:"key_bytes"`
	// ValueBytes is the length of an attribute's value; longer ones are cut. Default: 4096.
	ValueBytes int `mapstructure:"value_bytes"`
	// Depth is how deep a message may be nested. Default: 16.
	Depth int `mapstructure:"depth"`
	// MalformedMessages of a session before it is closed. Default: 100.
	MalformedMessages int `mapstructure:"malformed_messages"`
	// Connections that are remembered of one agent. Default: 65536.
	Connections int `mapstructure:"connections"`
	// Definitions that a session of the binary form may have. Default: 65536.
	Definitions int `mapstructure:"definitions"`
	// Sessions in all. Default: 10000.
	Sessions int `mapstructure:"sessions"`
	// SessionsPerAddress is how many sessions one source address may have. Default: 1000.
	SessionsPerAddress int `mapstructure:"sessions_per_address"`
	// Fragments of a message. Default: 1024.
	Fragments int `mapstructure:"fragments"`
	// MessageTimeout is how long one message may take to come. Default: 30s.
	MessageTimeout time.Duration `mapstructure:"message_timeout"`
	// ControlFrames a second. Default: 100.
	ControlFrames int `mapstructure:"control_frames"`
	// HandshakeTimeout is how long a request may take until the session is there. Default: 10s.
	HandshakeTimeout time.Duration `mapstructure:"handshake_timeout"`
	// IdleTimeout ends a session without any message for so long. Default: 1h.
	IdleTimeout time.Duration `mapstructure:"idle_timeout"`

	_ struct{}
}

// ByteSize is a number of bytes. In a configuration it is a number or a text such as "4MiB".
type ByteSize int64

// UnmarshalText reads a size with an optional unit of powers of 1000 (kB, MB) or 1024 (KiB, MiB).
func (b *ByteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size in bytes: write a number or a size such as 4MiB", text)
	}
	*b = ByteSize(n)
	return nil
}

// Values of the options that are a choice.
const (
	scopeMessage    = "message"
	scopeConnection = "connection"
	layoutFlat      = "flat"
	layoutScope     = "scope"
	cumulative      = "cumulative"
	delta           = "delta"
	explicit        = "explicit"
	exponential     = "exponential"
)

func createDefaultConfig() component.Config {
	http := confighttp.NewDefaultServerConfig()
	http.NetAddr.Endpoint = "localhost:4390"
	return &Config{
		HTTP:        http,
		Path:        "/v1/wsstats",
		Conventions: ConventionsWS,
		Traces: TracesConfig{
			Mode:     scopeMessage,
			Layout:   layoutFlat,
			Sampling: SamplingConfig{Ratio: 1, Scope: scopeMessage},
		},
		Metrics: MetricsConfig{
			Temporality: cumulative, FlushInterval: 10 * time.Second, Histogram: explicit,
			CardinalityLimit: 2000, MaxResources: 1000, Expiration: time.Hour,
		},
		Delivery: DeliveryConfig{
			WindowBytes: 4 << 20, BudgetBytes: 64 << 20, AckDelay: 50 * time.Millisecond,
			DedupeTTL: 10 * time.Minute, ResumeGrace: 30 * time.Second,
		},
		Keepalive: KeepaliveConfig{
			PingInterval: 30 * time.Second, PongTimeout: 10 * time.Second, Heartbeat: 10 * time.Second,
			MaxConnectionAgeJitter: 0.1,
		},
		Limits: LimitsConfig{
			MessageBytes: 4 << 20, Events: 8192, Attributes: 64, KeyBytes: 256, ValueBytes: 4096, Depth: 16,
			MalformedMessages: 100, Connections: 65536, Definitions: 65536, Sessions: 10000, SessionsPerAddress: 1000,
			Fragments: 1024, MessageTimeout: 30 * time.Second, ControlFrames: 100,
			HandshakeTimeout: 10 * time.Second, IdleTimeout: time.Hour,
		},
	}
}

// Validate tells every mistake of the configuration: the key, its value, and what would do.
func (cfg *Config) Validate() error {
	var v validation
	v.check(cfg.HTTP.NetAddr.Endpoint != "", "http::endpoint is empty: give an address to listen on, such as localhost:4390")
	if algorithms := cfg.HTTP.CompressionAlgorithms; len(algorithms) > 0 {
		v.check(slices.Contains(algorithms, ""),
			`http::compression_algorithms is %q: it must list "" too, or every upgrade, which has no Content-Encoding, is refused`, algorithms)
	}
	v.check(strings.HasPrefix(cfg.Path, "/") && !strings.ContainsAny(cfg.Path, " {}?#"),
		"path is %q: it must start with a slash and have no space, brace, query or fragment, such as /v1/wsstats", cfg.Path)
	v.oneOf("conventions", string(cfg.Conventions), string(ConventionsWS), string(ConventionsDup), string(ConventionsSemconv))

	v.oneOf("traces::mode", cfg.Traces.Mode, scopeMessage, scopeConnection)
	v.oneOf("traces::layout", cfg.Traces.Layout, layoutFlat, layoutScope)
	for i, code := range cfg.Traces.ErrorCloseCodes {
		v.check(code >= 3000 && code <= 4999,
			"traces::error_close_codes[%d] is %d: only codes from 3000 to 4999 can be chosen, the others are fixed by the conventions", i, code)
	}
	ratio := cfg.Traces.Sampling.Ratio
	v.check(ratio >= 0 && ratio <= 1, "traces::sampling::ratio is %v: it must be from 0 (only errors and lifecycle) to 1 (everything)", ratio)
	v.oneOf("traces::sampling::scope", cfg.Traces.Sampling.Scope, scopeMessage, scopeConnection)

	m := cfg.Metrics
	v.oneOf("metrics::temporality", m.Temporality, cumulative, delta)
	v.positive("metrics::flush_interval", m.FlushInterval)
	v.oneOf("metrics::histogram", m.Histogram, explicit, exponential)
	for i, d := range m.Dimensions {
		v.check(d != "", "metrics::dimensions[%d] is empty: name an attribute, such as room.id", i)
		v.check(!slices.Contains(m.Dimensions[:i], d), "metrics::dimensions[%d] is %q a second time: name each attribute once", i, d)
		v.check(!reservedDimension(d), "metrics::dimensions[%d] is %q: attributes of the conventions cannot be dimensions, only the application's own", i, d)
	}
	v.atLeast("metrics::cardinality_limit", m.CardinalityLimit, 1)
	v.atLeast("metrics::max_resources", m.MaxResources, 1)
	v.check(m.Expiration == 0 || m.Expiration >= m.FlushInterval,
		"metrics::expiration is %v: it must be 0s (never) or at least metrics::flush_interval (%v)", m.Expiration, m.FlushInterval)

	d, l := cfg.Delivery, cfg.Limits
	v.check(d.WindowBytes >= l.MessageBytes,
		"delivery::window_bytes is %d: it must be at least limits::message_bytes (%d), or the largest message could never be sent", d.WindowBytes, l.MessageBytes)
	v.check(d.BudgetBytes >= l.MessageBytes,
		"delivery::budget_bytes is %d: it must be at least limits::message_bytes (%d), or the largest message could never be taken", d.BudgetBytes, l.MessageBytes)
	v.check(d.AckDelay >= 0 && d.AckDelay <= time.Second, "delivery::ack_delay is %v: it must be from 0s to 1s", d.AckDelay)
	v.positive("delivery::dedupe_ttl", d.DedupeTTL)
	v.check(d.ResumeGrace >= 0 && d.ResumeGrace <= d.DedupeTTL,
		"delivery::resume_grace is %v: it must be from 0s to delivery::dedupe_ttl (%v)", d.ResumeGrace, d.DedupeTTL)

	k := cfg.Keepalive
	v.positive("keepalive::ping_interval", k.PingInterval)
	v.positive("keepalive::pong_timeout", k.PongTimeout)
	v.check(k.Heartbeat >= 100*time.Millisecond, "keepalive::heartbeat is %v: it must be at least 100ms", k.Heartbeat)
	v.check(k.MaxConnectionAge >= 0, "keepalive::max_connection_age is %v: it must be 0s (never) or more", k.MaxConnectionAge)
	v.check(k.MaxConnectionAgeJitter >= 0 && k.MaxConnectionAgeJitter <= 1,
		"keepalive::max_connection_age_jitter is %v: it must be from 0 to 1", k.MaxConnectionAgeJitter)

	v.check(l.MessageBytes >= 1024, "limits::message_bytes is %d: it must be at least 1KiB", l.MessageBytes)
	for _, limit := range []struct {
		key   string
		value int
	}{
		{"events", l.Events},
		{"attributes", l.Attributes},
		{"key_bytes", l.KeyBytes},
		{"value_bytes", l.ValueBytes},
		{"malformed_messages", l.MalformedMessages},
		{"connections", l.Connections},
		{"definitions", l.Definitions},
		{"sessions", l.Sessions},
		{"sessions_per_address", l.SessionsPerAddress},
		{"fragments", l.Fragments},
		{"control_frames", l.ControlFrames},
	} {
		v.atLeast("limits::"+limit.key, limit.value, 1)
	}
	v.atLeast("limits::depth", l.Depth, 6)
	v.positive("limits::message_timeout", l.MessageTimeout)
	v.positive("limits::handshake_timeout", l.HandshakeTimeout)
	v.positive("limits::idle_timeout", l.IdleTimeout)
	return errors.Join(v.errs...)
}

// reservedDimension tells whether a name is one that metrics have by themselves.
func reservedDimension(name string) bool {
	return strings.HasPrefix(name, "ws.") || strings.HasPrefix(name, "net.peer.") || strings.HasPrefix(name, "error.") ||
		name == "http.status_code" || name == "http.response.status_code" || name == "otel.metric.overflow" || name == "reason"
}

// validation collects mistakes.
type validation struct{ errs []error }

func (v *validation) check(ok bool, format string, args ...any) {
	if !ok {
		v.errs = append(v.errs, fmt.Errorf(format, args...))
	}
}

func (v *validation) oneOf(key, value string, choices ...string) {
	v.check(slices.Contains(choices, value), "%s is %q: it must be one of %s", key, value, strings.Join(choices, ", "))
}

func (v *validation) positive(key string, d time.Duration) {
	v.check(d > 0, "%s is %v: it must be more than 0s", key, d)
}

func (v *validation) atLeast(key string, value, least int) {
	v.check(value >= least, "%s is %d: it must be at least %d", key, value, least)
}
