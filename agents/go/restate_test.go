package wsstats

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// entries are the connections that a batch declares: id to open.
func entries(b *wire.Batch) map[string]bool {
	all := map[string]bool{}
	for i := range b.Connections {
		all[b.Connections[i].Str(wire.AttrConnectionID)] = !b.Connections[i].Closed
	}
	return all
}

func TestConnectionsAreDeclaredOnceASession(t *testing.T) {
	eachEncoding(t, testConnectionsAreDeclaredOnceASession)
}

func testConnectionsAreDeclaredOnceASession(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	early, late, handshaken := newConn("early"), newConn("late"), newConn("handshaken")
	a.open(early)

	p := r.welcomed(0)
	b := p.batch(0)
	assert.Equal(t, map[string]bool{"early": true}, entries(b))
	entry := &b.Connections[0]
	assert.Equal(t, "ws://example.com/chat", entry.Str(wire.AttrURL))
	assert.Equal(t, "server", entry.Str(wire.AttrRole))
	assert.Equal(t, "192.0.2.7", entry.Str(wire.AttrPeerIP))
	assert.EqualValues(t, 4711, entry.Int(wire.AttrPeerPort))
	assert.True(t, entry.HasOpenedAt)
	assert.Equal(t, early.openedAt, entry.OpenedAt)

	// Opened in the session, without a handshake: declared where it is first named.
	a.open(late)
	recordMessages(a, early, 1, 1)
	recordMessages(a, late, 2, 2)
	assert.Equal(t, map[string]bool{"late": true}, entries(p.batch(1)))
	recordMessages(a, late, 3, 4)
	assert.Empty(t, entries(p.batch(2)))

	// A handshake declares it too.
	a.open(handshaken)
	a.record(event(handshaken, wire.KindHandshake))
	recordMessages(a, handshaken, 5, 5)
	b = p.batch(3)
	assert.Empty(t, entries(b))
	assert.Equal(t, "ws://example.com/chat", b.Events[0].Str(wire.AttrURL))
	assert.Equal(t, "server", b.Events[0].Str(wire.AttrRole))
	assert.False(t, b.Events[1].Has(wire.AttrURL)) // inherited
	p.ack(3)
	flushed(t, a)
}

func TestRestateAfterReconnect(t *testing.T) { eachEncoding(t, testRestateAfterReconnect) }

func testRestateAfterReconnect(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	gone, open, sent := newConn("gone"), newConn("open"), newConn("sent")
	unseen := newConn("unseen")
	unseen.openedAt = 0
	for _, c := range []*conn{gone, open, sent, unseen} {
		a.open(c)
	}
	p := r.welcomed(0)
	assert.Len(t, entries(p.batch(0)), 4)
	a.record(message(gone, 1))
	a.record(event(gone, wire.KindClose))
	p.batch(1)
	p.ack(1)
	a.record(message(sent, 2))
	a.record(event(sent, wire.KindClose))
	p.batch(2)
	require.Eventually(t, func() bool { return a.Stats().Acknowledged == 2 }, patience, time.Millisecond)
	p.cut()

	q := r.welcomed(1)
	b := q.batch(0)
	assert.Equal(t, map[string]bool{"open": true, "unseen": true, "sent": false}, entries(b))
	for i := range b.Connections {
		c := &b.Connections[i]
		assert.Equal(t, c.Str(wire.AttrConnectionID) != "unseen", c.HasOpenedAt)
	}
	assert.Empty(t, entries(q.batch(2)))
	q.ack(2)
	flushed(t, a)
}

// A receiver that refuses a number ignores those after it, with the connections
// that they declare: what comes again declares them again.
func TestConnectionsOfIgnoredNumbersAreDeclaredAgain(t *testing.T) {
	eachEncoding(t, testConnectionsOfIgnoredNumbersAreDeclaredAgain)
}

func testConnectionsOfIgnoredNumbersAreDeclaredAgain(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(2))
	first, second := newConn("first"), newConn("second")
	p := r.welcomed(0)
	recordMessages(a, first, 1, 2)
	recordMessages(a, second, 3, 4)
	for range 2 {
		assert.Equal(t, map[string]bool{"first": true}, entries(p.batch(1)))
		assert.Equal(t, map[string]bool{"second": true}, entries(p.batch(2)))
		p.reply(wire.Reply{Nack: 1, Retryable: true})
	}
	assert.Equal(t, map[string]bool{"first": true}, entries(p.batch(1)))
	p.ack(1)
	assert.Equal(t, map[string]bool{"second": true}, entries(p.batch(2)))
	p.ack(2)
	recordMessages(a, second, 5, 6)
	assert.Empty(t, entries(p.batch(3)))
	p.ack(3)
	flushed(t, a)
}

func TestManyConnectionsAreRestatedInPieces(t *testing.T) {
	eachEncoding(t, testManyConnectionsAreRestatedInPieces)
}

func testManyConnectionsAreRestatedInPieces(t *testing.T, e encoding) {
	const count = maxEntries + 100
	r := newReceiver(t, e, nil)
	a := r.agent(batchOf(1))
	for i := range count {
		a.open(newConn(fmt.Sprintf("%032d", i)))
	}
	recordMessages(a, newConn("other"), 1, 1)
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.MaxMessageBytes = 20_000 })
	all := map[string]bool{}
	for len(all) < count {
		for id := range entries(p.batch(0)) {
			require.NotContains(t, all, id)
			all[id] = true
		}
	}
	p.batch(1)
	p.ack(1)
	flushed(t, a)
}

func TestStatedHandshakeIDsAreRestated(t *testing.T) {
	eachEncoding(t, testStatedHandshakeIDsAreRestated)
}

func testStatedHandshakeIDsAreRestated(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent()
	c := newConn("a81b")
	c.traceID, c.spanID = wire.TraceID{1}, wire.SpanID{2}
	a.open(c)
	b := r.welcomed(0).batch(0)
	assert.Equal(t, c.traceID, b.Connections[0].TraceID)
	assert.Equal(t, c.spanID, b.Connections[0].SpanID)
}
