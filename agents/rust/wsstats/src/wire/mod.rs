//! The messages of the wsstats protocol, version 1, as plain values, their JSON and
//! binary forms, and the ids that both ends of a connection derive.

pub(crate) mod attr;
#[cfg(test)]
pub(crate) mod decode;
pub(crate) mod id;
pub(crate) mod json;
pub(crate) mod kind;
pub(crate) mod message;
mod pb;
pub(crate) mod proto;
pub(crate) mod reply;
pub(crate) mod sampling;
pub(crate) mod traceparent;
mod value;
#[cfg(test)]
mod vectors;

/// The subprotocol of the JSON form.
pub(crate) const SUBPROTOCOL_JSON: &str = "wsstats.v1.json";
/// The subprotocol of the binary form.
pub(crate) const SUBPROTOCOL_PROTO: &str = "wsstats.v1.proto";
