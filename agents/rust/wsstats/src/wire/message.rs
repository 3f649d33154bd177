//! What a message of an agent is made of.

use opentelemetry::KeyValue;

use super::attr::Attrs;
use super::id::{SpanId, SpanIds, TraceId};
use super::kind::Kind;
use super::traceparent::TraceContext;

/// One thing that happened on an observed connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) attrs: Attrs,
    pub(crate) kind: Kind,
    /// Unix ns; none: the arrival time.
    pub(crate) time: Option<i64>,
    /// ns, not negative.
    pub(crate) duration: Option<i64>,
    /// `"sampled": false`.
    pub(crate) unsampled: bool,

    // This span's own ids and its parent's; zero where not stated.
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent_span_id: SpanId,

    /// The traceparent: the parent's context.
    pub(crate) parent: Option<TraceContext>,
    pub(crate) tracestate: String,
    pub(crate) links: Vec<Link>,
}

/// A link of a span to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) span: SpanIds,
    pub(crate) attributes: Vec<KeyValue>,
}
