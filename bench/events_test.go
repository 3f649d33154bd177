package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/zipkin/zipkinv2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/wsstats/wsstatsreceiver/wire"
)

var small = shape{batches: 3, events: 40, connections: 8}

// span is what peers have to agree about.
type span struct {
	TraceID, SpanID, Parent string
	Name                    string
	Kind                    ptrace.SpanKind
	Start, End              pcommon.Timestamp
	Attributes              map[string]any
	Links                   []string
	Resource                map[string]any
}

// spansOf lists the spans of a batch. What is on a scope is on each of its spans.
func spansOf(td ptrace.Traces) (list []span) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				attributes := ss.Scope().Attributes().AsRaw()
				for key, value := range s.Attributes().AsRaw() {
					attributes[key] = value
				}
				var links []string
				for _, l := range s.Links().All() {
					links = append(links, l.TraceID().String()+l.SpanID().String())
				}
				list = append(list, span{
					s.TraceID().String(), s.SpanID().String(), s.ParentSpanID().String(), s.Name(), s.Kind(),
					s.StartTimestamp(), s.EndTimestamp(), attributes, links, rs.Resource().Attributes().AsRaw(),
				})
			}
		}
	}
	return list
}

func TestPeersSendTheSameSpans(t *testing.T) {
	p, err := newPayloads(t.Context(), newDataset(7, small, false))
	require.NoError(t, err)
	require.Len(t, p.spans, small.batches)
	columns, err := spans(t.Context(), p.columns, nil)
	require.NoError(t, err)
	require.Len(t, columns, small.batches)
	for i := range small.batches {
		want := spansOf(p.spans[i])
		require.Len(t, want, small.events, "a span an event")
		for j, e := range p.dataset.batches[i].Batch.Events {
			require.Equal(t, pcommon.TraceID(e.TraceID).String(), want[j].TraceID, "the ids are those that the event states")
			require.Equal(t, pcommon.SpanID(e.SpanID).String(), want[j].SpanID)
			require.Len(t, want[j].Attributes, 12)
			require.Len(t, want[j].Links, 1)
		}
		assert.Equal(t, want, spansOf(columns[i]), "columns")

		proto := ptraceotlp.NewExportRequest()
		require.NoError(t, proto.UnmarshalProto(p.otlp[i]))
		assert.Equal(t, want, spansOf(proto.Traces()), "OTLP")

		zip, err := readyGzip{}.Decompress(bytes.NewReader(p.gzip[i]))
		require.NoError(t, err)
		data, err := io.ReadAll(zip)
		require.NoError(t, err)
		assert.Equal(t, p.otlp[i], data, "OTLP with gzip")

		text := ptraceotlp.NewExportRequest()
		require.NoError(t, text.UnmarshalJSON(p.otlpJSON[i]))
		assert.Equal(t, want, spansOf(text.Traces()), "OTLP in JSON")

		assertZipkin(t, want, p.zipkin[i])
	}
}

// assertZipkin compares what Zipkin can say: its tags are strings.
func assertZipkin(t *testing.T, want []span, body []byte) {
	t.Helper()
	unmarshaler := zipkinv2.NewJSONTracesUnmarshaler(true)
	td, err := unmarshaler.UnmarshalTraces(body)
	require.NoError(t, err)
	got := spansOf(td)
	require.Len(t, got, len(want))
	byID := map[string]span{}
	for _, s := range got {
		byID[s.SpanID] = s
	}
	for _, w := range want {
		g := byID[w.SpanID]
		assert.Equal(t, w.TraceID, g.TraceID)
		assert.Equal(t, w.Name, g.Name)
		for key, value := range w.Attributes {
			assert.EqualValues(t, value, g.Attributes[key], key)
		}
	}
	assert.True(t, json.Valid(body))
}

func TestScopeLayoutSaysTheSame(t *testing.T) {
	p, err := newPayloads(t.Context(), newDataset(7, small, false))
	require.NoError(t, err)
	scope, err := spans(t.Context(), p.columns, settings{"traces": settings{"layout": layoutScope}})
	require.NoError(t, err)
	for i := range small.batches {
		assert.ElementsMatch(t, spansOf(p.spans[i]), spansOf(scope[i]))
	}
}

func TestDerivedIsTheSameWithoutIDs(t *testing.T) {
	random, derived := newDataset(7, small, false), newDataset(7, small, true)
	require.NotZero(t, random.batches[0].Batch.Events[0].TraceID)
	for i := range random.batches {
		for j := range random.batches[i].Batch.Events {
			e := &random.batches[i].Batch.Events[j]
			e.TraceID, e.SpanID = wire.TraceID{}, wire.SpanID{}
		}
	}
	assert.Equal(t, random.batches, derived.batches)
	assert.NotEqual(t, random.batches, newDataset(8, small, true).batches, "another seed")
}

func TestEventsAreDistinct(t *testing.T) {
	d := newDataset(1, usual, false)
	ids, connections := map[wire.SpanID]bool{}, map[string]bool{}
	traces := map[string]wire.TraceID{}
	for i := range d.batches {
		clear(traces)
		for j := range d.batches[i].Batch.Events {
			e := &d.batches[i].Batch.Events[j]
			assert.False(t, ids[e.SpanID], "a span id comes once")
			ids[e.SpanID] = true
			id := e.Str(wire.AttrConnectionID)
			connections[id] = true
			if trace, ok := traces[id]; ok {
				assert.Equal(t, trace, e.TraceID, "a trace a connection and batch")
			}
			traces[id] = e.TraceID
		}
	}
	assert.Len(t, ids, usual.batches*usual.events)
	assert.Len(t, connections, usual.connections)
	assert.InDelta(t, 0.01, d.sampled(0.01), 0.001)
}

// Each batch touches so many connections of many, and together all.
func TestBatchesWalkOverConnections(t *testing.T) {
	d := newDataset(1, shape{batches: 10, events: 100, connections: 30, perBatch: 3}, true)
	all := map[string]bool{}
	for i := range d.batches {
		one := map[string]bool{}
		for j := range d.batches[i].Batch.Events {
			id := d.batches[i].Batch.Events[j].Str(wire.AttrConnectionID)
			one[id], all[id] = true, true
		}
		assert.Len(t, one, 3)
	}
	assert.Len(t, all, 30)
}

func TestNumbersAreSet(t *testing.T) {
	d := newDataset(3, small, false)
	for _, f := range []form{formJSON, formColumns} {
		t.Run(f.subprotocol, func(t *testing.T) {
			s, err := newScript(d, f)
			require.NoError(t, err)
			var decoder wire.Decoder
			for n, seq := range []uint64{1, 2, 3, 127, 128, 1 << 40} {
				var m wire.Message
				message := s.payload(seq, 0).appendNumber(nil, seq)
				if f.opcode == formJSON.opcode {
					require.NoError(t, decoder.DecodeJSON(message, &m))
				} else {
					require.NoError(t, decoder.DecodeProto(message, &m))
				}
				require.Equal(t, seq, m.Batch.Seq)
				require.Zero(t, m.Batch.Rejected)
				want := d.batches[(seq-1)%uint64(len(d.batches))].Batch.Events
				require.Len(t, m.Batch.Events, len(want))
				for j := range want {
					require.Equal(t, want[j].SpanID, m.Batch.Events[j].SpanID, "message %d", n)
					require.Equal(t, want[j].User, m.Batch.Events[j].User)
				}
			}
			assert.Less(t, len(s.again[0].rest), len(s.first[0].rest)+1, "definitions come once")
		})
	}
}

func TestNewTraceIDs(t *testing.T) {
	for _, n := range []int{1, 100, 4096} {
		kept := 0
		for _, id := range newTraceIDs(rand.New(rand.NewPCG(1, 1)), n) {
			if wire.TraceRandomness(id.trace) >= wire.ThresholdFromRatio(0.01) {
				kept++
			}
		}
		assert.InDelta(t, float64(n)/100, kept, 1, "of %d", n)
	}
}

func TestSplitRefusesWhatHasNoNumber(t *testing.T) {
	for _, message := range []string{"", `{"events":[]}`, "\x12", "\x12\x05\x08", "\x12\x02\x10\x01", "\x0a\x00"} {
		_, err := splitProto([]byte(message))
		assert.Error(t, err, "%q", message)
		_, err = splitJSON([]byte(message))
		assert.Error(t, err, "%q", message)
	}
}
