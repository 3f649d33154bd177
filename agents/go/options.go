package wsstats

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// What an option defaults to.
const (
	defaultEndpoint    = "ws://localhost:4390" + defaultPath
	defaultPath        = "/v1/wsstats"
	defaultBatchEvents = 512
	defaultBatchBytes  = 256 << 10
	defaultBatchDelay  = time.Second
	defaultQueueBytes  = 4 << 20
	minQueueBytes      = 16 << 10
)

// Option changes how an Agent works.
type Option func(*config)

type config struct {
	endpoint   string
	url        *url.URL // endpoint, parsed
	header     http.Header
	token      string
	tls        *tls.Config
	service    string
	attributes map[string]string
	encoding   Encoding
	resource   []wire.KeyValue // of the environment, attributes and service
	maxEvents  int
	maxBytes   int
	maxDelay   time.Duration
	queueBytes int
	aggregates int // message events a second; 0: never
	filters    []func(*http.Request) bool
	logger     *slog.Logger
	outcome    func(Outcome)
	recorder   io.Writer
	tracers    trace.TracerProvider // nil: no spans are made here
	meters     metric.MeterProvider // nil: no metrics are made here
	timing     timing
}

// WithEndpoint sets the receiver's URL: ws or wss, the path defaults to
// /v1/wsstats. The default is the environment's WSSTATS_ENDPOINT, else
// ws://localhost:4390/v1/wsstats.
func WithEndpoint(endpoint string) Option {
	return func(c *config) { c.endpoint = endpoint }
}

// WithHeader adds headers to the request that opens the link. Those of the
// WebSocket handshake itself cannot be set.
func WithHeader(header http.Header) Option {
	return func(c *config) {
		for key, values := range header {
			for _, value := range values {
				c.header.Add(key, value)
			}
		}
	}
}

// WithToken sends "Authorization: Bearer token" (RFC 6750) when the link opens.
// The default is the environment's WSSTATS_TOKEN.
func WithToken(token string) Option {
	return func(c *config) { c.token = token }
}

// WithTLSConfig sets the TLS configuration of a wss link.
func WithTLSConfig(tlsConfig *tls.Config) Option {
	return func(c *config) { c.tls = tlsConfig.Clone() }
}

// WithServiceName sets service.name. It goes before WithResource,
// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
func WithServiceName(name string) Option {
	return func(c *config) { c.service = name }
}

// WithResource adds attributes to the resource that all telemetry of this
// agent is of. They go before those of OTEL_RESOURCE_ATTRIBUTES.
func WithResource(attributes map[string]string) Option {
	return func(c *config) { maps.Copy(c.attributes, attributes) }
}

// WithEncoding has the agent speak this encoding alone. By default it speaks
// EncodingProto with receivers that know it, and EncodingJSON with others.
func WithEncoding(encoding Encoding) Option {
	return func(c *config) { c.encoding = encoding }
}

// WithBatch bounds a batch: it is sent when it holds maxEvents events (default
// 512) or about maxBytes bytes (default 256 KiB; counted as JSON in both
// encodings), or when its oldest event is maxDelay old (default 1 s). All three are greater than 0. The receiver's own
// limits hold beside these.
func WithBatch(maxEvents, maxBytes int, maxDelay time.Duration) Option {
	return func(c *config) { c.maxEvents, c.maxBytes, c.maxDelay = maxEvents, maxBytes, maxDelay }
}

// WithMaxQueueBytes bounds the memory of events that are not yet acknowledged.
// The default is 4 MiB (about 50,000 messages), the least 16 KiB. The link needs
// some more: what a batch takes, a quarter for [WithAggregates], and in the binary
// form up to about 2 MiB for the connections and texts that the receiver knows.
func WithMaxQueueBytes(n int) Option {
	return func(c *config) { c.queueBytes = n }
}

// WithAggregates has the agent measure its messages itself and tell the receiver
// their counts and sizes in histograms, beside the events. Counts are exact and
// outlast a queue that is full. While there are more than above message events a
// second, events whose spans the receiver's sampling would not keep are not sent
// any more; the metrics know them all the same.
//
// The default is the environment's WSSTATS_AGGREGATES, else 0: never, as events
// tell more than histograms do. Of these, processing times are known to about
// 9 %, and metrics of messages have no exemplars.
func WithAggregates(above int) Option {
	return func(c *config) { c.aggregates = above }
}

// WithFilter has taps and adapters leave alone the WebSockets whose request filter
// returns false for, as servers got it or as clients send it (of one that a dialer
// makes, the URL is a path alone). Where there are several, all have to return true.
func WithFilter(filter func(*http.Request) bool) Option {
	return func(c *config) { c.filters = append(c.filters, filter) }
}

// WithLogger sets where the agent tells of its link, once for each change: at
// Warn when the receiver cannot be reached or refuses, at Info when it is back.
// The default is [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) { c.logger = logger }
}

// WithOutcome has f told what became of each event that is to be sent: once, when
// the receiver (or providers) took it or it is dropped. It is meant for tools that keep a
// ledger or measure latencies. The agent is locked meanwhile: f returns at once and
// does not use it.
func WithOutcome(f func(Outcome)) Option {
	return func(c *config) { c.outcome = f }
}

// WithRecorder has the agent write all events to w too: JSON messages of the
// protocol, one a line, first a hello. A recording is at most a few events
// behind, and never holds the agent up: what w is too slow for, or does not take
// after its first error, is left out and counted in [Stats]; up to about 2 MiB wait
// for it. Shutdown ends the recording; it does not close w.
func WithRecorder(w io.Writer) Option {
	return func(c *config) { c.recorder = w }
}

// handshakeHeaders belong to the WebSocket handshake (RFC 6455 section 4.1).
var handshakeHeaders = []string{
	"Upgrade", "Connection", "Sec-Websocket-Key", "Sec-Websocket-Version",
	"Sec-Websocket-Extensions", "Sec-Websocket-Protocol",
}

// newConfig reads the environment and the options, which go before it.
func newConfig(opts []Option) (*config, error) {
	c := &config{
		endpoint:   os.Getenv(envEndpoint),
		token:      os.Getenv(envToken),
		header:     http.Header{},
		attributes: map[string]string{},
		maxEvents:  defaultBatchEvents,
		maxBytes:   defaultBatchBytes,
		maxDelay:   defaultBatchDelay,
		queueBytes: defaultQueueBytes,
		timing:     defaultTiming,
	}
	if c.endpoint == "" {
		c.endpoint = defaultEndpoint
	}
	aggregates, badAggregates := envCount(envAggregates)
	c.aggregates = aggregates
	for _, opt := range opts {
		opt(c)
	}
	if c.logger == nil {
		c.logger = slog.Default()
	}
	var badResource error
	c.resource, badResource = newResource(c.service, c.attributes)
	if !c.linked() {
		c.aggregates = 0
	}
	for _, err := range []error{badAggregates, badResource} {
		if err != nil {
			// The specification wants a bad variable reported and left out, not a
			// program that does not start.
			c.logger.Warn("wsstats: environment ignored", "error", err)
		}
	}
	return c, c.resolve()
}

// envCount reads a variable that is an integer of at least 0, 0 where it is
// absent or bad.
func envCount(key string) (int, error) {
	value := os.Getenv(key)
	if value == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s: expected an integer of at least 0", key)
	}
	return int(n), nil
}

func (c *config) resolve() error {
	u, err := parseEndpoint(c.endpoint)
	if err != nil {
		return err
	}
	c.url = u
	for _, key := range handshakeHeaders {
		if _, ok := c.header[key]; ok {
			return fmt.Errorf("header %s: cannot be set, it belongs to the WebSocket handshake", key)
		}
	}
	if c.token != "" {
		c.header.Set("Authorization", "Bearer "+c.token)
	}
	for key, values := range c.header {
		if strings.ContainsFunc(key+strings.Join(values, ""), isControl) {
			return fmt.Errorf("header %q: expected no control characters", key)
		}
	}
	if c.maxEvents <= 0 || c.maxBytes <= 0 || c.maxDelay <= 0 {
		return fmt.Errorf("batch: expected values above 0, got %d events, %d bytes, %s", c.maxEvents, c.maxBytes, c.maxDelay)
	}
	if !c.encoding.valid() {
		return fmt.Errorf("encoding: expected %s or %s, got %q", EncodingProto, EncodingJSON, c.encoding)
	}
	if c.queueBytes < minQueueBytes {
		return fmt.Errorf("queue: expected at least %d bytes, got %d", minQueueBytes, c.queueBytes)
	}
	if c.aggregates < 0 {
		return fmt.Errorf("aggregates: expected a rate of at least 0 messages a second, got %d", c.aggregates)
	}
	return nil
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a secret.
		return nil, errors.New("endpoint: expected a URL such as " + defaultEndpoint)
	}
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("endpoint: expected the scheme ws or wss, got %q", u.Scheme)
	case u.Host == "":
		return nil, errors.New("endpoint: expected a host, as in " + defaultEndpoint)
	case u.User != nil:
		return nil, errors.New("endpoint: user information is not sent by WebSocket clients, use WithToken or WithHeader")
	case u.Fragment != "":
		return nil, errors.New("endpoint: expected no fragment")
	}
	if u.Path == "" {
		u.Path = defaultPath
	}
	return u, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
