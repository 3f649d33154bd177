//! One connection from its opening to its close, whoever sees what happens on it.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use parking_lot::Mutex;

use crate::agent::Shared;
use crate::clock::Clock;
use crate::process::{Message, Window};
use crate::queue::Queue;
use crate::record::{Conn, Record, freeze};
use crate::sending::Sending;
use crate::wire::attr::Attr;
use crate::wire::kind::{Direction, Kind};
use crate::wire::message::Event;

/// A connection that is observed: by a tap that sees its bytes, or by what it is told.
pub(crate) struct Observation {
    pub(crate) agent: Arc<Shared>,
    pub(crate) conn: Arc<Conn>,
    pub(crate) tapped: bool, // a tap records what goes by
    pub(crate) state: Mutex<State>,
}

/// What changes while a connection is observed.
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) done: bool,       // the close was recorded: nothing more is
    pub(crate) sending: Sending, // what the application has told of the next message
    pub(crate) queue: Queue,     // and of those that its library has taken
    pub(crate) sent: Traffic,
    pub(crate) received: Traffic,
    pub(crate) read: i64,     // messages that the application has read, where a tap counts received
    pub(crate) last: Message, // that the application received
    pub(crate) handled: Window, // ordinals of messages with a process span
}

/// What one direction of a connection has carried. Its counts are the ordinals of
/// the conventions.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: i64,
    pub(crate) bytes: i64, // payload of whole messages
    pub(crate) pings: i64,
    pub(crate) pongs: i64,
}

impl Traffic {
    /// Counts a message and returns its ordinal.
    pub(crate) fn message(&mut self, size: i64) -> i64 {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(size.max(0));
        self.messages
    }

    /// Counts a ping or pong and returns its ordinal.
    pub(crate) fn control(&mut self, kind: Kind) -> i64 {
        let count = if kind == Kind::Ping { &mut self.pings } else { &mut self.pongs };
        *count += 1;
        *count
    }
}

/// The side that closed a connection: `ws.close.initiator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// This side sent the first close frame.
    Local,
    /// The peer did.
    Remote,
    /// Nobody did: the connection broke.
    None,
}

impl Initiator {
    /// The value of `ws.close.initiator`.
    pub fn name(self) -> &'static str {
        match self {
            Initiator::Local => "local",
            Initiator::Remote => "remote",
            Initiator::None => "none",
        }
    }

    fn direction(self) -> Option<Direction> {
        match self {
            Initiator::Local => Some(Direction::Sent),
            Initiator::Remote => Some(Direction::Received),
            Initiator::None => None,
        }
    }
}

impl State {
    pub(crate) fn new(clock: Clock) -> State {
        State {
            clock,
            done: false,
            sending: Sending::default(),
            queue: Queue::default(),
            sent: Traffic::default(),
            received: Traffic::default(),
            read: 0,
            last: Message::default(),
            handled: Window::default(),
        }
    }

    /// What this direction has carried.
    pub(crate) fn traffic(&mut self, dir: Direction) -> &mut Traffic {
        match dir {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }
}

impl Observation {
    pub(crate) fn new(agent: Arc<Shared>, conn: Arc<Conn>, clock: Clock, tapped: bool) -> Observation {
        Observation { agent, conn, tapped, state: Mutex::new(State::new(clock)) }
    }

    /// A record of a time since the opening.
    pub(crate) fn record(&self, state: &State, kind: Kind, dir: Option<Direction>, at: Duration) -> Record {
        Record::new(Some(Arc::clone(&self.conn)), kind, dir, state.clock.unix(at))
    }

    /// Records the close with what the connection has carried until now, after which
    /// nothing is.
    pub(crate) fn finish(&self, state: &mut State, closing: Closing<'_>, attributes: Vec<KeyValue>) {
        let now = state.clock.now();
        let mut e = Event::default();
        e.attrs.set(Attr::CloseCode, i64::from(closing.code));
        e.attrs.set_text(Attr::CloseReason, closing.reason);
        e.attrs.set(Attr::CloseInitiator, closing.initiator.name());
        e.attrs.set(Attr::ConnectionDuration, now.as_secs_f64() * 1e3);
        e.attrs.set(Attr::MessagesSent, state.sent.messages);
        e.attrs.set(Attr::MessagesReceived, state.received.messages);
        e.attrs.set(Attr::BytesSent, state.sent.bytes);
        e.attrs.set(Attr::BytesReceived, state.received.bytes);
        if let Some(clean) = closing.clean {
            e.attrs.set(Attr::CloseClean, clean);
        }
        let mut r = self.record(state, Kind::Close, closing.initiator.direction(), now);
        r.extra = Some(Arc::new(e));
        r.attributes = freeze(attributes);
        state.done = true;
        self.agent.record(r);
        self.agent.unreserve(self.conn.id.as_str());
    }
}

/// A connection that nobody holds any more, and that nobody has closed, is broken.
impl Drop for Observation {
    fn drop(&mut self) {
        let mut state = std::mem::replace(self.state.get_mut(), State::new(Clock::new()));
        if !state.done {
            self.finish(&mut state, Closing::vanished(), Vec::new());
        }
    }
}

/// How a connection ended.
pub(crate) struct Closing<'a> {
    pub(crate) code: u16,
    pub(crate) reason: &'a str,
    pub(crate) initiator: Initiator,
    pub(crate) clean: Option<bool>, // both ends sent a close frame
}

impl Closing<'_> {
    /// The close of a connection that ended without one (RFC 6455 section 7.1.5).
    pub(crate) fn vanished() -> Closing<'static> {
        Closing { code: 1006, reason: "", initiator: Initiator::None, clean: Some(false) }
    }
}
