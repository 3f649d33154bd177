package main

import (
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// What the assembler keeps at most; the story needs far less.
const (
	maxConnections = 1000
	maxSpans       = 500 // of a connection
)

// span is one span with the service that made it.
type span struct {
	ptrace.Span
	service string
}

func (s span) str(key string) string {
	v, ok := s.Attributes().Get(key)
	if !ok {
		return ""
	}
	return v.AsString()
}

func (s span) num(key string) float64 {
	v, ok := s.Attributes().Get(key)
	switch {
	case ok && v.Type() == pcommon.ValueTypeInt:
		return float64(v.Int())
	case ok && v.Type() == pcommon.ValueTypeDouble:
		return v.Double()
	}
	return 0
}

func (s span) start() time.Time         { return s.StartTimestamp().AsTime() }
func (s span) duration() time.Duration  { return s.EndTimestamp().AsTime().Sub(s.start()) }
func (s span) failed() bool             { return s.Status().Code() == ptrace.StatusCodeError }
func (s span) childOf(parent span) bool { return s.ParentSpanID() == parent.SpanID() }

// story is what the demo tells. A part that has not been read is nil.
type story struct {
	id    string // of the connection
	spans []span // of the connection, in order of time

	client, server  *span // its handshake, from both sides
	send, receive   *span // one message, from both sides
	ping            *span
	close, closeTwo *span // its end, from the side that closed and from the other
	dead            *span // the end of another connection: the peer vanished
}

// missing names the parts that have not been read.
func (s *story) missing() []string {
	var names []string
	for _, part := range []struct {
		name  string
		known bool
	}{
		{"a handshake from both sides", s.client != nil && s.server != nil},
		{"a message's send and receive in one trace", s.send != nil && s.receive != nil},
		{"a ping's round trip", s.ping != nil},
		{"a close with its code from both sides", s.close != nil && s.closeTwo != nil},
		{"a client that dropped dead", s.dead != nil},
	} {
		if !part.known {
			names = append(names, part.name)
		}
	}
	return names
}

// assembler finds the story in traces. The zero value is ready.
type assembler struct {
	connections []*connection
	byID        map[string]*connection
	dead        *span
}

type connection struct {
	id    string
	spans []span
	seen  map[pcommon.SpanID]struct{} // delivery is at least once
}

// readSpans reads a line of the file exporter: OTLP JSON.
func readSpans(line []byte) ([]span, error) {
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
	if err != nil {
		return nil, fmt.Errorf("read OTLP JSON: %w", err)
	}
	spans := make([]span, 0, traces.SpanCount())
	for _, resource := range traces.ResourceSpans().All() {
		service := ""
		if name, ok := resource.Resource().Attributes().Get("service.name"); ok {
			service = name.AsString()
		}
		for _, scope := range resource.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				spans = append(spans, span{Span: s, service: service})
			}
		}
	}
	return spans, nil
}

// addLine takes a line of the file exporter.
func (a *assembler) addLine(line []byte) error {
	spans, err := readSpans(line)
	if err != nil {
		return err
	}
	for _, s := range spans {
		a.add(s)
	}
	return nil
}

func (a *assembler) add(s span) {
	id := s.str("ws.connection.id")
	if id == "" {
		return
	}
	// The server is the witness; a client that vanishes need not live to tell.
	if a.dead == nil && s.Name() == "ws.close" && s.failed() &&
		s.num("ws.close.code") == 1006 && s.str("ws.role") == "server" {
		a.dead = &s
	}
	c := a.byID[id]
	if c == nil {
		if len(a.connections) == maxConnections {
			return
		}
		c = &connection{id: id, seen: map[pcommon.SpanID]struct{}{}}
		if a.byID == nil {
			a.byID = map[string]*connection{}
		}
		a.byID[id] = c
		a.connections = append(a.connections, c)
	}
	if _, again := c.seen[s.SpanID()]; again || len(c.spans) == maxSpans {
		return
	}
	c.seen[s.SpanID()] = struct{}{}
	c.spans = append(c.spans, s)
}

// story tells what has been read so far, by the connection of which most is known.
func (a *assembler) story() story {
	best := story{}
	for i, c := range a.connections {
		if told := c.story(); i == 0 || len(told.missing()) < len(best.missing()) {
			best = told
		}
	}
	best.dead = a.dead
	return best
}

func (c *connection) story() story {
	s := story{id: c.id, spans: slices.Clone(c.spans)}
	slices.SortStableFunc(s.spans, func(a, b span) int { return a.start().Compare(b.start()) })
	for i := range s.spans {
		if sp := &s.spans[i]; sp.Name() == "ws.handshake" {
			switch sp.Kind() {
			case ptrace.SpanKindClient:
				s.client = sp
			case ptrace.SpanKindServer:
				s.server = sp
			}
		}
	}
	if s.client == nil || s.server == nil {
		return s
	}
	s.findMessage()
	for i := range s.spans {
		switch sp := &s.spans[i]; sp.Name() {
		case "ws.ping":
			if s.ping == nil && sp.Kind() == ptrace.SpanKindClient && sp.duration() > 0 {
				s.ping = sp
			}
		case "ws.close":
			switch {
			case sp.str("ws.close.class") != "normal":
			case sp.str("ws.close.initiator") == "local":
				s.close = sp
			default:
				s.closeTwo = sp
			}
		}
	}
	return s
}

// findMessage looks for the first message that both sides saw, in one trace.
func (s *story) findMessage() {
	for i := range s.spans {
		send := &s.spans[i]
		if send.Kind() != ptrace.SpanKindProducer || send.Name() != "ws.send text" || send.service != s.client.service {
			continue
		}
		for j := range s.spans {
			receive := &s.spans[j]
			if receive.Name() == "ws.receive text" && receive.service == s.server.service &&
				receive.TraceID() == send.TraceID() && receive.childOf(*send) {
				s.send, s.receive = send, receive
				return
			}
		}
	}
}
