//! What the bytes of an open connection tell.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::adapter::{Observed, Seen};
use crate::frame::{Handler, Header, Masking, Message, Opcode, Violation};
use crate::observation::Initiator;
use crate::parser::Parser;
use crate::wire::kind::{Direction, MessageType, Role};

/// Bounds the sent pings of a connection that wait for their pong.
const MAX_PINGS: usize = 16;

/// Turns the bytes of one open connection into what is recorded. It reads frame
/// headers and control frames; of payload it keeps nothing but a close reason.
#[derive(Debug)]
pub(crate) struct Sight {
    observed: Observed,
    sent: Flow,
    received: Flow,
    pings: Pings,
    first: First,
    done: bool, // the close was recorded
}

/// One direction of a connection.
#[derive(Debug)]
struct Flow {
    parser: Parser,
    began: Duration, // the first frame of the message at hand
    closed: bool,    // a close frame went by
    ended: bool,     // no more bytes can come
}

/// What the first close frame said.
#[derive(Debug)]
struct First {
    code: u16,
    reason: String,
    initiator: Initiator,
}

impl First {
    /// The close of a connection that ended without one (RFC 6455 section 7.1.5).
    const VANISHED: First = First { code: 1006, reason: String::new(), initiator: Initiator::None };
}

/// A sent ping. Its payload, which a pong repeats, is kept as a hash.
#[derive(Clone, Copy, Debug)]
struct Ping {
    hash: u64,
    size: usize,
    seq: i64,
    at: Duration,
}

/// The sent pings that wait for their pong, oldest first.
#[derive(Debug, Default)]
struct Pings {
    hasher: RandomState,
    waiting: VecDeque<Ping>,
}

impl Sight {
    /// Observes a connection whose handshake is just over.
    pub(crate) fn new(observed: Observed, compression: bool) -> Sight {
        // Section 5.1: a client masks and a server does not.
        let (sent, received) = match observed.connection().observed().map(|observed| observed.conn.role) {
            Some(Role::Client) | None => (Masking::Required, Masking::Forbidden),
            Some(Role::Server) => (Masking::Forbidden, Masking::Required),
        };
        Sight {
            observed,
            sent: Flow::new(Parser::new(sent, compression)),
            received: Flow::new(Parser::new(received, compression)),
            pings: Pings::default(),
            first: First::VANISHED,
            done: false,
        }
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// The time since the opening.
    pub(crate) fn now(&self) -> Duration {
        self.observed.now()
    }

    /// Is told of bytes that were handed to the socket, and when.
    pub(crate) fn sent(&mut self, bytes: &[u8], at: Duration) {
        self.feed(Direction::Sent, bytes, at);
    }

    /// Is told of bytes that came from the socket.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        let now = self.now();
        self.feed(Direction::Received, bytes, now);
    }

    /// Is told that received bytes are missing: that direction is not read any more.
    pub(crate) fn lost_track(&mut self) {
        self.received.parser.stop();
    }

    fn feed(&mut self, dir: Direction, bytes: &[u8], now: Duration) {
        let Sight { observed, sent, received, pings, first, .. } = self;
        let Flow { parser, began, closed, .. } = if dir == Direction::Sent { sent } else { received };
        if !self.done {
            parser.feed(bytes, &mut Listener { observed, dir, now, began, closed, pings, first });
            if self.received.ended && self.sent.closed {
                self.close();
            }
        }
    }

    /// Is told that nothing more can be read. The close is recorded unless the peer's
    /// close frame still waits for ours.
    pub(crate) fn read_ended(&mut self) {
        self.received.ended = true;
        if self.sent.ended || self.sent.closed || !self.received.closed {
            self.close();
        }
    }

    /// Is told that nothing more can be written. What the peer has sent may still be
    /// read, its close frame for one.
    pub(crate) fn write_ended(&mut self) {
        self.sent.ended = true;
        if self.received.ended {
            self.close();
        }
    }

    /// Records the close, once.
    fn close(&mut self) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        for ping in self.pings.waiting.drain(..) {
            ping.record(&self.observed, None);
        }
        let First { code, reason, initiator } = &self.first;
        self.observed.closed(*code, reason, *initiator, self.received.closed && self.sent.closed);
    }
}

/// The application closes the socket.
impl Drop for Sight {
    fn drop(&mut self) {
        self.close();
    }
}

impl Flow {
    fn new(parser: Parser) -> Flow {
        Flow { parser, began: Duration::ZERO, closed: false, ended: false }
    }
}

/// Hears what the parser of one direction finds in the bytes at hand.
struct Listener<'a> {
    observed: &'a Observed,
    dir: Direction,
    now: Duration,
    began: &'a mut Duration,
    closed: &'a mut bool,
    pings: &'a mut Pings,
    first: &'a mut First,
}

impl Listener<'_> {
    /// The end that sends in this direction.
    fn side(&self) -> Initiator {
        match self.dir {
            Direction::Sent => Initiator::Local,
            Direction::Received => Initiator::Remote,
        }
    }
}

impl Handler for Listener<'_> {
    /// A close counts from its header on: there are readers that go at once, and never
    /// read its code.
    fn frame(&mut self, header: Header) {
        match header.opcode {
            Opcode::Text | Opcode::Binary => *self.began = self.now,
            Opcode::Close if self.first.initiator == Initiator::None => {
                // Section 7.1.5: no code present.
                *self.first = First { code: 1005, reason: String::new(), initiator: self.side() };
            }
            _ => {}
        }
    }

    /// A message begins with its first header; it has a duration where its last byte
    /// came in a later read or write.
    fn message(&mut self, message: Message) {
        let seen = Seen {
            typ: if message.opcode == Opcode::Text { MessageType::Text } else { MessageType::Binary },
            size: message.size,
            compressed: message.compressed,
            frames: message.frames,
            began: *self.began,
            ended: self.now,
        };
        self.observed.message(self.dir, &seen);
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        match (opcode, self.dir) {
            (Opcode::Ping, Direction::Sent) => {
                let seq = self.observed.ping_sent();
                self.pings.sent(payload, seq, self.now, self.observed);
            }
            (Opcode::Ping, Direction::Received) => self.observed.ping_received(payload.len(), self.now),
            (Opcode::Pong, dir) => {
                if dir == Direction::Received {
                    self.pings.answered(payload, self.now, self.observed);
                }
                self.observed.pong(dir, payload.len(), self.now);
            }
            _ => {
                *self.closed = true;
                let (side, first) = (self.side(), &mut self.first);
                // Else it is the answer to the first one, or without a code.
                if let (true, [a, b, reason @ ..]) = (first.initiator == side, payload) {
                    first.code = u16::from_be_bytes([*a, *b]);
                    first.reason = String::from_utf8_lossy(reason).into_owned();
                }
            }
        }
    }

    /// That direction is not read any more; the other one is, as the close frame with
    /// 1002 may still come there.
    fn violation(&mut self, violation: Violation) {
        if self.first.initiator == self.side() {
            *self.first = First::VANISHED; // the close frame itself was at fault
        }
        self.observed.violation(self.dir, violation.code(), violation.text(), self.now);
    }
}

impl Ping {
    fn record(self, observed: &Observed, round_trip: Option<Duration>) {
        observed.pinged(self.seq, self.size, self.at, round_trip);
    }
}

impl Pings {
    /// Keeps a sent ping until its pong comes; the oldest makes room.
    fn sent(&mut self, payload: &[u8], seq: i64, at: Duration, observed: &Observed) {
        if self.waiting.len() == MAX_PINGS {
            if let Some(oldest) = self.waiting.pop_front() {
                oldest.record(observed, None);
            }
        }
        let hash = self.hasher.hash_one(payload);
        self.waiting.push_back(Ping { hash, size: payload.len(), seq, at });
    }

    /// Finds the ping of a pong: the oldest with its payload. Others before it stay, as
    /// a peer may answer the latest alone (section 5.5.3).
    fn answered(&mut self, payload: &[u8], now: Duration, observed: &Observed) {
        if self.waiting.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(payload);
        let found = self.waiting.iter().position(|ping| ping.hash == hash && ping.size == payload.len());
        if let Some(ping) = found.and_then(|at| self.waiting.remove(at)) {
            ping.record(observed, Some(now.saturating_sub(ping.at)));
        }
    }
}

#[cfg(test)]
#[path = "sight_tests.rs"]
mod tests;
