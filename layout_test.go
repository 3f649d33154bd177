package wsstatsreceiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const layoutMessage = `{"seq":1,
	"connections":[
		{"ws.connection.id":"a","ws.role":"server","ws.url":"wss://example.com/chat?q","ws.protocol":"wss","net.peer.ip":"192.0.2.1","net.peer.port":4000,"room.id":"lobby","url.full":"x","opened_at":1767225600000000000},
		{"ws.connection.id":"b","ws.role":"client"}],
	"events":[
		{"event":"send","ws.connection.id":"a","ws.message.type":"text","ws.message.size":5,"ws.message.seq":1,"time":1767225600000000001},
		{"event":"receive","ws.connection.id":"b","ws.message.seq":1,"time":1767225600000000002},
		{"event":"send","time":1767225600000000003,"ws.role":"server"},
		{"event":"receive","ws.connection.id":"a","ws.message.seq":2,"room.id":"attic","net.peer.ip":"192.0.2.2","time":1767225600000000004},
		{"event":"close","ws.connection.id":"b","ws.close.code":1000,"time":1767225600000000005},
		{"event":"error","ws.connection.id":"undeclared","error.type":"timeout","time":1767225600000000006},
		{"event":"send","time":1767225600000000007}]}`

func layoutTraces(t *testing.T, layout string, conventions Conventions) ptrace.Traces {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Traces.Layout, cfg.Conventions = layout, conventions
	table := observed.NewTable(&observed.Options{Traces: true, MaxConnections: 10, Random: func(b []byte) { b[0] = 1 }}, "i1")
	m := new(wire.Message)
	require.NoError(t, new(wire.Decoder).DecodeJSON([]byte(layoutMessage), m))
	require.Zero(t, m.Batch.Rejected)
	var resolved observed.Resolved
	table.Resolve(m, time.Now().UnixNano(), &resolved)
	return newTranslator(cfg, "1.0").traces(observed.NewResource(nil, "i1"), &resolved)
}

// flatten gives each span what its scope says, unless it says that itself.
func flatten(td ptrace.Traces) map[pcommon.SpanID]map[string]any {
	spans := make(map[pcommon.SpanID]map[string]any)
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				attrs := ss.Scope().Attributes().AsRaw()
				for k, v := range span.Attributes().AsRaw() {
					attrs[k] = v
				}
				spans[span.SpanID()] = attrs
			}
		}
	}
	return spans
}

// Red when: a connection's attribute is in neither place, or with the wrong connection.
func TestScopeLayoutSaysTheSame(t *testing.T) {
	for _, c := range []Conventions{ConventionsWS, ConventionsDup, ConventionsSemconv} {
		t.Run(string(c), func(t *testing.T) {
			flat, scoped := layoutTraces(t, layoutFlat, c), layoutTraces(t, layoutScope, c)
			assert.Len(t, flatten(flat), 7)
			assert.Equal(t, flatten(flat), flatten(scoped))
			require.Equal(t, 1, flat.ResourceSpans().At(0).ScopeSpans().Len())
			scopes := scoped.ResourceSpans().At(0).ScopeSpans()
			var ids []any
			var spans []int
			for _, ss := range scopes.All() {
				assert.Equal(t, "github.com/wsstats/wsstatsreceiver", ss.Scope().Name())
				assert.Equal(t, "1.0", ss.Scope().Version())
				ids = append(ids, ss.Scope().Attributes().AsRaw()["ws.connection.id"])
				spans = append(spans, ss.Spans().Len())
			}
			assert.Equal(t, []any{"a", "b", nil, "undeclared"}, ids)
			assert.Equal(t, []int{2, 2, 2, 1}, spans)
			own := scopes.At(0).Spans().At(0).Attributes().AsRaw()
			for _, constant := range []string{"ws.connection.id", "ws.url", "url.full", "ws.role", "net.peer.ip", "network.peer.address", "network.protocol.name", "room.id"} {
				assert.NotContains(t, own, constant)
			}
		})
	}
}

// Red when: a map is made larger than what is in it, or has a key twice.
func TestSpansHaveEachAttributeOnce(t *testing.T) {
	for _, layout := range []string{layoutFlat, layoutScope} {
		for _, c := range []Conventions{ConventionsWS, ConventionsDup, ConventionsSemconv} {
			for _, ss := range layoutTraces(t, layout, c).ResourceSpans().At(0).ScopeSpans().All() {
				assertEachOnce(t, ss.Scope().Attributes())
				for _, span := range ss.Spans().All() {
					assertEachOnce(t, span.Attributes())
				}
			}
		}
	}
}

func assertEachOnce(t *testing.T, m pcommon.Map) {
	t.Helper()
	assert.Len(t, m.AsRaw(), m.Len())
}

// A text must not change when another one is copied, and a long one fits too.
func TestTexts(t *testing.T) {
	var copied texts
	var got []string
	b := []byte("text 0")
	for i := range 1000 {
		b[5] = byte('0' + i%10)
		got = append(got, copied.clone(string(b)))
	}
	for i, s := range got {
		require.Equal(t, "text "+string(rune('0'+i%10)), s)
	}
	long := string(make([]byte, 3*textBytes))
	assert.Equal(t, long, copied.clone(long))
	assert.Empty(t, copied.clone(""))
	allocs := testing.AllocsPerRun(10, func() {
		for range 100 {
			copied.clone("eight b.")
		}
	})
	assert.LessOrEqual(t, allocs, 1.0)
}
