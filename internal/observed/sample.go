package observed

import (
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// maxTracestate is the longest tracestate that is carried on; W3C asks for at
// least 512 characters.
const maxTracestate = 512

// sample decides whether a span is kept, and with which tracestate, following
// OpenTelemetry's consistent probability sampling (tracestate-handling and
// tracestate-probability-sampling). Thresholds are conditioned on the kind and
// status of a span, never on its randomness, so that later stages can count.
func (t *Table) sample(row *Row, b *wire.Batch, id *identity) (_ string, kept bool) {
	ev := row.Event
	threshold := t.opts.Threshold
	if b.HasThreshold {
		threshold = max(threshold, b.Threshold)
	}
	sampling := threshold > 0
	if ev.Tracestate == "" && !sampling {
		return "", true
	}
	var state tracestate
	if ev.Tracestate != "" {
		state = parseTracestate(ev.Tracestate)
	}
	own := ev.Parent.TraceID == (wire.TraceID{}) // else it is the parent's tracestate
	if !own {
		state.hasTh = false
	}

	randomness := wire.TraceRandomness(id.traceID)
	switch {
	case state.hasRV:
		randomness = state.rv
	case sampling && t.opts.ConnectionScope && row.Conn != nil && id.sharedTrace(row):
		randomness = row.Conn.seed.Randomness()
		state.rv, state.hasRV = randomness, true
	}

	applied := uint64(0)
	if sampledKind(row.Kind) && !row.Failed {
		applied = threshold
	}
	if randomness < applied {
		return "", false
	}
	switch {
	case state.hasTh && randomness < state.th:
		// Its sampler did not keep to its own threshold: the probability is not known.
		state.hasTh = false
	case state.hasTh:
		state.th = max(state.th, applied)
	case sampling:
		state.th, state.hasTh = applied, true
	}
	return state.String(), true
}

// sampledKind tells whether the ratio applies to spans of the kind.
func sampledKind(k wire.Kind) bool {
	switch k {
	case wire.KindSend, wire.KindReceive, wire.KindProcess, wire.KindMessage, wire.KindPing, wire.KindPong:
		return true
	}
	return false
}

// tracestate is a W3C tracestate with its "ot" member taken apart.
type tracestate struct {
	th, rv       uint64
	hasTh, hasRV bool
	otherOT      string // further fields of the ot member, with their separators
	members      string // all other members
}

func parseTracestate(s string) tracestate {
	var ts tracestate
	if s == "" || len(s) > maxTracestate {
		return ts
	}
	var members []string
	for member := range strings.SplitSeq(s, ",") {
		member = strings.Trim(member, " \t")
		key, value, ok := strings.Cut(member, "=")
		switch {
		case !ok || key == "" || value == "":
		case key == "ot":
			ts.parseOT(value)
		default:
			members = append(members, member)
		}
	}
	ts.members = strings.Join(members, ",")
	return ts
}

func (ts *tracestate) parseOT(value string) {
	for field := range strings.SplitSeq(value, ";") {
		field = strings.Trim(field, " \t")
		key, v, _ := strings.Cut(field, ":")
		switch {
		case key == "" || v == "":
		case key == "th":
			ts.th, ts.hasTh = wire.ParseThreshold(v)
			if ts.th >= wire.NeverSampled {
				ts.hasTh = false
			}
		case key == "rv":
			ts.rv, ts.hasRV = wire.ParseRandomness(v)
		default:
			ts.otherOT += ";" + field
		}
	}
}

func (ts *tracestate) String() string {
	var ot strings.Builder
	if ts.hasTh {
		ot.WriteString(";th:")
		ot.WriteString(wire.FormatThreshold(ts.th))
	}
	if ts.hasRV {
		ot.WriteString(";rv:")
		ot.WriteString(wire.FormatRandomness(ts.rv))
	}
	ot.WriteString(ts.otherOT)
	switch {
	case ot.Len() == 0:
		return strings.Clone(ts.members)
	case ts.members == "":
		return "ot=" + ot.String()[1:]
	}
	return "ot=" + ot.String()[1:] + "," + ts.members
}
