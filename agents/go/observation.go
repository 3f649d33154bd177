package wsstats

import (
	"math"
	"sync"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// observation is one connection from its opening to its close, whoever sees
// what happens on it: a tap its bytes, a Connection what it is told.
type observation struct {
	rec     recorder
	conn    *conn
	release func() // frees the connection id

	mu      sync.Mutex
	clock   clock
	now     time.Duration // when what is at hand happened
	done    bool          // the close was recorded: nothing more is
	sending sending       // what the application has told of the next message
}

// traffic is what one direction of a connection has carried. Its counts are
// the ordinals of the conventions.
type traffic struct {
	messages int64
	bytes    int64 // payload of whole messages
	pings    int64
	pongs    int64
}

// message counts a message and returns its ordinal.
func (t *traffic) message(size int64) int64 {
	t.messages++
	if t.bytes += size; t.bytes < 0 {
		t.bytes = math.MaxInt64
	}
	return t.messages
}

// closing is how a connection ended: what the first close frame said.
type closing struct {
	code      int
	reason    string
	initiator string
}

// vanished is the close of a connection that ended without one (section 7.1.5).
var vanished = closing{code: 1006, initiator: string(None)}

func (c closing) direction() wire.Direction {
	switch Initiator(c.initiator) {
	case Local:
		return wire.DirectionSent
	case Remote:
		return wire.DirectionReceived
	}
	return wire.DirectionUnknown
}

// newRecord is a record of the moment without anything that is optional.
func (o *observation) newRecord(kind wire.Kind, dir wire.Direction) record {
	return record{conn: o.conn, kind: kind, dir: dir, time: o.clock.unix(o.now), duration: -1, size: -1}
}

// summary is the close with what the connection has carried until now.
func (o *observation) summary(c closing, sent, received *traffic) record {
	e := &wire.Event{}
	e.SetInt(wire.AttrCloseCode, int64(c.code))
	if c.reason != "" {
		e.SetStr(wire.AttrCloseReason, c.reason)
	}
	e.SetStr(wire.AttrCloseInitiator, c.initiator)
	e.SetDouble(wire.AttrConnectionDuration, float64(o.now)/float64(time.Millisecond))
	e.SetInt(wire.AttrMessagesSent, sent.messages)
	e.SetInt(wire.AttrMessagesReceived, received.messages)
	e.SetInt(wire.AttrBytesSent, sent.bytes)
	e.SetInt(wire.AttrBytesReceived, received.bytes)
	r := o.newRecord(wire.KindClose, c.direction())
	r.extra = e
	return r
}

// finish records the close, after which nothing is.
func (o *observation) finish(r record) {
	o.done = true
	o.conn.closed.Store(true)
	o.rec.record(r)
	o.release()
}
