//! Messages that the application received, and their handling.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::context::FutureExt;

use crate::Attribute;
use crate::connection::Connection;
use crate::context::{current_context, remote_span, stated_span, without_stated};
use crate::observation::Observation;
use crate::record::{Record, clean, freeze, size};
use crate::spanrules::SpanRules;
use crate::wire::attr::Attr;
use crate::wire::id::{NO_TRACE, Slot, SpanIds, TraceId};
use crate::wire::kind::{Direction, Kind, MessageType};
use crate::wire::message::Event;

/// A message that the application has received. The default one is the one that
/// [`Connection::received`] told of last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    seq: i64, // ordinal on its connection, from 1
    typ: Option<MessageType>,
    parent: Option<SpanIds>, // of its process span, where its trace is not the derived one
}

impl Connection {
    /// Records a message that was received. The size is that of its payload after
    /// inflation, in bytes; none: not known. Where a tap sees the connection it records
    /// nothing, and counts: there it is called for each message that the application has
    /// read, in this order, if for any.
    pub fn received(
        &self,
        typ: MessageType,
        payload: impl Into<Option<usize>>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Message {
        self.receive(None, typ, payload.into(), attributes)
    }

    /// [`Connection::received`] for a message that names the span which it was sent
    /// under: with a context of [`TraceFields::extract`](crate::TraceFields::extract) it
    /// is in that span's trace.
    pub fn received_in(
        &self,
        context: &Context,
        typ: MessageType,
        payload: impl Into<Option<usize>>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Message {
        self.receive(stated_span(context), typ, payload.into(), attributes)
    }

    fn receive(
        &self,
        stated: Option<SpanIds>,
        typ: MessageType,
        payload: Option<usize>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Message {
        let Some(observed) = self.observed() else { return Message::default() };
        let attributes = attributes.into_iter().collect();
        let mut state = observed.state.lock();
        if observed.tapped {
            // A tap sees the close before the application has read what came before.
            state.read += 1;
            state.last = Message { seq: state.read, typ: Some(typ), parent: stated };
            return state.last;
        }
        if state.done {
            return Message::default();
        }
        let payload = size(payload);
        let mut m = Message { seq: state.received.message(payload), typ: Some(typ), parent: stated };
        let now = state.clock.now();
        let mut r = observed.record(&state, Kind::Receive, Some(Direction::Received), now);
        (r.typ, r.seq, r.size, r.attributes) = (m.typ, m.seq, payload, freeze(attributes));
        if let Some(parent) = &mut m.parent {
            let e = Event { trace_id: parent.trace, parent_span_id: parent.span, ..Event::default() };
            r.extra = Some(Arc::new(e));
            let conn = &observed.conn;
            parent.span = conn.seed().span_id(m.seq as u64, received_slot(observed), Kind::Receive, conn.role);
        }
        state.last = m;
        observed.agent.record(r);
        m
    }

    /// Begins the handling of a received message, which ends when what is returned is
    /// dropped. What is called under [`Processing::context`] (or `Processing::span`) is
    /// in the message's trace, and is sampled as the receiver samples the message. It
    /// may end after the close.
    ///
    /// A message is handled once; if it is again, that is a span beside the first one.
    #[must_use = "the handling ends when it is dropped"]
    pub fn process(&self, message: Message, attributes: impl IntoIterator<Item = Attribute>) -> Processing {
        self.process_in(&current_context(), message, attributes)
    }

    /// [`Connection::process`] in a context. With one of
    /// [`TraceFields::extract`](crate::TraceFields::extract) the span is a child of the
    /// extracted one.
    #[must_use = "the handling ends when it is dropped"]
    pub fn process_in(
        &self,
        context: &Context,
        message: Message,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Processing {
        let Some(observed) = self.observed() else {
            return Processing { context: context.clone(), at: None };
        };
        let rules = observed.agent.span_rules();
        let attributes = attributes.into_iter().collect();
        let mut state = observed.state.lock();
        let mut m = if message == Message::default() { state.last } else { message };
        m.parent = m.parent.or_else(|| stated_span(context));
        let began = state.clock.now();
        let mut r = observed.record(&state, Kind::Process, Some(Direction::Received), began);
        (r.typ, r.seq, r.attributes) = (m.typ, m.seq, freeze(attributes));
        let mut e = Event::default();
        let (ids, sampled) = identify(observed, &mut state.handled, &mut e, m, rules);
        let context = remote_span(&without_stated(context), ids, sampled);
        Processing {
            context,
            at: Some(Box::new(Handling { observed: Arc::clone(observed), record: r, stated: e, began })),
        }
    }
}

/// The slot of the messages that the connection receives.
fn received_slot(observed: &Observation) -> Slot {
    Slot::of(observed.conn.role, Direction::Received)
}

/// Finds the ids of a process span, and states in its event what the receiver would
/// not derive.
fn identify(
    observed: &Observation,
    handled: &mut Window,
    e: &mut Event,
    m: Message,
    rules: SpanRules,
) -> (SpanIds, bool) {
    let (conn, slot, n) = (&observed.conn, received_slot(observed), m.seq as u64);
    let seed = conn.seed();
    let mut derived: TraceId = NO_TRACE;
    if rules.handshake_traces {
        derived = conn.handshake.trace;
        if derived == NO_TRACE {
            derived = seed.trace_id(0, Slot::Handshake);
        }
    } else if m.seq > 0 {
        derived = seed.trace_id(n, slot);
    }
    let mut ids = SpanIds { trace: derived, ..SpanIds::default() };
    if let Some(parent) = m.parent {
        ids.trace = parent.trace;
        (e.trace_id, e.parent_span_id) = (parent.trace, parent.span);
    }
    if m.seq > 0 && handled.add(m.seq) {
        ids.span = seed.span_id(n, slot, Kind::Process, conn.role);
    } else {
        ids.span = rand::random();
        e.span_id = ids.span;
        if ids.trace == NO_TRACE {
            ids.trace = rand::random();
            e.trace_id = ids.trace;
        }
    }
    (ids, rules.keeps(&ids.trace, &derived, seed))
}

/// The handling of a received message: it ends when this is dropped.
pub struct Processing {
    context: Context,
    at: Option<Box<Handling>>, // none: it is not observed, or has ended
}

struct Handling {
    observed: Arc<Observation>,
    record: Record,
    stated: Event,
    began: Duration,
}

impl Processing {
    /// A context that has the message's process span as its remote parent.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// A span of `tracing`, child of the message's process span, to handle the message
    /// under.
    #[cfg(feature = "tracing")]
    pub fn span(&self) -> tracing::Span {
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        let span = tracing::info_span!("ws.handle");
        // It fails where no layer of OpenTelemetry listens, and then there is no span.
        let _ = span.set_parent(self.context.clone());
        span
    }

    /// Runs a future under the process span, by the contexts of OpenTelemetry and, with
    /// the feature `tracing`, under [`Processing::span`]. It may be called for each part of
    /// the handling; the span ends when this is dropped.
    pub fn run<F: Future>(&self, handling: F) -> impl Future<Output = F::Output> + use<F> {
        #[cfg(feature = "tracing")]
        let handling = tracing::Instrument::instrument(handling, self.span());
        handling.with_context(self.context.clone())
    }

    /// Ends the handling with an error: `error.type`, a short name from a small set,
    /// such as `"quota"`.
    pub fn fail(mut self, error_type: &str) {
        self.end(error_type);
    }

    fn end(&mut self, error_type: &str) {
        let Some(handling) = self.at.take() else { return };
        let Handling { observed, mut record, mut stated, began } = *handling;
        stated.attrs.set_text(Attr::ErrorType, clean(error_type, 256));
        if stated != Event::default() {
            record.extra = Some(Arc::new(stated));
        }
        let now = observed.state.lock().clock.now();
        record.duration = crate::clock::nanos(now.saturating_sub(began));
        observed.agent.record(record);
    }
}

impl Drop for Processing {
    fn drop(&mut self) {
        self.end("");
    }
}

/// Remembers which of the latest ordinals were there already.
#[derive(Default)]
pub(crate) struct Window {
    highest: i64,
    seen: u64, // bit i: highest - i
}

impl Window {
    /// Notes an ordinal, and tells whether it is certain that it was not there.
    fn add(&mut self, n: i64) -> bool {
        if n > self.highest {
            let ahead = u32::try_from(n - self.highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = n;
            return true;
        }
        let behind = u32::try_from(self.highest - n).unwrap_or(u32::MAX);
        let bit = 1_u64.checked_shl(behind).unwrap_or(0); // 0 where it is too long ago
        if bit == 0 || self.seen & bit != 0 {
            return false;
        }
        self.seen |= bit;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    /// Red when: an ordinal counts as new a second time, or one that is too long ago
    /// counts as new.
    #[test]
    fn window_knows_the_latest_ordinals() {
        let mut w = Window::default();
        assert!(w.add(1) && w.add(3) && w.add(2));
        assert!(!w.add(1) && !w.add(2) && !w.add(3));
        assert!(w.add(66));
        assert!(!w.add(2), "too long ago to be certain");
        assert!(!w.add(3) && w.add(4));
        assert!(w.add(i64::MAX) && !w.add(66));
    }
}
