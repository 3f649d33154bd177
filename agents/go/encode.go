package wsstats

import (
	"github.com/wsstats/wsstatsreceiver/wire"
)

// encoder makes protocol messages of records, in the session's encoding. The
// bytes that it returns are valid until its next call. It belongs to the link's
// goroutine.
type encoder struct {
	session uint64 // the session, or part of one, that conn.declared speaks of, from 1
	message uint64 // the message that conn.mentioned speaks of, from 1

	binary bool              // the session's encoding
	proto  wire.ProtoEncoder // what was defined in the session
	unsent bool              // proto counts on a message that was not sent

	msg wire.Message
	buf []byte
}

// start begins a session: nothing is known in it yet.
func (e *encoder) start(binary bool) {
	e.binary = binary
	e.forget()
}

func (e *encoder) begin(form wire.Form) {
	e.message++
	e.msg.Reset()
	e.msg.Form = form
}

// encode makes e.buf of e.msg. The error is wire.ErrTooManyHandles.
func (e *encoder) encode() (err error) {
	if e.binary {
		e.buf, err = e.proto.Append(e.buf[:0], &e.msg)
	} else {
		e.buf = wire.AppendJSON(e.buf[:0], &e.msg)
	}
	return err
}

func (e *encoder) hello(instance string, resource []wire.KeyValue, aggregates bool) []byte {
	e.begin(wire.FormHello)
	e.msg.Hello = wire.Hello{Instance: instance, AgentName: agentName, AgentVersion: Version, Resource: resource, Aggregates: aggregates}
	_ = e.encode() // it has no handles
	return e.buf
}

// batch is the message of a number. It declares the connections that its
// records name and the session does not know, but where a handshake does. The
// same holds for what the binary form defines. A threshold of 0 is none.
func (e *encoder) batch(seq uint64, rows []record, dropped dropCounts, threshold uint64) ([]byte, error) {
	if e.unsent { // the receiver will not see what the last one defined
		e.proto.Reset()
	}
	e.unsent = true
	e.begin(wire.FormBatch)
	b := &e.msg.Batch
	b.Seq, b.Threshold, b.HasThreshold = seq, threshold, threshold > 0
	for i := range rows {
		r := &rows[i]
		if r.stat != nil {
			b.Stats = append(b.Stats, r.stat.row())
			continue
		}
		if c := r.conn; c != nil && c.declared != e.session && c.mentioned != e.message {
			c.mentioned = e.message
			if r.kind != wire.KindHandshake {
				b.Connections = append(b.Connections, connectionEntry(c))
			}
		}
		b.Events = append(b.Events, wire.Event{})
		fillEvent(&b.Events[len(b.Events)-1], r)
	}
	for why, count := range dropped {
		if count > 0 {
			b.Dropped = append(b.Dropped, wire.Dropped{Reason: reasonNames[why], Count: count})
		}
	}
	err := e.encode()
	return e.buf, err
}

// restate is an unnumbered message that declares connections.
func (e *encoder) restate(conns []*conn) []byte {
	e.begin(wire.FormBatch)
	for _, c := range conns {
		e.msg.Batch.Connections = append(e.msg.Batch.Connections, connectionEntry(c))
	}
	_ = e.encode() // it has no handles
	return e.buf
}

// sent notes that the session knows the connections of the last batch, and what
// it defined.
func (e *encoder) sent(rows []record) {
	e.unsent = false
	for i := range rows {
		if c := rows[i].conn; c != nil {
			c.declared = e.session
		}
	}
}

// forget is for when the receiver has ignored messages: what they declared and
// defined is declared and defined again where it is named next.
func (e *encoder) forget() {
	e.session++
	e.proto.Reset()
	e.unsent = false
}

func connectionEntry(c *conn) (entry wire.Connection) {
	entry.SetStr(wire.AttrConnectionID, c.id)
	setConnection(&entry.Attrs, c)
	entry.OpenedAt, entry.HasOpenedAt = c.openedAt, c.openedAt != 0
	entry.Closed = c.closed.Load()
	entry.TraceID, entry.SpanID = c.traceID, c.spanID
	return entry
}

// setConnection sets what a connection's events inherit.
func setConnection(as *wire.Attrs, c *conn) {
	setText(as, wire.AttrURL, c.url)
	setText(as, wire.AttrProtocol, c.protocol)
	setText(as, wire.AttrPeerIP, c.peerIP)
	setText(as, wire.AttrRole, c.role.String())
	if c.peerPort > 0 {
		as.SetInt(wire.AttrPeerPort, int64(c.peerPort))
	}
	if c.shared {
		as.SetBool(wire.AttrShared, true)
	}
	setAttributes(as, c.attributes)
}

func setText(as *wire.Attrs, a wire.Attr, s string) {
	if s != "" {
		as.SetStr(a, s)
	}
}

func fillEvent(e *wire.Event, r *record) {
	if r.extra != nil {
		*e = *r.extra
	}
	e.Kind = r.kind
	e.Time, e.HasTime = r.time, r.time != 0
	e.Duration, e.HasDuration = max(r.duration, 0), r.duration >= 0
	if c := r.conn; c != nil {
		e.SetStr(wire.AttrConnectionID, c.id)
		if r.kind == wire.KindHandshake {
			setConnection(&e.Attrs, c)
		}
	}
	if r.attributes != nil {
		setAttributes(&e.Attrs, *r.attributes)
	}
	if r.active != nil {
		e.Links = []wire.Link{{TraceID: r.active.trace, SpanID: r.active.span, Attributes: activeLink}}
	}
	// The kind says the type of a control frame and, mostly, the direction.
	switch r.typ {
	case wire.MessagePing, wire.MessagePong, wire.MessageClose:
	default:
		setText(&e.Attrs, wire.AttrMessageType, r.typ.String())
	}
	switch r.kind {
	case wire.KindSend, wire.KindReceive, wire.KindProcess, wire.KindBroadcast, wire.KindBatchSend:
	default:
		setText(&e.Attrs, wire.AttrDirection, r.dir.String())
	}
	if r.seq > 0 {
		e.SetInt(wire.AttrMessageSeq, r.seq)
	}
	switch {
	case r.size < 0:
	case r.compressed:
		e.SetInt(wire.AttrCompressedSize, r.size)
	default:
		e.SetInt(wire.AttrMessageSize, r.size)
	}
	if r.frames > 0 {
		e.SetInt(wire.AttrMessageFrames, int64(r.frames))
	}
}

// row is the stat as a batch holds it.
func (s *stat) row() wire.Stat {
	w := wire.Stat{
		Metric: s.metric, Start: s.start, Time: s.end,
		Count: s.count, Sum: s.sum, Min: s.min, Max: s.max, HasMin: s.valued(), HasMax: s.valued(),
		Scale: s.scale, ZeroCount: s.zero, Offset: s.offset, Buckets: s.buckets, Unsized: s.unsized,
	}
	setText(&w.Attrs, wire.AttrRole, s.role.String())
	setText(&w.Attrs, wire.AttrDirection, s.dir.String())
	setText(&w.Attrs, wire.AttrMessageType, s.typ.String())
	w.User = s.dimensions
	return w
}
