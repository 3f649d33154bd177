//! What a message of an agent is made of.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;

use super::attr::Attrs;
use super::id::{SpanId, SpanIds, TraceId};
use super::kind::Kind;
use super::traceparent::TraceContext;

/// One message from an agent to the receiver.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// Opens a session that wants acknowledgements.
    Hello(Hello),
    /// Rows, with or without a number.
    Batch(Batch),
    /// Bare events: fire and forget. This agent sends none.
    #[cfg(test)]
    Events(Vec<Event>),
}

/// Opens a session that wants acknowledgements.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hello {
    pub(crate) instance: String, // 1 to 128 printable characters, random
    pub(crate) agent_name: String,
    pub(crate) agent_version: String,
    pub(crate) resource: Vec<KeyValue>,
    /// Metrics of messages come from stats alone.
    pub(crate) aggregates: bool,
}

/// A numbered or unnumbered message of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Batch {
    pub(crate) seq: u64, // 0: not numbered
    pub(crate) resource: Option<Vec<KeyValue>>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) events: Vec<Event>,
    pub(crate) stats: Vec<Stat>,
    /// What was dropped: reason to count.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// How the agent sampled the batch's message events.
    pub(crate) threshold: Option<u64>,
    /// The hello's flag, for a message that has no hello.
    pub(crate) aggregates: bool,
}

/// Declares an observed connection without making a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Connection {
    pub(crate) attrs: Attrs,
    pub(crate) opened_at: Option<i64>, // Unix ns; stated: the opening was observed
    pub(crate) closed: bool,           // "open": false
    pub(crate) handshake: SpanIds,     // zero: derived
}

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

/// A delta that an agent aggregated itself: a base-2 exponential histogram with the
/// meaning that OTLP gives its fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stat {
    pub(crate) metric: String,
    pub(crate) start: i64, // Unix ns
    pub(crate) time: i64,  // Unix ns
    pub(crate) attrs: Attrs,
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) scale: i32,
    pub(crate) zero_count: u64,
    pub(crate) offset: i32,
    pub(crate) buckets: Vec<u64>, // of positive values; bucket i is (base^(offset+i), base^(offset+i+1)]
    pub(crate) r#unsized: u64,    // how many of zero_count are messages whose size is not known
}

/// The protocol's own keys of an event, which no attribute may have.
pub(crate) const EVENT_KEYS: &[&str] = &[
    "event",
    "time",
    "duration_ns",
    "trace_id",
    "span_id",
    "parent_span_id",
    "traceparent",
    "tracestate",
    "links",
    "sampled",
];

/// The protocol's own keys of a connection, which no attribute may have.
pub(crate) const CONNECTION_KEYS: &[&str] = &["opened_at", "open", "trace_id", "span_id"];
