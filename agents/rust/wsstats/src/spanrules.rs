//! What a receiver says of the spans that it makes of messages.

use crate::wire::id::{Seed, TraceId, randomness};

/// What a receiver says of the spans that it makes of messages. The default is what
/// holds until it has said anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanRules {
    pub(crate) threshold: u64,         // spans with less randomness are not kept
    pub(crate) by_connection: bool,    // the messages of a connection are kept or dropped together
    pub(crate) handshake_traces: bool, // a connection is one trace: that of its handshake
}

impl SpanRules {
    /// Tells whether a message's span is kept, unless it is an error's.
    pub(crate) fn keeps(&self, trace: &TraceId, derived: &TraceId, seed: &Seed) -> bool {
        if self.by_connection && trace == derived {
            return seed.randomness() >= self.threshold;
        }
        randomness(trace) >= self.threshold
    }
}
