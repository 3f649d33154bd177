//! The binary form.

use std::collections::HashMap;

use opentelemetry::{Array, KeyValue, StringValue, Value};
use prost::Message as _;

use super::attr::{Attr, Attrs};
use super::id::{NO_SPAN, NO_TRACE};
use super::kind::Kind;
use super::message::{Batch, CONNECTION_KEYS, Connection, EVENT_KEYS, Event, Hello, Link, Message, Stat};
use super::pb;
use super::value::{distinct, sayable, user};

const MAX_HANDLE: usize = 65_536; // what a receiver takes by default

// A session's handles begin anew with the first message after there are so many of them,
// or so many bytes: what is not used any more goes, and a receiver's memory is far from its
// bounds.
const HANDLES_KEPT: usize = 8192;
const HANDLE_BYTES_KEPT: usize = 1 << 20;

/// How long a text may be that gets a handle. Longer ones rarely come again.
const LONGEST_HANDLED: usize = 64;

/// Encodes the messages of one session in the binary form.
///
/// It remembers what the receiver was told: messages have to be sent in the order in which
/// they were encoded, and each of them. Call reset at the beginning of a session, after each
/// welcome and each nack, and where an encoded message is not sent.
#[derive(Default)]
pub(crate) struct Encoder {
    session: Handles,
}

/// Gives texts their handles, from 1 in the order of their first use.
#[derive(Default)]
struct Handles {
    of: HashMap<StringValue, u32>,
    bytes: usize,
    // What the message at hand defines.
    defined: Vec<u32>,
    texts: Vec<String>,
}

impl Encoder {
    /// Forgets what the receiver was told: what is used is defined anew.
    pub(crate) fn reset(&mut self) {
        self.session = Handles::default();
    }

    /// Appends the binary form of a message, which leaves out what the JSON form does, and
    /// tells whether it could: there are only so many handles.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, message: &Message) -> bool {
        let (mut single, mut numbered) = (Handles::default(), false);
        if matches!(message, Message::Batch(b) if b.seq != 0) {
            numbered = true;
            if self.session.of.len() >= HANDLES_KEPT || self.session.bytes >= HANDLE_BYTES_KEPT {
                self.reset();
            }
        }
        let handles = if numbered { &mut self.session } else { &mut single };
        let form = match message {
            Message::Hello(h) => pb::Form::Hello(hello(h)),
            Message::Batch(b) => pb::Form::Batch(batch(handles, b)),
            #[cfg(test)]
            Message::Events(rows) => pb::Form::Events(events(handles, rows)),
        };
        let (string_handles, strings) = (std::mem::take(&mut handles.defined), std::mem::take(&mut handles.texts));
        if handles.of.len() > MAX_HANDLE {
            self.reset();
            return false;
        }
        pb::Message { form: Some(form), string_handles, strings }.encode(out).is_ok()
    }
}

impl Handles {
    /// The handle of a text, which it defines where it has none.
    fn handle(&mut self, text: &StringValue) -> u32 {
        if let Some(handle) = self.of.get(text) {
            return *handle;
        }
        let handle = u32::try_from(self.of.len() + 1).unwrap_or(u32::MAX);
        self.of.insert(text.clone(), handle);
        self.bytes += text.as_str().len();
        self.defined.push(handle);
        self.texts.push(text.as_str().to_owned());
        handle
    }

    /// Tells whether a value gets a handle.
    fn worth(&self, text: &StringValue) -> bool {
        self.of.contains_key(text)
            || text.as_str().len() <= LONGEST_HANDLED && self.of.len() < HANDLES_KEPT && self.bytes < HANDLE_BYTES_KEPT
    }
}

fn hello(h: &Hello) -> pb::Hello {
    let named = !h.agent_name.is_empty() || !h.agent_version.is_empty();
    pb::Hello {
        instance: h.instance.clone(),
        agent: named.then(|| pb::Agent { name: h.agent_name.clone(), version: h.agent_version.clone() }),
        resource: (!h.resource.is_empty()).then(|| resource(&h.resource)),
        aggregates: h.aggregates,
    }
}

fn batch(handles: &mut Handles, b: &Batch) -> pb::Batch {
    pb::Batch {
        seq: b.seq,
        resource: b.resource.as_deref().map(resource),
        connections: b.connections.iter().map(connection).collect(),
        events: (!b.events.is_empty()).then(|| events(handles, &b.events)),
        stats: b.stats.iter().map(stat).collect(),
        dropped: b.dropped.iter().map(|(why, n)| pb::Dropped { reason: why.clone(), count: *n }).collect(),
        threshold: b.threshold,
        aggregates: b.aggregates,
    }
}

fn resource(attributes: &[KeyValue]) -> pb::Resource {
    pb::Resource { attributes: distinct(attributes).map(attribute).collect() }
}

fn connection(c: &Connection) -> pb::Connection {
    pb::Connection {
        attributes: attributes(&c.attrs, CONNECTION_KEYS),
        opened_at: c.opened_at,
        closed: c.closed,
        trace_id: if c.handshake.trace == NO_TRACE { Vec::new() } else { c.handshake.trace.to_vec() },
        span_id: if c.handshake.span == NO_SPAN { Vec::new() } else { c.handshake.span.to_vec() },
    }
}

fn stat(s: &Stat) -> pb::Stat {
    pb::Stat {
        metric: s.metric.clone(),
        start: s.start,
        time: s.time,
        attributes: attributes(&s.attrs, &[]),
        count: s.count,
        sum: s.sum,
        min: s.min,
        max: s.max,
        scale: s.scale,
        zero_count: s.zero_count,
        offset: s.offset,
        bucket_counts: s.buckets.clone(),
        r#unsized: s.r#unsized,
    }
}

/// The attributes of a row that is a message of its own.
fn attributes(attrs: &Attrs, reserved: &'static [&'static str]) -> Vec<pb::Attribute> {
    let known = attrs.known().iter().filter(|(_, value)| sayable(value));
    let known = known.map(|(attr, v)| pb::Attribute { key: attr.name().to_owned(), value: value(v) });
    known.chain(user(&attrs.user, reserved).map(attribute)).collect()
}

fn attribute(kv: &KeyValue) -> pb::Attribute {
    pb::Attribute { key: kv.key.as_str().to_owned(), value: value(&kv.value) }
}

fn value(v: &Value) -> Option<pb::Value> {
    let kind = match v {
        Value::String(text) => pb::ValueKind::Text(text.as_str().to_owned()),
        Value::Bool(b) => pb::ValueKind::Bool(*b),
        Value::I64(i) => pb::ValueKind::Int(*i),
        Value::F64(f) => pb::ValueKind::Double(*f),
        Value::Array(values) => pb::ValueKind::Array(array(values)),
        _ => return None,
    };
    Some(pb::Value { kind: Some(kind) })
}

fn array(values: &Array) -> pb::Array {
    let mut a = pb::Array::default();
    match values {
        Array::String(texts) => a.strings = texts.iter().map(|text| text.as_str().to_owned()).collect(),
        Array::Bool(values) => a.bools.clone_from(values),
        Array::I64(values) => a.ints.clone_from(values),
        Array::F64(values) => a.doubles.clone_from(values),
        _ => {}
    }
    a
}

/// Turns rows into columns.
fn events(handles: &mut Handles, rows: &[Event]) -> pb::Events {
    let mut e = pb::Events::default();
    heads(&mut e, handles, rows);
    spans(&mut e, rows);
    known(&mut e, handles, rows);
    users(&mut e, handles, rows);
    e
}

/// The rows of a sparse column: an index, then the distances.
#[derive(Default)]
struct Gaps {
    rows: Vec<u32>,
    last: usize,
}

impl Gaps {
    fn add(&mut self, row: usize) {
        self.rows.push(u32::try_from(row - self.last).unwrap_or(u32::MAX));
        self.last = row;
    }

    /// The rows, none where they are all of n.
    fn of(self, n: usize) -> Vec<u32> {
        if self.rows.len() == n { Vec::new() } else { self.rows }
    }
}

/// What every event has a place for: kind, message type, time, connection, and whether it is
/// sampled.
fn heads(e: &mut pb::Events, handles: &mut Handles, rows: &[Event]) {
    let (mut untimed, mut now) = (Gaps::default(), 0_i64);
    let mut connected = false;
    for (i, row) in rows.iter().enumerate() {
        e.kinds.push(row.kind as u8 | message_type(row) << 4);
        match row.time {
            None => untimed.add(i),
            Some(time) => {
                if e.times.is_empty() {
                    (e.base_time, now) = (time, time);
                }
                e.times.push(time.wrapping_sub(now));
                now = time;
            }
        }
        connected = connected || row.attrs.get(Attr::ConnectionId).is_some();
        if row.unsampled {
            e.unsampled.resize(rows.len().div_ceil(8), 0);
            if let Some(byte) = e.unsampled.get_mut(i / 8) {
                *byte |= 1 << (i % 8);
            }
        }
    }
    if !e.times.is_empty() {
        e.untimed = untimed.rows;
    }
    if connected {
        let handle = |row: &Event| match row.attrs.get(Attr::ConnectionId) {
            Some(Value::String(id)) => handles.handle(id),
            _ => 0,
        };
        e.connections = rows.iter().map(handle).collect();
    }
}

/// How kinds calls the row's `ws.message.type`, 0 where it does not.
fn message_type(row: &Event) -> u8 {
    match row.attrs.text(Attr::MessageType) {
        "text" => 1,
        "binary" => 2,
        "ping" => 3,
        "pong" => 4,
        "close" => 5,
        _ => 0,
    }
}

/// The columns that concern the events' spans.
fn spans(e: &mut pb::Events, rows: &[Event]) {
    let n = rows.len();
    e.trace_ids = ids(rows, |row| &row.trace_id, &NO_TRACE);
    e.span_ids = ids(rows, |row| &row.span_id, &NO_SPAN);
    e.parent_span_ids = ids(rows, |row| &row.parent_span_id, &NO_SPAN);
    let (mut durations, mut ns) = (Gaps::default(), Vec::new());
    let (mut contexts, mut bytes) = (Gaps::default(), Vec::new());
    let (mut states, mut texts) = (Gaps::default(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        if let Some(duration) = row.duration {
            durations.add(i);
            ns.push(duration);
        }
        if let Some(parent) = &row.parent {
            contexts.add(i);
            bytes.extend_from_slice(&parent.span.trace);
            bytes.extend_from_slice(&parent.span.span);
            bytes.push(parent.flags);
        }
        if !row.tracestate.is_empty() {
            states.add(i);
            texts.push(row.tracestate.clone());
        }
        if !row.links.is_empty() {
            let row_index = u32::try_from(i).unwrap_or(u32::MAX);
            e.links.push(pb::EventLinks { row: row_index, links: row.links.iter().map(link).collect() });
        }
    }
    if !ns.is_empty() {
        e.durations = Some(pb::Ints { rows: durations.of(n), values: ns });
    }
    if !bytes.is_empty() {
        e.traceparents = Some(pb::Contexts { rows: contexts.of(n), contexts: bytes });
    }
    if !texts.is_empty() {
        e.tracestates = Some(pb::Texts { rows: states.of(n), values: texts });
    }
}

fn ids<const N: usize>(rows: &[Event], id: impl Fn(&Event) -> &[u8; N], none: &[u8; N]) -> Option<pb::Ids> {
    let (mut gaps, mut ids) = (Gaps::default(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        let id = id(row);
        if id != none {
            gaps.add(i);
            ids.extend_from_slice(id);
        }
    }
    (!ids.is_empty()).then(|| pb::Ids { rows: gaps.of(rows.len()), ids })
}

fn link(l: &Link) -> pb::Link {
    pb::Link {
        trace_id: l.span.trace.to_vec(),
        span_id: l.span.span.to_vec(),
        attributes: distinct(&l.attributes).map(attribute).collect(),
    }
}

/// The columns of the conventions' attributes, in their order.
fn known(e: &mut pb::Events, handles: &mut Handles, rows: &[Event]) {
    let mut columns = Columns::default();
    let mut ordinals: HashMap<(u32, Kind), i64> = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        for (attr, v) in row.attrs.known() {
            let said_elsewhere = match attr {
                Attr::ConnectionId => matches!(v, Value::String(_)),
                Attr::MessageType => message_type(row) != 0,
                _ => false,
            };
            if said_elsewhere || !sayable(v) {
                continue;
            }
            let number = *attr as u32;
            match v {
                Value::I64(ordinal) if *attr == Attr::MessageSeq => {
                    let of = (e.connections.get(i).copied().unwrap_or(0), row.kind);
                    let last = ordinals.insert(of, *ordinal).unwrap_or(0);
                    let distance = Value::I64(ordinal.wrapping_sub(last));
                    columns.add(handles, number, 0, i, &distance);
                }
                _ => columns.add(handles, number, 0, i, v),
            }
        }
    }
    columns.columns.sort_by_key(|c| c.values.attribute);
    for c in columns.columns {
        c.append_to(&mut e.columns, rows.len());
    }
}

/// The columns of the user's attributes, in the order of their first use: one for each key
/// and type.
fn users(e: &mut pb::Events, handles: &mut Handles, rows: &[Event]) {
    let mut columns = Columns::default();
    for (i, row) in rows.iter().enumerate() {
        for kv in user(&row.attrs.user, EVENT_KEYS) {
            let key = handles.handle(&StringValue::from(kv.key.as_str().to_owned()));
            columns.add(handles, 0, key, i, &kv.value);
        }
    }
    for c in columns.columns {
        c.append_to(&mut e.columns, rows.len());
    }
}

/// Columns in the order of their first use: one for each attribute, or key, and type of values.
#[derive(Default)]
struct Columns {
    columns: Vec<Builder>,
    index: HashMap<(u32, u32, Discriminant), usize>,
}

type Discriminant = std::mem::Discriminant<Value>;

impl Columns {
    fn add(&mut self, handles: &mut Handles, attribute: u32, key: u32, row: usize, v: &Value) {
        let at = *self.index.entry((attribute, key, std::mem::discriminant(v))).or_insert_with(|| {
            let values = pb::Column { attribute, key, ..pb::Column::default() };
            let texts = values.clone();
            self.columns.push(Builder { texts, values, value_rows: Gaps::default(), text_rows: Gaps::default() });
            self.columns.len() - 1
        });
        if let Some(column) = self.columns.get_mut(at) {
            column.add(handles, row, v);
        }
    }
}

/// Makes the column of values of one type. Texts that do not get a handle are a second one.
struct Builder {
    values: pb::Column,
    texts: pb::Column,
    value_rows: Gaps,
    text_rows: Gaps,
}

impl Builder {
    fn add(&mut self, handles: &mut Handles, row: usize, v: &Value) {
        match v {
            Value::String(text) => {
                // No two messages share a message id.
                if self.values.attribute == Attr::MessageId as u32 || !handles.worth(text) {
                    self.texts.texts.push(text.as_str().to_owned());
                    self.text_rows.add(row);
                    return;
                }
                self.values.handles.push(handles.handle(text));
            }
            Value::I64(i) => self.values.ints.push(*i),
            Value::F64(f) => self.values.doubles.push(*f),
            Value::Bool(b) => self.values.bools.push(*b),
            Value::Array(values) => self.values.arrays.push(array(values)),
            _ => return,
        }
        self.value_rows.add(row);
    }

    /// Appends what was made of the n events of the message.
    fn append_to(self, columns: &mut Vec<pb::Column>, n: usize) {
        for (mut column, rows) in [(self.values, self.value_rows), (self.texts, self.text_rows)] {
            if !rows.rows.is_empty() {
                column.rows = rows.of(n);
                columns.push(column);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;

    use super::{Encoder, HANDLES_KEPT, MAX_HANDLE};
    use crate::wire::attr::Attr;
    use crate::wire::decode::Definitions;
    use crate::wire::kind::Kind;
    use crate::wire::message::{Batch, Event, Message};

    fn batch(seq: u64, events: impl Iterator<Item = Event>) -> Message {
        Message::Batch(Batch { seq, events: events.collect(), ..Batch::default() })
    }

    fn event(connection: usize) -> Event {
        let mut e = Event { kind: Kind::Send, time: Some(1), ..Event::default() };
        e.attrs.set(Attr::ConnectionId, format!("{connection:032}"));
        e
    }

    /// Red when: the table of a session grows without bound, or one that begins anew leaves
    /// something undefined; or a message that is not numbered leans on what one with a number
    /// defined.
    #[test]
    fn handles_begin_anew() {
        let (mut encoder, mut definitions) = (Encoder::default(), Definitions::default());
        let mut highest = 0;
        for seq in 1..=100 {
            let first = 1000 * usize::try_from(seq).unwrap();
            let message = batch(seq, (first..first + 1000).map(event));
            let mut bytes = Vec::new();
            assert!(encoder.append(&mut bytes, &message));
            assert_eq!(definitions.decode(&bytes).as_ref(), Some(&message));
            highest = highest.max(encoder.session.of.len());

            let unnumbered = batch(0, (first..first + 2).map(event));
            bytes.clear();
            assert!(encoder.append(&mut bytes, &unnumbered));
            assert_eq!(Definitions::default().decode(&bytes).as_ref(), Some(&unnumbered));
        }
        assert!(highest < HANDLES_KEPT + 1000, "{highest}");
    }

    /// Red when: a message that needs more handles than there are is sent, or leaves the
    /// encoder in disorder.
    #[test]
    fn more_keys_than_handles() {
        let mut encoder = Encoder::default();
        let crowd = (0..=MAX_HANDLE / 100).map(|i| {
            let mut e = event(0);
            e.attrs.user = (0..100).map(|j| KeyValue::new(format!("key.{i}.{j}"), true)).collect();
            e
        });
        assert!(!encoder.append(&mut Vec::new(), &batch(1, crowd)));
        let message = batch(1, [event(1), event(2)].into_iter());
        let mut bytes = Vec::new();
        assert!(encoder.append(&mut bytes, &message));
        assert_eq!(Definitions::default().decode(&bytes), Some(message));
    }
}
