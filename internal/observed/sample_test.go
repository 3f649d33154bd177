package observed

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func sampling(ratio float64) *Options {
	opts := defaults()
	opts.Threshold = wire.ThresholdFromRatio(ratio)
	return opts
}

// rows sends n messages over a connection, as the agent of that role reports them.
func rows(t *testing.T, opts *Options, role, event, connection string, n int) []Row {
	t.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `,{'event':'%s','ws.role':'%s','ws.connection.id':'%s','ws.message.seq':%d}`, event, role, connection, i+1)
	}
	return take(t, NewTable(opts, ""), "["+text.String()[1:]+"]").Rows
}

// The part that is kept is the ratio, and both ends keep the same messages.
func TestSamplingIsConsistent(t *testing.T) {
	const n = 8000
	for _, ratio := range []float64{0.01, 0.1, 0.5} {
		sent := rows(t, sampling(ratio), "client", "send", "c", n)
		received := rows(t, sampling(ratio), "server", "receive", "c", n)
		handled := rows(t, sampling(ratio/2), "server", "process", "c", n)
		kept := 0
		for i := range sent {
			require.Equal(t, sent[i].Span != nil, received[i].Span != nil, "message %d", i)
			assert.True(t, sent[i].Span != nil || handled[i].Span == nil, "a lower ratio keeps nothing more")
			if sent[i].Span != nil {
				kept++
				assert.Equal(t, sent[i].Span.TraceID, received[i].Span.TraceID)
				assert.Equal(t, "ot=th:"+wire.FormatThreshold(wire.ThresholdFromRatio(ratio)), sent[i].Span.Tracestate)
			}
		}
		// Six standard deviations of a binomial distribution.
		assert.InDelta(t, ratio, float64(kept)/n, 6*math.Sqrt(ratio*(1-ratio)/n), "ratio %v", ratio)
	}
}

func TestConnectionScope(t *testing.T) {
	const connections = 2000
	opts := sampling(0.1)
	opts.ConnectionScope = true
	kept := 0
	for i := range connections {
		id := fmt.Sprint("c", i)
		sent := rows(t, opts, "client", "send", id, 3)
		received := rows(t, opts, "server", "receive", id, 3)
		for j := range sent {
			assert.Equal(t, sent[0].Span != nil, sent[j].Span != nil)
			assert.Equal(t, sent[0].Span != nil, received[j].Span != nil)
		}
		if sent[0].Span != nil {
			kept++
			rv := wire.FormatRandomness(wire.ConnectionSeed(id).Randomness())
			assert.Equal(t, "ot=th:e666;rv:"+rv, sent[2].Span.Tracestate)
		}
	}
	assert.InDelta(t, 0.1, float64(kept)/connections, 0.04)

	stated := row(t, NewTable(opts, ""), `{'event':'error','ws.connection.id':'c','trace_id':'`+statedTrace+`'}`)
	assert.Equal(t, "ot=th:0", stated.Span.Tracestate, "no rv in a trace that is not derived")

	// A trace of the connection that the handshake stated is not a derived one.
	opts.ConnectionTraces = true
	table := NewTable(opts, "")
	take(t, table, `{'event':'handshake','ws.connection.id':'c','trace_id':'`+statedTrace+`'}`)
	assert.Equal(t, "ot=th:0", row(t, table, `{'event':'error','ws.connection.id':'c'}`).Span.Tracestate)
	derived := row(t, NewTable(opts, ""), `{'event':'error','ws.connection.id':'c'}`)
	assert.Equal(t, "ot=th:0;rv:"+wire.FormatRandomness(wire.ConnectionSeed("c").Randomness()), derived.Span.Tracestate)
}

func TestWhatIsAlwaysKept(t *testing.T) {
	for kind := wire.KindHandshake; kind <= wire.KindBatchSend; kind++ {
		sampled := false
		switch kind {
		case wire.KindSend, wire.KindReceive, wire.KindProcess, wire.KindMessage, wire.KindPing, wire.KindPong:
			sampled = true
		default:
		}
		event := `{'event':'` + kind.String() + `','ws.connection.id':'c'`
		got := row(t, NewTable(sampling(0), ""), event+`}`)
		assert.Equal(t, !sampled, got.Span != nil, kind)
		got = row(t, NewTable(sampling(0), ""), event+`,'error.type':'timeout'}`)
		assert.NotNil(t, got.Span, "%v that failed", kind)
		assert.True(t, got.Failed)
		assert.Equal(t, "ot=th:0", got.Span.Tracestate)
		got = row(t, NewTable(sampling(1), ""), event+`}`)
		assert.NotNil(t, got.Span)
		assert.Empty(t, got.Span.Tracestate)
	}
}

func TestTracestate(t *testing.T) {
	// The low 56 bits of the trace decide: c is over the threshold of 0.5, 4 is not.
	trace := func(digit string) string {
		return `'trace_id':'4bf92f3577b34da6a3` + strings.Repeat(digit, 14) + `'`
	}
	parent := func(digit string) string {
		return `'traceparent':'00-4bf92f3577b34da6a3` + strings.Repeat(digit, 14) + `-` + statedSpan + `-00'`
	}
	long := strings.Repeat("x", maxTracestate-2)
	const failed = `'error.type':'timeout'`
	tests := []struct {
		name       string
		ratio      float64
		fields     string
		state      string
		want       string
		sampledOut bool
	}{
		{"none at ratio 1", 1, trace("c"), ``, ``, false},
		{"others stay at ratio 1", 1, trace("c"), `a=b, c=d`, `a=b,c=d`, false},
		{"th stays at ratio 1", 1, trace("c"), `ot=th:8,a=b`, `ot=th:8,a=b`, false},
		{"th 0 stays at ratio 1", 1, trace("c"), `ot=th:0`, `ot=th:0`, false},
		{"a wrong th goes at ratio 1", 1, trace("4"), `a=b,ot=th:8`, `a=b`, false},
		{"the parent's th goes at ratio 1", 1, parent("c"), `ot=th:8;rv:cccccccccccccc,a=b`, `ot=rv:cccccccccccccc,a=b`, false},

		{"kept", 0.5, trace("c"), ``, `ot=th:8`, false},
		{"kept, alone", 0.5, `'span_id':'` + statedSpan + `'`, `ot=rv:c0000000000000`, `ot=th:8;rv:c0000000000000`, false},
		{"dropped", 0.5, trace("4"), ``, ``, true},
		{"an error is kept", 0.5, trace("4") + `,` + failed, ``, `ot=th:0`, false},
		{"first member", 0.5, trace("c"), `a=b,ot=,c=d`, `ot=th:8,a=b,c=d`, false},
		{"rv decides", 0.5, trace("c"), `ot=rv:40000000000000`, ``, true},
		{"rv decides the other way", 0.5, trace("4"), `ot=rv:c0000000000000`, `ot=th:8;rv:c0000000000000`, false},
		{"on the threshold", 0.5, trace("4"), `ot=rv:80000000000000`, `ot=th:8;rv:80000000000000`, false},
		{"just below", 0.5, trace("4"), `ot=rv:7fffffffffffff`, ``, true},

		{"raised", 0.5, trace("c"), `ot=th:4`, `ot=th:8`, false},
		{"never lowered", 0.5, trace("c"), `ot=th:c`, `ot=th:c`, false},
		{"not by an error", 0.5, trace("c") + `,` + failed, `ot=th:c`, `ot=th:c`, false},
		{"erased", 0.5, trace("c"), `ot=th:d;x:y,a=b`, `ot=x:y,a=b`, false},
		{"erased of an error", 0.5, trace("4") + `,` + failed, `ot=th:8`, ``, false},
		{"a parent's is replaced", 0.5, parent("c"), `ot=th:c;rv:d0000000000000;x:y,a=b`, `ot=th:8;rv:d0000000000000;x:y,a=b`, false},
		{"a parent's is replaced even by a lower one", 0.5, parent("4") + `,` + failed, `ot=th:c`, `ot=th:0`, false},

		{"th that is none", 0.5, trace("c"), `ot=th:xyz`, `ot=th:8`, false},
		{"th in capitals", 0.5, trace("c"), `ot=th:C`, `ot=th:8`, false},
		{"th that nothing reaches", 0.5, trace("c"), `ot=th:100000000000000`, `ot=th:8`, false},
		{"th that is too long", 0.5, trace("c"), `ot=th:c00000000000000`, `ot=th:8`, false},
		{"rv that is too short", 0.5, trace("c"), `ot=rv:4`, `ot=th:8`, false},
		{"members that are none", 0.5, trace("c"), `,a,=b,c=,d=e,,`, `ot=th:8,d=e`, false},
		{"spaces", 0.5, trace("c"), " ot=th:c \t, a=b", `ot=th:c,a=b`, false},
		{"fields that are none", 0.5, trace("c"), "ot=;x;:; y:z ;:;u:,a=b", `ot=th:8;y:z,a=b`, false},
		{"two of ours", 0.5, trace("c"), `ot=th:a,ot=th:c`, `ot=th:c`, false},
		{"as long as may be", 0.5, trace("c"), `a=` + long, `ot=th:8,a=` + long, false},
		{"too long", 0.5, trace("c"), `ot=rv:40000000000000,a=` + long, `ot=th:8`, false},
		{"too long at ratio 1", 1, trace("c"), `b=` + long + `x`, ``, false},
		{"beside an invalid traceparent", 0.5, `'traceparent':'00-x','ws.message.id':'b'`, `ot=rv:c0000000000000,a=b`, `ot=th:8`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			event := `{'event':'send','ws.connection.id':'c',` + tt.fields
			if tt.state != "" {
				event += `,'tracestate':'` + strings.ReplaceAll(tt.state, "\t", `\t`) + `'`
			}
			got := row(t, NewTable(sampling(tt.ratio), ""), event+`}`)
			require.Equal(t, !tt.sampledOut, got.Span != nil)
			if !tt.sampledOut {
				assert.Equal(t, tt.want, got.Span.Tracestate)
			}
		})
	}
}

// The higher of the agent's threshold and the receiver's counts.
func TestThresholdOfTheAgent(t *testing.T) {
	const event = `{'event':'send','ws.connection.id':'c','trace_id':'4bf92f3577b34da6a3cccccccccccccc'}`
	tests := []struct {
		name      string
		threshold string
		ratio     float64
		want      string // "": dropped
	}{
		{"higher", "a", 0.5, "ot=th:a"},
		{"lower", "4", 0.5, "ot=th:8"},
		{"the receiver keeps all", "a", 1, "ot=th:a"},
		{"too high", "d", 1, ""},
		{"nothing", "100000000000000", 1, ""},
	}
	for _, tt := range tests {
		got := row(t, NewTable(sampling(tt.ratio), ""), `{'threshold':'`+tt.threshold+`','events':[`+event+`]}`)
		require.Equal(t, tt.want != "", got.Span != nil, tt.name)
		if tt.want != "" {
			assert.Equal(t, tt.want, got.Span.Tracestate, tt.name)
		}
	}
}

func TestUnsampledEvents(t *testing.T) {
	out := take(t, NewTable(defaults(), ""), `{'threshold':'8','events':[{'event':'send','sampled':false},{'event':'error'}]}`)
	assert.Equal(t, []bool{false, true}, []bool{out.Rows[0].Span != nil, out.Rows[1].Span != nil})
	assert.Equal(t, 1, out.Spans)
	assert.NotNil(t, row(t, NewTable(defaults(), ""), `{'events':[{'event':'send','sampled':false}]}`).Span, "only beside a threshold")

	opts := defaults()
	opts.Traces = false
	out = take(t, NewTable(opts, ""), `[{'event':'send'}]`)
	assert.Zero(t, out.Spans, "there is no traces pipeline")
	assert.Nil(t, out.Rows[0].Span)
}

// Tracestates come from strangers: whatever they hold, what goes on is bounded
// and reads back as what it was.
func FuzzTracestate(f *testing.F) {
	for _, s := range []string{"", "ot=th:8;rv:c0000000000000;x:y,a=b", ",a,=b,c=,d=e", "ot=ot=th:1", "ot=:;;th", "ot=th:8,ot=rv:00000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := parseTracestate(s)
		text := once.String()
		assert.LessOrEqual(t, len(text), maxTracestate+2*len("ot=th:12345678901234;rv:12345678901234,"))
		twice := parseTracestate(text)
		if len(text) > maxTracestate {
			return
		}
		assert.Equal(t, text, twice.String())
		assert.Equal(t, once.hasTh, twice.hasTh)
		assert.Equal(t, once.hasRV, twice.hasRV)
		if once.hasTh {
			assert.Equal(t, once.th, twice.th)
		}
		if once.hasRV {
			assert.Equal(t, once.rv, twice.rv)
		}
	})
}

func TestRandomnessIsUniform(t *testing.T) {
	var buckets [16]int
	const n = 1 << 16
	for i := range n {
		r := wire.TraceRandomness(wire.ConnectionSeed("c").TraceID(uint64(i), wire.SlotClientData))
		buckets[r>>52]++
	}
	for i, got := range buckets {
		assert.InDelta(t, n/16, got, 400, "bucket %d", i) // 6 deviations of 62
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], wire.ConnectionSeed("c").Randomness())
	assert.Zero(t, b[0], "56 bits")
}
