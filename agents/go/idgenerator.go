package wsstats

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/trace"
)

// IDGenerator gives the spans that an agent makes the ids which both ends of a
// connection derive (docs/conventions.md, "Derived ids"), and all other spans
// random ones. A tracer provider that an agent reports through is made with it:
//
//	sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(wsstats.IDGenerator{}))
type IDGenerator struct{}

// idsKey is the key of the ids of the span that is about to be started, in a context.
type idsKey struct{}

// withIDs asks for a span with these ids.
func withIDs(ctx context.Context, ids spanIDs) context.Context {
	return context.WithValue(ctx, idsKey{}, ids)
}

// NewIDs returns the ids of a span that begins a trace.
func (IDGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if ids, ok := ctx.Value(idsKey{}).(spanIDs); ok {
		return trace.TraceID(ids.trace), trace.SpanID(ids.span)
	}
	ids := randomIDs()
	return trace.TraceID(ids.trace), trace.SpanID(ids.span)
}

// NewSpanID returns the id of a span in a trace that is there already.
func (IDGenerator) NewSpanID(ctx context.Context, traceID trace.TraceID) trace.SpanID {
	if ids, ok := ctx.Value(idsKey{}).(spanIDs); ok && trace.TraceID(ids.trace) == traceID {
		return trace.SpanID(ids.span)
	}
	return trace.SpanID(randomIDs().span)
}

// randomIDs draws the ids of a span. That one of them is zero does not happen.
func randomIDs() (ids spanIDs) {
	_, _ = rand.Read(ids.trace[:]) // never fails
	_, _ = rand.Read(ids.span[:])
	return ids
}
