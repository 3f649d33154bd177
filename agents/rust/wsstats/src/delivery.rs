//! What is sent in a session, and what its answers mean.

use std::time::{Duration, Instant};

use crate::backoff::milliseconds;
use crate::clock::unix_now;
use crate::link::{MAX_NUMBERS, Number};
use crate::ring::Reason;
use crate::session::{End, Ending, Session};
use crate::wire::reply::{Flow, Rejected, Reply, Welcome};
use crate::wire::sampling::parse_threshold;

const MIN_MESSAGE_BYTES: i64 = 1 << 10; // no receiver may ask for less
const MAX_ENTRIES: usize = 512; // connections restated in one message
const MAX_HEARTBEAT: f64 = 60.0; // s
const MIN_HEARTBEAT: Duration = Duration::from_millis(10);
// What a welcome that leaves them out means: the protocol's defaults.
const DEFAULT_MESSAGE_BYTES: usize = 4 << 20;
const DEFAULT_MAX_EVENTS: usize = 8192;

impl Session<'_> {
    /// Writes at most one message, and tells whether it did.
    pub(crate) async fn send(&mut self, now: Instant) -> bool {
        self.due_at = None;
        if self.welcomed_at.is_none() || self.goaway.is_some() || self.broken.is_some() || self.closed {
            return false;
        }
        if self.retry_at.is_some_and(|at| now < at) {
            self.due_at = self.retry_at;
            return false;
        }
        if !self.restating.is_empty() {
            return self.restate().await;
        }
        if self.sent == self.link.numbers.len() && !self.cut(now) {
            return false;
        }
        let i = self.sent;
        let Some(n) = self.link.numbers.get(i) else { return false };
        if self.encoded != n.seq {
            self.encode(i);
            if self.link.numbers.get(i).is_some_and(|n| n.rows > 0 && n.bytes > self.max_bytes) {
                // It was sent before: to another receiver, in another encoding, or with less to define.
                self.refit();
                self.encode(i);
            }
        }
        let Some(n) = self.link.numbers.get_mut(i) else { return false };
        // A message is never over the limit of one, which no open window is below.
        let window = usize::try_from(self.window).unwrap_or(0);
        if window == 0 || self.outstanding > 0 && self.outstanding.saturating_add(n.bytes) > window {
            return false;
        }
        n.sent_at = now;
        self.encoded = 0;
        self.link.sent_up_to = self.link.sent_up_to.max(n.seq);
        self.outstanding += n.bytes;
        self.sent += 1;
        self.link.enc.sent(&self.link.scratch);
        self.write().await
    }

    /// Makes the message of the i-th unanswered number anew.
    fn encode(&mut self, i: usize) {
        let offset = self.link.offset(i);
        let link = &mut *self.link;
        let Some(n) = link.numbers.get_mut(i) else { return };
        link.agent.state.lock().ring.copy_to(&mut link.scratch, offset, n.rows);
        let fits = link.enc.batch(n.seq, &link.scratch, &n.dropped, n.threshold);
        // With more handles than there are it is over every limit.
        n.bytes = if fits { link.enc.buf.len() } else { usize::MAX };
        self.encoded = n.seq;
    }

    /// Makes a number of what waits, if it is due and the window is open.
    fn cut(&mut self, now: Instant) -> bool {
        if self.window <= 0 || self.link.numbers.len() >= MAX_NUMBERS || !self.due(now) {
            return false;
        }
        let cfg = &self.link.agent.cfg;
        let (max_events, max_bytes) = (cfg.max_events.min(self.max_events), cfg.max_bytes.min(self.max_bytes));
        let (rows, dropped, mut all, threshold) = {
            let mut state = self.link.agent.state.lock();
            let rows = state.ring.take(max_events, max_bytes);
            let (alone, current) = (!state.ring.waits(), state.rules.threshold);
            let threshold = state.ring.meter.as_mut().map_or(0, |meter| meter.numbered(alone, current));
            (rows, state.ring.report(), !state.ring.has_more(), threshold)
        };
        let seq = self.link.next;
        self.link.next += 1;
        self.link.numbers.push_back(Number { seq, rows, bytes: 0, threshold, dropped, sent_at: now });
        let last = self.link.numbers.len() - 1;
        loop {
            self.encode(last);
            let Some(n) = self.link.numbers.get_mut(last) else { break };
            if n.bytes <= self.max_bytes || n.rows == 0 {
                break;
            }
            if n.rows == 1 {
                self.link.drop_number(last, Reason::Oversize);
                continue;
            }
            // It was not sent yet: it may still stand for less.
            let half = n.rows / 2;
            let mut state = self.link.agent.state.lock();
            state.ring.release(n.rows - half);
            if let Some(meter) = &mut state.ring.meter {
                meter.put_back(threshold);
            }
            drop(state);
            n.rows = half;
            all = false;
        }
        if all {
            self.link.since = None; // else what is left is no younger, and follows at its time
        }
        true
    }

    /// Tells whether a batch is to be sent now, and else notes when.
    fn due(&mut self, now: Instant) -> bool {
        let agent = &self.link.agent;
        let mut state = agent.state.lock();
        if !state.ring.has_more() && !state.ring.unreported() {
            self.link.since = None;
            return false;
        }
        let at = *self.link.since.get_or_insert(now) + agent.cfg.max_delay;
        self.due_at = Some(at);
        if state.closing || state.ring.hurries() || now >= at {
            state.ring.seal(unix_now());
            if state.ring.waits() || state.ring.unreported() {
                return true;
            }
            self.due_at = None; // there is room when something is answered
            return false;
        }
        agent.full(&state)
    }

    /// Tells whether a shutdown was begun and nothing is left to do.
    pub(crate) fn drained(&self) -> bool {
        let state = self.link.agent.state.lock();
        state.closing && state.ring.is_empty() && self.link.numbers.is_empty() && !state.ring.unreported()
    }

    /// Declares some of the connections that are to be restated.
    async fn restate(&mut self) -> bool {
        let mut k = self.restating.len().min(MAX_ENTRIES).min(self.max_events);
        let conns = loop {
            let conns = self.restating.split_off(self.restating.len() - k);
            self.link.enc.restate(&conns);
            if self.link.enc.buf.len() <= self.max_bytes || k == 1 {
                break conns;
            }
            self.restating.extend(conns);
            k /= 2;
        };
        for conn in &conns {
            conn.declared.store(self.link.enc.session, std::sync::atomic::Ordering::Relaxed);
        }
        self.link.enc.buf.len() > self.max_bytes || self.write().await
    }

    /// Takes what came from the receiver; not none: the session is over.
    pub(crate) async fn handle(&mut self, message: Result<Reply, End>) -> Option<Ending> {
        let result = message.and_then(|reply| {
            self.heard = Instant::now();
            self.take(reply)
        });
        match result {
            Ok(()) => None,
            Err(end) => Some(self.read_end(end).await),
        }
    }

    fn take(&mut self, r: Reply) -> Result<(), End> {
        if let Some(w) = &r.welcome {
            return self.welcome(w);
        }
        if r.ack > 0 {
            return self.ack(r.ack, r.rejected.as_ref());
        }
        if r.nack > 0 {
            return self.nack(&r);
        }
        if let Some(flow) = &r.flow {
            self.flow(flow);
        } else if let Some(error) = &r.error {
            self.link.complain(&format!("wsstats: receiver: {}: {}", error.code, error.message), "");
        } else if let (Some(goaway), None) = (&r.goaway, self.goaway) {
            self.goaway = Some(goaway.reconnect_after_ms);
            self.leave_at = Some(self.heard + self.link.agent.cfg.timing.goaway);
        }
        Ok(())
    }

    fn welcome(&mut self, w: &Welcome) -> Result<(), End> {
        if self.welcomed_at.is_some() {
            return Err(End::Violation(1008, "expected one welcome"));
        }
        if w.resume_after > self.link.sent_up_to {
            // Somebody else counts under this instance: its numbers would hide ours.
            self.link.renew();
            return Err(End::Violation(1008, "resume_after is beyond what was sent"));
        }
        self.welcomed_at = Some(self.heard);
        {
            let mut state = self.link.agent.state.lock();
            state.sessions += 1;
            if let Some(threshold) = parse_threshold(&w.sampling_threshold) {
                state.rules.threshold = threshold;
            }
            state.rules.by_connection = w.sampling_scope == "connection";
            state.rules.handshake_traces = w.trace_mode == "connection";
            if let Some(mut meter) = state.ring.meter.take() {
                meter.learn(w.dimensions.as_deref().unwrap_or_default(), &state.ring);
                state.ring.meter = Some(meter);
            }
        }
        self.window = w.window_bytes;
        (self.max_events, self.max_bytes) = (DEFAULT_MAX_EVENTS, DEFAULT_MESSAGE_BYTES);
        if w.max_events > 0 {
            self.max_events = usize::try_from(w.max_events).unwrap_or(usize::MAX);
        }
        if w.max_message_bytes > 0 {
            let bytes = w.max_message_bytes.clamp(MIN_MESSAGE_BYTES, 1 << 30);
            self.max_bytes = usize::try_from(bytes).unwrap_or(DEFAULT_MESSAGE_BYTES);
        }
        if w.heartbeat_s > 0.0 {
            self.silence = 3 * Duration::from_secs_f64(w.heartbeat_s.min(MAX_HEARTBEAT)).max(MIN_HEARTBEAT);
        }
        for seq in &w.refused {
            // Their nacks may be lost, and resume_after covers them.
            if let Some(i) = self.link.numbers.iter().position(|n| n.seq == *seq) {
                self.refused(i);
            }
        }
        self.link.acknowledge(w.resume_after);
        if self.link.numbers.iter().any(|n| n.rows > self.max_events) {
            self.refit();
        }
        self.find_restating();
        Ok(())
    }

    fn flow(&mut self, f: &Flow) {
        self.window = f.window_bytes.unwrap_or(self.window);
        if let Some(threshold) = parse_threshold(&f.sampling_threshold) {
            self.link.agent.state.lock().rules.threshold = threshold;
        }
    }

    /// Empties the numbers that are to be sent and are over the receiver's limits; their
    /// records get new ones. From the last to the first, so that the records keep their
    /// order. How long a message is now is known only when it is encoded.
    fn refit(&mut self) {
        for i in (self.sent..self.link.numbers.len()).rev() {
            let Some(rows) = self.link.numbers.get(i).map(|n| n.rows) else { continue };
            if rows == 0 {
                continue;
            }
            if rows <= self.max_events {
                self.encode(i);
                if self.link.numbers.get(i).is_some_and(|n| n.bytes <= self.max_bytes) {
                    continue;
                }
            }
            let offset = self.link.offset(i);
            let Some(n) = self.link.numbers.get_mut(i) else { continue };
            let mut state = self.link.agent.state.lock();
            state.ring.put_back(offset, rows);
            if let Some(meter) = &mut state.ring.meter {
                meter.put_back(n.threshold);
            }
            n.rows = 0;
        }
        self.encoded = 0;
    }

    /// Finds the connections that are open or that an unanswered number names.
    fn find_restating(&mut self) {
        self.link.enc.begin_mentions();
        let state = self.link.agent.state.lock();
        let numbered = state.ring.numbered().filter_map(|r| r.conn.as_ref());
        let conns = state.conns.values().chain(numbered).filter(|conn| self.link.enc.mention(conn));
        self.restating = conns.cloned().collect();
    }

    /// The highest number that the receiver may speak of.
    fn up_to(&self) -> u64 {
        let last = self.sent.checked_sub(1).and_then(|last| self.link.numbers.get(last));
        last.map_or(self.link.taken, |n| n.seq)
    }

    fn ack(&mut self, seq: u64, rejected: Option<&Rejected>) -> Result<(), End> {
        if seq > self.up_to() {
            return Err(End::Violation(1008, "ack of a number that was not sent"));
        }
        if seq <= self.link.taken {
            return Ok(());
        }
        if let Some(rejected) = rejected.filter(|rejected| rejected.count > 0) {
            let rows = self.link.numbers.iter().find(|n| n.seq == seq).map_or(0, |n| n.rows as u64);
            let count = rejected.count.min(rows);
            self.link.agent.state.lock().ring.rejected += count;
            tracing::debug!(count, first = rejected.first, "wsstats: receiver rejected events");
        }
        self.answered(seq);
        if !self.link.complaint.is_empty() {
            self.link.complaint.clear();
            tracing::info!("wsstats: receiver takes events again");
        }
        Ok(())
    }

    /// Frees the numbers up to seq, and their part of the window.
    fn answered(&mut self, seq: u64) {
        let (k, size) = self.link.acknowledge(seq);
        self.sent = self.sent.saturating_sub(k);
        self.outstanding = self.outstanding.saturating_sub(size);
        self.link.suspicions = 0;
    }

    fn nack(&mut self, r: &Reply) -> Result<(), End> {
        if r.nack > self.up_to() {
            if self.sent == 0 && !self.link.numbers.is_empty() && r.nack <= self.link.sent_up_to {
                return Ok(()); // nacked already, and not sent again yet
            }
            return Err(End::Violation(1008, "nack of a number that was not sent"));
        }
        if r.nack <= self.link.taken {
            return Ok(());
        }
        self.answered(r.nack - 1);
        self.link.enc.forget();
        self.encoded = 0;
        if r.retryable {
            self.link.agent.state.lock().nacks += 1;
            (self.sent, self.outstanding) = (0, 0);
            let t = &self.link.agent.cfg.timing;
            self.retry_at = Some(self.heard + milliseconds(r.retry_after_ms, t.min_nack_retry, t.max_retry));
            return Ok(());
        }
        self.link.complain(&format!("wsstats: receiver refused events: {}: {}", r.code, r.message), "");
        self.refused(0);
        self.answered(r.nack);
        Ok(())
    }

    /// Drops the events of the i-th number, which the receiver refused for good.
    fn refused(&mut self, i: usize) {
        let Some(n) = self.link.numbers.get(i) else { return };
        // What told of drops alone is not told again: it would be refused for ever.
        if n.rows > 0 {
            self.link.agent.state.lock().ring.unreport(&n.dropped);
            self.link.drop_number(i, Reason::Refused);
        }
    }
}
