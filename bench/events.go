package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// shape is how large a set of events is.
type shape struct {
	batches     int // different ones, sent in turn
	events      int // a batch
	connections int // observed by the agent
	perBatch    int // connections with events in one batch; 0: all
}

// usual is what peers are compared with. So many batches, and all their ids, are
// more than a cache holds.
var usual = shape{batches: 64, events: 512, connections: 64}

// baseTime is when the first event happened: 2026-01-01, in Unix nanoseconds.
const baseTime = 1767225600_000000000

// dataset is what an agent has to say: the same events whatever carries them.
type dataset struct {
	shape
	resource []wire.KeyValue
	declare  wire.Message   // the connections, all open
	batches  []wire.Message // numbered from 1
}

// newDataset makes messages, received and sent, on connections that are open. The
// same seed makes the same events. Each states a random span id and a trace id,
// one trace for a connection and a batch; with derived it states neither.
func newDataset(seed uint64, s shape, derived bool) *dataset {
	d := &dataset{shape: s, resource: []wire.KeyValue{
		{Key: "service.name", Value: wire.StringValue("chat")},
		{Key: "service.instance.id", Value: wire.StringValue("chat-1")},
	}}
	if d.perBatch == 0 {
		d.perBatch = d.connections
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	d.declare.Form = wire.FormBatch
	ids := make([]string, d.connections)
	for i := range ids {
		ids[i] = fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64())
		c := wire.Connection{Index: i, HasOpenedAt: true, OpenedAt: baseTime - rng.Int64N(3600_000000000)}
		c.SetStr(wire.AttrConnectionID, ids[i])
		c.SetStr(wire.AttrRole, "server")
		c.SetStr(wire.AttrURL, "wss://chat.example.com/room")
		c.SetStr(wire.AttrProtocol, "wss")
		c.SetStr(wire.AttrPeerIP, fmt.Sprintf("198.18.%d.%d", i>>8&255, i&255)) // RFC 2544's
		c.SetInt(wire.AttrPeerPort, 1024+rng.Int64N(60_000))
		c.User = []wire.KeyValue{{Key: "user.id", Value: wire.StringValue("user-" + strconv.Itoa(i))}}
		d.declare.Batch.Connections = append(d.declare.Batch.Connections, c)
	}

	// Ids come from a generator of their own: without them the events are the same.
	traces := newTraceIDs(rand.New(rand.NewPCG(seed, 1)), d.shape.batches*d.perBatch)
	time := int64(baseTime)
	ordinals := make([][2]int64, d.connections)
	for b := range d.shape.batches {
		m := wire.Message{Form: wire.FormBatch}
		m.Batch.Seq = uint64(b + 1)
		for i := range d.events {
			nth := rng.IntN(d.perBatch)
			conn := (b*d.perBatch + nth) % d.connections
			sent := rng.IntN(2)
			ordinals[conn][sent]++
			time += rng.Int64N(20_000)
			e := wire.Event{Index: i, Kind: wire.KindReceive, HasTime: true, Time: time}
			if sent == 1 {
				e.Kind = wire.KindSend
			}
			e.SetStr(wire.AttrConnectionID, ids[conn])
			e.SetStr(wire.AttrMessageType, "text")
			if rng.IntN(8) == 0 {
				e.SetStr(wire.AttrMessageType, "binary")
			}
			e.SetInt(wire.AttrMessageSize, 16+rng.Int64N(1<<rng.IntN(13)))
			e.SetInt(wire.AttrMessageSeq, ordinals[conn][sent])
			e.User = []wire.KeyValue{{Key: "room.id", Value: wire.StringValue("room-" + strconv.Itoa(rng.IntN(16)))}}
			if !derived {
				e.TraceID = traces[b*d.perBatch+nth].trace
				e.SpanID = traces[b*d.perBatch+nth].next()
			}
			m.Batch.Events = append(m.Batch.Events, e)
		}
		d.batches = append(d.batches, m)
	}
	return d
}

// traceID is a trace and a generator of its spans.
type traceID struct {
	trace wire.TraceID
	rng   *rand.Rand
}

func (t traceID) next() (id wire.SpanID) {
	binary.BigEndian.PutUint64(id[:], t.rng.Uint64()|1)
	return id
}

// newTraceIDs draws ids whose randomness, the low 56 bits, is spread evenly: of n
// traces a sampler of 1 % keeps n/100, not a few more or less by the chance of
// the seed.
func newTraceIDs(rng *rand.Rand, n int) []traceID {
	ids := make([]traceID, n)
	for i, place := range rng.Perm(n) {
		width := uint64(1<<56) / uint64(n)
		random := uint64(place)*width + rng.Uint64N(width)
		binary.BigEndian.PutUint64(ids[i].trace[:8], rng.Uint64())
		binary.BigEndian.PutUint64(ids[i].trace[8:], rng.Uint64()<<56|random)
		ids[i].rng = rng
	}
	return ids
}

// sampled is the part of the events that the receiver makes spans of at a ratio,
// where ids are stated.
func (d *dataset) sampled(ratio float64) float64 {
	threshold, kept, all := wire.ThresholdFromRatio(ratio), 0, 0
	for i := range d.batches {
		for j := range d.batches[i].Batch.Events {
			all++
			if wire.TraceRandomness(d.batches[i].Batch.Events[j].TraceID) >= threshold {
				kept++
			}
		}
	}
	return float64(kept) / float64(all)
}
