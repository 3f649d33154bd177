//! Which messages are worth being sent.

use crate::measured::Measured;
use crate::record::Conn;
use crate::spanrules::SpanRules;
use crate::wire::id::{NO_TRACE, Slot, TraceId, randomness};
use crate::wire::kind::Kind;

const SECOND: i64 = 1_000_000_000;

/// Knows which messages' spans the receiver keeps, and whether there are so many messages
/// that the others are not worth being sent.
#[derive(Default)]
pub(crate) struct Sampling {
    limit: u64,  // message events a second
    second: i64, // Unix ns: when the second at hand began
    during: u64, // events in it
    before: u64, // events in the one before it

    pub(crate) leaving: bool, // events are left out at present
    pub(crate) applied: u64, // the highest threshold by which events were left out that those in the queue stood beside
}

impl Sampling {
    pub(crate) fn new(limit: u32) -> Sampling {
        Sampling { limit: limit.into(), ..Sampling::default() }
    }

    /// Counts an event that happened now (Unix ns), and decides whether events are left out
    /// from here on: where this second, or the one before it, has had too many.
    pub(crate) fn count(&mut self, now: i64, threshold: u64) {
        let since = now.saturating_sub(self.second);
        if !(-SECOND..SECOND).contains(&since) {
            // The clock may be set back.
            self.before = if (1..2 * SECOND).contains(&since) { self.during } else { 0 };
            (self.second, self.during) = (now, 0);
        }
        self.during += 1;
        self.leaving = threshold > 0 && (self.during > self.limit || self.before > self.limit);
    }

    /// Tells whether a message is to be left out: the receiver would make no span of it.
    /// Where that is not sure, the receiver decides.
    pub(crate) fn leave(&mut self, conn: &Conn, kind: Kind, seen: &Measured, rules: &SpanRules) -> bool {
        let sampled = matches!(kind, Kind::Send | Kind::Receive | Kind::Process | Kind::Message);
        if !self.leaving || seen.stated || !sampled {
            return false;
        }
        match randomness_of(conn, seen, rules) {
            Some(randomness) if randomness < rules.threshold => {
                self.applied = self.applied.max(rules.threshold);
                true
            }
            _ => false,
        }
    }
}

/// What the receiver compares with its threshold.
fn randomness_of(conn: &Conn, seen: &Measured, rules: &SpanRules) -> Option<u64> {
    let seed = conn.seed();
    let mut trace: TraceId = NO_TRACE;
    let mut derived = true;
    if rules.handshake_traces {
        trace = seed.trace_id(0, Slot::Handshake);
        if conn.handshake.trace != NO_TRACE && conn.handshake.trace != trace {
            (trace, derived) = (conn.handshake.trace, false);
        }
    } else {
        let slot = Slot::of(seen.role.role()?, seen.dir.direction()?);
        if seen.seq <= 0 {
            return None;
        }
        if !rules.by_connection {
            trace = seed.trace_id(seen.seq as u64, slot);
        }
    }
    if rules.by_connection && derived { Some(seed.randomness()) } else { Some(randomness(&trace)) }
}

#[cfg(test)]
mod tests {
    use super::{SECOND, Sampling};

    /// Red when: a clock that is set back, or a gap, has the rate taken for another.
    #[test]
    fn rate() {
        let mut s = Sampling::new(3);
        for (i, (at, leaving)) in [
            (100 * SECOND, false),
            (100 * SECOND + 1, false),
            (100 * SECOND + 2, false),
            (100 * SECOND + 3, true), // the fourth
            (100 * SECOND - 5, true), // an earlier one that is told of later
            (101 * SECOND, true),     // the second before was busy
            (102 * SECOND, false),    // and this one is not
            (102 * SECOND + 1, false),
            (102 * SECOND + 2, false),
            (102 * SECOND + 3, true),
            (105 * SECOND, false), // long after
            (50 * SECOND, false),  // set back
            (50 * SECOND, false),
            (50 * SECOND, false),
            (50 * SECOND, true),
        ]
        .into_iter()
        .enumerate()
        {
            s.count(at, 1);
            assert_eq!(s.leaving, leaving, "step {i}");
        }
    }
}
