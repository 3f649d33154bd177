package wsstatsreceiver

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// After a burst of sessions a few goroutines are left, and they work on.
func TestWorkersWait(t *testing.T) {
	gate := newGatedConsumer()
	r := startReceiver(t, testOptions{traces: gate})
	agents := make([]*testAgent, 2*int(r.workers.most)+10)
	for i := range agents {
		agents[i], _ = r.greet(fmt.Sprint("i", i))
		agents[i].send(batch(1, "c", 1))
		<-gate.entered
	}
	for range agents {
		gate.release <- nil
	}
	for _, a := range agents {
		assert.Equal(t, wire.Reply{Ack: 1}, a.reply())
	}
	left := func() bool { return r.workers.waiting.Load() == r.workers.most }
	assert.Eventually(t, left, waitFor, pollEvery)

	used := false
	for seq := 2; !used && seq < 100; seq++ { // the first one may come just before they wait
		agents[0].send(batch(seq, "c", 1))
		<-gate.entered
		used = r.workers.waiting.Load() < r.workers.most
		gate.release <- nil
		agents[0].reply()
	}
	assert.True(t, used, "those that wait are given work")
}
