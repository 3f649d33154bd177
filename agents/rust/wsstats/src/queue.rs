//! Messages that a library has taken to send, and may write later.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::adapter::Observed;
use crate::context::{current_context, span_in};
use crate::observation::State;
use crate::record::Record;
use crate::sending::Sending;

/// Bounds the messages that were taken, are not written, and have something told of them.
/// What is told of more is lost.
pub(crate) const MAX_TOLD: usize = 4096;

/// What was told of the messages that a library has taken.
#[derive(Default)]
pub(crate) struct Queue {
    taken: i64,                     // ordinal of the latest one
    told: VecDeque<(i64, Sending)>, // by ordinal; most have nothing told of them
}

impl Observed {
    /// Tells that the library has taken a text or binary message to send, whose bytes it
    /// may write later and with those of others. The span that is active becomes a link
    /// of the send; what [`Connection::sending`](crate::Connection::sending) told is of
    /// this message. It is called in the order in which the messages are written, just
    /// before the library gets one.
    pub fn taken(&self) {
        let Some(observed) = self.connection().observed() else { return };
        let active = span_in(&current_context()).map(Arc::new);
        let mut state = observed.state.lock();
        if state.done {
            return;
        }
        let state = &mut *state;
        let queue = &mut state.queue;
        queue.taken = queue.taken.max(state.sent.messages) + 1;
        let sending = state.sending.take(active);
        if queue.told.len() < MAX_TOLD && !sending.is_empty() {
            queue.told.push_back((queue.taken, sending));
        }
    }

    /// Takes the latest [`Observed::taken`] back: the library has refused the message.
    pub fn returned(&self) {
        let Some(observed) = self.connection().observed() else { return };
        let mut state = observed.state.lock();
        let state = &mut *state;
        let queue = &mut state.queue;
        if queue.told.back().is_some_and(|(ordinal, _)| *ordinal == queue.taken) {
            if let Some((_, sending)) = queue.told.pop_back() {
                state.sending.put_back(sending);
            }
        }
        queue.taken -= 1;
    }
}

impl State {
    /// Puts into the record of a message that was written what was told of it, and tells
    /// whether it is to be recorded.
    pub(crate) fn tell(&mut self, r: &mut Record) -> bool {
        if r.seq > self.queue.taken {
            return self.sending.tell(r, Vec::new());
        }
        match self.queue.told.front_mut() {
            Some((ordinal, sending)) if *ordinal == r.seq => {
                let recorded = sending.tell(r, Vec::new());
                self.queue.told.pop_front();
                recorded
            }
            _ => true,
        }
    }
}
