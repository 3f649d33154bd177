//! Decodes what agents write, for tests.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry::{Array, KeyValue, StringValue, Value};
use prost::Message as _;
use serde_json::Value as Json;

use super::attr::{Attr, Attrs};
use super::id::{NO_SPAN, NO_TRACE, SpanIds};
use super::kind::Kind;
use super::message::{Batch, Connection, Event, Hello, Link, Message, Stat};
use super::pb;
use super::sampling::parse_threshold;
use super::traceparent::{TraceContext, parse_hex};

pub(crate) const KINDS: [Kind; 13] = [
    Kind::Unknown,
    Kind::Handshake,
    Kind::Send,
    Kind::Receive,
    Kind::Process,
    Kind::Message,
    Kind::Ping,
    Kind::Pong,
    Kind::Close,
    Kind::Error,
    Kind::ProtocolError,
    Kind::Broadcast,
    Kind::BatchSend,
];

const TYPES: [&str; 6] = ["", "text", "binary", "ping", "pong", "close"];

/// Where the vectors are.
pub(crate) fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../protocol/vectors")
}

pub(crate) fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get(key).and_then(Json::as_str)
}

/// What a session has defined in numbered messages.
#[derive(Default)]
pub(crate) struct Definitions(HashMap<u32, String>);

impl Definitions {
    /// The number of a message, 0 where it has none.
    pub(crate) fn seq(bytes: &[u8]) -> u64 {
        match pb::Message::decode(bytes).unwrap().form {
            Some(pb::Form::Batch(b)) => b.seq,
            _ => 0,
        }
    }

    /// Decodes a message; none: it is one that this crate's values cannot hold.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Option<Message> {
        let m = pb::Message::decode(bytes).unwrap();
        assert_eq!(m.encoded_len(), bytes.len(), "fields that this schema does not have");
        let form = m.form.unwrap();
        let numbered = matches!(&form, pb::Form::Batch(b) if b.seq != 0);
        let mut single = HashMap::new();
        let table = if numbered { &mut self.0 } else { &mut single };
        table.extend(m.string_handles.into_iter().zip(m.strings));
        let table = Table(table);
        Some(match form {
            pb::Form::Hello(h) => {
                self.0.clear();
                let agent = h.agent.unwrap_or_default();
                Message::Hello(Hello {
                    instance: h.instance,
                    agent_name: agent.name,
                    agent_version: agent.version,
                    resource: key_values(h.resource.unwrap_or_default().attributes),
                    aggregates: h.aggregates,
                })
            }
            pb::Form::Events(events) => Message::Events(table.events(events)?),
            pb::Form::Batch(b) => Message::Batch(Batch {
                seq: b.seq,
                resource: b.resource.map(|resource| key_values(resource.attributes)),
                connections: b.connections.into_iter().map(connection).collect(),
                events: table.events(b.events.unwrap_or_default())?,
                stats: b.stats.into_iter().map(stat).collect(),
                dropped: b.dropped.into_iter().map(|d| (d.reason, d.count)).collect(),
                threshold: b.threshold,
                aggregates: b.aggregates,
            }),
        })
    }
}

struct Table<'a>(&'a HashMap<u32, String>);

impl Table<'_> {
    fn text(&self, handle: u32) -> StringValue {
        StringValue::from(self.0[&handle].clone())
    }

    fn events(&self, e: pb::Events) -> Option<Vec<Event>> {
        let n = e.kinds.len();
        let mut rows = vec![Event::default(); n];
        for (row, kind) in rows.iter_mut().zip(&e.kinds) {
            row.kind = *KINDS.get(usize::from(kind & 15)).filter(|kind| **kind != Kind::Unknown)?;
            row.attrs.set_text(Attr::MessageType, TYPES.get(usize::from(kind >> 4))?);
        }
        let untimed = if e.times.is_empty() { (0..n).collect() } else { sparse(&e.untimed, 0) };
        let (mut times, mut now) = (e.times.into_iter(), e.base_time);
        for (i, row) in rows.iter_mut().enumerate() {
            if !untimed.contains(&i) {
                now = now.wrapping_add(times.next()?);
                row.time = Some(now);
            }
            row.unsampled = e.unsampled.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1);
        }
        for (i, handle) in e.connections.iter().enumerate().filter(|(_, handle)| **handle != 0) {
            rows[i].attrs.set(Attr::ConnectionId, self.text(*handle));
        }
        self.spans(
            &mut rows,
            [e.trace_ids, e.span_ids, e.parent_span_ids],
            e.durations,
            e.traceparents,
            e.tracestates,
            e.links,
        )?;
        let mut ordinals: HashMap<(u32, Kind), i64> = HashMap::new();
        for c in e.columns {
            let key = if c.key == 0 { String::new() } else { self.0[&c.key].clone() };
            let attr = ATTRS.get(usize::try_from(c.attribute).unwrap()).copied();
            let strings = c.handles.iter().map(|handle| Value::String(self.text(*handle)));
            let values = strings
                .chain(c.texts.into_iter().map(Value::from))
                .chain(c.ints.into_iter().map(Value::I64))
                .chain(c.doubles.into_iter().map(Value::F64))
                .chain(c.bools.into_iter().map(Value::Bool))
                .chain(c.arrays.into_iter().map(|a| Value::Array(array(a))));
            for (i, value) in sparse(&c.rows, n).into_iter().zip(values) {
                let row = rows.get_mut(i)?;
                match (attr.filter(|_| c.attribute != 0).or_else(|| Attr::parse(&key)), value) {
                    (Some(Attr::MessageSeq), Value::I64(distance)) => {
                        let of = (e.connections.get(i).copied().unwrap_or(0), row.kind);
                        let ordinal = ordinals.entry(of).or_default();
                        *ordinal = ordinal.checked_add(distance)?;
                        row.attrs.set(Attr::MessageSeq, *ordinal);
                    }
                    (Some(attr), value) => row.attrs.set(attr, value),
                    (None, value) => row.attrs.user.push(KeyValue::new(key.clone(), value)),
                }
            }
        }
        Some(rows)
    }

    fn spans(
        &self,
        rows: &mut [Event],
        ids: [Option<pb::Ids>; 3],
        durations: Option<pb::Ints>,
        parents: Option<pb::Contexts>,
        states: Option<pb::Texts>,
        links: Vec<pb::EventLinks>,
    ) -> Option<()> {
        let n = rows.len();
        let [traces, spans, parent_spans] = ids.map(Option::unwrap_or_default);
        for (i, id) in sparse(&traces.rows, n).into_iter().zip(traces.ids.chunks_exact(16)) {
            rows.get_mut(i)?.trace_id = id.try_into().unwrap();
        }
        for (i, id) in sparse(&spans.rows, n).into_iter().zip(spans.ids.chunks_exact(8)) {
            rows.get_mut(i)?.span_id = id.try_into().unwrap();
        }
        for (i, id) in sparse(&parent_spans.rows, n).into_iter().zip(parent_spans.ids.chunks_exact(8)) {
            rows.get_mut(i)?.parent_span_id = id.try_into().unwrap();
        }
        let durations = durations.unwrap_or_default();
        for (i, duration) in sparse(&durations.rows, n).into_iter().zip(durations.values) {
            rows.get_mut(i)?.duration = Some(duration);
        }
        let parents = parents.unwrap_or_default();
        for (i, context) in sparse(&parents.rows, n).into_iter().zip(parents.contexts.chunks_exact(25)) {
            let span = SpanIds { trace: context[..16].try_into().unwrap(), span: context[16..24].try_into().unwrap() };
            rows.get_mut(i)?.parent = Some(TraceContext { span, flags: context[24] });
        }
        let states = states.unwrap_or_default();
        for (i, state) in sparse(&states.rows, n).into_iter().zip(states.values) {
            rows.get_mut(i)?.tracestate = state;
        }
        for e in links {
            let row = rows.get_mut(usize::try_from(e.row).unwrap())?;
            for l in e.links {
                let span = SpanIds { trace: l.trace_id.try_into().ok()?, span: l.span_id.try_into().ok()? };
                row.links.push(Link { span, attributes: key_values(l.attributes) });
            }
        }
        Some(())
    }
}

/// The events that a sparse column of n events speaks of.
fn sparse(rows: &[u32], n: usize) -> Vec<usize> {
    if rows.is_empty() {
        return (0..n).collect();
    }
    let indices = rows.iter().scan(0_usize, |at, distance| {
        *at += usize::try_from(*distance).unwrap();
        Some(*at)
    });
    indices.collect()
}

/// By their numbers.
static ATTRS: std::sync::LazyLock<Vec<Attr>> = std::sync::LazyLock::new(|| {
    let schema = fs::read_to_string(vectors().join("../wsstats.proto")).unwrap();
    let mut attrs = vec![Attr::_None];
    for line in schema.lines() {
        let Some((name, number)) = line.trim().strip_prefix("ATTRIBUTE_NAME_").and_then(|s| s.split_once(" = ")) else {
            continue;
        };
        if name != "UNSPECIFIED" {
            let number: u32 = number.trim_end_matches(';').parse().unwrap();
            let is = |attr: &Attr| attr.name().to_uppercase().replace('.', "_") == name;
            let attr = Attr::ALL.iter().copied().find(is).unwrap();
            assert_eq!(attr as u32, number, "{name}");
            attrs.push(attr);
        }
    }
    assert_eq!(attrs.len(), Attr::ALL.len() + 1);
    attrs
});

fn connection(c: pb::Connection) -> Connection {
    Connection {
        attrs: attrs(c.attributes),
        opened_at: c.opened_at,
        closed: c.closed,
        handshake: SpanIds {
            trace: c.trace_id.try_into().unwrap_or(NO_TRACE),
            span: c.span_id.try_into().unwrap_or(NO_SPAN),
        },
    }
}

fn stat(s: pb::Stat) -> Stat {
    Stat {
        metric: s.metric,
        start: s.start,
        time: s.time,
        attrs: attrs(s.attributes),
        count: s.count,
        sum: s.sum,
        min: s.min,
        max: s.max,
        scale: s.scale,
        zero_count: s.zero_count,
        offset: s.offset,
        buckets: s.bucket_counts,
        r#unsized: s.r#unsized,
    }
}

fn attrs(attributes: Vec<pb::Attribute>) -> Attrs {
    let mut attrs = Attrs::default();
    for kv in key_values(attributes) {
        match Attr::parse(kv.key.as_str()) {
            Some(attr) => attrs.set(attr, kv.value),
            None => attrs.user.push(kv),
        }
    }
    attrs
}

fn key_values(attributes: Vec<pb::Attribute>) -> Vec<KeyValue> {
    let value = |a: pb::Attribute| {
        let value = match a.value?.kind? {
            pb::ValueKind::Text(text) => Value::from(text),
            pb::ValueKind::Bool(b) => Value::Bool(b),
            pb::ValueKind::Int(i) => Value::I64(i),
            pb::ValueKind::Double(f) => Value::F64(f),
            pb::ValueKind::Array(a) => Value::Array(array(a)),
        };
        Some(KeyValue::new(a.key, value))
    };
    attributes.into_iter().filter_map(value).collect()
}

fn array(a: pb::Array) -> Array {
    if !a.strings.is_empty() {
        Array::String(a.strings.into_iter().map(StringValue::from).collect())
    } else if !a.bools.is_empty() {
        Array::Bool(a.bools)
    } else if !a.doubles.is_empty() {
        Array::F64(a.doubles)
    } else {
        Array::I64(a.ints)
    }
}

/// Reads what this crate writes in the JSON form.
pub(crate) fn read_json(m: &Json) -> Message {
    if let Some(events) = m.as_array() {
        return Message::Events(events.iter().map(json_event).collect());
    }
    let flag = |json: &Json, key: &str| json.get(key).is_some_and(|value| value.as_bool().unwrap());
    let rows = |key: &str| m.get(key).map_or(&[][..], |rows| rows.as_array().unwrap());
    if let Some(h) = m.get("hello") {
        let agent = |key| h.get("agent").and_then(|agent| text(agent, key)).unwrap_or("").to_owned();
        return Message::Hello(Hello {
            instance: text(h, "instance").unwrap().to_owned(),
            agent_name: agent("name"),
            agent_version: agent("version"),
            resource: h.get("resource").map(json_key_values).unwrap_or_default(),
            aggregates: flag(h, "aggregates"),
        });
    }
    let dropped = m.get("dropped").and_then(Json::as_object);
    Message::Batch(Batch {
        seq: m.get("seq").map_or(0, |seq| seq.as_u64().unwrap()),
        resource: m.get("resource").map(json_key_values),
        connections: rows("connections").iter().map(json_connection).collect(),
        events: rows("events").iter().map(json_event).collect(),
        stats: rows("stats").iter().map(json_stat).collect(),
        dropped: dropped.into_iter().flatten().map(|(why, n)| (why.clone(), n.as_u64().unwrap())).collect(),
        threshold: text(m, "threshold").map(|threshold| parse_threshold(threshold).unwrap()),
        aggregates: flag(m, "aggregates"),
    })
}

fn json_event(e: &Json) -> Event {
    let links = e.get("links").and_then(Json::as_array).into_iter().flatten().map(|l| Link {
        span: SpanIds { trace: id(l, "trace_id"), span: id(l, "span_id") },
        attributes: l.get("attributes").map(json_key_values).unwrap_or_default(),
    });
    Event {
        attrs: json_attrs(e, super::message::EVENT_KEYS),
        kind: KINDS.into_iter().find(|kind| Some(kind.name()) == text(e, "event")).unwrap(),
        time: e.get("time").map(|time| time.as_i64().unwrap()),
        duration: e.get("duration_ns").map(|duration| duration.as_i64().unwrap()),
        unsampled: e.get("sampled").is_some(),
        trace_id: id(e, "trace_id"),
        span_id: id(e, "span_id"),
        parent_span_id: id(e, "parent_span_id"),
        parent: text(e, "traceparent").map(|header| TraceContext {
            span: SpanIds { trace: parse_hex(&header[3..35]).unwrap(), span: parse_hex(&header[36..52]).unwrap() },
            flags: parse_hex::<1>(&header[53..]).unwrap()[0],
        }),
        tracestate: text(e, "tracestate").unwrap_or("").to_owned(),
        links: links.collect(),
    }
}

fn json_connection(c: &Json) -> Connection {
    Connection {
        attrs: json_attrs(c, super::message::CONNECTION_KEYS),
        opened_at: c.get("opened_at").map(|time| time.as_i64().unwrap()),
        closed: c.get("open").is_some_and(|open| !open.as_bool().unwrap()),
        handshake: SpanIds { trace: id(c, "trace_id"), span: id(c, "span_id") },
    }
}

fn json_stat(s: &Json) -> Stat {
    let int = |key: &str| i32::try_from(s[key].as_i64().unwrap()).unwrap();
    Stat {
        metric: text(s, "metric").unwrap().to_owned(),
        start: s["start"].as_i64().unwrap(),
        time: s["time"].as_i64().unwrap(),
        attrs: s.get("attributes").map(|attributes| json_attrs(attributes, &[])).unwrap_or_default(),
        count: s["count"].as_u64().unwrap(),
        sum: s["sum"].as_f64().unwrap(),
        min: s.get("min").map(|min| min.as_f64().unwrap()),
        max: s.get("max").map(|max| max.as_f64().unwrap()),
        scale: int("scale"),
        zero_count: s["zero_count"].as_u64().unwrap(),
        offset: int("offset"),
        buckets: s
            .get("bucket_counts")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .map(|n| n.as_u64().unwrap())
            .collect(),
        r#unsized: s.get("unsized").map_or(0, |n| n.as_u64().unwrap()),
    }
}

fn id<const N: usize>(json: &Json, key: &str) -> [u8; N] {
    text(json, key).map_or([0; N], |id| parse_hex(id).unwrap())
}

fn json_attrs(row: &Json, reserved: &[&str]) -> Attrs {
    let mut attrs = Attrs::default();
    for (key, value) in row.as_object().unwrap().iter().filter(|(key, _)| !reserved.contains(&key.as_str())) {
        match Attr::parse(key) {
            Some(attr) => attrs.set(attr, json_value(value)),
            None => attrs.user.push(KeyValue::new(key.clone(), json_value(value))),
        }
    }
    attrs
}

fn json_key_values(attributes: &Json) -> Vec<KeyValue> {
    attributes.as_object().unwrap().iter().map(|(k, v)| KeyValue::new(k.clone(), json_value(v))).collect()
}

fn json_value(value: &Json) -> Value {
    match value {
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) if n.is_i64() => Value::I64(n.as_i64().unwrap()),
        Json::Number(n) => Value::F64(n.as_f64().unwrap()),
        Json::String(text) => Value::from(text.clone()),
        Json::Array(values) => Value::Array(match values.first().map(json_value) {
            Some(Value::String(_)) => {
                Array::String(values.iter().map(|v| StringValue::from(v.as_str().unwrap().to_owned())).collect())
            }
            Some(Value::Bool(_)) => Array::Bool(values.iter().map(|v| v.as_bool().unwrap()).collect()),
            Some(Value::F64(_)) => Array::F64(values.iter().map(|v| v.as_f64().unwrap()).collect()),
            _ => Array::I64(values.iter().map(|v| v.as_i64().unwrap()).collect()),
        }),
        _ => panic!("not a value of an attribute: {value}"),
    }
}
