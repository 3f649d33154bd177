//! What the application tells of a message that it is about to send.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{Context, KeyValue};

use crate::Attribute;
use crate::agent::{Agent, Shared};
use crate::clock::unix_now;
use crate::connection::Connection;
use crate::context::{current_context, span_in};
use crate::record::{Record, freeze, size};
use crate::wire::attr::Attr;
use crate::wire::id::SpanIds;
use crate::wire::kind::{Direction, Kind, MessageType, Role};
use crate::wire::message::Event;

/// The attribute `ws.message.id`: the application's own name of a message.
pub fn message_id(id: impl Into<opentelemetry::StringValue>) -> Attribute {
    KeyValue::new(Attr::MessageId.name(), id.into())
}

/// The attribute `ws.queue.size`: how many messages wait to be sent on the
/// connection. It makes the metric of that name.
pub fn queue_size(messages: usize) -> Attribute {
    KeyValue::new(Attr::QueueSize.name(), size(Some(messages)))
}

/// What the application has told of the messages to be sent next.
#[derive(Default)]
pub(crate) struct Sending {
    attributes: Vec<KeyValue>,
    active: Option<Arc<SpanIds>>,
    pub(crate) began: Option<Duration>,
    unrecorded: usize, // how many a broadcast or a batch tells of
}

impl Sending {
    /// Puts into the record of a sent message what was told of it, and tells whether
    /// it is to be recorded.
    pub(crate) fn tell(&mut self, r: &mut Record, attributes: Vec<KeyValue>) -> bool {
        if self.unrecorded > 0 {
            self.unrecorded -= 1;
            return false;
        }
        r.active = self.active.take();
        self.began = None;
        let mut told = std::mem::take(&mut self.attributes);
        if told.is_empty() {
            told = attributes;
        } else {
            told.extend(attributes);
        }
        r.attributes = freeze(told);
        true
    }

    /// Takes what is told of one message, whose span is active now.
    pub(crate) fn take(&mut self, active: Option<Arc<SpanIds>>) -> Sending {
        if self.unrecorded > 0 {
            self.unrecorded -= 1;
            return Sending { unrecorded: 1, ..Sending::default() };
        }
        let mut told = std::mem::take(self);
        told.active = active.or(told.active);
        told
    }

    /// Takes back what was taken of a message that is not sent.
    pub(crate) fn put_back(&mut self, told: Sending) {
        if told.unrecorded > 0 {
            self.unrecorded += told.unrecorded;
        } else {
            *self = Sending { unrecorded: self.unrecorded, ..told };
        }
    }

    /// Tells whether nothing is told.
    pub(crate) fn is_empty(&self) -> bool {
        self.unrecorded == 0 && self.active.is_none() && self.attributes.is_empty()
    }
}

impl Connection {
    /// Tells of the next message that is sent on the connection what neither its bytes
    /// nor [`Connection::sent`] say: attributes, and the span that is active, which
    /// becomes a link of the send. It is called just before the message is written, by
    /// the one that writes. If it is called again before that, the send began then, and
    /// what is given takes the place of what was.
    pub fn sending(&self, attributes: impl IntoIterator<Item = Attribute>) {
        self.sending_in(&current_context(), attributes);
    }

    /// [`Connection::sending`] under the span of a context.
    pub fn sending_in(&self, context: &Context, attributes: impl IntoIterator<Item = Attribute>) {
        let Some(observed) = self.observed() else { return };
        let active = span_in(context);
        let attributes: Vec<_> = attributes.into_iter().collect();
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        if !attributes.is_empty() {
            state.sending.attributes = attributes;
        }
        if let Some(active) = active {
            state.sending.active = Some(Arc::new(active));
        }
        state.sending.began = Some(state.clock.now());
    }

    /// Tells that the next message that is sent on the connection is part of a
    /// broadcast ([`Agent::broadcast`]): it counts in the connection's summary, and has
    /// no span and no metrics of its own. It is called just before the message is
    /// written, by the one that writes.
    pub fn sending_broadcast(&self) {
        self.leave_out(1);
    }

    /// Records a batch: one span with `ws.batch.size` in place of one for each of the
    /// next messages that are sent on the connection. They are of one type, and size is
    /// that of a payload in bytes, the mean one where they differ; none: not known. It
    /// is called just before the first one is written, by the one that writes.
    pub fn sending_batch(
        &self,
        typ: MessageType,
        messages: usize,
        payload: impl Into<Option<usize>>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) {
        let Some(observed) = self.observed() else { return };
        if messages == 0 {
            return;
        }
        let active = span_in(&current_context()).map(Arc::new);
        self.leave_out(messages);
        let attributes = attributes.into_iter().collect();
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let now = state.clock.now();
        let mut r = observed.record(&state, Kind::BatchSend, Some(Direction::Sent), now);
        (r.typ, r.size, r.active) = (Some(typ), size(payload.into()), active);
        r.attributes = freeze(attributes);
        let mut e = Event::default();
        e.attrs.set(Attr::BatchSize, size(Some(messages)));
        r.extra = Some(Arc::new(e));
        observed.agent.record(r);
    }

    fn leave_out(&self, messages: usize) {
        let Some(observed) = self.observed() else { return };
        let mut state = observed.state.lock();
        if !state.done {
            state.sending.unrecorded = state.sending.unrecorded.saturating_add(messages);
        }
    }
}

impl Agent {
    /// Records a message that a server sends on several connections: one span with
    /// `ws.broadcast.recipients` in place of one for each. Whoever writes it to one of
    /// them says so before ([`Connection::sending_broadcast`]), or it counts twice. The
    /// size is that of the payload in bytes; none: not known. The span that is active
    /// becomes a link.
    pub fn broadcast(
        &self,
        typ: MessageType,
        payload: impl Into<Option<usize>>,
        recipients: usize,
        attributes: impl IntoIterator<Item = Attribute>,
    ) {
        broadcast(self.shared(), typ, payload.into(), recipients, attributes.into_iter().collect());
    }
}

fn broadcast(agent: &Shared, typ: MessageType, payload: Option<usize>, recipients: usize, attributes: Vec<KeyValue>) {
    let mut r = Record::new(None, Kind::Broadcast, Some(Direction::Sent), unix_now());
    (r.typ, r.size) = (Some(typ), size(payload));
    r.active = span_in(&current_context()).map(Arc::new);
    r.attributes = freeze(attributes);
    let mut e = Event::default();
    e.attrs.set(Attr::BroadcastRecipients, size(Some(recipients)));
    e.attrs.set(Attr::Role, Role::Server.name());
    r.extra = Some(Arc::new(e));
    agent.record(r);
}
