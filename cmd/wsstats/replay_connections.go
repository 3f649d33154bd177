package main

import "github.com/wsstats/wsstatsreceiver/wire"

// maxRestated bounds the connections that are told again in a new session: as
// many as a receiver remembers.
const maxRestated = 65_536

// note keeps what has to be told again in a new session.
func (l *link) note(b *wire.Batch) {
	for i := range b.Connections {
		if c := &b.Connections[i]; !c.Closed {
			l.declare(c)
		}
	}
	for i := range b.Events {
		e := &b.Events[i]
		switch {
		case e.Kind == wire.KindClose:
			delete(l.open, e.Str(wire.AttrConnectionID))
		case e.Kind == wire.KindHandshake && succeeded(e):
			l.declare(&wire.Connection{Attrs: inherited(e), OpenedAt: end(e), HasOpenedAt: e.HasTime, TraceID: e.TraceID, SpanID: e.SpanID})
		}
	}
}

func (l *link) declare(c *wire.Connection) {
	id := c.Str(wire.AttrConnectionID)
	if id == "" || len(l.open) == maxRestated {
		return
	}
	m := wire.Message{Form: wire.FormBatch, Batch: wire.Batch{Connections: []wire.Connection{*c}}}
	l.open[string([]byte(id))] = wire.AppendJSON(nil, &m)
}

// succeeded tells whether a handshake opened its connection (docs/conventions.md).
func succeeded(e *wire.Event) bool {
	switch {
	case e.Has(wire.AttrHandshakeSuccess):
		return e.Bool(wire.AttrHandshakeSuccess)
	case e.Has(wire.AttrStatusCode):
		return e.Int(wire.AttrStatusCode) == 101 || e.Int(wire.AttrStatusCode) == 200
	}
	return !e.Has(wire.AttrErrorType)
}

// inherited are the attributes of a handshake that its connection's events have.
func inherited(e *wire.Event) (as wire.Attrs) {
	for _, a := range []wire.Attr{
		wire.AttrConnectionID, wire.AttrURL, wire.AttrProtocol, wire.AttrRole, wire.AttrPeerIP, wire.AttrPeerPort, wire.AttrShared,
	} {
		if e.Has(a) {
			as.SetValue(a, e.Value(a))
		}
	}
	as.User = e.User
	return as
}
