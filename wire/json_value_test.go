package wire

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUserValues(t *testing.T) {
	for _, tt := range []struct {
		json string
		want Value
	}{
		{`"x"`, StringValue("x")},
		{`"\u00e9\n\ud83d\ude00"`, StringValue("é\n😀")},
		{`""`, StringValue("")},
		{`true`, BoolValue(true)},
		{`false`, BoolValue(false)},
		{`1`, IntValue(1)},
		{`-0`, IntValue(0)},
		{`9223372036854775807`, IntValue(math.MaxInt64)},
		{`-9223372036854775808`, IntValue(math.MinInt64)},
		{`9223372036854775808`, DoubleValue(9223372036854775808)},
		{`-9223372036854775809`, DoubleValue(-9223372036854775809)},
		{`99999999999999999999999999`, DoubleValue(1e26)},
		{`1.0`, DoubleValue(1)},
		{`1e3`, DoubleValue(1000)},
		{`[]`, ArrayValue(nil)},
		{`["a","b\t"]`, ArrayValue([]Value{StringValue("a"), StringValue("b\t")})},
		{`[true,false]`, ArrayValue([]Value{BoolValue(true), BoolValue(false)})},
		{`[1, 2.5, 3]`, ArrayValue([]Value{DoubleValue(1), DoubleValue(2.5), DoubleValue(3)})},
		{`[1,2]`, ArrayValue([]Value{IntValue(1), IntValue(2)})},
	} {
		m := decode(t, `{"event":"ping","z":1,"x.y":`+tt.json+`,"n":null}`)
		require.Zero(t, m.Batch.Rejected, tt.json)
		require.Len(t, m.Batch.Events[0].User, 2)
		assert.Equal(t, KeyValue{"z", IntValue(1)}, m.Batch.Events[0].User[0])
		got := m.Batch.Events[0].User[1]
		assert.Equal(t, "x.y", got.Key)
		assert.Equal(t, fmt.Sprint(tt.want), fmt.Sprint(got.Value), tt.json)
	}
}

func TestKnownValues(t *testing.T) {
	m := decode(t, `{"event":"ping","ws.message.size":128.0,"ws.message.frames":1.2e1,"ws.processing.time_ms":3,"ws.message.id":42,
		"ws.message.timestamp":-5,"ws.close.code":null,"ws.role":"martian"}`)
	require.Zero(t, m.Batch.Rejected)
	e := &m.Batch.Events[0]
	assert.EqualValues(t, 128, e.Int(AttrMessageSize))
	assert.EqualValues(t, 12, e.Int(AttrMessageFrames))
	assert.EqualValues(t, 3, e.Double(AttrProcessingTime))
	assert.Equal(t, "42", e.Str(AttrMessageID))
	assert.EqualValues(t, -5, e.Int(AttrMessageTimestamp))
	assert.False(t, e.Has(AttrCloseCode))
	assert.Equal(t, RoleOther, ParseRole(e.Str(AttrRole)))

	m = decode(t, `{"event":"ping","ws.message.id":-0}`)
	assert.Equal(t, "0", m.Batch.Events[0].Str(AttrMessageID))
}

func TestParseIntIsExact(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "-1": -1, "1767225600123456789.0": 1767225600123456789, "1767225600123456789.00": 1767225600123456789,
		"9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64, "1e18": 1e18, "12.50e1": 125,
	} {
		got, ok := parseInt([]byte(s))
		assert.True(t, ok, s)
		assert.Equal(t, want, got, s)
	}
	for _, s := range []string{"0.5", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "9223372036854775808.0", "1e19", "1e-1"} {
		_, ok := parseInt([]byte(s))
		assert.False(t, ok, s)
	}
}

func TestTimes(t *testing.T) {
	for s, want := range map[string]int64{
		`0`:                                     0,
		`1767225600123456789`:                   1767225600123456789,
		`"1767225600123456789"`:                 1767225600123456789,
		`9223372036854775807`:                   math.MaxInt64,
		`1.7672256e18`:                          1767225600000000000,
		`"2026-01-01T00:00:00Z"`:                1767225600000000000,
		`"2026-01-01T01:00:00.123456789+01:00"`: 1767225600123456789,
		`"2025-12-31T19:30:00.5-04:30"`:         1767225600500000000,
		`"1970-01-01T00:00:00Z"`:                0,
	} {
		m := decode(t, `{"event":"ping","time":`+s+`}`)
		require.Zero(t, m.Batch.Rejected, s)
		assert.True(t, m.Batch.Events[0].HasTime, s)
		assert.Equal(t, want, m.Batch.Events[0].Time, s)
	}
	m := decode(t, `{"event":"ping","time":null}`)
	assert.False(t, m.Batch.Events[0].HasTime)
}

func TestIDsAndLinks(t *testing.T) {
	m := decode(t, `{"event":"ping","trace_id":"4BF92F3577B34DA6A3CE929D0E0E4736","span_id":"00f067aa0ba902b7","parent_span_id":"00F067AA0BA902B8",
		"tracestate":"ot=th:8","sampled":false,"links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","flags":{},"attributes":{"ws.link.kind":"active"}}]}`)
	require.Zero(t, m.Batch.Rejected)
	e := &m.Batch.Events[0]
	trace, _ := ParseTraceID("4bf92f3577b34da6a3ce929d0e0e4736")
	span, _ := ParseSpanID("00f067aa0ba902b7")
	assert.Equal(t, trace, e.TraceID)
	assert.Equal(t, span, e.SpanID)
	assert.EqualValues(t, 0xb8, e.ParentSpanID[7])
	assert.Equal(t, "ot=th:8", e.Tracestate)
	assert.True(t, e.Unsampled)
	assert.Equal(t, []Link{{trace, span, []KeyValue{{"ws.link.kind", StringValue("active")}}}}, e.Links)

	m = decode(t, `{"event":"ping","sampled":true,"trace_id":null,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`)
	require.Zero(t, m.Batch.Rejected)
	assert.Equal(t, TraceContext{trace, span, 1}, m.Batch.Events[0].Parent)
	assert.False(t, m.Batch.Events[0].Unsampled)
}

func TestTraceparent(t *testing.T) {
	const ids = "-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
	for s, ok := range map[string]bool{
		"00" + ids + "01":                  true,
		"00" + ids + "00":                  true,
		"00" + ids + "ff":                  true,
		"cc" + ids + "01":                  true,
		"cc" + ids + "01-what":             true,
		"cc" + ids + "01-":                 true,
		"cc" + ids + "01.what":             false,
		"00" + ids + "01-what":             false,
		"ff" + ids + "01":                  false,
		"0x" + ids + "01":                  false,
		"00" + ids + "0":                   false,
		"00" + ids + "0G":                  false,
		"00" + ids + "0A":                  false,
		strings.ToUpper("00" + ids + "01"): false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01": false,
		"": false,
	} {
		tc, got := ParseTraceparent(s)
		assert.Equal(t, ok, got, s)
		if !ok {
			assert.Zero(t, tc)
		}
		m := decode(t, `{"event":"ping","traceparent":"`+s+`"}`)
		assert.Zero(t, m.Batch.Rejected)
		assert.Equal(t, tc, m.Batch.Events[0].Parent)
		assert.Equal(t, ok, m.Batch.TraceparentsIgnored == 0, s)
	}
	tc, _ := ParseTraceparent("cc" + ids + "01-what")
	assert.Equal(t, "00"+ids+"01", string(AppendTraceparent(nil, tc)))
}
