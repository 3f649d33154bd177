package wsstats

import (
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// sampling knows which messages' spans the receiver keeps, and whether there
// are so many messages that the others are not worth being sent.
type sampling struct {
	*spanRules

	limit  uint64 // message events a second
	second int64  // Unix ns: when the second at hand began
	during uint64 // events in it
	before uint64 // events in the one before it

	leaving bool   // events are left out at present
	applied uint64 // the highest threshold by which events were left out that those in the queue stood beside
}

// count counts an event that happened now (Unix ns), and decides whether events
// are left out from here on: where this second, or the one before it, has had
// too many.
func (s *sampling) count(now int64) {
	if d := now - s.second; d >= int64(time.Second) || d < -int64(time.Second) { // the clock may be set back
		s.before = 0
		if d > 0 && d < 2*int64(time.Second) {
			s.before = s.during
		}
		s.second, s.during = now, 0
	}
	s.during++
	s.leaving = s.threshold > 0 && (s.during > s.limit || s.before > s.limit)
}

// leave tells whether a message is to be left out: the receiver would make no
// span of it. Where that is not sure, the receiver decides.
func (s *sampling) leave(c *conn, seen *sight) bool {
	if !s.leaving || seen.stated || c == nil {
		return false
	}
	switch seen.kind {
	case wire.KindSend, wire.KindReceive, wire.KindProcess, wire.KindMessage:
	default:
		return false
	}
	randomness, ok := s.randomness(c, seen)
	if !ok || randomness >= s.threshold {
		return false
	}
	s.applied = max(s.applied, s.threshold)
	return true
}

// randomness is what the receiver compares with its threshold.
func (s *sampling) randomness(c *conn, seen *sight) (uint64, bool) {
	seed := c.derive()
	var trace wire.TraceID
	derived := true
	switch slot, ok := conventions.DataSlot(seen.role, seen.dir); {
	case s.handshakeTraces:
		trace = seed.TraceID(0, wire.SlotHandshake)
		if c.traceID != (wire.TraceID{}) && c.traceID != trace {
			trace, derived = c.traceID, false
		}
	case !ok || seen.seq <= 0:
		return 0, false
	case !s.byConnection:
		trace = seed.TraceID(uint64(seen.seq), slot)
	}
	if s.byConnection && derived {
		return seed.Randomness(), true
	}
	return wire.TraceRandomness(trace), true
}
