package wsstats

import (
	"context"
	"log/slog"
	"math/bits"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// scopeName is the instrumentation scope of what an agent reports through providers.
const scopeName = "github.com/wsstats/wsstatsreceiver/agents/go"

// otelSpans makes the spans of events through the application's tracer provider.
type otelSpans struct {
	tracer trace.Tracer
	log    *slog.Logger
	warned bool

	// Of the span at hand.
	attributes []attribute.KeyValue
	links      []trace.Link
}

func newOTelSpans(tp trace.TracerProvider, log *slog.Logger) *otelSpans {
	return &otelSpans{tracer: tp.Tracer(scopeName, trace.WithInstrumentationVersion(Version)), log: log}
}

// make makes the span of an event, and returns a context in which it is active.
func (s *otelSpans) make(o *occurrence) context.Context {
	ids, parent := o.identify()
	ctx := withIDs(context.Background(), ids)
	if parent != (wire.SpanID{}) {
		ctx = trace.ContextWithRemoteSpanContext(ctx, o.parentContext(ids.trace, parent))
	}
	s.setAttributes(o)
	s.setLinks(o)
	start := time.Unix(0, o.Time)
	ctx, span := s.tracer.Start(ctx, conventions.SpanName(o.kind, o.typ),
		trace.WithSpanKind(trace.SpanKind(conventions.SpanKindOf(o.kind, o.role, o.dir, o.Str(wire.AttrCloseInitiator)))),
		trace.WithTimestamp(start), trace.WithAttributes(s.attributes...), trace.WithLinks(s.links...))
	if o.failed {
		span.SetStatus(codes.Error, "")
	}
	s.compare(o, span, ids)
	span.End(trace.WithTimestamp(start.Add(time.Duration(o.Duration))))
	return ctx
}

// parentContext is the parent as a remote one. Of a parent that is derived or that
// a message names nobody knows here whether it was sampled: it counts as if it was,
// so that samplers that follow the parent keep its child, and those that decide by
// the trace id, which is the same at both ends, come to the same end.
func (o *occurrence) parentContext(traceID wire.TraceID, parent wire.SpanID) trace.SpanContext {
	flags := trace.FlagsSampled
	if o.Parent.TraceID != (wire.TraceID{}) || o.kind == wire.KindHandshake && o.ParentSpanID != (wire.SpanID{}) {
		flags = trace.TraceFlags(o.Parent.Flags)
	}
	state, err := trace.ParseTraceState(o.Tracestate)
	if err != nil {
		state = trace.TraceState{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(traceID), SpanID: trace.SpanID(parent), TraceFlags: flags, TraceState: state, Remote: true,
	})
}

// compare notes where a provider draws its own ids: later spans link to what is there.
func (s *otelSpans) compare(o *occurrence, span trace.Span, asked spanIDs) {
	sc := span.SpanContext()
	made := spanIDs{wire.TraceID(sc.TraceID()), wire.SpanID(sc.SpanID())}
	if !span.IsRecording() || made == asked {
		return
	}
	if o.kind == wire.KindHandshake && o.conn != nil {
		o.conn.madeSpan = &made
	}
	if !s.warned {
		s.warned = true
		s.log.Warn("wsstats: the tracer provider draws its own span ids, so the two ends of a message are not in one trace: " +
			"make it with sdktrace.WithIDGenerator(wsstats.IDGenerator{})")
	}
}

// setAttributes sets what the event states, then what it inherits from its
// connection, and then what follows from both. It follows the receiver's attributeWriter.
func (s *otelSpans) setAttributes(o *occurrence) {
	s.attributes = s.attributes[:0]
	s.known(&o.Attrs, o.Mask()&^(1<<wire.AttrDirection|1<<wire.AttrCloseClass))
	s.users(o.User, nil)
	if o.conn != nil && o.kind != wire.KindHandshake {
		var inherited wire.Attrs
		setConnection(&inherited, o.conn)
		inherited.Unset(wire.AttrShared)
		s.known(&inherited, inherited.Mask()&^o.Mask())
		s.users(inherited.User, o.User)
	}
	switch o.dir {
	case wire.DirectionSent, wire.DirectionReceived:
		s.text(wire.AttrDirection, o.dir.String())
	case wire.DirectionOther:
		s.text(wire.AttrDirection, o.Str(wire.AttrDirection))
	case wire.DirectionUnknown:
	}
	if o.closeClass != "" {
		s.text(wire.AttrCloseClass, o.closeClass)
	}
}

// known adds the attributes of the conventions that are in the mask.
func (s *otelSpans) known(as *wire.Attrs, mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		a := wire.Attr(bits.TrailingZeros64(mask))
		switch a {
		case wire.AttrURL, wire.AttrHTTPURL:
			s.text(a, conventions.RedactURL(as.Str(a), false))
		default:
			s.attributes = append(s.attributes, otelAttribute(a.String(), as.Value(a)))
		}
	}
}

func (s *otelSpans) text(a wire.Attr, value string) {
	s.attributes = append(s.attributes, attribute.String(a.String(), value))
}

// users adds attributes of the user, but for those that are of the conventions, and
// those that the event states itself.
func (s *otelSpans) users(attributes, stated []Attribute) {
	for i := range attributes {
		kv := &attributes[i]
		if _, known := wire.ParseAttr(kv.Key); known || kv.Value.Type == wire.TypeEmpty || has(stated, kv.Key) || has(attributes[:i], kv.Key) {
			continue
		}
		s.attributes = append(s.attributes, otelAttribute(kv.Key, kv.Value))
	}
}

func has(attributes []Attribute, key string) bool {
	for i := range attributes {
		if attributes[i].Key == key {
			return true
		}
	}
	return false
}

func (s *otelSpans) setLinks(o *occurrence) {
	s.links = s.links[:0]
	for i := range o.Links {
		l := &o.Links[i]
		attributes := make([]attribute.KeyValue, 0, len(l.Attributes))
		for _, kv := range l.Attributes {
			attributes = append(attributes, otelAttribute(kv.Key, kv.Value))
		}
		s.link(spanIDs{l.TraceID, l.SpanID}, attributes...)
	}
	if ids, ok := o.handshake(); ok {
		s.link(ids, attribute.String("ws.link.kind", "handshake"))
	}
}

func (s *otelSpans) link(ids spanIDs, attributes ...attribute.KeyValue) {
	s.links = append(s.links, trace.Link{
		SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(ids.trace), SpanID: trace.SpanID(ids.span)}),
		Attributes:  attributes,
	})
}

// otelAttribute is an attribute as OpenTelemetry's API has it.
func otelAttribute(key string, v wire.Value) attribute.KeyValue {
	switch v.Type {
	case wire.TypeString:
		return attribute.String(key, v.Str)
	case wire.TypeInt:
		return attribute.Int64(key, v.Int())
	case wire.TypeDouble:
		return attribute.Float64(key, v.Double())
	case wire.TypeBool:
		return attribute.Bool(key, v.Bool())
	case wire.TypeArray:
		return otelArray(key, v.Array)
	}
	return attribute.KeyValue{}
}

func otelArray(key string, elements []wire.Value) attribute.KeyValue {
	if len(elements) == 0 {
		return attribute.StringSlice(key, nil)
	}
	switch elements[0].Type {
	case wire.TypeInt:
		return attribute.Int64Slice(key, arrayOf(elements, wire.Value.Int))
	case wire.TypeDouble:
		return attribute.Float64Slice(key, arrayOf(elements, wire.Value.Double))
	case wire.TypeBool:
		return attribute.BoolSlice(key, arrayOf(elements, wire.Value.Bool))
	default:
		return attribute.StringSlice(key, arrayOf(elements, func(v wire.Value) string { return v.Str }))
	}
}

func arrayOf[T any](elements []wire.Value, get func(wire.Value) T) []T {
	values := make([]T, len(elements))
	for i := range elements {
		values[i] = get(elements[i])
	}
	return values
}
