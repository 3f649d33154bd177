package main

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/examples/internal/receivertest"
)

// Red when: one of the two wrapped lines in main.go is not wrapped.
func TestBothSidesReportWhatHappened(t *testing.T) {
	r := receivertest.Start(t)
	var printed receivertest.Printed
	require.NoError(t, example(&printed).Run(t.Context(), []string{
		"--listen", "127.0.0.1:0", "--collector", r.URL,
		"--members", "3", "--rooms", "lobby", "--rounds", "1", "--pace", "0s", "--pause", "0s",
	}))

	// The numbers of a scene of three, see TestCrowdPlaysTheSameSceneEachTime.
	assert.Equal(t, map[string]int{"handshake": 3, "send": 14, "receive": 38, "ping": 3, "pong": 3, "close": 3, "1000": 2, "1006": 1},
		r.Events("chat-client"))
	assert.Equal(t, map[string]int{"handshake": 3, "send": 38, "receive": 14, "ping": 3, "pong": 3, "close": 3, "1000": 2, "1006": 1},
		r.Events("chat-server"))
	for _, line := range []string{
		"chat-client: 3 connections, 14 sent, 38 received, 3 pings, 2 closed, 1 dropped dead; agent: 64 events, 64 acknowledged, 0 dropped\n",
		"chat-server: 3 connections, 38 sent, 14 received; agent: 64 events, 64 acknowledged, 0 dropped\n",
	} {
		assert.Contains(t, printed.String(), line)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"crowd", "--members", "9"}, "--members: expected 2 to 8, got 9"},
		{[]string{"--listen", "127.0.0.1:0", "--members", "1"}, "--members: expected 2 to 8, got 1"},
		{[]string{"crowd", "--pace", "fast"}, "-pace"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // an agent without a receiver is not waited for
		require.ErrorContains(t, example(io.Discard).Run(ctx, tc.args), tc.want)
	}
}
