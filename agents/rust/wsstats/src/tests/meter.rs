//! What an agent that aggregates measures.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry::KeyValue;
use serde_json::json;

use super::receiver::*;
use crate::builder::AgentBuilder;
use crate::encode::Encoder;
use crate::meter::Meter;
use crate::record::{Record, freeze};
use crate::ring::{Dropped, Ring};
use crate::spanrules::SpanRules;
use crate::wire::attr::Attr;
use crate::wire::decode::read_json;
use crate::wire::kind::{Direction, Kind, MessageType};
use crate::wire::message::{Batch, Message as Said};

/// Has an agent aggregate, and leave nothing out.
const NEVER_BUSY: u32 = 1 << 30;

const QUEUE: usize = 16 << 10;

fn aggregating(above: u32) -> impl FnOnce(AgentBuilder) -> AgentBuilder {
    move |b| batch_of(1000)(b.aggregates(above))
}

/// The stats of a batch: their attributes to count and sum.
fn counted(b: &Batch) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for s in &b.stats {
        let mut labels = vec![s.metric.clone()];
        labels.extend([Attr::Role, Attr::Direction, Attr::MessageType].map(|attr| s.attrs.text(attr).to_owned()));
        labels.extend(s.attrs.user.iter().map(|kv| format!("{}={}", kv.key, kv.value)));
        labels.retain(|label| !label.is_empty());
        let mut tells = format!("{}, {}", s.count, s.sum);
        if s.r#unsized > 0 {
            tells += &format!(", {} unsized", s.r#unsized);
        }
        let twice = all.insert(labels.join(" "), tells);
        assert_eq!(twice, None, "{labels:?}");
    }
    all
}

/// How many messages the stats of a batch tell of.
pub(super) fn messages_in(b: &Batch) -> u64 {
    b.stats.iter().filter(|s| s.metric == "ws.message.size").map(|s| s.count).sum()
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

pub(super) fn with_attributes<const N: usize>(mut r: Record, attributes: [KeyValue; N]) -> Record {
    r.attributes = freeze(attributes.into());
    r
}

/// Stats are delivered as events are. Red when: they are not measured, a number stands for
/// others when it is sent again, a flush does not wait for them, or they count twice.
#[tokio::test]
async fn stats_are_delivered() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(aggregating(NEVER_BUSY));
        let mut p = r.welcomed(0).await;
        assert!(p.hello.aggregates);
        until(|| a.stats().sessions == 1).await;
        let c = new_conn("a81b");
        a.open(&c);
        a.messages(Some(&c), 1..=4);
        let mut sent = message(Some(&c), 100);
        (sent.kind, sent.typ, sent.dir) = (Kind::Send, Some(MessageType::Binary), Some(Direction::Sent));
        a.shared().record(sent.clone());
        a.shared().record(event(Some(&c), Kind::Ping)); // counts by itself

        let flush = tokio::spawn(flushing(&a));
        let want =
            map([("ws.message.size server received text", "4, 10"), ("ws.message.size server sent binary", "1, 100")]);
        let b = p.batch(1).await;
        assert_eq!(counted(&b), want);
        assert_eq!((b.events.len(), b.threshold), (6, None), "each event is there beside");
        let s = &b.stats[0];
        assert_eq!(s.buckets, [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1]);
        assert_eq!((s.scale, s.offset, s.zero_count, s.min, s.max), (3, -1, 0, Some(1.0), Some(4.0)));
        assert_eq!(s.start, sent.time);
        p.close(1001, "").await;

        let mut p = r.welcomed(0).await;
        p.batch(0).await; // its connection
        assert_eq!(p.batch(1).await.stats, b.stats);
        assert!(!flush.is_finished(), "before the ack");
        assert_eq!(balanced(&a).held, 8);
        p.ack(1).await;
        soon(flush).await.unwrap();
        assert_eq!(balanced(&a).acknowledged, 8);

        a.messages(Some(&c), 7..=7);
        let flush = tokio::spawn(flushing(&a));
        assert_eq!(counted(&p.batch(2).await), map([("ws.message.size server received text", "1, 7")]), "anew");
        p.ack(2).await;
        soon(flush).await.unwrap();
    }
}

/// What each kind of event counts is what the receiver makes of it. Red when: one counts
/// otherwise, or by other attributes.
#[test]
fn each_kind_is_measured() {
    let mut lobby = conn("a81b");
    lobby.attributes = vec![KeyValue::new("room.id", "lobby")];
    let c = Arc::new(lobby);
    let mut process = event(Some(&c), Kind::Process);
    process.typ = Some(MessageType::Text);
    let timed = Record { duration: 250_000_000, ..process.clone() };
    let compressed = Record { compressed: true, ..message(Some(&c), 9) };
    let mut broadcast = event(Some(&c), Kind::Broadcast);
    (broadcast.typ, broadcast.size) = (Some(MessageType::Text), 5);
    let batch = Record { size: 5, ..event(None, Kind::BatchSend) };
    let witness = Record { size: 3, ..event(Some(&c), Kind::Message) };
    let own = |r: &Record, key: &'static str, value: i64| with_attributes(r.clone(), [KeyValue::new(key, value)]);
    let text =
        |r: &Record, key: &'static str, value: &'static str| with_attributes(r.clone(), [KeyValue::new(key, value)]);
    let received = "ws.message.size server received text";
    let cases = [
        (message(Some(&c), 5), map([(&format!("{received} room.id=lobby"), "1, 5")])),
        (message(None, 5), map([("ws.message.size received text", "1, 5")])),
        (own(&message(Some(&c), 5), "room.id", 7), map([(&format!("{received} room.id=7"), "1, 5")])),
        (compressed, map([(&format!("{received} room.id=lobby"), "1, 0, 1 unsized")])),
        (witness.clone(), map([("ws.message.size server room.id=lobby", "1, 3")])),
        (text(&witness, "ws.direction", "sent"), map([("ws.message.size server sent room.id=lobby", "1, 3")])),
        (timed.clone(), map([("ws.processing.time text room.id=lobby", "1, 0.25")])),
        (own(&process, "ws.processing.time_ms", 50), map([("ws.processing.time text room.id=lobby", "1, 0.05")])),
        (own(&timed, "ws.processing.time_ms", 50), map([("ws.processing.time text room.id=lobby", "1, 0.25")])),
        (process, map([])),
        (
            own(&message(Some(&c), 5), "ws.queue.size", 3),
            map([(&format!("{received} room.id=lobby"), "1, 5"), ("ws.queue.size server room.id=lobby", "1, 3")]),
        ),
        (
            own(&broadcast, "ws.broadcast.recipients", 40),
            map([
                ("ws.message.size server sent text room.id=lobby", "40, 200"),
                ("ws.broadcast.recipients room.id=lobby", "1, 40"),
            ]),
        ),
        (own(&broadcast, "ws.broadcast.recipients", 0), map([("ws.broadcast.recipients room.id=lobby", "1, 0")])),
        (broadcast, map([])),
        (
            with_attributes(batch, [KeyValue::new("ws.batch.size", 3), KeyValue::new("ws.role", "client")]),
            map([("ws.message.size client sent", "3, 15")]),
        ),
        (event(Some(&c), Kind::Ping), map([])),
        (
            with_attributes(
                event(Some(&c), Kind::Send),
                [KeyValue::new("ws.message.type", "ping"), KeyValue::new("ws.queue.size", 3)],
            ),
            map([]),
        ),
        (event(Some(&c), Kind::Close), map([])),
        (
            with_attributes(
                event(Some(&c), Kind::Receive),
                [
                    KeyValue::new("ws.message.type", "smoke"),
                    KeyValue::new("ws.role", "guest"),
                    KeyValue::new("ws.message.size", 4),
                ],
            ),
            map([("ws.message.size _OTHER received _OTHER room.id=lobby", "1, 4")]),
        ),
    ];
    for (record, want) in cases {
        *c.recent.lock() = Default::default(); // is of one agent
        let (mut m, mut ring) = (Meter::new(NEVER_BUSY, 1 << 20), Ring::new(1 << 20));
        m.learn(&["user.id".to_owned(), "room.id".to_owned()], &ring);
        assert!(!m.take(&record, &SpanRules::default()));
        assert!(m.seal(&mut ring, 1));
        assert!(!m.waits());
        let rows: Vec<_> = ring.rows().cloned().collect();
        let mut enc = Encoder::default();
        enc.batch(1, &rows, &Dropped::default(), 0);
        let Said::Batch(b) = read_json(&serde_json::from_slice(&enc.buf).unwrap()) else { panic!() };
        assert_eq!(counted(&b), want, "{record:?}");
    }
}

/// Until the first welcome nobody knows the dimensions. Red when: what is recorded before is
/// not measured then, by them; or what had no room is not measured without.
#[tokio::test]
async fn measured_at_the_first_welcome() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| aggregating(NEVER_BUSY)(b.max_queue_bytes(QUEUE)));
        let mut p = r.accept().await;
        let in_room = with_attributes(message(None, 1), [KeyValue::new("room.id", "lobby")]);
        let fit = (QUEUE / in_room.memory()) as u64;
        for _ in 0..3 * fit {
            a.shared().record(in_room.clone());
        }
        a.shared().record(event(None, Kind::Error)); // has an eighth of them leave
        p.welcome(json!({"dimensions": ["room.id"]})).await;
        let (mut lobby, mut nowhere, mut seq) = (0, 0, 0);
        let flush = tokio::spawn(flushing(&a));
        while lobby + nowhere < 3 * fit {
            seq += 1;
            for s in p.batch(seq).await.stats {
                *(if s.attrs.user.is_empty() { &mut nowhere } else { &mut lobby }) += s.count;
            }
            p.ack(seq).await;
        }
        soon(flush).await.unwrap();
        assert_eq!(lobby + nowhere, 3 * fit, "all of them, and none twice");
        assert!(lobby.abs_diff(fit) <= fit / 4, "{lobby} of {fit}");
        assert_eq!(a.stats().dropped.queue_full, nowhere, "their spans are lost");
    }
}

/// Red when: a count is lost while the receiver cannot be reached, however long and however
/// many.
#[tokio::test]
async fn no_outage_loses_a_count() {
    const N: i64 = 50_000;
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| aggregating(NEVER_BUSY)(b.max_queue_bytes(QUEUE)));
        drop(r.welcomed(0).await);
        let mut p = r.accept().await;
        a.messages(None, 1..=N);
        assert!(balanced(&a).dropped.queue_full > 0);
        p.welcome(json!({})).await;
        let flush = tokio::spawn(flushing(&a));
        let (mut messages, mut sum, mut seq) = (0, 0.0, 0);
        while messages < N as u64 {
            seq += 1;
            let b = p.batch(seq).await;
            messages += messages_in(&b);
            sum += b.stats.iter().map(|s| s.sum).sum::<f64>();
            p.ack(seq).await;
        }
        soon(flush).await.unwrap();
        assert_eq!((messages, sum), (N as u64, (N * (N + 1) / 2) as f64));
    }
}

/// Red when: series that are too many take memory without bound, or lose a count.
#[test]
fn series_are_bounded() {
    let (mut m, mut ring) = (Meter::new(NEVER_BUSY, 64 << 10), Ring::new(1 << 30));
    m.learn(&["user.id".to_owned()], &ring);
    for round in 1..=2 {
        for user in 0..5000 {
            m.take(&with_attributes(message(None, 1), [KeyValue::new("user.id", user)]), &SpanRules::default());
        }
        assert!(m.memory() <= (64 << 10) + 1000);
        assert!(m.seal(&mut ring, 1));
        assert_eq!(m.memory(), 0, "makes room for others");
        let stats = ring.rows().filter_map(|r| r.stat.as_ref());
        let (alone, all): (Vec<_>, Vec<_>) = stats.partition(|s| s.dimensions.is_empty());
        let count = |stats: &[&Arc<crate::record::Sealed>]| stats.iter().map(|s| s.histogram.count).sum::<u64>();
        assert!(all.len() > 100 && count(&alone) > 0);
        assert_eq!(count(&alone) + count(&all), 5000 * round);
    }
}

/// Red when: stats find no place in a queue of samples, or are lost where there is none, or
/// what nothing else tells of is dropped without being counted.
#[test]
fn seal_makes_room() {
    let (mut m, mut ring) = (Meter::new(NEVER_BUSY, 1 << 20), Ring::new(QUEUE));
    m.learn(&[], &ring);
    for _ in 0..1000 {
        m.take(&message(None, 1), &SpanRules::default());
        ring.push(message(None, 1));
    }
    assert!(m.seal(&mut ring, 1));
    assert_eq!(ring.rows().last().unwrap().stat.as_ref().unwrap().histogram.count, 1000);

    let held = ring.waiting_rows();
    ring.take(held, usize::MAX); // it is sent, and waits for its ack
    while ring.dropped.queue_full < 2000 {
        ring.push(event(None, Kind::Error));
    }
    m.take(&message(None, 1), &SpanRules::default());
    assert!(!m.seal(&mut ring, 1));
    assert!(m.waits(), "it goes on counting");
    m.take(&message(None, 1), &SpanRules::default());
    let waiting = ring.waiting_rows();
    let all = held + ring.take(waiting, usize::MAX);
    ring.acknowledge(all);
    assert!(m.seal(&mut ring, 1));
    assert_eq!(ring.rows().next().unwrap().stat.as_ref().unwrap().histogram.count, 2);
}

/// Red when: what only stats tell of is not dropped with them, by their reason.
#[tokio::test]
async fn dropped_stats() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(aggregating(1));
        let mut p = r.accept().await;
        p.welcome(json!({"sampling_threshold": "100000000000000"})).await;
        until(|| a.stats().sessions == 1).await;
        let c = new_conn("a81b");
        for seq in 1..=10 {
            a.shared().record(Record { seq, ..message(Some(&c), 1) });
        }
        assert_eq!(a.stats().unsampled, 9); // the first one was no reason to leave any out
        let flush = tokio::spawn(flushing(&a));
        assert_eq!(p.batch(1).await.events.len(), 1);
        p.nack(1, false).await;
        soon(flush).await.unwrap();
        assert_eq!(balanced(&a).dropped, Dropped { refused: 11, ..Dropped::default() });

        a.shared().record(Record { seq: 11, ..message(Some(&c), 1) });
        assert_eq!(balanced(&a).held, 1);
        assert!(a.shutdown(std::time::Duration::ZERO).await.is_err());
        assert_eq!(balanced(&a).held, 0);
        assert!(a.stats().dropped.shutdown >= 1); // and, where it was made of it yet, the stat
    }
}
