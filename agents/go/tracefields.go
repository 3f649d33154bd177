package wsstats

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// TraceFields are the fields in which an application's own messages name the
// span that they were sent under. They are for messages in JSON that have such
// fields, and are embedded there; none are needed for both ends of a message to
// be in one trace.
type TraceFields struct {
	TraceID string `json:"trace_id,omitempty"` // 32 hex digits
	SpanID  string `json:"span_id,omitempty"`  // 16 hex digits
}

// Inject sets the fields to the span that is active in ctx. Without one they
// stay as they are.
func Inject(ctx context.Context, carrier *TraceFields) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		carrier.TraceID, carrier.SpanID = sc.TraceID().String(), sc.SpanID().String()
	}
}

// Extract returns a context in which the span that the fields name is the remote
// parent: what [Connection.ReceivedContext] and [Connection.Process] record with
// it is in that span's trace (docs/conventions.md, "Traces"), as is a span that is
// started with it. Fields that name none leave ctx as it is.
func Extract(ctx context.Context, carrier TraceFields) context.Context {
	var ids spanIDs
	if !parseHex(ids.trace[:], carrier.TraceID) || !parseHex(ids.span[:], carrier.SpanID) ||
		ids.trace == (wire.TraceID{}) || ids.span == (wire.SpanID{}) {
		return ctx
	}
	return remoteSpan(context.WithValue(ctx, statedKey{}, ids), ids, trace.TraceState{}, true)
}

// statedKey is the key of the span that a message named, in a context. It is no
// other remote span: a request's context may hold one, and lives as long as the connection.
type statedKey struct{}

// remoteSpan returns a context in which the span is the parent of what is started.
func remoteSpan(ctx context.Context, ids spanIDs, state trace.TraceState, sampled bool) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(ids.trace), SpanID: trace.SpanID(ids.span),
		TraceFlags: trace.TraceFlags(0).WithSampled(sampled), TraceState: state,
	}))
}

func statedSpan(ctx context.Context) spanIDs {
	stated, _ := ctx.Value(statedKey{}).(spanIDs)
	return stated
}
