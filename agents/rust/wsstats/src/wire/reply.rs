//! What the receiver answers.

use serde::Deserialize;

/// One message from the receiver to an agent. Unknown keys are ignored; a message that has
/// no known key says nothing, so that version 1 can grow.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reply {
    pub(crate) welcome: Option<Welcome>,

    pub(crate) ack: u64, // every message up to this number was taken; 0: says nothing
    pub(crate) rejected: Option<Rejected>, // of ack

    pub(crate) nack: u64, // all before this number were taken and this one was not
    pub(crate) retryable: bool,
    pub(crate) retry_after_ms: i64,
    pub(crate) code: String,
    pub(crate) message: String,

    pub(crate) flow: Option<Flow>,
    pub(crate) error: Option<ErrorDetail>,
    pub(crate) goaway: Option<GoAway>,
}

/// Answers a hello.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Welcome {
    pub(crate) resume_after: u64, // the last number taken from this instance, 0: none known
    pub(crate) refused: Vec<u64>, // numbers up to it that were refused for good
    pub(crate) max_message_bytes: i64,
    pub(crate) max_events: i64,
    pub(crate) window_bytes: i64,
    pub(crate) heartbeat_s: f64,
    pub(crate) sampling_threshold: String,
    pub(crate) sampling_scope: String,
    pub(crate) trace_mode: String,
    pub(crate) dimensions: Option<Vec<String>>,
}

/// Announces a new window or new sampling; it is also the heartbeat.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Flow {
    pub(crate) window_bytes: Option<i64>, // 0: pause
    pub(crate) sampling_threshold: String,
}

/// Rows that were refused one by one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rejected {
    pub(crate) count: u64,
    pub(crate) first: String, // the place and the reason of the first one
}

/// Is about an unnumbered or unreadable message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorDetail {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Says that nothing new is taken and a close with 1001 follows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GoAway {
    pub(crate) reconnect_after_ms: i64,
}
