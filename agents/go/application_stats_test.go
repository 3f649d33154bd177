package wsstats

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the application tells of is measured like what the taps see, and once.
func TestStatsOfApplicationCalls(t *testing.T) { eachEncoding(t, testStatsOfApplicationCalls) }

func testStatsOfApplicationCalls(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1000), WithAggregates(neverBusy))
	p := r.welcomed(0)
	awaitKnown(t, a)
	ctx := context.Background()
	c := a.Observe(Opening{Role: RoleServer})
	message := c.Received(TextMessage, 10)
	_, end := c.Process(ctx, message)
	end(errors.New("late"))
	c.Sending(ctx, QueueSize(5))
	c.Sent(TextMessage, 20)
	c.SendingBatch(ctx, TextMessage, 3, 7)
	for range 3 {
		c.Sent(TextMessage, 7)
	}
	a.Broadcast(ctx, BinaryMessage, 100, 4)

	flushing := inBackground(t, a.Flush)
	got := counted(p.batch(1))
	assert.Contains(t, got, "ws.processing.time text")
	delete(got, "ws.processing.time text") // takes as long as it takes
	assert.Equal(t, map[string]string{
		"ws.message.size server received text": "1, 10",
		"ws.message.size server sent text":     "4, 41",
		"ws.message.size server sent binary":   "4, 400",
		"ws.broadcast.recipients":              "1, 4",
		"ws.queue.size server":                 "1, 5",
	}, got)
	p.ack(1)
	require.NoError(t, <-flushing)
	requireBalanced(t, a)
}
