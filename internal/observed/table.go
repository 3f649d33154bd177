package observed

import (
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
	conns    map[string]*Conn

	// retired holds connections that are not live, oldest first. One that
	// became live again stays in it and is skipped.
	retired    []*Conn
	generation uint64
	closing    []*Conn
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
		if c.live {
			open = append(open, c)
			t.retire(c, now)
		}
	}
	return open
}

// Len is how many connections the table remembers.
func (t *Table) Len() int { return len(t.conns) }

// find returns the connection of that id and makes one where it is not known
// yet; nil where no more can be remembered.
func (t *Table) find(id string, now int64) *Conn {
	if c, ok := t.conns[id]; ok {
		return c
	}
	t.expire(now)
	if len(t.conns) >= t.opts.MaxConnections && !t.forgetOldest() {
		return nil
	}
	c := newConn(id)
	t.conns[c.ID] = c
	t.retire(c, now)
	return c
}

func (t *Table) retire(c *Conn, now int64) {
	c.live = false
	c.retired = now
	t.retired = append(t.retired, c)
}

// expire forgets connections that have not been live for ClosedTTL.
func (t *Table) expire(now int64) {
	for len(t.retired) > 0 {
		c := t.retired[0]
		if !c.live && now-c.retired < int64(t.opts.ClosedTTL) {
			return
		}
		t.pop()
	}
}

func (t *Table) forgetOldest() bool {
	for len(t.retired) > 0 {
		if t.pop() {
			return true
		}
	}
	return false
}

// pop takes the first of retired away and forgets it if it is not live.
func (t *Table) pop() bool {
	c := t.retired[0]
	t.retired[0] = nil
	t.retired = t.retired[1:]
	if c.live || t.conns[c.ID] != c {
		return false
	}
	delete(t.conns, c.ID)
	return true
}

// declare takes a connection entry. It returns the connection where the entry
// says that it is open, and false where no more connections can be remembered.
func (t *Table) declare(e *wire.Connection, now int64) (*Conn, bool) {
	id := e.Str(wire.AttrConnectionID)
	known, ok := t.conns[id]
	if ok && (known.live || known.Closed) {
		return openOrNil(known), true
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
	c.live = !e.Closed
	return openOrNil(c), true
}

func openOrNil(c *Conn) *Conn {
	if c.live {
		return c
	}
	return nil
}

// open takes a successful handshake.
func (t *Table) open(row *Row) {
	c := row.Conn
	c.inherit(&row.Event.Attrs, t.opts.AllowURLQuery)
	c.Opened = true
	c.OpenedAt = row.End
	c.HandshakeTrace, c.HandshakeSpan = row.TraceID, row.SpanID
	c.live = !c.Closed
}

// Commit says that the message of the last Resolve was taken: its closes count.
func (t *Table) Commit(now int64) {
	for _, c := range t.closing {
		c.Closed = true
		t.retire(c, now)
	}
	clear(t.closing)
	t.closing = t.closing[:0]
}
