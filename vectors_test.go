package wsstatsreceiver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
)

var update = flag.Bool("update", false, "write what the receiver does into the expectations of protocol/vectors")

const vectorDir = "protocol/vectors/messages"

// vector is a case of protocol/vectors/messages; its README describes the fields.
type vector struct {
	Description string            `json:"description"`
	Config      json.RawMessage   `json:"config,omitempty"`
	Arrival     time.Time         `json:"arrival"`
	Messages    []json.RawMessage `json:"messages"`
	End         string            `json:"end,omitempty"`
	Expected    expectation       `json:"expected"`
}

// expectation is what the receiver answers and hands on. Without traces or
// metrics the case runs without that signal, and with both where it has neither.
type expectation struct {
	Replies []json.RawMessage `json:"replies"`
	Traces  json.RawMessage   `json:"traces,omitempty"`
	Metrics json.RawMessage   `json:"metrics,omitempty"`
}

func TestVectors(t *testing.T) {
	for _, name := range vectorNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := readVector(t, name)
			got := v.run(t, nil)
			if *update {
				v.Expected = got.keepWelcome(t, v.Expected)
				writeVector(t, name, v)
				return
			}
			v.Expected.compare(t, got)
		})
	}
}

func (e expectation) compare(t *testing.T, got expectation) {
	t.Helper()
	compareReplies(t, e.Replies, got.Replies)
	if e.Traces != nil {
		compareText(t, "traces", canonicalTraces(t, e.Traces), string(got.Traces))
	}
	if e.Metrics != nil {
		compareText(t, "metrics", canonicalMetrics(t, e.Metrics), string(got.Metrics))
	}
}

// vectorNames are the paths of all cases without their extension.
func vectorNames(t *testing.T) []string {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(vectorDir, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(path, ".json"); ok {
			rel, err := filepath.Rel(vectorDir, name)
			names = append(names, filepath.ToSlash(rel))
			return err
		}
		return err
	}))
	require.NotEmpty(t, names)
	return names
}

func readVector(t *testing.T, name string) *vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(vectorDir, filepath.FromSlash(name)+".json"))
	require.NoError(t, err)
	v := new(vector)
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(v))
	return v
}

func writeVector(t *testing.T, name string, v *vector) {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	path := filepath.Join(vectorDir, filepath.FromSlash(name)+".json")
	require.NoError(t, os.WriteFile(path, []byte(layOut(t, data, 0)+"\n"), 0o600))
}

// config is the receiver's configuration with that of the case, and without
// anything that a timer would do.
func (v *vector) config(t *testing.T) *Config {
	t.Helper()
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	cfg.HTTP.NetAddr.Endpoint = "127.0.0.1:0"
	cfg.Metrics.FlushInterval = 30 * time.Minute
	if v.Config != nil {
		var values map[string]any
		require.NoError(t, json.Unmarshal(v.Config, &values))
		require.NoError(t, confmap.NewFromStringMap(values).Unmarshal(cfg))
	}
	require.NoError(t, confmap.Validate(cfg))
	return cfg
}

// run sends the messages of the case over one session, or their twins in the
// binary form, and returns what came of them.
func (v *vector) run(t *testing.T, twins [][]byte) expectation {
	var (
		traces  consumertest.TracesSink
		metrics consumertest.MetricsSink
		comp    component.Component
		err     error
	)
	set := receivertest.NewNopSettings(metadata.Type)
	set.Resource.Attributes().PutStr("service.instance.id", "receiver-1")
	cfg, factory := v.config(t), NewFactory()
	both := v.Expected.Traces == nil && v.Expected.Metrics == nil
	if both || v.Expected.Traces != nil {
		comp, err = factory.CreateTraces(t.Context(), set, cfg, &traces)
		require.NoError(t, err)
	}
	if both || v.Expected.Metrics != nil {
		comp, err = factory.CreateMetrics(t.Context(), set, cfg, &metrics)
		require.NoError(t, err)
	}
	r := comp.(*wsstatsReceiver)
	r.now = func() time.Time { return v.Arrival }
	r.random = numberedIDs()
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))

	s := &talker{receiver: r, url: "ws://" + r.sessions.addr.String() + cfg.Path, twins: twins, replies: []json.RawMessage{}}
	s.talk(t, v)
	got := expectation{Replies: s.replies}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, r.Shutdown(ctx))

	if v.Expected.Traces != nil {
		got.Traces = json.RawMessage(traceText(t, mergeTraces(traces.AllTraces())))
	}
	if v.Expected.Metrics != nil {
		got.Metrics = json.RawMessage(metricText(t, mergeMetrics(metrics.AllMetrics())))
	}
	return got
}

// numberedIDs stands for randomness: ids that begin with eeeeeeee and end with a number.
func numberedIDs() func([]byte) {
	var n uint32
	return func(b []byte) {
		for i := range b {
			b[i] = 0xee
		}
		n++
		binary.BigEndian.PutUint32(b[len(b)-4:], n)
	}
}

// closes tells whether the case ends with a close of the receiver.
func (v *vector) closes() bool {
	n := len(v.Expected.Replies)
	return n > 0 && strings.HasPrefix(string(v.Expected.Replies[n-1]), `{"close"`)
}

// compareText shows where two texts begin to differ.
func compareText(t *testing.T, what, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	wanted, gotten := strings.Split(want, "\n"), strings.Split(got, "\n")
	line := 0
	for line < min(len(wanted), len(gotten)) && wanted[line] == gotten[line] {
		line++
	}
	const before, after = 12, 8
	excerpt := func(lines []string) string {
		return strings.Join(lines[max(0, line-before):min(len(lines), line+after)], "\n")
	}
	t.Errorf("%s differ from line %d\nexpected:\n%s\nactual:\n%s", what, line+1, excerpt(wanted), excerpt(gotten))
}

// compareReplies compares all that is said, and of a welcome what the case states.
func compareReplies(t *testing.T, want, got []json.RawMessage) {
	t.Helper()
	require.Len(t, got, len(want), "replies: %s", got)
	for i := range want {
		if text := restrictWelcome(t, want[i], got[i]); text != nil {
			assert.JSONEq(t, string(want[i]), string(text))
			continue
		}
		assert.JSONEq(t, string(want[i]), string(got[i]))
	}
}

// restrictWelcome returns the welcome with the fields that are wanted, nil for
// what is no welcome.
func restrictWelcome(t *testing.T, want, got json.RawMessage) json.RawMessage {
	t.Helper()
	var w, g struct {
		Welcome map[string]json.RawMessage `json:"welcome"`
	}
	require.NoError(t, json.Unmarshal(want, &w))
	require.NoError(t, json.Unmarshal(got, &g))
	if w.Welcome == nil || g.Welcome == nil {
		return nil
	}
	for key := range g.Welcome {
		if _, ok := w.Welcome[key]; !ok {
			delete(g.Welcome, key)
		}
	}
	text, err := json.Marshal(g)
	require.NoError(t, err)
	return text
}

// keepWelcome leaves the fields of a welcome out that the case did not state.
func (e expectation) keepWelcome(t *testing.T, before expectation) expectation {
	t.Helper()
	for i := range e.Replies {
		if i < len(before.Replies) {
			if text := restrictWelcome(t, before.Replies[i], e.Replies[i]); text != nil {
				e.Replies[i] = text
			}
		}
	}
	return e
}
