package observed

import (
	"container/list"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Options say how events become rows. They do not change while the receiver runs.
type Options struct {
	// Traces is false where no traces pipeline is there: no ids are worked out.
	Traces bool
	// ConnectionTraces puts the spans of a connection into its handshake's trace.
	ConnectionTraces bool
	// Threshold is the rejection threshold of traces.sampling.ratio.
	Threshold uint64
	// ConnectionScope keeps or drops the messages of a connection together.
	ConnectionScope bool
	// ErrorCloseCodes are the codes of 3000 to 4999 that are errors.
	ErrorCloseCodes map[int64]struct{}
	AllowURLQuery   bool
	// MaxConnections is how many connections a table remembers.
	MaxConnections int
	// ClosedTTL is how long a closed connection is remembered.
	ClosedTTL time.Duration
	// Random fills its argument with random bytes, for ids that cannot be derived.
	Random func([]byte)
}

// Table remembers the connections that one agent instance, anonymous session
// or POST reports. It is used by one goroutine at a time.
type Table struct {
	opts     *Options
	instance string // "" for an anonymous one
	seed     wire.Seed
	// messageSeed is that of the message in hand, where it has an id and no ordinal.
	messageSeed wire.Seed
	conns       map[string]*Conn

	handles []named // by Event.ConnHandle
	message uint64  // counts calls of Resolve
	alone   grouped // the events without a connection

	retired list.List // the connections that are not live, oldest first
	closing []*Conn   // those that the message in hand closes
}

// named is the connection that a handle stood for last.
type named struct {
	id   string // the session's: its memory tells it from that of other definitions
	conn *Conn
}

// NewTable returns an empty table. The instance is that of the agent's hello,
// "" where it has none.
func NewTable(opts *Options, instance string) *Table {
	t := &Table{opts: opts, instance: instance, conns: make(map[string]*Conn)}
	if instance != "" {
		t.seed = wire.InstanceSeed(instance)
	}
	return t
}

// Abandon returns the connections that are open as far as the table knows and
// no longer takes them for open: their agent is gone.
func (t *Table) Abandon(now int64) []*Conn {
	var open []*Conn
	for _, c := range t.conns {
		if c.live() {
			open = append(open, c)
			t.retire(c, now)
		}
	}
	return open
}

// Len is how many connections the table remembers.
func (t *Table) Len() int { return len(t.conns) }

// named is find for an event of the session that calls the connection by that
// handle: to look at what it stood for last is cheaper than to look the id up,
// and the id is compared in any case.
func (t *Table) named(handle uint32, id string, now int64) *Conn {
	if handle == 0 {
		return t.find(id, now)
	}
	if int(handle) < len(t.handles) {
		if n := &t.handles[handle]; n.conn != nil && !n.conn.forgotten && n.id == id {
			return n.conn
		}
	}
	c := t.find(id, now)
	if c != nil {
		if int(handle) >= len(t.handles) { // at most limits.definitions, which decoding checks
			t.handles = append(t.handles, make([]named, int(handle)+1-len(t.handles))...)
		}
		t.handles[handle] = named{id, c}
	}
	return c
}

// find returns the connection of that id and makes one where it is not known
// yet; nil where no more can be remembered.
func (t *Table) find(id string, now int64) *Conn {
	if c, ok := t.conns[id]; ok {
		return c
	}
	t.expire(now)
	if len(t.conns) >= t.opts.MaxConnections {
		if t.retired.Len() == 0 {
			return nil
		}
		t.forgetOldest()
	}
	c := newConn(id)
	t.conns[c.ID] = c
	t.retire(c, now)
	return c
}

// retire makes a connection one that may be forgotten.
func (t *Table) retire(c *Conn, now int64) {
	t.revive(c)
	c.retired = now
	c.place = t.retired.PushBack(c)
}

// revive makes a connection live.
func (t *Table) revive(c *Conn) {
	if c.place != nil {
		t.retired.Remove(c.place)
		c.place = nil
	}
}

// expire forgets connections that have not been live for ClosedTTL.
func (t *Table) expire(now int64) {
	for t.retired.Len() > 0 && now-t.oldest().retired >= int64(t.opts.ClosedTTL) {
		t.forgetOldest()
	}
}

func (t *Table) oldest() *Conn { return t.retired.Front().Value.(*Conn) }

func (t *Table) forgetOldest() {
	c := t.oldest()
	t.revive(c) // out of the list
	delete(t.conns, c.ID)
	c.forgotten = true
}

// declare takes a connection entry. It returns the connection where the entry
// says that it is open, and false where no more connections can be remembered.
func (t *Table) declare(e *wire.Connection, now int64) (*Conn, bool) {
	id := e.Str(wire.AttrConnectionID)
	if c, ok := t.conns[id]; ok && (c.live() || c.Closed) {
		return openOrNil(c), true
	}
	c := t.find(id, now)
	if c == nil {
		return nil, false
	}
	c.inherit(&e.Attrs, t.opts.AllowURLQuery)
	if e.HasOpenedAt {
		c.Opened = true
		c.OpenedAt = e.OpenedAt
		c.HandshakeTrace, c.HandshakeSpan = e.TraceID, e.SpanID
		if c.HandshakeTrace == (wire.TraceID{}) {
			c.HandshakeTrace = c.seed.TraceID(0, wire.SlotHandshake)
		}
		if c.HandshakeSpan == (wire.SpanID{}) {
			c.HandshakeSpan = c.seed.SpanID(0, wire.SlotHandshake, wire.KindHandshake, c.Role)
		}
	}
	if !e.Closed {
		t.revive(c)
	}
	return openOrNil(c), true
}

func openOrNil(c *Conn) *Conn {
	if c.live() {
		return c
	}
	return nil
}

// open takes a successful handshake.
func (t *Table) open(row *Row) {
	c := row.Conn
	c.inherit(&row.Event.Attrs, t.opts.AllowURLQuery)
	c.OpenedAt = row.End
	if row.Span != nil { // else there is no span to link to
		c.Opened = true
		c.HandshakeTrace, c.HandshakeSpan = row.Span.TraceID, row.Span.SpanID
	}
	if !c.Closed {
		t.revive(c)
	}
}

// Closing returns the connections that the message of the last Resolve closes,
// until Commit.
func (t *Table) Closing() []*Conn { return t.closing }

// Commit says that the message of the last Resolve was taken, or refused for
// good: its closes count.
func (t *Table) Commit(now int64) {
	for _, c := range t.closing {
		c.Closed = true
		t.retire(c, now)
	}
	t.endMessage()
}

// endMessage forgets which connections the message in hand closes.
func (t *Table) endMessage() {
	for _, c := range t.closing {
		c.Closing = false
	}
	clear(t.closing)
	t.closing = t.closing[:0]
}
