//! The active span, and spans that messages name.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

use crate::wire::id::{NO_SPAN, NO_TRACE, SpanIds};
use crate::wire::traceparent::{hex, parse_hex};

/// The context of the span that is active: that of `tracing` where it has one (with
/// the feature `tracing`), else OpenTelemetry's.
pub fn current_context() -> Context {
    #[cfg(feature = "tracing")]
    {
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        let context = tracing::Span::current().context();
        if context.span().span_context().is_valid() {
            return context;
        }
    }
    Context::current()
}

/// The fields in which an application's own messages name the span that they were
/// sent under. They are for messages that have such fields already; none are needed
/// for both ends of a message to be in one trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceFields {
    /// 32 hex digits; empty: no trace is named.
    pub trace_id: String,
    /// 16 hex digits; empty: no span is named.
    pub span_id: String,
}

impl TraceFields {
    /// Names the span of the context; without one the fields are empty.
    pub fn inject(context: &Context) -> TraceFields {
        match span_in(context) {
            Some(ids) => TraceFields { trace_id: hex(&ids.trace), span_id: hex(&ids.span) },
            None => TraceFields::default(),
        }
    }

    /// Returns a context in which the span that the fields name is the remote parent:
    /// what [`Connection::received_in`](crate::Connection::received_in) and
    /// [`Connection::process_in`](crate::Connection::process_in) record with it is in
    /// that span's trace, as is a span that is started with it. Fields that name none
    /// leave the context as it is.
    pub fn extract(&self, context: &Context) -> Context {
        let ids = parse_hex(&self.trace_id).zip(parse_hex(&self.span_id));
        match ids.map(|(trace, span)| SpanIds { trace, span }) {
            Some(ids) if ids.trace != NO_TRACE && ids.span != NO_SPAN => {
                remote_span(&context.with_value(Stated(Some(ids))), ids, true)
            }
            _ => context.clone(),
        }
    }
}

/// The span that a message named, in a context. It is no other remote span: a
/// request's context may hold one, and lives as long as the connection.
struct Stated(Option<SpanIds>);

/// The span that a message named, in a context.
pub(crate) fn stated_span(context: &Context) -> Option<SpanIds> {
    context.get::<Stated>().and_then(|stated| stated.0)
}

/// A context in which no message named a span.
pub(crate) fn without_stated(context: &Context) -> Context {
    context.with_value(Stated(None))
}

/// A context in which the span is the parent of what is started.
pub(crate) fn remote_span(context: &Context, ids: SpanIds, sampled: bool) -> Context {
    let flags = TraceFlags::default().with_sampled(sampled);
    context.with_remote_span_context(SpanContext::new(
        TraceId::from_bytes(ids.trace),
        SpanId::from_bytes(ids.span),
        flags,
        true,
        TraceState::NONE,
    ))
}

/// The span that is active in a context.
pub(crate) fn span_in(context: &Context) -> Option<SpanIds> {
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| SpanIds { trace: span.trace_id().to_bytes(), span: span.span_id().to_bytes() })
}
