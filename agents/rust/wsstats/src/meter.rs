//! Measures the messages of an agent that aggregates.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use opentelemetry::{Array, KeyValue, Value};

use crate::histogram::Histogram;
use crate::measured::{Label, Measured};
use crate::record::{Record, Sealed};
use crate::ring::{Ring, attribute_bytes};
use crate::sampling::Sampling;
use crate::spanrules::SpanRules;
use crate::wire::kind::Kind;

/// Measures the messages of an agent that aggregates (docs/protocol.md, "Stats"): each one
/// counts in the series of its attributes until the series are put into the queue. While the
/// receiver cannot be reached they go on counting, so that no outage loses a count.
pub(crate) struct Meter {
    pub(crate) sampling: Sampling,

    known: bool,             // the receiver has said by which dimensions
    dimensions: Vec<String>, // attributes of the user that series are kept apart by
    series: Vec<Series>,
    index: HashMap<Vec<u8>, usize>, // of series, by their labels and dimensions
    waiting: Vec<usize>,            // of series that have counted something, in this order
    pub(crate) left: u64,           // messages that nothing but these tells of
    bytes: usize,                   // memory of the series
    max_bytes: usize,

    /// Changes when series are let go of or kept apart by others.
    generation: u64,

    key: Vec<u8>, // scratch
}

/// A metric that agents may aggregate themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Metric {
    MessageSize,         // By
    ProcessingTime,      // s
    QueueSize,           // {message}
    BroadcastRecipients, // {connection}
}

impl Metric {
    /// The name of the metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Metric::MessageSize => "ws.message.size",
            Metric::ProcessingTime => "ws.processing.time",
            Metric::QueueSize => "ws.queue.size",
            Metric::BroadcastRecipients => "ws.broadcast.recipients",
        }
    }
}

/// The attributes of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) metric: Metric,
    pub(crate) role: Label,
    pub(crate) dir: Label,
    pub(crate) typ: Label,
}

/// The observations of one metric with one set of attributes.
struct Series {
    histogram: Histogram,
    labels: Labels,
    dimensions: Vec<KeyValue>,
    start: i64, // Unix ns: when the first of them began
    left: u64,  // of them: messages that nothing else tells of
}

/// A series that a connection remembers for one direction, to look it up once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    series: usize,
    labels: Labels,
    generation: u64,
}

const SERIES_BYTES: usize = size_of::<Series>() + 64; // and its place in the index
const PLAIN_KEY: usize = 4; // bytes of a key without dimensions

/// Tells whether the receiver leaves an event of the kind to stats.
fn is_measured(kind: Kind) -> bool {
    matches!(kind, Kind::Send | Kind::Receive | Kind::Message | Kind::Process | Kind::Broadcast | Kind::BatchSend)
}

impl Meter {
    pub(crate) fn new(limit: u32, max_bytes: usize) -> Meter {
        Meter {
            sampling: Sampling::new(limit),
            known: false,
            dimensions: Vec::new(),
            series: Vec::new(),
            index: HashMap::new(),
            waiting: Vec::new(),
            left: 0,
            bytes: 0,
            max_bytes,
            generation: 1,
            key: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.bytes
    }

    /// Tells whether anything was counted that is not in the queue.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Measures a record, and tells whether it is left out: there is nothing more to tell of
    /// it. Until the dimensions are known all records are kept, to be measured then.
    pub(crate) fn take(&mut self, r: &Record, rules: &SpanRules) -> bool {
        if !self.known || !is_measured(r.kind) {
            return false;
        }
        self.sampling.count(r.time.saturating_add(r.duration.max(0)), rules.threshold);
        let seen = Measured::of(r);
        let (Some(series), Some(conn)) = (self.measure(r, &seen), &r.conn) else { return false };
        if !self.sampling.leave(conn, r.kind, &seen, rules) {
            return false;
        }
        if let Some(series) = self.series.get_mut(series) {
            series.left += 1;
        }
        self.left += 1;
        true
    }

    /// Counts what a record tells, and returns where the message or its processing counted;
    /// none where it tells of neither.
    fn measure(&mut self, r: &Record, seen: &Measured) -> Option<usize> {
        let labels = |metric, role, dir, typ| Labels { metric, role, dir, typ };
        let none = Label::default();
        let mut counted = None;
        if seen.messages > 0 {
            let labels = labels(Metric::MessageSize, seen.role, seen.dir, seen.typ);
            counted = Some(self.observe(r, labels, seen.size, seen.messages));
        }
        if let Some(seconds) = seen.seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
            counted = Some(self.observe(r, labels(Metric::ProcessingTime, none, none, seen.typ), Some(seconds), 1));
        }
        if let Some(recipients) = seen.recipients {
            self.observe(r, labels(Metric::BroadcastRecipients, none, none, none), Some(recipients as f64), 1);
        }
        if let Some(queue) = seen.queue {
            self.observe(r, labels(Metric::QueueSize, seen.role, none, none), Some(queue as f64), 1);
        }
        counted
    }

    fn observe(&mut self, r: &Record, labels: Labels, v: Option<f64>, n: u64) -> usize {
        let at = self.find(r, labels);
        if let Some(series) = self.series.get_mut(at) {
            if series.histogram.count == 0 {
                series.start = r.time;
                self.waiting.push(at);
            }
            let held = series.histogram.buckets.capacity();
            series.histogram.observe(v, n);
            self.bytes += (series.histogram.buckets.capacity() - held) * size_of::<u64>();
        }
        at
    }

    /// Finds the series of these labels and the record's dimensions. Those of messages
    /// without attributes of their own are their connection's.
    fn find(&mut self, r: &Record, labels: Labels) -> usize {
        let (Some(conn), Metric::MessageSize, None, None) = (&r.conn, labels.metric, &r.attributes, &r.extra) else {
            return self.search(r, labels);
        };
        let [sent, received] = &mut *conn.recent.lock();
        let recent = if labels.dir == Label(3) { sent } else { received };
        match recent {
            Some(recent) if recent.labels == labels && recent.generation == self.generation => recent.series,
            _ => {
                let series = self.search(r, labels);
                *recent = Some(Recent { series, labels, generation: self.generation });
                series
            }
        }
    }

    /// Finds or makes a series, one without the dimensions where there are too many already.
    fn search(&mut self, r: &Record, labels: Labels) -> usize {
        self.key.clear();
        self.key.extend_from_slice(&[labels.metric as u8, labels.role.0, labels.dir.0, labels.typ.0]);
        let mut stated = false;
        for name in &self.dimensions {
            let value = look_up(name, r);
            stated |= value.is_some();
            append_key(&mut self.key, value);
        }
        if !stated {
            self.key.truncate(PLAIN_KEY);
        }
        if let Some(series) = self.index.get(&self.key) {
            return *series;
        }
        let mut dimensions = Vec::new();
        let mut size = SERIES_BYTES + 2 * self.key.len();
        if stated {
            let stated = self.dimensions.iter().filter_map(|name| Some((name, look_up(name, r)?)));
            dimensions = stated.map(|(name, value)| KeyValue::new(name.clone(), value.clone())).collect();
            size += attribute_bytes(&dimensions);
        }
        if stated && self.bytes + size > self.max_bytes {
            self.key.truncate(PLAIN_KEY);
            dimensions = Vec::new();
            if let Some(series) = self.index.get(&self.key) {
                return *series;
            }
            size = SERIES_BYTES;
        }
        self.series.push(Series { histogram: Histogram::default(), labels, dimensions, start: 0, left: 0 });
        self.index.insert(self.key.clone(), self.series.len() - 1);
        self.bytes += size;
        self.series.len() - 1
    }

    /// Puts into the queue what was counted until now (Unix ns), as far as there is room, and
    /// tells whether that was all. Where the queue is empty there is room for one at least.
    pub(crate) fn seal(&mut self, ring: &mut Ring, now: i64) -> bool {
        let mut done = 0;
        for at in &self.waiting {
            let Some(series) = self.series.get_mut(*at) else { continue };
            let sealed = Sealed {
                histogram: series.histogram.clone(),
                labels: series.labels,
                dimensions: series.dimensions.clone(),
                start: series.start,
                end: now.max(series.start),
                left: series.left,
            };
            let mut r = Record::new(None, Kind::Unknown, None, sealed.end);
            r.stat = Some(Arc::new(sealed));
            if !ring.push_stat(r) {
                break;
            }
            self.left -= series.left;
            series.left = 0;
            series.histogram.reset();
            done += 1;
        }
        self.waiting.drain(..done);
        if !self.waiting.is_empty() {
            return false;
        }
        if self.bytes > self.max_bytes / 2 {
            self.forget();
        }
        true
    }

    /// Lets go of all series; what is counted next makes them anew.
    fn forget(&mut self) {
        self.series.clear();
        self.index.clear();
        self.bytes = 0;
        self.generation += 1;
    }

    /// Drops what was counted since the last seal, and returns how many messages nothing else
    /// told of.
    pub(crate) fn discard(&mut self) -> u64 {
        self.waiting.clear();
        self.forget();
        std::mem::take(&mut self.left)
    }

    /// Takes over the dimensions that a welcome names. The first time, it measures what the
    /// queue holds: until then nothing was.
    pub(crate) fn learn(&mut self, dimensions: &[String], ring: &Ring) {
        self.dimensions = dimensions.to_vec();
        self.generation += 1;
        if !std::mem::replace(&mut self.known, true) {
            ring.rows().for_each(|r| self.count(r));
        }
    }

    fn count(&mut self, r: &Record) {
        if is_measured(r.kind) {
            let seen = Measured::of(r);
            self.measure(r, &seen);
        }
    }

    /// The threshold by which messages were left out beside the records that a number was
    /// just given to; all: the queue held no others.
    pub(crate) fn numbered(&mut self, all: bool, threshold: u64) -> u64 {
        let applied = self.sampling.applied;
        if all {
            self.sampling.applied = if self.sampling.leaving { threshold } else { 0 };
        }
        applied
    }

    /// Is told that the records of a number with this threshold wait again.
    pub(crate) fn put_back(&mut self, threshold: u64) {
        self.sampling.applied = self.sampling.applied.max(threshold);
    }

    /// Is told of a record that leaves the queue for want of room. Where the dimensions are
    /// not known yet, it is measured without.
    pub(crate) fn evicted(&mut self, r: &Record) {
        if !self.known {
            self.count(r);
        }
    }
}

/// An attribute of the user: the event's own, else its connection's.
fn look_up<'a>(name: &str, r: &'a Record) -> Option<&'a Value> {
    let own = r.attributes.iter().flat_map(|attributes| attributes.iter());
    let extra = r.extra.iter().flat_map(|extra| &extra.attrs.user);
    let inherited = r.conn.iter().flat_map(|conn| &conn.attributes);
    own.chain(extra).chain(inherited).find(|kv| kv.key.as_str() == name).map(|kv| &kv.value)
}

/// Appends a value so that no two lists of values look the same.
fn append_key(key: &mut Vec<u8>, value: Option<&Value>) {
    let text = |key: &mut Vec<u8>, text: &str| {
        key.extend_from_slice(&text.len().to_be_bytes());
        key.extend_from_slice(text.as_bytes());
    };
    match value {
        Some(Value::String(s)) => {
            key.push(1);
            text(key, s.as_str());
        }
        Some(Value::Bool(b)) => key.extend_from_slice(&[2, u8::from(*b)]),
        Some(Value::I64(i)) => {
            key.push(3);
            key.extend_from_slice(&i.to_be_bytes());
        }
        Some(Value::F64(f)) => {
            key.push(4);
            key.extend_from_slice(&f.to_bits().to_be_bytes());
        }
        Some(Value::Array(values)) => {
            let (code, n) = match values {
                Array::String(values) => (5, values.len()),
                Array::Bool(values) => (6, values.len()),
                Array::I64(values) => (7, values.len()),
                Array::F64(values) => (8, values.len()),
                _ => (9, 0),
            };
            key.push(code);
            key.extend_from_slice(&n.to_be_bytes());
            match values {
                Array::String(values) => values.iter().for_each(|s| text(key, s.as_str())),
                Array::Bool(values) => key.extend(values.iter().map(|b| u8::from(*b))),
                Array::I64(values) => values.iter().for_each(|i| key.extend_from_slice(&i.to_be_bytes())),
                Array::F64(values) => values.iter().for_each(|f| key.extend_from_slice(&f.to_bits().to_be_bytes())),
                _ => {}
            }
        }
        _ => key.push(0),
    }
}
