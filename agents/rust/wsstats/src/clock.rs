//! Time on a connection.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a connection's clock goes without a look at the system's, which may be
/// set meanwhile.
const WALL_INTERVAL: Duration = Duration::from_secs(60);

/// Tells the time since a connection was opened. It reads the monotonic clock alone.
pub(crate) struct Clock {
    opened: Instant,
    wall: i64,        // Unix ns of opened, by the latest look
    looked: Duration, // when that was
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { opened: Instant::now(), wall: unix_now(), looked: Duration::ZERO }
    }

    /// The time since the opening.
    pub(crate) fn now(&mut self) -> Duration {
        let now = self.opened.elapsed();
        if now.saturating_sub(self.looked) > WALL_INTERVAL {
            self.looked = now;
            self.wall = unix_now() - nanos(now);
        }
        now
    }

    /// A time since the opening as Unix ns.
    pub(crate) fn unix(&self, at: Duration) -> i64 {
        self.wall.saturating_add(nanos(at))
    }

    /// Unix ns of the opening.
    pub(crate) fn opened_at(&self) -> i64 {
        self.wall
    }
}

/// Unix ns of this moment.
pub(crate) fn unix_now() -> i64 {
    unix(SystemTime::now())
}

/// A time as Unix ns.
pub(crate) fn unix(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

/// A duration in ns.
pub(crate) fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}
