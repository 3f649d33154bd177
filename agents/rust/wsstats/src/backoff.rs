//! The times of the link.

use std::time::Duration;

/// The times of the link. Tests shorten them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) first_jitter: Duration, // the first connect waits up to this
    pub(crate) min_backoff: Duration,  // of the first retry, doubled by each
    pub(crate) max_backoff: Duration,
    pub(crate) stable: Duration,         // a session this long begins the backoff anew
    pub(crate) max_retry: Duration,      // no receiver may ask for a longer pause
    pub(crate) min_nack_retry: Duration, // the least pause after a retryable nack
    pub(crate) handshake: Duration,      // from dial to the 101
    pub(crate) silence: Duration,        // the longest silence where the heartbeat is not known
    pub(crate) goaway: Duration,         // from a goaway to the close
    pub(crate) poison: Duration,         // an end so soon after a send may be that message's doing
    pub(crate) closing: Duration,        // for the peer's close frame, or after a failed write
    pub(crate) shutdown: Duration,       // of the shutdown of an agent that is dropped
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            first_jitter: Duration::from_millis(100),
            min_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
            stable: Duration::from_secs(30),
            max_retry: Duration::from_secs(300),
            min_nack_retry: Duration::from_millis(100),
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            goaway: Duration::from_secs(10),
            poison: Duration::from_secs(5),
            closing: Duration::from_secs(1),
            shutdown: Duration::from_secs(5),
        }
    }
}

/// Exponential with full jitter: many agents that lost the same receiver at once do not
/// come back at once.
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    pub(crate) fn new(timing: &Timing) -> Backoff {
        Backoff { min: timing.min_backoff, max: timing.max_backoff, attempt: 0 }
    }

    /// The next pause, between 0 and a ceiling that doubles.
    pub(crate) fn next(&mut self) -> Duration {
        let mut ceiling = self.max;
        if self.attempt < 20 {
            ceiling = ceiling.min(self.min.saturating_mul(1 << self.attempt));
            self.attempt += 1;
        }
        jitter(ceiling)
    }

    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// A random duration up to d.
pub(crate) fn jitter(d: Duration) -> Duration {
    d.mul_f64(rand::random::<f64>())
}

/// A pause that a receiver asks for, at least least and at most most.
pub(crate) fn milliseconds(ms: i64, least: Duration, most: Duration) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(most).max(least)
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Timing, milliseconds};
    use std::time::Duration;

    /// Red when: a pause is over its ceiling, or the ceiling does not grow to its bound.
    #[test]
    fn pauses_grow_up_to_their_bound() {
        let mut b = Backoff::new(&Timing::default());
        let mut longest = Duration::ZERO;
        for attempt in 0..40 {
            let ceiling = Duration::from_millis(500 * (1 << attempt.min(10))).min(Duration::from_secs(30));
            let pause = b.next();
            assert!(pause <= ceiling, "{attempt}: {pause:?}");
            longest = longest.max(pause);
        }
        assert!(longest > Duration::from_secs(10), "{longest:?}");
        b.reset();
        assert!(b.next() <= Duration::from_millis(500));
    }

    /// Red when: a receiver can have the agent wait for ever, or not at all.
    #[test]
    fn asked_pauses_are_bounded() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(300));
        for (ms, want) in [(-1, 100), (0, 100), (500, 500), (i64::MAX, 300_000)] {
            assert_eq!(milliseconds(ms, least, most), Duration::from_millis(want));
        }
    }
}
