package observed

import (
	"fmt"
	"slices"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// maxAhead is how far in the future an event may lie.
const maxAhead = int64(time.Hour)

// Resolved is what Resolve makes of a message. Its memory is reused.
type Resolved struct {
	Rows   []Row
	spans  []Span // of the rows that have one, in order
	Opened []*Conn
	// Kinds is how many rows there are of each kind, as stated.
	Kinds [wire.KindBatchSend + 1]int
	// Spans is how many rows have one, Groups the connections that they are on.
	Spans  int
	Groups []Group
	// Users is how many attributes of the user, elements of arrays and links the
	// rows have, Attributes how many attributes and elements of arrays their spans
	// have at the most, with what they inherit and what follows.
	Users, Attributes int
	// TimesAdjusted counts events from the future that were set to the arrival time.
	TimesAdjusted int
	// Rejected are rows that decoding could not know to be wrong.
	Rejected wire.Rejected
}

// Group is the rows of a message that have a span and are on one connection, or on none.
type Group struct {
	Conn  *Conn
	Spans int
}

// Resolve makes rows of a message's events and takes its connections and
// handshakes into the table. Closes count when Commit is called; until then
// the same message can be resolved again.
func (t *Table) Resolve(m *wire.Message, arrival int64, out *Resolved) {
	*out = Resolved{Rows: out.Rows[:0], spans: out.spans[:0], Opened: out.Opened[:0], Groups: out.Groups[:0]}
	t.message++
	t.endMessage()
	b := &m.Batch
	for i := range b.Connections {
		c, ok := t.declare(&b.Connections[i], arrival)
		switch {
		case !ok:
			out.reject("connections[%d]: over the limit of %d remembered connections", b.Connections[i].Index, t.opts.MaxConnections)
		case c != nil:
			out.Opened = append(out.Opened, c)
		}
	}
	out.Rows = slices.Grow(out.Rows, len(b.Events))
	if t.opts.Traces {
		out.spans = slices.Grow(out.spans, len(b.Events)) // rows point into it
	}
	for i := range b.Events {
		t.resolve(m, &b.Events[i], arrival, out)
	}
}

func (r *Resolved) reject(format string, args ...any) {
	r.Rejected.Count++
	if r.Rejected.Count == 1 {
		r.Rejected.First = fmt.Sprintf(format, args...)
	}
}

func (t *Table) resolve(m *wire.Message, ev *wire.Event, arrival int64, out *Resolved) {
	n := len(out.Rows)
	out.Rows = out.Rows[:n+1]
	row := &out.Rows[n]
	*row = Row{Event: ev, MessageType: wire.ParseMessageType(ev.Str(wire.AttrMessageType)), Direction: conventions.Direction(ev)}
	row.Kind = conventions.Kind(ev.Kind, row.MessageType)
	if id := ev.Str(wire.AttrConnectionID); id != "" {
		row.Conn = t.named(ev.ConnHandle, id, arrival)
	}
	if c := row.Conn; c != nil && row.Kind == wire.KindClose {
		if c.Closed || c.Closing {
			out.reject("%s: the connection was closed by an earlier event", m.EventPlace(ev.Index))
			out.Rows = out.Rows[:n]
			return
		}
		c.Closing = true
		t.closing = append(t.closing, c)
	}

	row.Role = wire.ParseRole(ev.Str(wire.AttrRole))
	if row.Role == wire.RoleUnknown && row.Conn != nil {
		row.Role = row.Conn.Role
	}
	row.Start = arrival
	if ev.HasTime {
		row.Start = ev.Time
		if row.Start > arrival+maxAhead {
			row.Start = arrival
			out.TimesAdjusted++
		}
	}
	row.End = row.Start + ev.Duration
	t.judge(row)

	if t.opts.Traces && !(m.Batch.HasThreshold && ev.Unsampled) {
		var id identity
		t.identifyTrace(row, m.Batch.Seq, &id)
		if state, kept := t.sample(row, &m.Batch, &id); kept {
			out.spans = append(out.spans, Span{TraceID: id.traceID, Tracestate: state})
			row.Span = &out.spans[len(out.spans)-1]
			t.identifySpan(row, m.Batch.Seq, &id)
		}
	}
	if row.Kind == wire.KindHandshake && !row.Refused && row.Conn != nil {
		t.open(row)
	}
	out.Kinds[ev.Kind]++
	users := members(ev.User)
	for i := range ev.Links {
		users += 1 + members(ev.Links[i].Attributes)
	}
	out.Users += users
	if row.Span != nil {
		out.Spans++
		out.Attributes += ev.Len() + users + 2 // and the direction, and the class or the protocol
		if row.Span.LinkHandshake {
			out.Attributes += linkAttributes
		}
		row.Span.Group = t.group(row.Conn, out)
	}
}

// group counts a span of the connection, and returns its place in the groups.
func (t *Table) group(c *Conn, out *Resolved) int {
	g := &t.alone
	if c != nil {
		g = &c.grouped
		out.Attributes += c.members + 5 // of the conventions
	}
	if g.message != t.message {
		*g = grouped{len(out.Groups), t.message}
		out.Groups = append(out.Groups, Group{Conn: c})
	}
	out.Groups[g.group].Spans++
	return g.group
}

// linkAttributes is how many attributes take as much as the link to a handshake.
const linkAttributes = 3

// members counts attributes and the elements of their arrays.
func members(kvs []wire.KeyValue) int {
	n := len(kvs)
	for i := range kvs {
		n += len(kvs[i].Value.Array)
	}
	return n
}

// judge sets the status and the class of a close.
func (t *Table) judge(row *Row) {
	ev := row.Event
	row.Failed = ev.Has(wire.AttrErrorType)
	switch row.Kind {
	case wire.KindError, wire.KindProtocolError:
		row.Failed = true
	case wire.KindHandshake:
		row.Refused = conventions.Refused(ev)
		row.Failed = row.Failed || row.Refused
	case wire.KindClose:
		class := conventions.CloseClass(ev)
		row.CloseClass = class.Name
		row.Failed = row.Failed || class.Failed
		if _, failed := t.opts.ErrorCloseCodes[ev.Int(wire.AttrCloseCode)]; failed {
			row.Failed = true
		}
	}
}
