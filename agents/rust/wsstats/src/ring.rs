//! The queue of records.

use std::collections::VecDeque;
use std::mem::size_of;

use opentelemetry::{Array, KeyValue, Value};
use tokio::sync::oneshot;

use crate::meter::Meter;
use crate::record::{Record, Sealed};
use crate::wire::attr::Attr;
use crate::wire::id::SpanIds;
use crate::wire::kind::Kind;
use crate::wire::message::Event;

/// Why an event was dropped. The names are the values of the attribute `reason` of
/// `ws.agent.dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Reason {
    QueueFull,
    Oversize,
    Refused,
    Poison,
    Shutdown,
}

/// Dropped events by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// There was no room in the queue.
    pub queue_full: u64,
    /// One event alone was over the receiver's limit of a message.
    pub oversize: u64,
    /// The receiver refused its batch for good.
    pub refused: u64,
    /// The link broke on its batch three times in a row.
    pub poison: u64,
    /// It was not acknowledged by the end of the shutdown, or recorded after its beginning.
    pub shutdown: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full + self.oversize + self.refused + self.poison + self.shutdown
    }

    /// Those above 0, by the names of the reasons.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("queue_full", self.queue_full),
            ("oversize", self.oversize),
            ("refused", self.refused),
            ("poison", self.poison),
            ("shutdown", self.shutdown),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
    }

    fn of(&mut self, why: Reason) -> &mut u64 {
        match why {
            Reason::QueueFull => &mut self.queue_full,
            Reason::Oversize => &mut self.oversize,
            Reason::Refused => &mut self.refused,
            Reason::Poison => &mut self.poison,
            Reason::Shutdown => &mut self.shutdown,
        }
    }

    /// What was dropped since an earlier count.
    fn since(&self, earlier: &Dropped) -> Dropped {
        Dropped {
            queue_full: self.queue_full - earlier.queue_full,
            oversize: self.oversize - earlier.oversize,
            refused: self.refused - earlier.refused,
            poison: self.poison - earlier.poison,
            shutdown: self.shutdown - earlier.shutdown,
        }
    }
}

/// The queue of records, bounded in bytes: first those that numbers stand for (sent or
/// about to be), then those that wait. Records leave at the front when their number is
/// answered.
pub(crate) struct Ring {
    rows: VecDeque<Record>,
    numbered: usize, // how many, from the oldest on, numbers stand for
    urgent: usize,   // how many, from the oldest on, are due without waiting for more

    bytes: usize, // memory of what is held
    max_bytes: usize,
    waiting: usize, // estimated JSON bytes of what is not numbered

    pub(crate) observed: u64,
    pub(crate) acknowledged: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: Dropped,
    reported: Dropped, // of dropped: told to the receiver, or about to be

    flushes: Vec<Flush>,

    left: u64,                       // messages that nothing but the stats held tells of
    pub(crate) meter: Option<Meter>, // of an agent that aggregates
}

/// Waits until the oldest remaining records have left the ring.
struct Flush {
    remaining: usize,
    done: oneshot::Sender<()>, // dropped: they have
}

const ROW_BYTES: usize = size_of::<Record>();
const MIN_ROWS: usize = 64;

impl Record {
    /// What the record holds in the ring, bytes.
    pub(crate) fn memory(&self) -> usize {
        let mut n = ROW_BYTES;
        if let Some(stat) = &self.stat {
            n += size_of::<Sealed>()
                + size_of_val(stat.histogram.buckets.as_slice())
                + attribute_bytes(&stat.dimensions);
        }
        if let Some(attributes) = &self.attributes {
            n += attribute_bytes(attributes);
        }
        if self.active.is_some() {
            n += size_of::<SpanIds>();
        }
        if let Some(extra) = &self.extra {
            n += size_of::<Event>() + size_of_val(extra.attrs.known()) + event_bytes(extra);
        }
        n
    }

    /// Estimates the record's JSON form, on the high side.
    fn json_bytes(&self) -> usize {
        let mut n = 224;
        if let Some(stat) = &self.stat {
            n += 256 + 21 * stat.histogram.buckets.len() + attribute_bytes(&stat.dimensions);
        }
        if let Some(attributes) = &self.attributes {
            n += attribute_bytes(attributes);
        }
        if self.active.is_some() {
            n += 144;
        }
        if let Some(extra) = &self.extra {
            n += 800 + 2 * event_bytes(extra);
        }
        n
    }

    /// Tells whether the record is one of many alike, which is dropped before what happens
    /// once in a connection's life.
    fn is_sample(&self) -> bool {
        self.stat.is_none() && !matches!(self.kind, Kind::Handshake | Kind::Close | Kind::Error | Kind::ProtocolError)
    }

    /// How many observed things end with the record: a stat takes with it the messages that
    /// nothing else tells of.
    fn weight(&self) -> u64 {
        1 + self.stat.as_ref().map_or(0, |stat| stat.left)
    }
}

fn event_bytes(e: &Event) -> usize {
    let texts = e.attrs.text(Attr::ErrorMessage).len() + e.attrs.text(Attr::CloseReason).len();
    e.tracestate.len() + e.links.len() * 64 + texts + attribute_bytes(&e.attrs.user)
}

pub(crate) fn attribute_bytes(attributes: &[KeyValue]) -> usize {
    attributes.iter().map(|kv| size_of::<KeyValue>() + kv.key.as_str().len() + value_bytes(&kv.value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::String(texts)) => texts.iter().map(|text| size_of::<Value>() + text.as_str().len()).sum(),
        Value::Array(Array::Bool(values)) => values.len(),
        Value::Array(Array::I64(values)) => size_of_val(values.as_slice()),
        Value::Array(Array::F64(values)) => size_of_val(values.as_slice()),
        _ => 0,
    }
}

impl Ring {
    pub(crate) fn new(max_bytes: usize) -> Ring {
        Ring {
            rows: VecDeque::new(),
            numbered: 0,
            urgent: 0,
            bytes: 0,
            max_bytes,
            waiting: 0,
            observed: 0,
            acknowledged: 0,
            rejected: 0,
            dropped: Dropped::default(),
            reported: Dropped::default(),
            flushes: Vec::new(),
            left: 0,
            meter: None,
        }
    }

    /// How many observed things are held.
    pub(crate) fn held(&self) -> u64 {
        self.rows.len() as u64 + self.left + self.meter.as_ref().map_or(0, |meter| meter.left)
    }

    /// Tells whether there is anything that no number stands for.
    pub(crate) fn has_more(&self) -> bool {
        self.waits() || self.meter.as_ref().is_some_and(Meter::waits)
    }

    /// Tells whether nothing is left to tell the receiver.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.has_more()
    }

    /// Tells whether a record waits for a number.
    pub(crate) fn waits(&self) -> bool {
        self.rows.len() > self.numbered
    }

    /// How many records wait for a number.
    pub(crate) fn waiting_rows(&self) -> usize {
        self.rows.len() - self.numbered
    }

    /// About how many bytes of JSON wait for a number.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Tells whether records that wait for a number are due at once.
    pub(crate) fn hurries(&self) -> bool {
        self.urgent > self.numbered
    }

    /// The records that numbers stand for.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = &Record> {
        self.rows.iter().take(self.numbered)
    }

    /// Adds a record, or drops it or older ones where there is no room.
    pub(crate) fn push(&mut self, r: Record) {
        self.observed += 1;
        let size = r.memory();
        if self.bytes + size > self.max_bytes && (r.is_sample() || !self.make_room(size)) {
            self.evict(&r);
            return;
        }
        self.add(r, size);
    }

    /// Adds a stat, with the messages that it alone tells of; they were observed before it.
    /// Tells whether there was room, which an empty queue always has.
    pub(crate) fn push_stat(&mut self, r: Record) -> bool {
        let size = r.memory();
        if !self.rows.is_empty() && self.bytes + size > self.max_bytes && !self.make_room(size) {
            return false;
        }
        self.observed += 1;
        self.left += r.weight() - 1;
        self.add(r, size);
        true
    }

    /// Drops a record for want of room.
    fn evict(&mut self, r: &Record) {
        if let Some(meter) = &mut self.meter {
            meter.evicted(r);
        }
        self.lose(r, Reason::QueueFull);
    }

    /// Puts what is measured into the queue, as far as there is room, and tells whether that
    /// was all.
    pub(crate) fn seal(&mut self, now: i64) -> bool {
        let Some(mut meter) = self.meter.take() else { return true };
        let all = !meter.waits() || meter.seal(self, now);
        self.meter = Some(meter);
        all
    }

    /// All records, from the oldest on.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Record> {
        self.rows.iter()
    }

    fn add(&mut self, r: Record, size: usize) {
        if self.rows.len() == self.rows.capacity() {
            let most = MIN_ROWS.max(self.max_bytes / ROW_BYTES);
            let rows = (2 * self.rows.len()).clamp(MIN_ROWS, most);
            self.rows.reserve_exact(rows.saturating_sub(self.rows.len()));
        }
        self.bytes += size;
        self.waiting += r.json_bytes();
        self.rows.push_back(r);
    }

    /// Drops the oldest samples that no number stands for, an eighth of the ring at once:
    /// their places are closed by moving all later records, which would cost too much for
    /// one at a time.
    fn make_room(&mut self, size: usize) -> bool {
        let target = self.bytes.min(self.max_bytes.saturating_sub(size.max(self.max_bytes / 8)));
        let (mut kept, mut at) = (0, 0);
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain(|r| {
            let drop = at >= self.numbered && self.bytes > target && r.is_sample();
            at += 1;
            if drop {
                self.bytes -= r.memory();
                self.waiting -= r.json_bytes();
                self.evict(r);
                self.passed(kept, 1);
            } else {
                kept += 1;
            }
            !drop
        });
        self.rows = rows;
        self.bytes + size <= self.max_bytes
    }

    /// Counts a record as dropped.
    pub(crate) fn lose(&mut self, r: &Record, why: Reason) {
        *self.dropped.of(why) += r.weight();
    }

    /// Lets the next number stand for up to so many waiting records of about so many bytes
    /// of JSON, at least one where there is one, and returns how many.
    pub(crate) fn take(&mut self, max_rows: usize, max_bytes: usize) -> usize {
        let (mut k, mut size) = (0, 0);
        for r in self.rows.iter().skip(self.numbered).take(max_rows) {
            size += r.json_bytes();
            if k > 0 && size > max_bytes {
                break;
            }
            k += 1;
        }
        self.set_numbered(self.numbered + k);
        k
    }

    /// Moves the border between the numbered and the waiting records.
    pub(crate) fn set_numbered(&mut self, numbered: usize) {
        let bytes = |rows: &VecDeque<Record>, from: usize, to: usize| -> usize {
            rows.range(from..to.max(from)).map(Record::json_bytes).sum()
        };
        self.waiting += bytes(&self.rows, numbered, self.numbered);
        self.waiting -= bytes(&self.rows, self.numbered, numbered);
        self.numbered = numbered;
    }

    /// Moves the border so many records towards the oldest one.
    pub(crate) fn release(&mut self, k: usize) {
        self.set_numbered(self.numbered - k);
    }

    /// Copies k records from the i-th on.
    pub(crate) fn copy_to(&self, to: &mut Vec<Record>, i: usize, k: usize) {
        to.clear();
        to.extend(self.rows.iter().skip(i).take(k).cloned());
    }

    /// Takes out the k oldest records, which the receiver took.
    pub(crate) fn acknowledge(&mut self, k: usize) {
        let weight: u64 = self.rows.iter().take(k).map(Record::weight).sum();
        self.acknowledged += weight;
        self.remove(0, k);
    }

    /// Gives up k numbered records from the i-th on.
    pub(crate) fn drop_rows(&mut self, i: usize, k: usize, why: Reason) {
        let weight: u64 = self.rows.iter().skip(i).take(k).map(Record::weight).sum();
        *self.dropped.of(why) += weight;
        self.remove(i, k);
    }

    /// Takes out k numbered records from the i-th on.
    fn remove(&mut self, i: usize, k: usize) {
        for r in self.rows.drain(i..i + k) {
            self.bytes -= r.memory();
            self.left -= r.weight() - 1;
        }
        self.numbered -= k;
        self.passed(i, k);
    }

    /// Makes k numbered records from the i-th on the first that wait.
    pub(crate) fn put_back(&mut self, i: usize, k: usize) {
        if let Some(rows) = self.rows.make_contiguous().get_mut(i..self.numbered) {
            rows.rotate_left(k);
        }
        for f in &mut self.flushes {
            if f.remaining > i {
                // Some that it waits for may have moved behind others.
                f.remaining = f.remaining.max(self.numbered);
            }
        }
        if self.urgent > i {
            self.urgent = self.urgent.max(self.numbered);
        }
        self.release(k);
    }

    /// Tells the flushes that k records from the i-th on have left.
    fn passed(&mut self, i: usize, k: usize) {
        let less = |n: usize| if n > i { i.max(n.saturating_sub(k)) } else { n };
        self.urgent = less(self.urgent);
        for f in &mut self.flushes {
            f.remaining = less(f.remaining);
        }
        // One that is dropped is over.
        self.flushes.retain(|f| f.remaining > 0);
    }

    /// Makes all that is held urgent and returns what waits for it; none: nothing is held.
    pub(crate) fn flush(&mut self) -> Option<oneshot::Receiver<()>> {
        self.flushes.retain(|f| !f.done.is_closed());
        self.urgent = self.rows.len();
        if self.rows.is_empty() {
            return None;
        }
        let (done, wait) = oneshot::channel();
        self.flushes.push(Flush { remaining: self.rows.len(), done });
        Some(wait)
    }

    /// Tells whether a drop waits to be told to the receiver. What a shutdown drops comes
    /// too late to be told, and is no reason to go on.
    pub(crate) fn unreported(&self) -> bool {
        self.dropped != Dropped { shutdown: self.dropped.shutdown, ..self.reported }
    }

    /// What was dropped since the last report.
    pub(crate) fn report(&mut self) -> Dropped {
        let since = self.dropped.since(&self.reported);
        self.reported = self.dropped;
        since
    }

    /// Takes a report back: the number that carried it was not taken.
    pub(crate) fn unreport(&mut self, report: &Dropped) {
        self.reported = self.reported.since(report);
    }

    /// Drops all that is held, as a shutdown's, and returns how much that was.
    pub(crate) fn discard(&mut self) -> u64 {
        let before = self.dropped.shutdown;
        self.set_numbered(self.rows.len());
        self.drop_rows(0, self.rows.len(), Reason::Shutdown);
        self.rows = VecDeque::new();
        self.dropped.shutdown += self.meter.as_mut().map_or(0, Meter::discard);
        self.dropped.shutdown - before
    }
}
