//! The JSON form.

use opentelemetry::{Array, KeyValue, Value};
use serde::Serialize;

use super::attr::Attrs;
use super::id::{NO_SPAN, NO_TRACE};
use super::message::{Batch, CONNECTION_KEYS, Connection, EVENT_KEYS, Event, Hello, Link, Message, Stat};
use super::sampling::format_threshold;
use super::traceparent::hex;
use super::value::{distinct, sayable, user};

/// Appends the JSON form of a message. What is not set is left out, and so are attributes
/// that the form cannot say: doubles that are not finite, empty keys, keys that are the
/// protocol's or the conventions', and repeated keys.
pub(crate) fn append(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Hello(h) => object(out, |o| o.object("hello", |o| hello(o, h))),
        Message::Batch(b) => object(out, |o| batch(o, b)),
        #[cfg(test)]
        Message::Events(events) => array(out, events, |out, e| object(out, |o| event(o, e))),
    }
}

fn hello(o: &mut Object<'_>, h: &Hello) {
    o.put("instance", &h.instance);
    if !h.agent_name.is_empty() || !h.agent_version.is_empty() {
        o.object("agent", |o| {
            o.text("name", &h.agent_name);
            o.text("version", &h.agent_version);
        });
    }
    if !h.resource.is_empty() {
        o.object("resource", |o| o.attributes(distinct(&h.resource)));
    }
    if h.aggregates {
        o.put("aggregates", &true);
    }
}

fn batch(o: &mut Object<'_>, b: &Batch) {
    if b.seq != 0 {
        o.put("seq", &b.seq);
    }
    if b.aggregates {
        o.put("aggregates", &true);
    }
    if let Some(threshold) = b.threshold {
        o.put("threshold", &format_threshold(threshold));
    }
    if let Some(resource) = &b.resource {
        o.object("resource", |o| o.attributes(distinct(resource)));
    }
    if !b.connections.is_empty() {
        array(o.key("connections"), &b.connections, |out, c| object(out, |o| connection(o, c)));
    }
    if !b.events.is_empty() {
        array(o.key("events"), &b.events, |out, e| object(out, |o| event(o, e)));
    }
    if !b.stats.is_empty() {
        array(o.key("stats"), &b.stats, |out, s| object(out, |o| stat(o, s)));
    }
    if !b.dropped.is_empty() {
        o.put("dropped", &b.dropped);
    }
    if !o.some {
        // An object with no key at all is no batch.
        o.put("events", &[(); 0]);
    }
}

fn event(o: &mut Object<'_>, e: &Event) {
    o.put("event", e.kind.name());
    if let Some(time) = e.time {
        o.put("time", &time);
    }
    if let Some(duration) = e.duration {
        o.put("duration_ns", &duration);
    }
    if e.trace_id != NO_TRACE {
        o.put("trace_id", &hex(&e.trace_id));
    }
    o.span_id("span_id", &e.span_id);
    o.span_id("parent_span_id", &e.parent_span_id);
    if let Some(parent) = &e.parent {
        o.put("traceparent", &parent.header());
    }
    o.text("tracestate", &e.tracestate);
    if e.unsampled {
        o.put("sampled", &false);
    }
    if !e.links.is_empty() {
        array(o.key("links"), &e.links, |out, l| object(out, |o| link(o, l)));
    }
    o.attrs(&e.attrs, EVENT_KEYS);
}

fn link(o: &mut Object<'_>, l: &Link) {
    o.put("trace_id", &hex(&l.span.trace));
    o.put("span_id", &hex(&l.span.span));
    if !l.attributes.is_empty() {
        o.object("attributes", |o| o.attributes(distinct(&l.attributes)));
    }
}

fn connection(o: &mut Object<'_>, c: &Connection) {
    if let Some(opened_at) = c.opened_at {
        o.put("opened_at", &opened_at);
    }
    if c.closed {
        o.put("open", &false);
    }
    if c.handshake.trace != NO_TRACE {
        o.put("trace_id", &hex(&c.handshake.trace));
    }
    o.span_id("span_id", &c.handshake.span);
    o.attrs(&c.attrs, CONNECTION_KEYS);
}

fn stat(o: &mut Object<'_>, s: &Stat) {
    o.put("metric", &s.metric);
    o.put("start", &s.start);
    o.put("time", &s.time);
    if s.attrs != Attrs::default() {
        o.object("attributes", |o| o.attrs(&s.attrs, &[]));
    }
    o.put("count", &s.count);
    o.put("sum", &s.sum);
    if let Some(min) = s.min {
        o.put("min", &min);
    }
    if let Some(max) = s.max {
        o.put("max", &max);
    }
    o.put("scale", &s.scale);
    o.put("zero_count", &s.zero_count);
    o.put("offset", &s.offset);
    if !s.buckets.is_empty() {
        o.put("bucket_counts", &s.buckets);
    }
    if s.r#unsized != 0 {
        o.put("unsized", &s.r#unsized);
    }
}

/// Appends the members of a JSON object.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    some: bool, // has a member
}

fn object(out: &mut Vec<u8>, members: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    members(&mut Object { out, some: false });
    out.push(b'}');
}

fn array<T>(out: &mut Vec<u8>, rows: &[T], one: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        one(out, row);
    }
    out.push(b']');
}

/// Appends a value of a type that is never an error to write.
fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let _ = serde_json::to_writer(out, value);
}

impl Object<'_> {
    /// Begins a member, whose value is to be appended.
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if self.some {
            self.out.push(b',');
        }
        self.some = true;
        write(self.out, key);
        self.out.push(b':');
        self.out
    }

    fn put(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        write(self.key(key), value);
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, text);
        }
    }

    fn span_id(&mut self, key: &str, id: &[u8; 8]) {
        if *id != NO_SPAN {
            self.put(key, &hex(id));
        }
    }

    fn object(&mut self, key: &str, members: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), members);
    }

    fn attrs(&mut self, attrs: &Attrs, reserved: &'static [&'static str]) {
        for (attr, value) in attrs.known() {
            if sayable(value) {
                self.value(attr.name(), value);
            }
        }
        self.attributes(user(&attrs.user, reserved));
    }

    fn attributes<'a>(&mut self, attributes: impl Iterator<Item = &'a KeyValue>) {
        for kv in attributes {
            self.value(kv.key.as_str(), &kv.value);
        }
    }

    fn value(&mut self, key: &str, value: &Value) {
        match value {
            Value::Bool(b) => self.put(key, b),
            Value::I64(i) => self.put(key, i),
            Value::F64(f) => self.put(key, f),
            Value::String(text) => self.put(key, text.as_str()),
            Value::Array(Array::Bool(values)) => self.put(key, values),
            Value::Array(Array::I64(values)) => self.put(key, values),
            Value::Array(Array::F64(values)) => self.put(key, values),
            Value::Array(Array::String(texts)) => {
                array(self.key(key), texts, |out, text| write(out, text.as_str()));
            }
            _ => {}
        }
    }
}
