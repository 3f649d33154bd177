package aggregate

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// exemplarSlots is how many exemplars a series keeps at most. It is not less
// than maxBuckets.
const exemplarSlots = 20

// maxExemplarBytes bounds an attribute of an exemplar. A longer one is cut, but
// for ids, which are left out: cut they would be other ids.
const maxExemplarBytes = 128

// exemplars holds the first exemplar of each slot since the last hand-over: one
// a bucket of an explicit histogram, one a range of values of an exponential
// one, one of a sum. A nil *exemplars keeps none.
type exemplars struct {
	place [exemplarSlots]uint8 // of a slot in list, plus 1
	list  []exemplar           // their memory is used again after a reset
}

type exemplar struct {
	value   float64
	time    int64
	traceID [16]byte
	spanID  [8]byte
	fields  [numExemplarFields][]byte // empty: absent
}

// exemplarField is an attribute of an exemplar: what has too many values for
// an attribute of a metric.
type exemplarField uint8

const (
	exemplarConnection exemplarField = iota
	exemplarMessage
	exemplarURL
	exemplarPeer
	exemplarReason
	numExemplarFields
)

// newExemplarNames returns the names under which the fields are written.
func newExemplarNames(c Conventions) [numExemplarFields][]string {
	names := [numExemplarFields][]string{
		exemplarConnection: {"ws.connection.id"},
		exemplarMessage:    {"ws.message.id"},
		exemplarURL:        {"ws.url", "url.full"},
		exemplarPeer:       {"net.peer.ip", "network.peer.address"},
		exemplarReason:     {"ws.close.reason"},
	}
	for f := exemplarURL; f <= exemplarPeer; f++ {
		switch c {
		case WS:
			names[f] = names[f][:1]
		case Semconv:
			names[f] = names[f][1:]
		case WSDup:
		}
	}
	return names
}

// put keeps an exemplar of the row, whose span is sampled.
func (x *exemplars) put(slot int, value float64, row *observed.Row, allowURLQuery bool) {
	if x == nil || x.place[slot] != 0 { // the first one: later ones are as good, and cost
		return
	}
	if len(x.list) < cap(x.list) {
		x.list = x.list[:len(x.list)+1]
	} else {
		x.list = append(x.list, exemplar{})
	}
	x.place[slot] = uint8(len(x.list))
	e := &x.list[len(x.list)-1]
	e.value, e.time, e.traceID, e.spanID = value, row.End, row.Span.TraceID, row.Span.SpanID
	id, url, peer := row.Str(wire.AttrConnectionID), row.Str(wire.AttrURL), row.Str(wire.AttrPeerIP)
	if row.Has(wire.AttrURL) {
		url = conventions.RedactURL(url, allowURLQuery)
	}
	if c := row.Conn; c != nil {
		id = c.ID
		if !row.Has(wire.AttrURL) {
			url = c.URL
		}
		if !row.Has(wire.AttrPeerIP) {
			peer = c.PeerIP
		}
	}
	e.set(exemplarConnection, whole(id))
	e.set(exemplarMessage, whole(row.Str(wire.AttrMessageID)))
	e.set(exemplarURL, cut(url, maxExemplarBytes))
	e.set(exemplarPeer, cut(peer, maxExemplarBytes))
	e.set(exemplarReason, cut(row.Str(wire.AttrCloseReason), maxExemplarBytes))
}

func (e *exemplar) set(f exemplarField, s string) { e.fields[f] = append(e.fields[f][:0], s...) }

// whole returns an id, the empty string where it is too long.
func whole(id string) string {
	if len(id) > maxExemplarBytes {
		return ""
	}
	return id
}

func (x *exemplars) reset() {
	if x != nil {
		x.place = [exemplarSlots]uint8{}
		x.list = x.list[:0]
	}
}

// slot is the place of an exemplar of that value.
func slot(h histogram, v float64) int {
	if e, ok := h.(*explicit); ok {
		return e.bucket(v)
	}
	// The exponent and two bits more: near values share a slot at any scale.
	return int(math.Float64bits(v) >> (mantissaBits - 2) % exemplarSlots)
}

func (a *Aggregator) putExemplars(dst pmetric.ExemplarSlice, from *exemplars, setValue func(pmetric.Exemplar, float64)) {
	if from == nil || len(from.list) == 0 {
		return
	}
	dst.EnsureCapacity(len(from.list))
	for i := range from.list {
		e := &from.list[i]
		x := dst.AppendEmpty()
		setValue(x, e.value)
		x.SetTimestamp(pcommon.Timestamp(e.time))
		x.SetTraceID(e.traceID)
		x.SetSpanID(e.spanID)
		for f, text := range e.fields {
			if len(text) == 0 {
				continue
			}
			value := string(text)
			for _, name := range a.exemplarNames[f] {
				x.FilteredAttributes().PutStr(name, value)
			}
		}
	}
}
