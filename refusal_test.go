package wsstatsreceiver

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// A number that was refused for good is covered by resume_after. An agent whose
// link broke before it heard of that would take it for acknowledged.
// Red when: the welcome does not tell, or forgets before the agent can have heard.
func TestRefusalsAreToldAgain(t *testing.T) {
	bad := consumererror.NewPermanent(errors.New("bad"))
	r := startReceiver(t, testOptions{traces: &scriptedConsumer{errs: []error{nil, bad, nil, bad}}})
	a, welcome := r.greet("i1")
	assert.Nil(t, welcome.Refused)
	for seq := 1; seq <= 3; seq++ {
		a.send(batch(seq, "c", seq))
	}
	a.send(`{"seq":4,"x":`) // unreadable but for its number
	for _, want := range []wire.Reply{{Ack: 1}, {Nack: 2}, {Ack: 3}, {Nack: 4}} {
		got := a.reply()
		assert.Equal(t, want, wire.Reply{Ack: got.Ack, Nack: got.Nack})
	}
	require.NoError(t, a.conn.Close())

	for range 2 { // a welcome may be lost too
		b, welcome := r.greet("i1")
		assert.EqualValues(t, 4, welcome.ResumeAfter)
		assert.Equal(t, []uint64{2, 4}, welcome.Refused)
		require.NoError(t, b.conn.Close())
	}
	c, _ := r.greet("i1")
	c.send(batch(5, "c", 5)) // after the welcome, by which it knows
	assert.EqualValues(t, 5, c.reply().Nack)
	require.NoError(t, c.conn.Close())
	_, welcome = r.greet("i1")
	assert.Equal(t, []uint64{5}, welcome.Refused)
}
