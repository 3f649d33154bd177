//! What an agent that aggregates leaves out.

use std::sync::Arc;

use opentelemetry::KeyValue;
use serde_json::json;

use super::meter::{messages_in, with_attributes};
use super::receiver::*;
use crate::builder::AgentBuilder;
use crate::meter::Meter;
use crate::record::{Conn, Record};
use crate::ring::Ring;
use crate::spanrules::SpanRules;
use crate::wire::id::{Slot, SpanIds, randomness};
use crate::wire::kind::{Direction, Kind, Role};
use crate::wire::message::Event;
use crate::wire::sampling::{NEVER_SAMPLED, parse_threshold};

const SECOND: i64 = 1_000_000_000;

fn aggregating(above: u32) -> impl FnOnce(AgentBuilder) -> AgentBuilder {
    move |b| batch_of(10_000)(b.aggregates(above))
}

/// A received message of that ordinal, at that time.
fn ordinal(conn: &Arc<Conn>, seq: i64, time: i64) -> Record {
    Record { seq, time, ..message(Some(conn), seq) }
}

/// Above the rate, what the receiver's threshold would not keep is left out and counts all the
/// same; below it everything is sent. Red when: one of these is not so, or a batch does not
/// say its threshold, or says one for nothing.
#[tokio::test]
async fn unsampled_are_left_out() {
    const LIMIT: i64 = 10;
    const N: i64 = 800;
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(aggregating(LIMIT as u32));
        let mut p = r.accept().await;
        p.welcome(json!({"sampling_threshold": "c"})).await;
        until(|| a.stats().sessions == 1).await;
        let (c, least) = (new_conn("a81b"), parse_threshold("c").unwrap());
        let mut at = 1_767_225_600 * SECOND;
        let mut record = |per_second: i64| {
            let mut want = Vec::new();
            for seq in 1..=N {
                a.shared().record(ordinal(&c, seq, at));
                at += SECOND / per_second;
                let kept = randomness(&c.seed().trace_id(seq as u64, Slot::ClientData)) >= least;
                if kept || per_second <= LIMIT || seq <= LIMIT {
                    want.push(seq);
                }
            }
            at += 5 * SECOND;
            want
        };

        let want = record(N);
        let flush = tokio::spawn(flushing(&a));
        let b = p.batch(1).await;
        assert_eq!(b.threshold, Some(least));
        assert_eq!(sizes(&b), want);
        assert!((150..250).contains(&want.len()), "{}", want.len());
        assert_eq!(messages_in(&b), N as u64);
        p.ack(1).await;
        soon(flush).await.unwrap();
        let s = balanced(&a);
        assert_eq!((s.unsampled, s.acknowledged), (N as u64 - want.len() as u64, N as u64 + 1), "with the stat");

        let want = record(LIMIT);
        let flush = tokio::spawn(flushing(&a));
        let b = p.batch(2).await;
        p.ack(2).await;
        soon(flush).await.unwrap();
        assert_eq!(sizes(&b), want);
        assert_eq!(want.len(), N as usize);

        a.messages(Some(&c), 1..=1);
        let flush = tokio::spawn(flushing(&a));
        assert_eq!(p.batch(3).await.threshold, None, "nothing was left out since the last one");
        p.ack(3).await;
        soon(flush).await.unwrap();
    }
}

/// Red when: a flow does not change the threshold, or a number takes another one than that
/// beside which it was made, under a new number and with smaller limits too.
#[tokio::test]
async fn threshold_of_a_number() {
    for (e, taken_over) in ENCODINGS.into_iter().flat_map(|e| [true, false].map(|over| (e, over))) {
        let r = Receiver::new(e).await;
        let a = r.agent(aggregating(1));
        let mut p = r.accept().await;
        p.welcome(json!({"sampling_threshold": "8"})).await;
        until(|| a.stats().sessions == 1).await;
        let c = new_conn("a81b");
        a.open(&c);
        let record = |time: i64| (1..=100).for_each(|seq| a.shared().record(ordinal(&c, seq, time)));
        record(1);
        a.shared().record(Record { time: 3600 * SECOND, ..event(Some(&c), Kind::Ping) });
        let flush = tokio::spawn(flushing(&a));
        assert_eq!(p.batch(1).await.threshold, Some(8 << 52));
        p.text(r#"{"flow":{"sampling_ratio":0.1,"sampling_threshold":"e666"}}"#).await;
        until(|| a.shared().span_rules().threshold == 0xe666 << 40).await;
        p.text(r#"{"flow":{"window_bytes":1000000,"sampling_threshold":"much"}}"#).await;

        let mut seq = 1;
        if taken_over {
            p.close(1008, "taken over").await;
            p = r.accept().await;
            p.welcome(json!({"sampling_threshold": "0"})).await;
            p.batch(0).await;
        } else {
            p.close(1001, "").await;
            p = r.accept().await;
            p.welcome(json!({"sampling_threshold": "0", "max_events": 20})).await;
            p.batch(0).await;
            assert!(p.batch(1).await.events.is_empty());
            seq = 2;
        }
        let mut b = p.batch(seq).await;
        assert!(!b.events.is_empty());
        let mut messages = messages_in(&b);
        assert_eq!(b.threshold, Some(8 << 52));
        while messages < 100 {
            seq += 1;
            b = p.batch(seq).await;
            messages += messages_in(&b);
        }
        p.ack(seq).await;
        soon(flush).await.unwrap();

        record(3600 * SECOND);
        let flush = tokio::spawn(flushing(&a));
        let (mut events, mut messages) = (0, 0);
        while messages < 100 {
            seq += 1;
            let b = p.batch(seq).await;
            (events, messages) = (events + b.events.len(), messages + messages_in(&b));
        }
        p.ack(seq).await;
        soon(flush).await.unwrap();
        assert_eq!(events, 100, "at a ratio of 1 nothing is left out");
    }
}

/// Red when: the second half of a batch that was too long says that nothing was left out beside
/// it.
#[tokio::test]
async fn threshold_of_halves() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(aggregating(1));
        let mut p = r.accept().await;
        p.welcome(json!({"sampling_threshold": "8", "max_message_bytes": 8000})).await;
        until(|| a.stats().sessions == 1).await;
        for i in 0..20 {
            let mut c = conn(&format!("c{i}"));
            c.url = crate::record::shared(&"x".repeat(1500)); // is not estimated
            a.shared().record(ordinal(&Arc::new(c), 1, 1));
        }
        a.shared().state.lock().ring.meter.as_mut().unwrap().sampling.leaving = false;
        let flush = tokio::spawn(flushing(&a));
        let (mut messages, mut seq) = (0, 0);
        while messages < 20 {
            seq += 1;
            let b = p.batch(seq).await;
            assert_eq!(b.threshold, Some(8 << 52));
            messages += messages_in(&b);
        }
        assert!(seq > 1);
        p.ack(seq).await;
        soon(flush).await.unwrap();
    }
}

/// Red when: a flush does not wait for what stats alone tell of.
#[tokio::test]
async fn flush_of_stats_alone() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(aggregating(1));
        let mut p = r.accept().await;
        p.welcome(json!({"sampling_threshold": "100000000000000"})).await;
        until(|| a.stats().sessions == 1).await;
        let c = new_conn("a81b");
        for (number, events) in [(1, 1), (2, 0)] {
            a.shared().record(ordinal(&c, 1, 1));
            let flush = tokio::spawn(flushing(&a));
            let b = p.batch(number).await;
            assert_eq!((b.events.len(), messages_in(&b)), (events, 1));
            assert!(!flush.is_finished(), "before the ack");
            p.ack(number).await;
            soon(flush).await.unwrap();
        }
    }
}

/// An agent decides as the receiver does, and leaves to it what it cannot know. Red when: it
/// compares another trace, or leaves out what is always kept.
#[test]
fn decisions_are_the_receivers() {
    const ID: &str = "0123456789abcdef0123456789abcdef";
    let c = new_conn(ID);
    let mut client = Conn::new(ID, Role::Client);
    client.opened_at = 1;
    let mut foreign = conn(ID);
    foreign.handshake = SpanIds { trace: [5; 16], span: [6; 8] };
    let (client, foreign) = (Arc::new(client), Arc::new(foreign));
    let seed = *c.seed();
    let of = |n, slot| Some(randomness(&seed.trace_id(n, slot)));
    let received = ordinal(&c, 7, 1);
    let stated = |e: Event| Record { extra: Some(Arc::new(e)), ..received.clone() };
    let kind = |kind, dir| Record { kind, dir: Some(dir), ..received.clone() };
    let attribute =
        |key: &'static str, value: &'static str| with_attributes(received.clone(), [KeyValue::new(key, value)]);
    let by_connection = SpanRules { by_connection: true, ..SpanRules::default() };
    let handshake = SpanRules { handshake_traces: true, ..SpanRules::default() };
    let both = SpanRules { by_connection: true, handshake_traces: true, ..SpanRules::default() };
    let each = SpanRules::default();
    let process = Record { duration: 1, ..kind(Kind::Process, Direction::Received) };
    for (case, rules, record, want) in [
        ("received by a server", each, received.clone(), of(7, Slot::ClientData)),
        ("received by a client", each, ordinal(&client, 7, 1), of(7, Slot::ServerData)),
        ("sent by a server", each, kind(Kind::Send, Direction::Sent), of(7, Slot::ServerData)),
        ("processed", each, process, of(7, Slot::ClientData)),
        ("attributes", each, attribute("room.id", "a"), of(7, Slot::ClientData)),
        ("scope connection", by_connection, received.clone(), Some(seed.randomness())),
        ("one trace", handshake, received.clone(), of(0, Slot::Handshake)),
        ("one foreign", handshake, ordinal(&foreign, 7, 1), Some(randomness(&[5; 16]))),
        ("both", both, received.clone(), Some(seed.randomness())),
        ("both, foreign", both, ordinal(&foreign, 7, 1), Some(randomness(&[5; 16]))),
        ("stated span", each, stated(Event { span_id: [1; 8], ..Event::default() }), of(7, Slot::ClientData)),
        ("no ordinal", each, message(Some(&c), 1), None),
        ("no connection", each, Record { conn: None, ..received.clone() }, None),
        ("error", each, attribute("error.type", "boom"), None),
        ("stated trace", each, stated(Event { trace_id: [1; 16], ..Event::default() }), None),
        ("tracestate", each, stated(Event { tracestate: "ot=rv:1".to_owned(), ..Event::default() }), None),
        ("ping", each, event(Some(&c), Kind::Ping), None),
        ("tells nothing", each, kind(Kind::Process, Direction::Received), None),
    ] {
        let left_at = |threshold| {
            let rules = SpanRules { threshold, ..rules };
            let mut m = Meter::new(1, 1 << 20);
            m.learn(&[], &Ring::new(1 << 20));
            assert!(!m.take(&record, &rules), "{case}: the rate is not high yet");
            m.take(&record, &rules)
        };
        let Some(want) = want else {
            assert!(!left_at(NEVER_SAMPLED), "{case}");
            continue;
        };
        assert!(!left_at(want), "{case}: R >= T keeps");
        assert!(left_at(want + 1) && left_at(NEVER_SAMPLED), "{case}");
        assert!(!left_at(0), "{case}");
    }
}
