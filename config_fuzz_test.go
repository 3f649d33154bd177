package wsstatsreceiver

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// FuzzConfig loads what a user might write below the receiver's name: it is
// refused with an error that names a key, or makes a receiver that works.
// Nothing is started, so that there is neither a listener nor a file.
func FuzzConfig(f *testing.F) {
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(f, err)
	for _, options := range all.ToStringMap() {
		if text, err := json.Marshal(options); err == nil { // which is YAML too, but for a NaN
			f.Add(text)
		}
	}
	for _, file := range []string{"README.md", "docs/operations.md", "docs/security.md"} {
		for _, block := range codeBlocks(f, file, "yaml") {
			for _, options := range receiversIn(block) {
				text, err := json.Marshal(options)
				require.NoError(f, err)
				f.Add(text)
			}
		}
	}
	f.Add([]byte("http:\n  endpoint: localhost:0\n  tls:\n    cert_file: a\nlimits:\n  depth: 0x10\n"))
	f.Add([]byte("metrics: {expiration: 0s}\ndelivery: {ack_delay: 0s, resume_grace: 0s}\nkeepalive: {max_connection_age: 0s, max_connection_age_jitter: 0}\ntraces: {sampling: {ratio: 0}}\n"))
	f.Add([]byte("limits: {events: 9223372036854775807, connections: 9223372036854775807, sessions: 9223372036854775807, fragments: 9223372036854775807}\n" +
		"metrics: {max_resources: 9223372036854775807, cardinality_limit: 9223372036854775807}\ndelivery: {budget_bytes: 7EiB, window_bytes: 7EiB, dedupe_ttl: 2562047h}\n"))
	f.Add([]byte("traces: {sampling: {ratio: .nan}}"))
	f.Add([]byte("metrics::dimensions: room.id\ndelivery: {window_bytes: -1, ack_delay: 1e9}\n"))

	f.Fuzz(func(t *testing.T, text []byte) {
		retrieved, err := confmap.NewRetrievedFromYAML(text)
		if err != nil {
			return
		}
		raw, err := retrieved.AsRaw()
		options, ok := raw.(map[string]any)
		if err != nil || !ok {
			return
		}
		conf := confmap.NewFromStringMap(options)
		cfg := createDefaultConfig().(*Config)
		if err := conf.Unmarshal(cfg); err != nil {
			requireNames(t, err, conf.ToStringMap())
			return
		}
		for _, mistake := range mistakes(cfg) {
			key, _, _ := strings.Cut(mistake, " ")
			key = strings.ReplaceAll(listIndex.ReplaceAllString(key, ""), confmap.KeyDelimiter, ".")
			require.True(t, strings.HasPrefix(key, "http.") || slices.Contains(allOptions, key), "%q names no option", mistake)
		}
		if confmap.Validate(cfg) == nil {
			requireBuilds(t, cfg)
		}
	})
}

var (
	allOptions = optionKeys(reflect.TypeFor[Config](), "")
	listIndex  = regexp.MustCompile(`\[\d+\]$`)
)

// receiversIn are the options of the wsstats receivers of a collector's configuration.
func receiversIn(block string) (receivers []any) {
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(block))
	if err != nil {
		return nil
	}
	root, err := retrieved.AsConf()
	if err != nil {
		return nil
	}
	all, _ := root.Get("receivers").(map[string]any)
	for id, options := range all {
		if typ, _, _ := strings.Cut(id, "/"); typ == metadata.Type.String() {
			receivers = append(receivers, options)
		}
	}
	return receivers
}

// mistakes are the errors of Validate, one by one.
func mistakes(cfg *Config) (errs []string) {
	if joined, ok := cfg.Validate().(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			errs = append(errs, err.Error())
		}
	}
	return errs
}

// requireNames requires that an error names one of the keys that were written.
func requireNames(t *testing.T, err error, options map[string]any) {
	t.Helper()
	for key := range options {
		if strings.Contains(err.Error(), key) {
			return
		}
	}
	require.Fail(t, "the error names no key", "%v", err)
}

// requireBuilds makes the receiver of a configuration, and sends a message through what it is made of.
func requireBuilds(t *testing.T, cfg *Config) {
	t.Helper()
	factory, set, sink := NewFactory(), receivertest.NewNopSettings(metadata.Type), &checkingConsumer{t: t}
	traces, err := factory.CreateTraces(t.Context(), set, cfg, sink)
	require.NoError(t, err)
	metrics, err := factory.CreateMetrics(t.Context(), set, cfg, sink)
	require.NoError(t, err)
	require.Same(t, traces, metrics)
	r := traces.(*wsstatsReceiver)
	host := componenttest.NewNopHost()
	r.status.host = host
	r.prepare()
	if !cfg.HTTP.Auth.HasValue() && len(cfg.HTTP.Middlewares) == 0 { // of extensions, of which there are none
		_, err := r.newServer(t.Context(), host)
		require.NoError(t, err)
	}

	m := new(wire.Message)
	require.NoError(t, r.newDecoder().DecodeJSON([]byte(`[{"event":"handshake","ws.connection.id":"c"},{"event":"error"}]`), m))
	require.NoError(t, r.take(t.Context(), r.newAgent(""), &incoming{Message: m, arrival: r.now()}).err)
	r.flush(t.Context())
	require.NoError(t, r.Shutdown(t.Context()))
}
