package wsstatsreceiver

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Frames that a client library would not send are written raw, masked with 0.
const (
	textStart    = "\x01\x80\x00\x00\x00\x00" // empty, not final
	continuation = "\x00\x80\x00\x00\x00\x00"
	ping         = "\x89\x80\x00\x00\x00\x00"
)

func TestFrameLimits(t *testing.T) {
	repeat := func(first, next string, n int) string {
		raw := []byte(first)
		for range n {
			raw = append(raw, next...)
		}
		return string(raw)
	}
	for _, tt := range []struct {
		name, raw string
		code      int
	}{
		{"empty fragments", repeat(textStart, continuation, 100), websocket.ClosePolicyViolation},
		{"pings", repeat(ping, ping, 100), websocket.ClosePolicyViolation},
		{"pings inside a message", repeat(textStart, ping, 100), websocket.ClosePolicyViolation},
		{"unmasked", "\x81\x02hi", websocket.CloseProtocolError},
		{"reserved opcode", "\x83\x80\x00\x00\x00\x00", websocket.CloseProtocolError},
		{"reserved bit", "\xc1\x80\x00\x00\x00\x00", websocket.CloseProtocolError},
		{"length over 63 bits", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", websocket.CloseProtocolError},
		{"declared length over the limit", "\x81\xff\x00\x00\x00\x7f\xff\xff\xff\xff\x00\x00\x00\x00", websocket.CloseMessageTooBig},
		{"close reason that is not UTF-8", "\x88\x83\x00\x00\x00\x00\x03\xe8\xff", websocket.CloseInvalidFramePayloadData},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Limits.Fragments, cfg.Limits.ControlFrames = 50, 50 }})
			a := r.dial(nil)
			a.t = t
			_, err := a.conn.NetConn().Write([]byte(tt.raw))
			require.NoError(t, err)
			a.expectClose(tt.code)
		})
	}
}

func TestFrameLimitsLetOrdinaryTrafficThrough(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Limits.Fragments, cfg.Limits.ControlFrames = 3, 50 }})
	a := r.dial(nil)
	for range 20 { // the limit is a message's, not a session's
		_, err := a.conn.NetConn().Write([]byte(textStart + continuation))
		require.NoError(t, err)
		_, err = a.conn.NetConn().Write([]byte("\x80\x82\x00\x00\x00\x00[]" + ping))
		require.NoError(t, err)
	}
	a.send(batch(1, "c", 1))
	assert.EqualValues(t, 1, a.reply().Ack)
}

func TestMessageThatIsNeverFinished(t *testing.T) {
	r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Limits.MessageTimeout = 50 * time.Millisecond }})
	a := r.dial(nil)
	_, err := a.conn.NetConn().Write([]byte(textStart))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		// Signs of life do not save it.
		_, _ = a.conn.NetConn().Write([]byte(ping))
		return r.sessions.len() == 0
	}, waitFor, 20*time.Millisecond)
}
