package wire

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sampleReplies() []Reply {
	window, ratio := int64(0), 0.01
	return []Reply{
		{Ack: 17},
		{Ack: 17, Duplicate: true},
		{Ack: 17, Rejected: &Rejected{Count: 1, First: `events[3].ws.message.size: expected an integer, got "big"`}},
		{Nack: 18, Retryable: true, RetryAfterMs: 500, Code: CodeUnavailable, Message: "the pipeline is full"},
		{Nack: 18, Code: CodeMalformed, Message: `a "quoted" <text>`},
		{Flow: &Flow{WindowBytes: &window, SamplingRatio: &ratio, SamplingThreshold: "fd70a"}},
		{Flow: &Flow{}},
		{Error: &ErrorDetail{Code: CodeMalformed, Message: "x", Index: 7}},
		{Error: &ErrorDetail{Code: CodeTooLarge, Message: "x"}},
		{GoAway: &GoAway{Reason: "shutdown", ReconnectAfterMs: 800}},
		{Welcome: &Welcome{
			ResumeAfter: 3, MaxMessageBytes: 4 << 20, MaxEvents: 8192, WindowBytes: 4 << 20, HeartbeatS: 10, SamplingRatio: 1, SamplingThreshold: "0",
			SamplingScope: "message", TraceMode: "message", Dimensions: []string{"room.id"}, Signals: []string{"traces", "metrics"},
		}},
	}
}

func TestAppendReply(t *testing.T) {
	want := []string{
		`{"ack":17}`,
		`{"ack":17,"duplicate":true}`,
		`{"ack":17,"rejected":{"count":1,"first":"events[3].ws.message.size: expected an integer, got \"big\""}}`,
		`{"nack":18,"retryable":true,"retry_after_ms":500,"code":"unavailable","message":"the pipeline is full"}`,
		`{"nack":18,"retryable":false,"code":"malformed","message":"a \"quoted\" <text>"}`,
		`{"flow":{"window_bytes":0,"sampling_ratio":0.01,"sampling_threshold":"fd70a"}}`,
		`{"flow":{}}`,
		`{"error":{"code":"malformed","message":"x","index":7}}`,
		`{"error":{"code":"too_large","message":"x"}}`,
		`{"goaway":{"reason":"shutdown","reconnect_after_ms":800}}`,
		`{"welcome":{"resume_after":3,"max_message_bytes":4194304,"max_events":8192,"window_bytes":4194304,"heartbeat_s":10,"sampling_ratio":1,` +
			`"sampling_threshold":"0","sampling_scope":"message","trace_mode":"message","dimensions":["room.id"],"signals":["traces","metrics"]}}`,
	}
	for i, r := range sampleReplies() {
		got := AppendReply([]byte("x"), &r)
		assert.Equal(t, "x"+want[i], string(got))
		back, err := DecodeReply(got[1:])
		require.NoError(t, err)
		assert.Equal(t, r, back)
	}
	assert.Equal(t, `{}`, string(AppendReply(nil, &Reply{})))
}

func TestDecodeReply(t *testing.T) {
	r, err := DecodeReply([]byte(`{"future":{"a":1}}`))
	require.NoError(t, err)
	assert.Equal(t, Reply{}, r)
	r, err = DecodeReply([]byte(` {"ack":17,"future":[]} `))
	require.NoError(t, err)
	assert.Equal(t, Reply{Ack: 17}, r)
	for _, data := range []string{``, `[]`, `5`, `null`, `{"ack":-1}`, `{"ack":"1"}`, `{"ack":1}x`, `{"welcome":5}`} {
		r, err := DecodeReply([]byte(data))
		assert.Error(t, err, data)
		assert.Equal(t, Reply{}, r, data)
	}
}

func TestAcksAllocateNothing(t *testing.T) {
	var dst []byte
	rejected := &Rejected{Count: 1, First: "x"}
	detail := &ErrorDetail{Code: CodeRefused, Message: "x"}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		dst = AppendReply(dst[:0], &Reply{Ack: 17, Rejected: rejected})
		dst = AppendReply(dst[:0], &Reply{Nack: 17, Code: CodeRefused, Message: "x"})
		dst = AppendReply(dst[:0], &Reply{Error: detail})
	}))
	assert.True(t, json.Valid(dst))
}
