package wsstatsreceiver

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// translator makes spans of resolved rows.
type translator struct {
	names         attributeNames
	version       string
	scoped        bool // traces.layout: scope
	allowURLQuery bool
}

func newTranslator(cfg *Config, version string) *translator {
	return &translator{
		names: newAttributeNames(cfg.Conventions), version: version,
		scoped: cfg.Traces.Layout == layoutScope, allowURLQuery: cfg.AllowURLQuery,
	}
}

// traces makes the spans of the rows that have one.
func (t *translator) traces(res *observed.Resource, resolved *observed.Resolved) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	res.CopyTo(rs.Resource())
	w := &attributeWriter{names: &t.names, allowURLQuery: t.allowURLQuery}
	if t.scoped {
		t.scopes(resolved, w, rs.ScopeSpans())
		return td
	}
	all := t.scope(rs.ScopeSpans(), resolved.Spans)
	for i := range resolved.Rows {
		if row := &resolved.Rows[i]; row.Span != nil {
			t.span(row, false, w, all.Spans().AppendEmpty())
		}
	}
	return td
}

// scope adds a scope for so many spans.
func (t *translator) scope(scopes ptrace.ScopeSpansSlice, spans int) ptrace.ScopeSpans {
	ss := scopes.AppendEmpty()
	ss.Scope().SetName(metadata.ScopeName)
	ss.Scope().SetVersion(t.version)
	ss.Spans().EnsureCapacity(spans)
	return ss
}

// scopes makes a scope for each connection, which has what its spans share, and
// one for the spans that have no connection.
func (t *translator) scopes(resolved *observed.Resolved, w *attributeWriter, dst ptrace.ScopeSpansSlice) {
	dst.EnsureCapacity(len(resolved.Groups))
	for _, g := range resolved.Groups {
		ss := t.scope(dst, g.Spans)
		if g.Conn != nil {
			w.connection(g.Conn, ss.Scope().Attributes())
		}
	}
	for i := range resolved.Rows {
		if row := &resolved.Rows[i]; row.Span != nil {
			t.span(row, row.Conn != nil, w, dst.At(row.Span.Group).Spans().AppendEmpty())
		}
	}
}

func (t *translator) span(row *observed.Row, scoped bool, w *attributeWriter, span ptrace.Span) {
	own := row.Span
	span.SetTraceID(pcommon.TraceID(own.TraceID))
	span.SetSpanID(pcommon.SpanID(own.SpanID))
	span.SetParentSpanID(pcommon.SpanID(own.ParentID))
	if own.Tracestate != "" {
		span.TraceState().FromRaw(own.Tracestate)
	}
	span.SetName(conventions.SpanName(row.Kind, row.MessageType))
	span.SetKind(ptrace.SpanKind(conventions.SpanKindOf(row.Kind, row.Role, row.Direction, row.Event.Str(wire.AttrCloseInitiator))))
	span.SetStartTimestamp(pcommon.Timestamp(row.Start))
	span.SetEndTimestamp(pcommon.Timestamp(row.End))
	if row.Failed {
		span.Status().SetCode(ptrace.StatusCodeError)
	}
	w.event(row, scoped, span.Attributes())
	w.links(row, span.Links())
}

func (w *attributeWriter) links(row *observed.Row, dst ptrace.SpanLinkSlice) {
	n := len(row.Links)
	if row.Span.LinkHandshake {
		n++
	}
	if n == 0 {
		return
	}
	dst.EnsureCapacity(n)
	for i := range row.Links {
		stated := &row.Links[i]
		link := dst.AppendEmpty()
		link.SetTraceID(pcommon.TraceID(stated.TraceID))
		link.SetSpanID(pcommon.SpanID(stated.SpanID))
		w.pairs.EnsureCapacity(len(stated.Attributes))
		for i := range stated.Attributes {
			w.user(&stated.Attributes[i])
		}
		w.pairs.UnsafeIntoMap(link.Attributes())
	}
	if row.Span.LinkHandshake {
		link := dst.AppendEmpty()
		link.SetTraceID(pcommon.TraceID(row.Conn.HandshakeTrace))
		link.SetSpanID(pcommon.SpanID(row.Conn.HandshakeSpan))
		w.pairs.EnsureCapacity(1)
		w.putStr("ws.link.kind", "handshake")
		w.pairs.UnsafeIntoMap(link.Attributes())
	}
}
