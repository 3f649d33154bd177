package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	// What is due within a while goes out together, as an agent's batch does.
	replayTick   = 50 * time.Millisecond
	replayEvents = 512 // of a batch
)

// batch sends the events of a message, each when it is due.
func (r *replay) batch(ctx context.Context, b *wire.Batch) {
	for i := range b.Connections {
		r.adaptConnection(&b.Connections[i])
	}
	connections, rest := b.Connections, b.Events
	for len(connections)+len(rest) > 0 {
		n := r.due(ctx, rest)
		for i := range rest[:n] {
			r.adapt(&rest[i])
		}
		out := wire.Batch{Resource: b.Resource, HasResource: b.HasResource, Connections: connections, Events: rest[:n]}
		r.send(ctx, &out)
		connections, rest = nil, rest[n:]
	}
}

// due waits until the first event is due and tells how many go with it.
func (r *replay) due(ctx context.Context, events []wire.Event) int {
	if len(events) == 0 {
		return 0
	}
	if wait := r.delay(&events[0]); wait > 0 {
		r.wait(ctx, wait)
	}
	n := 1
	for n < min(len(events), replayEvents) && r.delay(&events[n]) <= 0 {
		n++
	}
	return n
}

func (r *replay) wait(ctx context.Context, d time.Duration) {
	if r.link == nil {
		sleep(ctx, d)
		return
	}
	f := r.link.idle(ctx, d)
	r.count(0, &f)
}

// delay is how long it is until an event may be sent.
func (r *replay) delay(e *wire.Event) time.Duration {
	if !e.HasTime {
		return 0
	}
	at := (r.after(end(e)) + replayTick - 1) / replayTick * replayTick // so that some go together
	if at = min(at, r.after(r.last)); at <= 0 {
		return 0
	}
	return time.Until(r.start.Add(at))
}

// adapt gives an event its time and its connection of this run.
func (r *replay) adapt(e *wire.Event) {
	if e.HasTime {
		e.Time += r.shift
	}
	r.adaptAttrs(&e.Attrs)
	e.Unsampled = false
	if !r.o.keepIDs {
		e.TraceID, e.SpanID, e.ParentSpanID = wire.TraceID{}, wire.SpanID{}, wire.SpanID{}
		e.Parent, e.Tracestate, e.Links = wire.TraceContext{}, "", nil
	}
}

func (r *replay) adaptConnection(c *wire.Connection) {
	if c.HasOpenedAt {
		c.OpenedAt += r.shift
	}
	r.adaptAttrs(&c.Attrs)
	if !r.o.keepIDs {
		c.TraceID, c.SpanID = wire.TraceID{}, wire.SpanID{}
	}
}

func (r *replay) adaptAttrs(as *wire.Attrs) {
	for _, a := range []wire.Attr{wire.AttrMessageTimestamp, wire.AttrPingTimestamp} {
		if as.Has(a) {
			as.SetInt(a, as.Int(a)+r.shift/int64(time.Millisecond))
		}
	}
	if as.Has(wire.AttrConnectionID) {
		as.SetStr(wire.AttrConnectionID, r.rename.id(as.Str(wire.AttrConnectionID)))
	}
}

// send delivers a batch, in parts where the receiver wants smaller ones, and
// counts what became of it.
func (r *replay) send(ctx context.Context, b *wire.Batch) {
	if r.link == nil {
		r.link = newLink(r.o, &r.hello)
	}
	f, err := r.link.deliver(ctx, b)
	if len(b.Events)+len(b.Connections) > 1 && errors.Is(err, errTooLarge) {
		r.count(0, &f)
		first, second := halves(b)
		r.send(ctx, &first)
		r.send(ctx, &second)
		return
	}
	r.count(len(b.Events), &f)
}

// halves are a batch in two, connections before the events that name them.
func halves(b *wire.Batch) (first, second wire.Batch) {
	first, second = *b, *b
	switch c, n := len(b.Connections), len(b.Events); {
	case c > 0 && n > 0:
		first.Events, second.Connections = nil, nil
	case c > 0:
		first.Connections, second.Connections = b.Connections[:c/2], b.Connections[c/2:]
	default:
		first.Events, second.Events = b.Events[:n/2], b.Events[n/2:]
	}
	return first, second
}

func (r *replay) count(events int, f *fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := uint64(events)
	r.tally.sent += n
	if f.dropped != "" && n > 0 {
		r.tally.dropped[f.dropped] += n
	} else {
		r.tally.acknowledged += n
	}
	r.tally.rejected += uint64(f.rejected)
	r.tally.nacks += f.nacks
	r.tally.sessions += f.reconnects
	if f.said != "" {
		r.said = f.said
	}
}

// renamer gives connections other ids, the same one for the same connection.
type renamer struct {
	keep bool
	run  [16]byte
}

func newRenamer(keep bool) renamer {
	n := renamer{keep: keep}
	_, _ = rand.Read(n.run[:]) // never fails
	return n
}

func (n *renamer) id(id string) string {
	if n.keep {
		return id
	}
	sum := sha256.Sum256(append(n.run[:len(n.run):len(n.run)], id...))
	return hex.EncodeToString(sum[:16])
}

// cloneHello is a hello that outlives its line.
func cloneHello(h *wire.Hello) wire.Hello {
	c := wire.Hello{AgentName: strings.Clone(h.AgentName), AgentVersion: strings.Clone(h.AgentVersion)}
	for _, kv := range h.Resource {
		kv.Key = strings.Clone(kv.Key)
		kv.Value.Str = strings.Clone(kv.Value.Str)
		kv.Value.Array = nil // the conventions have none on a resource
		c.Resource = append(c.Resource, kv)
	}
	return c
}

// line is the progress of a run.
func (r *replay) line(elapsed, since time.Duration, before *uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	rate := float64(r.tally.sent-*before) / since.Seconds()
	*before = r.tally.sent
	text := fmt.Sprintf("%4.0fs  sent %s of %s (%s/s)  acknowledged %s  dropped %s  reconnects %s", elapsed.Seconds(), grouped(r.tally.sent),
		grouped(r.events), grouped(uint64(rate)), grouped(r.tally.acknowledged), grouped(r.tally.lost()), grouped(r.tally.sessions))
	if r.said != "" {
		text += "  " + r.said
	}
	return text
}

func (r *replay) summary() *summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, s := &r.tally, &summary{right: "every event is accounted for"}
	s.add("recording", "%s, %s of %s, %s", plural(r.messages, "message"), plural(int(r.events), "event"),
		rounded(time.Duration(r.last-r.first)), plural(r.mistakes, "mistake"))
	if r.missing > 0 {
		s.add("not recorded", "%s (as the recording says)", grouped(r.missing))
	}
	if r.stats > 0 {
		s.add("left out", "%s", plural(r.stats, "stat"))
	}
	took := max(time.Since(r.start), time.Nanosecond)
	s.add("sent", "%s (%s/s)", grouped(c.sent), grouped(uint64(float64(c.sent)/took.Seconds())))
	s.add("acknowledged", "%s", grouped(c.acknowledged))
	s.add("rejected", "%s (of acknowledged: refused one by one)", grouped(c.rejected))
	s.add("dropped", "%s%s", grouped(c.lost()), reasons(c.dropped))
	s.add("refused for now", "%s batches, sent again", grouped(c.nacks))
	s.add("reconnects", "%s", grouped(c.sessions))
	if r.said != "" {
		s.add("receiver said", "%s", r.said)
	}
	fault := func(format string, args ...any) { s.faults = append(s.faults, fmt.Sprintf(format, args...)) }
	if c.acknowledged+c.lost() != r.events {
		fault("acknowledged + dropped is %s, and the recording has %s", grouped(c.acknowledged+c.lost()), grouped(r.events))
	}
	if c.acknowledged == 0 {
		fault("the receiver has taken nothing")
	}
	if r.mistakes > 0 {
		fault("%s in the recording", plural(r.mistakes, "mistake"))
	}
	return s
}
