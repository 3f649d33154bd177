//! The messages of protocol/wsstats.proto, which has the explanations. The vectors hold
//! them against it.

use prost::{Message as Proto, Oneof};

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Message {
    #[prost(oneof = "Form", tags = "1, 2, 3")]
    pub(crate) form: Option<Form>,
    #[prost(uint32, repeated, tag = "4")]
    pub(crate) string_handles: Vec<u32>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) strings: Vec<String>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Form {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Batch(Batch),
    #[prost(message, tag = "3")]
    Events(Events),
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Hello {
    #[prost(string, tag = "1")]
    pub(crate) instance: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) agent: Option<Agent>,
    #[prost(message, optional, tag = "3")]
    pub(crate) resource: Option<Resource>,
    #[prost(bool, tag = "4")]
    pub(crate) aggregates: bool,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Agent {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<Value>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Value {
    #[prost(oneof = "ValueKind", tags = "1, 2, 3, 4, 5")]
    pub(crate) kind: Option<ValueKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ValueKind {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sint64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(Array),
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Array {
    #[prost(string, repeated, tag = "1")]
    pub(crate) strings: Vec<String>,
    #[prost(bool, repeated, tag = "2")]
    pub(crate) bools: Vec<bool>,
    #[prost(sint64, repeated, tag = "3")]
    pub(crate) ints: Vec<i64>,
    #[prost(double, repeated, tag = "4")]
    pub(crate) doubles: Vec<f64>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Batch {
    #[prost(uint64, tag = "1")]
    pub(crate) seq: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) resource: Option<Resource>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) connections: Vec<Connection>,
    #[prost(message, optional, tag = "4")]
    pub(crate) events: Option<Events>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) stats: Vec<Stat>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) dropped: Vec<Dropped>,
    #[prost(uint64, optional, tag = "7")]
    pub(crate) threshold: Option<u64>,
    #[prost(bool, tag = "8")]
    pub(crate) aggregates: bool,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Connection {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<Attribute>,
    #[prost(sint64, optional, tag = "2")]
    pub(crate) opened_at: Option<i64>,
    #[prost(bool, tag = "3")]
    pub(crate) closed: bool,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Dropped {
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    #[prost(uint64, tag = "2")]
    pub(crate) count: u64,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Stat {
    #[prost(string, tag = "1")]
    pub(crate) metric: String,
    #[prost(sint64, tag = "2")]
    pub(crate) start: i64,
    #[prost(sint64, tag = "3")]
    pub(crate) time: i64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) attributes: Vec<Attribute>,
    #[prost(uint64, tag = "5")]
    pub(crate) count: u64,
    #[prost(double, tag = "6")]
    pub(crate) sum: f64,
    #[prost(double, optional, tag = "7")]
    pub(crate) min: Option<f64>,
    #[prost(double, optional, tag = "8")]
    pub(crate) max: Option<f64>,
    #[prost(sint32, tag = "9")]
    pub(crate) scale: i32,
    #[prost(uint64, tag = "10")]
    pub(crate) zero_count: u64,
    #[prost(sint32, tag = "11")]
    pub(crate) offset: i32,
    #[prost(uint64, repeated, tag = "12")]
    pub(crate) bucket_counts: Vec<u64>,
    #[prost(uint64, tag = "13")]
    pub(crate) r#unsized: u64,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Events {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) kinds: Vec<u8>,
    #[prost(sint64, tag = "2")]
    pub(crate) base_time: i64,
    #[prost(sint64, repeated, tag = "3")]
    pub(crate) times: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub(crate) untimed: Vec<u32>,
    #[prost(uint32, repeated, tag = "5")]
    pub(crate) connections: Vec<u32>,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) unsampled: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub(crate) trace_ids: Option<Ids>,
    #[prost(message, optional, tag = "8")]
    pub(crate) span_ids: Option<Ids>,
    #[prost(message, optional, tag = "9")]
    pub(crate) parent_span_ids: Option<Ids>,
    #[prost(message, optional, tag = "10")]
    pub(crate) durations: Option<Ints>,
    #[prost(message, optional, tag = "11")]
    pub(crate) traceparents: Option<Contexts>,
    #[prost(message, optional, tag = "12")]
    pub(crate) tracestates: Option<Texts>,
    #[prost(message, repeated, tag = "13")]
    pub(crate) links: Vec<EventLinks>,
    #[prost(message, repeated, tag = "14")]
    pub(crate) columns: Vec<Column>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Ids {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) rows: Vec<u32>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) ids: Vec<u8>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Ints {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) rows: Vec<u32>,
    #[prost(sint64, repeated, tag = "2")]
    pub(crate) values: Vec<i64>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Contexts {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) rows: Vec<u32>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) contexts: Vec<u8>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Texts {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) rows: Vec<u32>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) values: Vec<String>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct EventLinks {
    #[prost(uint32, tag = "1")]
    pub(crate) row: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) links: Vec<Link>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Link {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) span_id: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Proto)]
pub(crate) struct Column {
    #[prost(uint32, tag = "1")]
    pub(crate) attribute: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) key: u32,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) rows: Vec<u32>,
    #[prost(sint64, repeated, tag = "4")]
    pub(crate) ints: Vec<i64>,
    #[prost(double, repeated, tag = "5")]
    pub(crate) doubles: Vec<f64>,
    #[prost(uint32, repeated, tag = "6")]
    pub(crate) handles: Vec<u32>,
    #[prost(string, repeated, tag = "7")]
    pub(crate) texts: Vec<String>,
    #[prost(bool, repeated, tag = "8")]
    pub(crate) bools: Vec<bool>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) arrays: Vec<Array>,
}
