package wsstatsreceiver

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// An agent that waits for each answer may fill the whole window each time:
// what was answered is out of it before the answer is sent.
func TestWindowIsFreeOnceAnswered(t *testing.T) {
	filled := func(seq int, kind string) string {
		message := sized(seq, 1024)
		return strings.Replace(message, `"send"`, kind, 1)
	}
	r := startReceiver(t, testOptions{config: func(cfg *Config) {
		cfg.Limits.MessageBytes, cfg.Delivery.WindowBytes = 1024, 1024
		cfg.Limits.MalformedMessages = 1000
	}})
	a, _ := r.greet("i1")
	for seq := 1; seq <= 400; seq += 4 {
		a.send(filled(seq, `"send"`))
		require.Equal(t, wire.Reply{Ack: uint64(seq)}, a.reply())
		a.send(filled(seq, `"send"`))
		require.Equal(t, wire.Reply{Ack: uint64(seq), Duplicate: true}, a.reply())
		a.send(filled(seq+1, `"snd"`+" ")) // rejected
		require.NotNil(t, a.reply().Rejected)
		a.send(filled(seq+2, `"sen`+"\n")) // malformed
		require.EqualValues(t, seq+2, a.reply().Nack)
	}
	assert.Equal(t, 100, r.traces.SpanCount())
}
