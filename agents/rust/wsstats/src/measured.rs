//! What the receiver would measure of an event.

use opentelemetry::Value;

use crate::encode::event;
use crate::record::Record;
use crate::wire::attr::Attr;
use crate::wire::id::NO_TRACE;
use crate::wire::kind::{Direction, Kind, Role};

/// A value of `ws.role`, `ws.direction` or `ws.message.type`, `""` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) u8);

const LABELS: [&str; 11] =
    ["", "client", "server", "sent", "received", "text", "binary", "ping", "pong", "close", "_OTHER"];

impl Label {
    /// What is none of the set stands for all others.
    pub(crate) fn of(name: &str) -> Label {
        let at = LABELS.iter().position(|label| *label == name).unwrap_or(LABELS.len() - 1);
        Label(at as u8)
    }

    pub(crate) fn name(self) -> &'static str {
        LABELS.get(usize::from(self.0)).copied().unwrap_or("")
    }

    /// The role of that name; none where it is neither.
    pub(crate) fn role(self) -> Option<Role> {
        match self.name() {
            "client" => Some(Role::Client),
            "server" => Some(Role::Server),
            _ => None,
        }
    }

    /// The direction of that name; none where it is neither.
    pub(crate) fn direction(self) -> Option<Direction> {
        match self.name() {
            "sent" => Some(Direction::Sent),
            "received" => Some(Direction::Received),
            _ => None,
        }
    }
}

/// What the receiver would measure of an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) role: Label,
    pub(crate) dir: Label,
    pub(crate) typ: Label,
    pub(crate) messages: u64,
    pub(crate) size: Option<f64>, // of each of them
    pub(crate) seconds: Option<f64>,
    pub(crate) recipients: Option<i64>,
    pub(crate) queue: Option<i64>,

    pub(crate) seq: i64,     // ordinal, 0: none
    pub(crate) stated: bool, // more than the ratio decides about its span
}

impl Measured {
    /// Sees what a record tells, as the receiver does. Of most records that is at hand; else
    /// the event is made, so that there is one place which knows what goes before what.
    pub(crate) fn of(r: &Record) -> Measured {
        let mut m = Measured {
            role: r.conn.as_ref().map_or(Label(0), |conn| Label(conn.role as u8)),
            dir: r.dir.map_or(Label(0), |dir| Label(2 + dir as u8)),
            typ: r.typ.map_or(Label(0), |typ| Label(4 + typ as u8)),
            size: (r.size >= 0 && !r.compressed).then_some(r.size as f64),
            seq: r.seq,
            ..Measured::default()
        };
        match r.kind {
            Kind::Send | Kind::Receive | Kind::Message => m.messages = 1,
            Kind::Process if r.duration >= 0 => m.seconds = Some(r.duration as f64 / 1e9),
            _ => {}
        }
        match r.kind {
            Kind::Send | Kind::Broadcast | Kind::BatchSend => m.dir = Label(3),
            Kind::Receive | Kind::Process => m.dir = Label(4),
            _ => {}
        }
        if r.attributes.is_some() || r.extra.is_some() {
            m.look_closer(r);
        }
        m
    }

    fn look_closer(&mut self, r: &Record) {
        let e = event(r);
        let quantity = |attr| e.attrs.int(attr).filter(|n| *n >= 0);
        let role = e.attrs.text(Attr::Role);
        if !role.is_empty() {
            self.role = Label::of(role);
        }
        self.typ = Label::of(e.attrs.text(Attr::MessageType));
        if r.kind == Kind::Message {
            self.dir = Label::of(e.attrs.text(Attr::Direction));
        }
        self.seq = quantity(Attr::MessageSeq).unwrap_or(0);
        let error = e.attrs.get(Attr::ErrorType).is_some();
        self.stated = error || e.trace_id != NO_TRACE || e.parent.is_some() || !e.tracestate.is_empty();
        self.size = quantity(Attr::MessageSize).map(|size| size as f64);
        self.queue = quantity(Attr::QueueSize);
        match r.kind {
            Kind::Broadcast => {
                self.recipients = quantity(Attr::BroadcastRecipients);
                self.messages = self.recipients.unwrap_or(0) as u64;
            }
            Kind::BatchSend => self.messages = quantity(Attr::BatchSize).unwrap_or(0) as u64,
            Kind::Process if self.seconds.is_none() => {
                if let Some(Value::F64(ms)) = e.attrs.get(Attr::ProcessingTime) {
                    self.seconds = Some(ms / 1e3);
                }
            }
            _ => {}
        }
        if matches!(self.typ.name(), "ping" | "pong" | "close") {
            self.messages = 0;
            if matches!(r.kind, Kind::Send | Kind::Receive) {
                self.queue = None; // that makes it another kind, which events count
            }
        }
    }
}
