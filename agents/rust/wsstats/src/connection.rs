//! What is told of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;

use crate::Attribute;
use crate::agent::Agent;
use crate::handshake::Upgrade;
use crate::observation::{Closing, Initiator, Observation};
use crate::record::{clean, freeze, size};
use crate::wire::attr::Attr;
use crate::wire::kind::{Direction, Kind, MessageType, Role};
use crate::wire::message::Event;

/// What is known of a connection when its handshake is over. All but the role may be
/// left out.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The side that this application is.
    pub role: Role,
    /// `ws` or `wss`; user information, query and fragment are not recorded.
    pub url: String,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// The subprotocol that was agreed on (`Sec-WebSocket-Protocol`).
    pub subprotocol: String,
    /// When the handshake began; none: it has no duration.
    pub start: Option<SystemTime>,
    /// Names the connection, in 1 to 128 printable characters. Without one, or where
    /// this agent has an open connection of that name, a new one is drawn.
    pub id: String,
    /// The other end reports under the same id, for one trace a message.
    pub shared: bool,
    /// Recorded with every event of the connection.
    pub attributes: Vec<Attribute>,
}

impl Opening {
    /// What is known when nothing but the role is.
    pub fn new(role: Role) -> Opening {
        Opening {
            role,
            url: String::new(),
            peer: None,
            subprotocol: String::new(),
            start: None,
            id: String::new(),
            shared: false,
            attributes: Vec::new(),
        }
    }
}

/// What the application, or an adapter for its library, tells of a connection: all of
/// it ([`Agent::observe`]), or, where a tap sees the bytes, what they do not say.
/// There, `sent`, `pinged`, `closed` and the other methods that tell what went by
/// record nothing, so that nothing counts twice.
///
/// Clones are the same connection. Its methods wait for nothing but a short lock, and
/// record nothing after the close, but for what was processed. The default one is not
/// observed: its methods do nothing. One that is dropped without [`Connection::closed`]
/// is recorded as broken (1006).
///
/// The attributes that they take, `[]` for none, are the user's own, or ones of the
/// conventions that have no parameter, such as those of [`message_id`](crate::message_id)
/// and [`queue_size`](crate::queue_size).
#[derive(Clone, Default)]
pub struct Connection(Option<Arc<Observation>>);

impl Agent {
    /// Records the handshake that opened a connection, and returns what is to be told of
    /// it from then on. A connection that a tap sees must not be observed twice.
    pub fn observe(&self, opening: Opening) -> Connection {
        let subprotocol = opening.subprotocol.clone();
        Upgrade::observed(self.shared(), opening).open(&subprotocol, false)
    }

    /// Records a handshake that opened no connection. The status is the HTTP answer's,
    /// none where there was none; the error type (`error.type`, such as `"timeout"`) may
    /// be empty and is then the status.
    pub fn observe_refused(&self, opening: Opening, status: Option<u16>, error_type: &str) {
        Upgrade::observed(self.shared(), opening).fail(status, error_type);
    }
}

impl Connection {
    pub(crate) fn new(observation: Observation) -> Connection {
        Connection(Some(Arc::new(observation)))
    }

    pub(crate) fn observed(&self) -> Option<&Arc<Observation>> {
        self.0.as_ref()
    }

    /// The observation of one that no tap sees.
    fn told(&self) -> Option<&Arc<Observation>> {
        self.0.as_ref().filter(|observed| !observed.tapped)
    }

    /// The connection's name in all that is recorded of it, "" where it is not observed.
    pub fn id(&self) -> &str {
        self.0.as_ref().map_or("", |observed| observed.conn.id.as_str())
    }

    /// Tells whether the other end reports under the same id.
    pub fn is_shared(&self) -> bool {
        self.0.as_ref().is_some_and(|observed| observed.conn.shared)
    }

    /// Tells whether it is observed.
    pub fn is_observed(&self) -> bool {
        self.0.is_some()
    }

    /// Tells whether a tap sees the connection, and records what goes by.
    pub fn is_tapped(&self) -> bool {
        self.0.as_ref().is_some_and(|observed| observed.tapped)
    }

    /// Records a message that was sent. The size is that of its payload before
    /// compression, in bytes; none: not known. What [`Connection::sending`] told is of
    /// this message.
    pub fn sent(
        &self,
        typ: MessageType,
        payload: impl Into<Option<usize>>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) {
        let Some(observed) = self.told() else { return };
        let (payload, attributes) = (size(payload.into()), attributes.into_iter().collect());
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let now = state.clock.now();
        let began = state.sending.began;
        let mut r = observed.record(&state, Kind::Send, Some(Direction::Sent), began.unwrap_or(now));
        (r.typ, r.seq, r.size) = (Some(typ), state.sent.message(payload), payload);
        if let Some(began) = began {
            r.duration = crate::clock::nanos(now.saturating_sub(began));
        }
        if state.sending.tell(&mut r, attributes) {
            observed.agent.record(r);
        }
    }

    /// Records a ping that was sent. It took this long until its pong came; none: none
    /// did.
    pub fn pinged(&self, round_trip: Option<Duration>, attributes: impl IntoIterator<Item = Attribute>) {
        self.pinging().answered(round_trip, attributes);
    }

    /// [`Connection::pinged`] for pings that may overtake each other: it is called when
    /// one is sent, and [`Pinging::answered`] when its pong came or none will.
    pub fn pinging(&self) -> Pinging {
        let Some(observed) = self.told() else { return Pinging(None) };
        let n = observed.state.lock().sent.control(Kind::Ping);
        Pinging(Some((Arc::clone(observed), n)))
    }

    /// Records a ping of the peer (RFC 6455 section 5.5.2). The size is that of the
    /// payload, in bytes; none: not known.
    pub fn ping_received(&self, payload: impl Into<Option<usize>>) {
        self.control(Kind::Ping, Direction::Received, payload.into());
    }

    /// Records a pong that was sent (RFC 6455 section 5.5.3): see
    /// [`Connection::ping_received`].
    pub fn pong_sent(&self, payload: impl Into<Option<usize>>) {
        self.control(Kind::Pong, Direction::Sent, payload.into());
    }

    /// Records a pong of the peer: see [`Connection::ping_received`].
    pub fn pong_received(&self, payload: impl Into<Option<usize>>) {
        self.control(Kind::Pong, Direction::Received, payload.into());
    }

    fn control(&self, kind: Kind, dir: Direction, payload: Option<usize>) {
        let Some(observed) = self.told() else { return };
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let now = state.clock.now();
        let mut r = observed.record(&state, kind, Some(dir), now);
        (r.seq, r.size) = (state.traffic(dir).control(kind), size(payload));
        observed.agent.record(r);
    }

    /// Records an error: `error.type` and `error.category`, short names from a small
    /// set, such as `"ECONNRESET"` and `"network"`. It does not end the connection.
    pub fn failed(&self, error_type: &str, category: &str, attributes: impl IntoIterator<Item = Attribute>) {
        let Some(observed) = self.observed() else { return };
        let mut e = Event::default();
        e.attrs.set_text(Attr::ErrorType, clean(error_type, 256));
        e.attrs.set_text(Attr::ErrorCategory, clean(category, 256));
        self.moment(observed, Kind::Error, None, e, attributes.into_iter().collect());
    }

    /// Records that the peer broke the WebSocket protocol (RFC 6455): `error.type`, a
    /// short name from a small set, and `error.message` for people, which must hold no
    /// payload and may be empty.
    pub fn protocol_error(&self, error_type: &str, message: &str, attributes: impl IntoIterator<Item = Attribute>) {
        let Some(observed) = self.told() else { return };
        let e = violation(error_type, message);
        self.moment(observed, Kind::ProtocolError, Some(Direction::Received), e, attributes.into_iter().collect());
    }

    fn moment(&self, observed: &Observation, kind: Kind, dir: Option<Direction>, e: Event, attributes: Vec<KeyValue>) {
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let now = state.clock.now();
        let mut r = observed.record(&state, kind, dir, now);
        (r.extra, r.attributes) = (Some(Arc::new(e)), freeze(attributes));
        observed.agent.record(r);
    }

    /// Records the end of the connection, with a summary of what it has carried. The code
    /// is the close frame's (RFC 6455 section 7.4), 1006 where the connection broke
    /// without one; the reason, which is recorded, may be empty.
    pub fn closed(
        &self,
        code: u16,
        reason: &str,
        initiator: Initiator,
        attributes: impl IntoIterator<Item = Attribute>,
    ) {
        let Some(observed) = self.told() else { return };
        let attributes = attributes.into_iter().collect();
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        // With 1006 and 1015 no close frame went by (section 7.4.1).
        let clean_close = if code == 1006 || code == 1015 { Some(false) } else { None };
        let closing = Closing { code, reason: clean(reason, 123), initiator, clean: clean_close };
        observed.finish(&mut state, closing, attributes);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// The event of a violation of the protocol.
pub(crate) fn violation(error_type: &str, message: &str) -> Event {
    let mut e = Event::default();
    e.attrs.set_text(Attr::ErrorType, clean(error_type, 256));
    e.attrs.set(Attr::ErrorCategory, "protocol");
    e.attrs.set_text(Attr::ErrorMessage, clean(message, 256));
    e
}

/// A ping that was sent and waits for its pong. One that is dropped is not recorded.
#[must_use = "a ping is recorded when it is answered"]
pub struct Pinging(Option<(Arc<Observation>, i64)>);

impl Pinging {
    /// Records the ping: its pong came after this long; none: none did.
    pub fn answered(self, round_trip: Option<Duration>, attributes: impl IntoIterator<Item = Attribute>) {
        let Some((observed, n)) = self.0 else { return };
        let attributes = attributes.into_iter().collect();
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let now = state.clock.now();
        let mut r = observed.record(&state, Kind::Ping, Some(Direction::Sent), now);
        (r.seq, r.attributes) = (n, freeze(attributes));
        if let Some(took) = round_trip {
            r.duration = crate::clock::nanos(took);
            r.time = r.time.saturating_sub(r.duration);
        }
        observed.agent.record(r);
    }
}
