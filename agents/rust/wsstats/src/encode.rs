//! Protocol messages of records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use opentelemetry::KeyValue;

use crate::VERSION;
use crate::record::{Conn, Record, Sealed};
use crate::ring::Dropped;
use crate::wire::attr::{Attr, Attrs};
use crate::wire::id::SpanIds;
use crate::wire::kind::Kind;
use crate::wire::message::{Batch, Connection, Event, Hello, Link, Message, Stat};
use crate::wire::{json, proto};

/// Names this implementation to the receiver.
const AGENT_NAME: &str = "wsstats-rust";

/// Makes protocol messages of records, in the session's encoding.
#[derive(Default)]
pub(crate) struct Encoder {
    pub(crate) session: u64, // the session, or part of one, that Conn::declared speaks of, from 1
    message: u64,            // the message that Conn::mentioned speaks of, from 1

    pub(crate) binary: bool, // the session's encoding
    proto: proto::Encoder,   // what was defined in the session
    unsent: bool,            // proto counts on a message that was not sent

    pub(crate) buf: Vec<u8>,
}

impl Encoder {
    /// Begins a session: nothing is known in it yet.
    pub(crate) fn start(&mut self, binary: bool) {
        self.binary = binary;
        self.forget();
    }

    /// Is for when the receiver has ignored messages: what they declared and defined is
    /// declared and defined again where it is named next.
    pub(crate) fn forget(&mut self) {
        self.session += 1;
        self.proto.reset();
        self.unsent = false;
    }

    /// Makes the buffer of a message, and tells whether it could.
    fn encode(&mut self, message: &Message) -> bool {
        self.buf.clear();
        if self.binary {
            return self.proto.append(&mut self.buf, message);
        }
        json::append(&mut self.buf, message);
        true
    }

    pub(crate) fn hello(&mut self, instance: &str, resource: &BTreeMap<String, String>, aggregates: bool) {
        self.encode(&Message::Hello(Hello {
            instance: instance.to_owned(),
            agent_name: AGENT_NAME.to_owned(),
            agent_version: VERSION.to_owned(),
            resource: resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect(),
            aggregates,
        }));
    }

    /// Makes the message of a number, and tells whether it could. It declares the
    /// connections that its records name and the session does not know, but where a
    /// handshake does. The same holds for what the binary form defines. A threshold of 0 is
    /// none.
    pub(crate) fn batch(&mut self, seq: u64, rows: &[Record], dropped: &Dropped, threshold: u64) -> bool {
        if self.unsent {
            // The receiver will not see what the last one defined.
            self.proto.reset();
        }
        self.unsent = true;
        self.message += 1;
        let mut b = Batch { seq, threshold: (threshold > 0).then_some(threshold), ..Batch::default() };
        for r in rows {
            if let Some(stat) = &r.stat {
                b.stats.push(stat_row(stat));
                continue;
            }
            if let Some(conn) = &r.conn {
                let known = conn.declared.load(Ordering::Relaxed) == self.session;
                if !known && self.mention(conn) && r.kind != Kind::Handshake {
                    b.connections.push(connection_entry(conn));
                }
            }
            b.events.push(event(r));
        }
        b.dropped = dropped.reasons().map(|(why, count)| (why.to_owned(), count)).collect();
        self.encode(&Message::Batch(b))
    }

    /// Makes an unnumbered message that declares connections.
    pub(crate) fn restate(&mut self, conns: &[Arc<Conn>]) {
        let connections = conns.iter().map(|conn| connection_entry(conn)).collect();
        self.encode(&Message::Batch(Batch { connections, ..Batch::default() }));
    }

    /// Notes that the session knows the connections of the last batch, and what it defined.
    pub(crate) fn sent(&mut self, rows: &[Record]) {
        self.unsent = false;
        for conn in rows.iter().filter_map(|r| r.conn.as_ref()) {
            conn.declared.store(self.session, Ordering::Relaxed);
        }
    }

    /// Begins a list of connections, each once.
    pub(crate) fn begin_mentions(&mut self) {
        self.message += 1;
    }

    /// Tells whether the connection is mentioned for the first time.
    pub(crate) fn mention(&self, conn: &Conn) -> bool {
        conn.mentioned.swap(self.message, Ordering::Relaxed) != self.message
    }
}

fn connection_entry(conn: &Conn) -> Connection {
    let mut attrs = Attrs::default();
    attrs.set(Attr::ConnectionId, conn.id.clone());
    set_connection(&mut attrs, conn);
    Connection {
        attrs,
        opened_at: (conn.opened_at != 0).then_some(conn.opened_at),
        closed: conn.closed.load(Ordering::Relaxed),
        handshake: conn.handshake,
    }
}

/// Sets what a connection's events inherit.
pub(crate) fn set_connection(attrs: &mut Attrs, conn: &Conn) {
    for (attr, text) in [(Attr::Url, &conn.url), (Attr::PeerIp, &conn.peer_ip)] {
        if !text.as_str().is_empty() {
            attrs.set(attr, text.clone());
        }
    }
    if !conn.protocol.is_empty() {
        attrs.set(Attr::Protocol, conn.protocol);
    }
    attrs.set(Attr::Role, conn.role.name());
    if conn.peer_port > 0 {
        attrs.set(Attr::PeerPort, i64::from(conn.peer_port));
    }
    if conn.shared {
        attrs.set(Attr::Shared, true);
    }
    attrs.add(&conn.attributes);
}

/// A stat as a batch holds it.
fn stat_row(s: &Sealed) -> Stat {
    let mut attrs = Attrs::default();
    attrs.set_text(Attr::Role, s.labels.role.name());
    attrs.set_text(Attr::Direction, s.labels.dir.name());
    attrs.set_text(Attr::MessageType, s.labels.typ.name());
    attrs.user.clone_from(&s.dimensions);
    let h = &s.histogram;
    Stat {
        metric: s.labels.metric.name().to_owned(),
        start: s.start,
        time: s.end,
        attrs,
        count: h.count,
        sum: h.sum,
        min: h.has_values().then_some(h.min),
        max: h.has_values().then_some(h.max),
        scale: h.scale,
        zero_count: h.zero,
        offset: h.offset,
        buckets: h.buckets.clone(),
        r#unsized: h.r#unsized,
    }
}

/// The event of a record.
pub(crate) fn event(r: &Record) -> Event {
    let mut e = r.extra.as_deref().cloned().unwrap_or_default();
    e.kind = r.kind;
    e.time = (r.time != 0).then_some(r.time);
    e.duration = (r.duration >= 0).then_some(r.duration);
    if let Some(conn) = &r.conn {
        e.attrs.set(Attr::ConnectionId, conn.id.clone());
        if r.kind == Kind::Handshake {
            set_connection(&mut e.attrs, conn);
        }
    }
    if let Some(attributes) = &r.attributes {
        e.attrs.add(attributes);
    }
    if let Some(active) = &r.active {
        e.links = vec![active_link(**active)];
    }
    if let Some(typ) = r.typ {
        e.attrs.set(Attr::MessageType, typ.name());
    }
    // The kind says, mostly, the direction.
    let implied = matches!(r.kind, Kind::Send | Kind::Receive | Kind::Process | Kind::Broadcast | Kind::BatchSend);
    if let (Some(dir), false) = (r.dir, implied) {
        e.attrs.set(Attr::Direction, dir.name());
    }
    if r.seq > 0 {
        e.attrs.set(Attr::MessageSeq, r.seq);
    }
    if r.size >= 0 {
        e.attrs.set(if r.compressed { Attr::CompressedSize } else { Attr::MessageSize }, r.size);
    }
    if r.frames > 0 {
        e.attrs.set(Attr::MessageFrames, i64::from(r.frames));
    }
    e
}

/// The link from a send to what was active then.
fn active_link(span: SpanIds) -> Link {
    Link { span, attributes: vec![KeyValue::new("ws.link.kind", "active")] }
}
