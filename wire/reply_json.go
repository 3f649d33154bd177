package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// AppendReply appends the JSON form of a reply. Acks, nacks and errors, which
// are frequent, cost no allocation beyond dst.
func AppendReply(dst []byte, r *Reply) []byte {
	switch {
	case r.Ack != 0:
		return appendAck(dst, r)
	case r.Nack != 0:
		return appendNack(dst, r)
	case r.Error != nil:
		o := object{append(dst, `{"error":{`...), false}
		o.str("code", r.Error.Code)
		o.str("message", r.Error.Message)
		if r.Error.Index != 0 {
			o.uint("index", r.Error.Index)
		}
		return append(o.b, "}}"...)
	}
	// A reply holds nothing that JSON cannot say but a ratio that is not
	// finite, which a receiver has no configuration for.
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(*r); err != nil { // a copy, so that an ack need not live on the heap
		return append(dst, "{}"...)
	}
	return append(dst, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

func appendAck(dst []byte, r *Reply) []byte {
	o := object{append(dst, '{'), false}
	o.uint("ack", r.Ack)
	if r.Duplicate {
		o.bool("duplicate", true)
	}
	if r.Rejected != nil {
		o.key("rejected")
		rejected := object{append(o.b, '{'), false}
		rejected.int("count", int64(r.Rejected.Count))
		rejected.optional("first", r.Rejected.First)
		o.b = append(rejected.b, '}')
	}
	return append(o.b, '}')
}

func appendNack(dst []byte, r *Reply) []byte {
	o := object{append(dst, '{'), false}
	o.uint("nack", r.Nack)
	o.bool("retryable", r.Retryable) // false is said too: the agent then drops the message
	if r.RetryAfterMs != 0 {
		o.int("retry_after_ms", r.RetryAfterMs)
	}
	o.optional("code", r.Code)
	o.optional("message", r.Message)
	return append(o.b, '}')
}

// DecodeReply decodes a message of the receiver. Unknown keys are ignored; a
// message that has no known key is an empty Reply, so that version 1 can grow.
func DecodeReply(data []byte) (Reply, error) {
	var r Reply
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return r, errors.New("reply: expected an object, got null")
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Reply{}, fmt.Errorf("reply: %w", err)
	}
	return r, nil
}
