package wsstats

import (
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// spanRules are what a receiver says of the spans that it makes of messages.
// The zero value is what holds until it has said anything, and with providers.
type spanRules struct {
	threshold       uint64 // spans with less randomness are not kept
	byConnection    bool   // the messages of a connection are kept or dropped together
	handshakeTraces bool   // a connection is one trace: that of its handshake
	none            bool   // nobody makes spans: whoever looks for a parent goes past them
}

// rulesOf are those of where the records go.
func rulesOf(rec recorder) (rules spanRules) {
	if told, ok := rec.(interface{ spanRules() spanRules }); ok {
		rules = told.spanRules()
	}
	return rules
}

func (s *spanRules) follow(w *wire.Welcome) {
	s.setThreshold(w.SamplingThreshold)
	s.byConnection = w.SamplingScope == "connection"
	s.handshakeTraces = w.TraceMode == "connection"
}

// setThreshold takes a threshold over; one that is absent, or cannot be read,
// leaves the last one.
func (s *spanRules) setThreshold(text string) {
	if t, ok := wire.ParseThreshold(text); ok {
		s.threshold = t
	}
}

// sample tells whether a message's span is kept, unless it is an error's, and the
// tracestate that its children have of it (docs/conventions.md, "Sampling"). The
// trace is shared if both ends of the connection derive it.
func (s *spanRules) sample(id wire.TraceID, shared bool, seed *wire.Seed) (state trace.TraceState, kept bool) {
	if s.threshold == 0 {
		return state, true
	}
	var ot string
	randomness := wire.TraceRandomness(id)
	if s.byConnection && shared {
		randomness = seed.Randomness()
		ot = ";rv:" + wire.FormatRandomness(randomness)
	}
	kept = randomness >= s.threshold
	if kept {
		ot = ";th:" + wire.FormatThreshold(s.threshold) + ot
	}
	if ot != "" {
		state, _ = state.Insert("ot", ot[1:]) // it is valid
	}
	return state, kept
}

// window remembers which of the latest ordinals were there already.
type window struct {
	highest int64
	seen    uint64 // bit i: highest - i
}

// add notes an ordinal, and tells whether it is certain that it was not there.
func (w *window) add(n int64) bool {
	if n > w.highest {
		w.seen = w.seen<<uint64(n-w.highest) | 1
		w.highest = n
		return true
	}
	bit := uint64(1) << uint64(w.highest-n) // 0 where it is too long ago
	if bit == 0 || w.seen&bit != 0 {
		return false
	}
	w.seen |= bit
	return true
}
