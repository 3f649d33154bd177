//! For adapters of WebSocket libraries that let the bytes of a connection be seen.
//!
//! An adapter puts a [`Tap`] on the stream of bytes below the library, and opens it with
//! the [`Observed`] connection of the handshake: [`ClientHandshake::tapped`] or
//! [`ServerHandshake::tapped`]. The tap records what goes by. The application has the same
//! connection as a [`Connection`], and tells what bytes do not say.
//!
//! [`ClientHandshake::tapped`]: crate::ClientHandshake::tapped
//! [`ServerHandshake::tapped`]: crate::ServerHandshake::tapped

use std::sync::Arc;
use std::time::Duration;

pub use crate::tap::Tap;

use crate::connection::{Connection, violation};
use crate::observation::{Closing, Initiator};
use crate::record::clean;
use crate::wire::kind::{Direction, Kind, MessageType};

/// A connection whose bytes are seen. One that no [`Tap`] gets is recorded as broken
/// (1006) when it is dropped with all clones of its [`Connection`].
#[derive(Debug)]
pub struct Observed(pub(crate) Connection);

/// A whole message of the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Its type.
    pub(crate) typ: MessageType,
    /// Payload in bytes, as it was on the wire.
    pub(crate) size: u64,
    /// The payload was compressed (RFC 7692).
    pub(crate) compressed: bool,
    /// How many frames it was in, from 1.
    pub(crate) frames: u32,
    /// When its first frame began, since the opening.
    pub(crate) began: Duration,
    /// When its last byte went by, since the opening.
    pub(crate) ended: Duration,
}

impl Observed {
    /// The same connection, for the application.
    pub fn connection(&self) -> &Connection {
        &self.0
    }

    /// The time since the opening.
    pub(crate) fn now(&self) -> Duration {
        self.0.observed().map_or(Duration::ZERO, |observed| observed.state.lock().clock.now())
    }

    /// Records a message, with what was told of it where it is sent.
    pub(crate) fn message(&self, dir: Direction, seen: &Seen) {
        let Some(observed) = self.0.observed() else { return };
        let kind = if dir == Direction::Sent { Kind::Send } else { Kind::Receive };
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let mut r = observed.record(&state, kind, Some(dir), seen.began);
        let took = seen.ended.saturating_sub(seen.began);
        if !took.is_zero() {
            r.duration = crate::clock::nanos(took);
        }
        r.size = i64::try_from(seen.size).unwrap_or(i64::MAX);
        r.seq = state.traffic(dir).message(r.size);
        (r.typ, r.compressed, r.frames) = (Some(seen.typ), seen.compressed, seen.frames);
        if dir == Direction::Received || state.tell(&mut r) {
            observed.agent.record(r);
        }
    }

    /// Counts a ping that was sent, and returns its ordinal, to be recorded by
    /// [`Observed::pinged`] when its pong came or none will.
    pub(crate) fn ping_sent(&self) -> i64 {
        self.0.observed().map_or(0, |observed| observed.state.lock().sent.control(Kind::Ping))
    }

    /// Records the ping of that ordinal that was sent at a time since the opening, with
    /// its payload in bytes and how long its pong took; none: none came.
    pub(crate) fn pinged(&self, ordinal: i64, size: usize, at: Duration, round_trip: Option<Duration>) {
        let Some(observed) = self.0.observed() else { return };
        let state = observed.state.lock();
        if state.done {
            return;
        }
        let mut r = observed.record(&state, Kind::Ping, Some(Direction::Sent), at);
        (r.seq, r.size) = (ordinal, crate::record::size(Some(size)));
        r.duration = round_trip.map_or(-1, crate::clock::nanos);
        observed.agent.record(r);
    }

    /// Records a ping of the peer, with its payload in bytes.
    pub(crate) fn ping_received(&self, size: usize, at: Duration) {
        self.control(Kind::Ping, Direction::Received, size, at);
    }

    /// Records a pong, with its payload in bytes.
    pub(crate) fn pong(&self, dir: Direction, size: usize, at: Duration) {
        self.control(Kind::Pong, dir, size, at);
    }

    fn control(&self, kind: Kind, dir: Direction, size: usize, at: Duration) {
        let Some(observed) = self.0.observed() else { return };
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let mut r = observed.record(&state, kind, Some(dir), at);
        (r.seq, r.size) = (state.traffic(dir).control(kind), crate::record::size(Some(size)));
        observed.agent.record(r);
    }

    /// Records that the bytes of one direction broke the WebSocket protocol: `error.type`
    /// and `error.message`, without payload.
    pub(crate) fn violation(&self, dir: Direction, error_type: &str, message: &str, at: Duration) {
        let Some(observed) = self.0.observed() else { return };
        let state = observed.state.lock();
        if state.done {
            return;
        }
        let mut r = observed.record(&state, Kind::ProtocolError, Some(dir), at);
        r.extra = Some(Arc::new(violation(error_type, message)));
        observed.agent.record(r);
    }

    /// Records the end of the connection: what the first close frame said, 1005 where it
    /// said nothing, 1006 and nobody where there was none; `clean`: both ends sent one.
    /// What is left of pings has to be recorded before.
    pub(crate) fn closed(&self, code: u16, reason: &str, initiator: Initiator, clean_close: bool) {
        let Some(observed) = self.0.observed() else { return };
        let mut state = observed.state.lock();
        if !state.done {
            let closing = Closing { code, reason: clean(reason, 123), initiator, clean: Some(clean_close) };
            observed.finish(&mut state, closing, Vec::new());
        }
    }
}
