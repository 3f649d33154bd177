//! Limits of a batch, of a message and of the window.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use serde_json::json;

use super::receiver::*;
use crate::record::Record;
use crate::wire::attr::Attr;
use crate::wire::kind::Kind;
use crate::wire::message::Event;
use crate::{Dropped, Encoding};

const HOUR: Duration = Duration::from_secs(3600);

fn error(attr: Attr, n: usize) -> Record {
    let mut e = Event::default();
    e.attrs.set(attr, "x".repeat(n));
    let mut r = event(None, Kind::Error);
    r.extra = Some(Arc::new(e));
    r
}

/// Red when: a batch has more events or bytes than it may, or waits longer.
#[tokio::test]
async fn batches_by_size_and_by_time() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(3));
        a.messages(None, 1..=7);
        let mut p = r.welcomed(0).await;
        assert_eq!(sizes(&p.batch(1).await), [1, 2, 3]);
        assert_eq!(sizes(&p.batch(2).await), [4, 5, 6]);
        p.nothing().await;

        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.batch(1000, 500, HOUR)); // a message counts 224 bytes
        a.messages(None, 1..=5);
        let mut p = r.welcomed(0).await;
        assert_eq!(sizes(&p.batch(1).await), [1, 2]);
        assert_eq!(sizes(&p.batch(2).await), [3, 4]);
        p.nothing().await;

        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.batch(1000, 1 << 20, Duration::from_millis(20)));
        let mut p = r.welcomed(0).await;
        a.messages(None, 1..=1);
        assert_eq!(sizes(&p.batch(1).await), [1]);
        p.ack(1).await;
        a.flushed().await;

        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(6));
        a.messages(None, 1..=6);
        let mut p = r.accept().await;
        p.welcome(json!({"max_events": 4})).await; // the receiver's limit holds beside them
        assert_eq!(sizes(&p.batch(1).await), [1, 2, 3, 4]);
        p.nothing().await;
    }
}

/// Red when: what a limit of the receiver left of a due batch waits for a delay of its own.
#[tokio::test]
async fn the_rest_of_a_due_batch_follows_at_once() {
    let delay = Duration::from_millis(300);
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.batch(20, 1 << 20, delay));
        let mut p = r.accept().await;
        p.welcome(json!({"max_events": 4})).await;
        a.messages(None, 1..=10);
        p.batch(1).await;
        let at = Instant::now();
        p.batch(2).await;
        assert_eq!(p.batch(3).await.events.len(), 2);
        assert!(at.elapsed() < delay / 2);
        p.ack(3).await;
        a.flushed().await;

        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.batch(20, 1 << 20, delay));
        for _ in 0..3 {
            // Each fits alone, but the estimate says that all do.
            a.shared().record(error(Attr::ErrorType, 2500));
        }
        let mut p = r.accept().await;
        p.welcome(json!({"max_message_bytes": 4000})).await;
        p.batch(1).await;
        let at = Instant::now();
        p.batch(2).await;
        p.batch(3).await;
        assert!(at.elapsed() < delay / 2);
        p.ack(3).await;
        a.flushed().await;
    }
}

/// Red when: a message is over the receiver's limit, or an event that fits in none blocks the
/// agent, or uses no number.
#[tokio::test]
async fn message_limit_halves_batches() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(100));
        for _ in 0..8 {
            a.shared().record(error(Attr::ErrorMessage, 700)); // counts 2.4 KB, is 0.9 KB
        }
        a.shared().record(error(Attr::ErrorType, 9000)); // not estimated
        let flush = tokio::spawn(flushing(&a));
        let mut p = r.accept().await;
        p.welcome(json!({"max_message_bytes": 4000})).await;
        let (mut events, mut seq) = (0, 0);
        while events < 8 {
            seq += 1;
            events += p.batch(seq).await.events.len();
            assert!(p.len <= 4000);
            p.ack(seq).await;
        }
        assert!(p.batch(seq + 1).await.events.is_empty());
        p.ack(seq + 1).await;
        soon(flush).await.unwrap();
        assert_eq!(a.stats().dropped, Dropped { oversize: 1, ..Dropped::default() });
    }
}

/// Red when: more is sent than the window has room for, or nothing when it opens.
#[tokio::test]
async fn window() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        let mut p = r.accept().await;
        p.welcome(json!({"window_bytes": 0})).await;
        a.messages(None, 1..=4);
        p.nothing().await;
        p.reply(json!({"flow": {"window_bytes": 1}})).await; // any message fills it
        p.batch(1).await;
        p.nothing().await;
        p.ack(1).await;
        p.batch(2).await;
        p.reply(json!({"flow": {"window_bytes": 0}})).await;
        p.ack(2).await;
        until(|| a.stats().acknowledged == 2).await;
        p.nothing().await;
        p.reply(json!({"flow": {"window_bytes": 1 << 20}})).await;
        p.batch(3).await;
        p.batch(4).await;
        p.reply(json!({"flow": {"window_bytes": 0}})).await;
        p.nack(3, true).await;
        p.nothing().await; // it is not sent again, either
        p.reply(json!({"flow": {"window_bytes": 1 << 20}})).await;
        p.batch(3).await;
        p.batch(4).await;
        p.ack(4).await;
        a.flushed().await;
    }
}

/// Red when: a number that is over the limits of a new session is sent with its events, or
/// these are lost or change their order; or what was encoded to measure it is taken for what
/// is to be sent.
#[tokio::test]
async fn smaller_limits_of_a_new_session() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(4));
        let c = new_conn("a81b");
        let mut p = r.welcomed(0).await;
        a.messages(Some(&c), 1..=4);
        p.batch(1).await;
        a.messages(Some(&c), 5..=6);
        let flush = tokio::spawn(flushing(&a));
        p.batch(2).await;
        a.messages(Some(&c), 7..=10);
        p.batch(3).await;
        drop(p);

        let mut q = r.accept().await;
        q.welcome(json!({"max_events": 3})).await;
        assert_eq!(entries(&q.batch(0).await).len(), 1);
        assert!(q.batch(1).await.events.is_empty());
        assert_eq!(sizes(&q.batch(2).await), [5, 6]);
        assert!(q.batch(3).await.events.is_empty());
        assert_eq!(sizes(&q.batch(4).await), [1, 2, 3]);
        assert_eq!(sizes(&q.batch(5).await), [4, 7, 8]);
        q.ack(5).await;
        soon(flush).await.unwrap(); // not for 9 and 10
        let flush = tokio::spawn(flushing(&a));
        assert_eq!(sizes(&q.batch(6).await), [9, 10]);
        q.ack(6).await;
        soon(flush).await.unwrap();
        assert_eq!(a.stats().acknowledged, 10);
    }
}

/// What was sent in the binary form may be too long in JSON. Red when: its numbers are not
/// emptied, or its events do not follow in their order.
#[tokio::test]
async fn numbers_too_long_in_another_encoding() {
    let mut r = Receiver::new(Encoding::Proto).await;
    let a = r.agent(batch_of(20));
    a.messages(Some(&new_conn("a81b")), 1..=60);
    let mut p = r.welcomed(0).await;
    for seq in 1..=3 {
        p.batch(seq).await;
        assert!(p.len < 1500);
    }
    r.knows(Encoding::Json);
    drop(p);

    let flush = tokio::spawn(flushing(&a));
    let mut q = r.accept().await;
    q.welcome(json!({"max_message_bytes": 1500})).await;
    q.batch(0).await;
    let (mut all, mut seq) = (Vec::new(), 0);
    while all.len() < 60 {
        seq += 1;
        let b = q.batch(seq).await;
        assert!(q.len <= 1500);
        assert_eq!(seq > 3, !b.events.is_empty());
        all.extend(sizes(&b));
        q.ack(seq).await;
    }
    assert!(all.is_sorted());
    soon(flush).await.unwrap();
    assert_eq!(a.stats().acknowledged, 60);
}

/// The same where a nack has a message declare more than it did before.
#[tokio::test]
async fn number_too_long_with_its_declarations() {
    const LIMIT: usize = 5000;
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(20));
        let conns: Vec<_> = (0..20)
            .map(|i| {
                let mut c = conn(&format!("{i:032}"));
                c.attributes = vec![KeyValue::new("tenant", "x".repeat(100))];
                Arc::new(c)
            })
            .collect();
        let mut p = r.accept().await;
        p.welcome(json!({"max_message_bytes": LIMIT})).await;
        let mut seq = 0;
        for round in 0..2 {
            for c in &conns {
                a.shared().record(message(Some(c), 1));
            }
            let flush = tokio::spawn(flushing(&a));
            if round == 1 {
                assert!(seq > 1, "with all declarations it is too long for one message");
                seq += 1;
                assert_eq!(p.batch(seq).await.events.len(), 20);
                p.nack(seq, true).await;
                assert!(p.batch(seq).await.events.is_empty());
            }
            let mut events = 0;
            while events < 20 {
                seq += 1;
                events += p.batch(seq).await.events.len();
                assert!(p.len <= LIMIT);
            }
            p.ack(seq).await;
            soon(flush).await.unwrap();
        }
        assert_eq!(a.stats().acknowledged, 40);
    }
}
