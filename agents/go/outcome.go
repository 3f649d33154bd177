package wsstats

import (
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Outcome is what became of one event.
type Outcome struct {
	Time       time.Time   // when the event began
	Attributes []Attribute // that the application gave it (a handshake: its connection); not to be changed
	Dropped    string      // why, as in Stats.Dropped; "": the receiver took it
}

// reason says why an event was dropped. Its names are the values of the
// attribute reason of ws.agent.dropped.
type reason uint8

const (
	reasonQueueFull reason = iota // no room in the ring
	reasonOversize                // one event alone is over the receiver's message limit
	reasonRefused                 // the receiver refused its number for good
	reasonPoison                  // sessions broke on its number three times in a row
	reasonShutdown                // not acknowledged by the end of Shutdown, or recorded after its beginning
	numReasons
)

var reasonNames = [numReasons]string{"queue_full", "oversize", "refused", "poison", "shutdown"}

// dropCounts counts dropped events by reason.
type dropCounts [numReasons]uint64

// lose counts a record as dropped.
func (g *ring) lose(r *record, why reason) {
	g.dropped[why] += r.weight()
	g.tell(r, reasonNames[why])
}

// tell hands on what became of a record.
func (g *ring) tell(r *record, dropped string) {
	if g.outcome == nil || r.stat != nil {
		return
	}
	o := Outcome{Time: time.Unix(0, r.time), Dropped: dropped}
	switch {
	case r.attributes != nil:
		o.Attributes = *r.attributes
	case r.kind == wire.KindHandshake && r.conn != nil:
		o.Attributes = r.conn.attributes
	case r.kind == wire.KindHandshake && r.extra != nil:
		o.Attributes = r.extra.User
	}
	g.outcome(o)
}
