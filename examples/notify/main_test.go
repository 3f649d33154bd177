package main

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wsstats/wsstatsreceiver/examples/internal/receivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Of 10 notifications to 4 subscribers, 8 are of topics, half of them to 4 and
// half to 2, and 2 are for one user: 26 are read. Each subscriber is told its
// topics before.
//
// Red when: a broadcast's sends count twice (no SendingBroadcast), the first ping
// is left to the ticker, a handler tells of no processing.
func TestBothSidesReportWhatHappened(t *testing.T) {
	r := receivertest.Start(t)
	var printed receivertest.Printed
	require.NoError(t, example(&printed).Run(t.Context(), []string{
		"--listen", "127.0.0.1:0", "--collector", r.URL, "--ping-every", "1h",
		"--subscribers", "4", "--notifications", "10", "--every", "20ms",
	}))
	assert.Equal(t, map[string]int{
		"handshake": 4, "send": 30, "receive": 30, "process": 30, "ping": 4, "pong": 4, "close": 4, "1000": 4,
	}, r.Events("notify-client"))
	assert.Equal(t, map[string]int{
		"handshake": 4, "send": 6, "broadcast": 8, "receive": 30, "process": 30, "ping": 4, "pong": 4, "close": 4, "1000": 4,
	}, r.Events("notify-server"))
	for _, line := range []string{
		"notify: n-1 to the weather, read by 4 of 4 after ",
		"notify: n-2 to the orders, read by 2 of 2 after ",
		"notify: n-5 to u-1, read by 1 of 1 after ",
		"notify-client: 4 connections, 30 sent, 30 received, 0 too slow; agent: 106 events, 106 acknowledged, 0 dropped\n",
		"notify-server: 4 connections, 30 sent, 30 received, 0 too slow; agent: 90 events, 90 acknowledged, 0 dropped\n",
	} {
		assert.Contains(t, printed.String(), line)
	}
	for _, row := range r.Rows("notify-server", "send") {
		assert.Contains(t, row, "ws.queue.size")
	}
	recipients := 0.0
	for _, row := range r.Rows("notify-server", "broadcast") {
		recipients += row["ws.broadcast.recipients"].(float64)
		assert.Contains(t, []any{"weather", "orders"}, row["topic"])
		assert.Contains(t, row, "ws.queue.size")
		assert.Contains(t, row, "ws.message.id")
	}
	assert.InDelta(t, 24, recipients, 0)
	for _, row := range r.Rows("notify-server", "handshake") {
		assert.Regexp(t, "^u-[1-4]$", row["user.id"])
		assert.NotContains(t, row["ws.url"], "user", "the query is not recorded")
	}
}

func TestFlagsAreChecked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, example(io.Discard).Run(ctx, []string{"subscribe", "--subscribers", "0"}), "--subscribers: expected at least 1, got 0")
}
