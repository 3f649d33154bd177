//! The queue, the shutdown, and all of it at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::meter::messages_in;
use super::receiver::*;
use crate::record::Record;
use crate::wire::kind::Kind;
use crate::wire::message::Message as Said;
use crate::{Dropped, Encoding, ShutdownError, Stats};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Red when: a full queue drops what happens once in a connection's life before messages, or
/// anything but the oldest, changes the order, or reports its drops twice or never.
#[tokio::test]
async fn queue_full() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.max_queue_bytes(16 << 10).batch(10_000, 1 << 20, HOUR));
        let c = new_conn("a81b");
        a.shared().record(event(Some(&c), Kind::Handshake)); // the oldest of all
        a.messages(Some(&c), 1..=2000);
        let full = balanced(&a);
        assert!(full.dropped.queue_full > 0 && full.held > 100, "{full:?}");

        // What happens once in a connection's life finds its place.
        for _ in 0..10 {
            a.shared().record(event(Some(&c), Kind::Handshake));
            a.shared().record(event(Some(&c), Kind::Close));
            balanced(&a);
        }
        let flush = tokio::spawn(flushing(&a));
        let mut p = r.welcomed(0).await;
        let b = p.batch(1).await;
        let received: Vec<_> = b.events.iter().filter(|e| e.kind == Kind::Receive).cloned().collect();
        assert_eq!(b.events.len() - received.len(), 21);
        assert!(sizes(&crate::wire::message::Batch { events: received, ..Default::default() }).is_sorted());
        assert_eq!(dropped(&b), [("queue_full", a.stats().dropped.queue_full)]);
        p.ack(1).await;
        soon(flush).await.unwrap();

        a.messages(Some(&c), 1..=1);
        let flush = tokio::spawn(flushing(&a));
        assert!(p.batch(2).await.dropped.is_empty()); // reported once
        p.ack(2).await;
        soon(flush).await.unwrap();
    }
}

/// Red when: a message takes more memory than the documentation says.
#[test]
fn size_of_a_message() {
    assert_eq!(message(Some(&new_conn("a81b")), 1).memory(), 88);
}

/// Red when: a report of drops is lost with its session or its instance.
#[tokio::test]
async fn reports_of_drops_survive_reconnects() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.max_queue_bytes(16 << 10).batch(10_000, 1 << 20, HOUR));
        a.messages(None, 1..=1000);
        let count = a.stats().dropped.queue_full;
        assert!(count > 0);
        let flush = tokio::spawn(flushing(&a));
        let mut p = r.welcomed(0).await;
        assert_eq!(dropped(&p.batch(1).await), [("queue_full", count)]);
        drop(p);
        let mut p = r.welcomed(0).await;
        assert_eq!(dropped(&p.batch(1).await), [("queue_full", count)]); // it is the number's, like its events
        p.close(1008, "taken over").await;
        let mut p = r.welcomed(0).await;
        assert_eq!(dropped(&p.batch(1).await), [("queue_full", count)]);
        p.ack(1).await;
        soon(flush).await.unwrap();
    }
}

/// Red when: a shutdown loses what is held, leaves without a close frame, or goes on to
/// record.
#[tokio::test]
async fn shutdown_delivers_and_closes() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(100));
        a.open(&new_conn("a81b"));
        let mut p = r.welcomed(0).await;
        p.batch(0).await;
        a.messages(None, 1..=3);
        let shutdown = tokio::spawn({
            let a = (*a).clone();
            async move { a.shutdown(PATIENCE).await }
        });
        assert_eq!(p.batch(1).await.events.len(), 3);
        p.ack(1).await;
        assert_eq!(p.close_code().await, 1000);
        soon(shutdown).await.unwrap().unwrap();
        a.shutdown(PATIENCE).await.unwrap(); // again

        a.messages(None, 4..=4);
        a.open(&new_conn("late"));
        assert!(a.shared().state.lock().conns.is_empty());
        let dropped = Dropped { shutdown: 1, ..Dropped::default() };
        assert_eq!(a.stats(), Stats { sessions: 1, observed: 4, acknowledged: 3, dropped, ..Stats::default() });
        a.flushed().await;
    }
}

/// Red when: a time that is too far away ends the link.
#[tokio::test]
async fn times_without_end() {
    let r = Receiver::new(Encoding::Json).await;
    let a = r.agent(|b| b.batch(2, 1 << 20, Duration::MAX));
    let mut p = r.welcomed(0).await;
    a.messages(None, 1..=1);
    p.nothing().await;
    let shutdown = tokio::spawn({
        let a = (*a).clone();
        async move { a.shutdown(Duration::MAX).await }
    });
    p.batch(1).await;
    p.ack(1).await;
    assert_eq!(p.close_code().await, 1000);
    soon(shutdown).await.unwrap().unwrap();
}

/// Red when: a shutdown waits for a receiver though nothing is held, or for longer than it
/// was told, or calls at the same time end otherwise.
#[tokio::test]
async fn shutdowns_end() {
    let (port, hole) = (ClosedPort::new(), Receiver::new(Encoding::Json).await);
    let absent = Tested::new(quick(port.endpoint()));
    let silent = hole.agent(|b| b);
    let _connection = hole.connection().await; // and nobody answers
    for a in [absent, silent] {
        let at = Instant::now();
        soon(a.shutdown(HOUR)).await.unwrap();
        assert!(at.elapsed() < PATIENCE / 2);
    }

    let a = Tested::new(quick(port.endpoint()));
    a.messages(None, 1..=3);
    let calls = [HOUR, 100 * MS, HOUR].map(|timeout| {
        let a = (*a).clone();
        tokio::spawn(async move { a.shutdown(timeout).await })
    });
    for call in calls {
        assert_eq!(soon(call).await.unwrap(), Err(ShutdownError { lost: 3 }));
    }
    assert_eq!(a.stats().dropped, Dropped { shutdown: 3, ..Dropped::default() });
}

/// Red when: a link that is only slow hears no goodbye when a shutdown's time is over, or a
/// shutdown waits for an answer to it.
#[tokio::test]
async fn shutdown_says_goodbye() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        a.messages(None, 1..=1);
        let mut p = r.welcomed(0).await;
        p.batch(1).await;
        let shutdown = tokio::spawn({
            let a = (*a).clone();
            async move { a.shutdown(MS).await }
        });
        assert_eq!(p.close_code().await, 1000);
        assert_eq!(soon(shutdown).await.unwrap(), Err(ShutdownError { lost: 1 }));

        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        let _silent = r.welcomed(0).await; // and never reads again
        let at = Instant::now();
        soon(a.shutdown(PATIENCE)).await.unwrap();
        assert!(at.elapsed() < PATIENCE / 2);
    }
}

/// Red when: the last agent's end loses what is held, or waits for it.
#[tokio::test]
async fn a_dropped_agent_delivers() {
    let r = Receiver::new(Encoding::Proto).await;
    let a = batch_of(100)(quick(r.endpoint())).build().unwrap();
    (1..=3).for_each(|size| a.shared().record(message(None, size)));
    let shared = Arc::clone(a.shared());
    let other = a.clone();
    let mut p = r.welcomed(0).await;
    drop(other);
    p.nothing().await; // there is one left
    let at = Instant::now();
    drop(a);
    assert!(at.elapsed() < Duration::from_secs(1));
    assert_eq!(p.batch(1).await.events.len(), 3);
    p.ack(1).await;
    assert_eq!(p.close_code().await, 1000);
    until(|| *shared.ended.borrow() == Some(0)).await;
}

/// Red when: an agent depends on the runtime that made it.
#[test]
fn outlives_the_runtime_that_made_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let second = runtime();
    let r = second.block_on(Receiver::new(Encoding::Json));
    let a = runtime().block_on(async { r.agent(batch_of(1)) });
    a.messages(None, 1..=1); // in none
    second.block_on(async {
        let mut p = r.welcomed(0).await;
        p.batch(1).await;
        p.ack(1).await;
        a.flushed().await;
    });
}

/// Red when: an upgrade that is refused is not tried again, or before the pause that was
/// asked for, or a receiver that knows JSON alone is not found.
#[tokio::test]
async fn refused_upgrades_are_tried_again() {
    for (status, header, least) in [
        ("503 Service Unavailable", "Retry-After: 1\r\n", 1000),
        ("429 Too Many Requests", "", 0),
        ("401 Unauthorized", "", 100),
        ("500 Internal Server Error", "", 0),
        ("400 Bad Request", "", 0),
    ] {
        let r = Receiver::new(Encoding::Json).await;
        let at = Instant::now();
        let _a = r.agent(|mut b| {
            b.timing.max_backoff = 200 * MS;
            b
        });
        let mut stream = r.connection().await;
        soon(stream.read(&mut [0; 4096])).await.unwrap();
        let answer = format!("HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (_p, request) = r.accept_request().await;
        assert!(at.elapsed() >= MS * least, "{status}");
        let offers = request.headers().get("sec-websocket-protocol").unwrap();
        assert_eq!(offers == "wsstats.v1.json", status.starts_with("400"));
    }
}

/// Whatever the receiver does, an event is delivered, dropped or held, and what is counted as
/// acknowledged was delivered. Red when: an event counts twice or not at all, or is taken for
/// delivered and was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balance_with_concurrent_recorders_and_a_moody_receiver() {
    for (e, aggregates) in ENCODINGS.into_iter().flat_map(|e| [0, 100].map(|above| (e, above))) {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.max_queue_bytes(64 << 10).batch(20, 1 << 20, MS).aggregates(aggregates));
        let calm = Arc::new(AtomicBool::new(false));
        let moody = tokio::spawn({
            let mut moody = Moody { calm: Arc::clone(&calm), ..Moody::default() };
            async move {
                while moody.serve(r.accept().await).await {}
                moody
            }
        });
        until(|| a.stats().sessions > 0).await;
        let recorders: Vec<_> = (0..4)
            .map(|i: i64| {
                let agent = (*a).clone();
                std::thread::spawn(move || {
                    let c = new_conn(&i.to_string());
                    agent.shared().open(&c);
                    for n in 1..=2000 {
                        agent.shared().record(Record { seq: n, ..message(Some(&c), i << 32 | n) });
                        if n % 100 == 0 {
                            balanced(&agent);
                            std::thread::sleep(MS);
                        }
                    }
                })
            })
            .collect();
        for recorder in recorders {
            tokio::task::spawn_blocking(|| recorder.join().unwrap()).await.unwrap();
        }
        calm.store(true, Ordering::Relaxed);
        a.flushed().await;
        balanced(&a);
        soon(a.shutdown(PATIENCE)).await.unwrap();
        let moody = soon(moody).await.unwrap();
        let s = a.stats();
        assert_eq!((s.held, s.dropped.shutdown), (0, 0));
        let stats = s.observed - 8000;
        assert_eq!(stats > 0, aggregates > 0);
        assert!(s.acknowledged > 0 && moody.delivered.len() as u64 + s.unsampled + stats >= s.acknowledged, "{s:?}");
        if aggregates > 0 {
            assert_eq!(moody.measured, 8000, "whatever became of the events");
            assert!(s.unsampled > 0);
        }
    }
}

/// A receiver that takes numbers, and where it is not calm also nacks, refuses and breaks off
/// as it likes.
#[derive(Default)]
struct Moody {
    calm: Arc<AtomicBool>,
    taken: u64,
    refused: Vec<u64>,
    delivered: HashSet<i64>,
    measured: u64, // messages in stats, those of refused numbers too
}

impl Moody {
    /// Serves a session, and tells whether the agent comes again.
    async fn serve(&mut self, mut p: Peer) -> bool {
        p.welcome(json!({
            "resume_after": self.taken, "refused": self.refused, "sampling_threshold": "8", "window_bytes": 16 << 10,
            "max_message_bytes": 8 << 10, "max_events": 10 + rand::random_range(0..20),
        }))
        .await;
        loop {
            let Some(said) = p.next().await else { return !self.calm.load(Ordering::Relaxed) };
            let Said::Batch(b) = said else { panic!("{said:?}") };
            if b.seq == 0 {
                continue;
            }
            if b.seq <= self.taken {
                p.reply(json!({"ack": self.taken, "duplicate": true})).await;
                continue;
            }
            let mood = if self.calm.load(Ordering::Relaxed) { 20 } else { rand::random_range(0..20) };
            match mood {
                0 => return true, // cut, not taken
                1 => {
                    let nack = json!({"nack": b.seq, "retryable": true, "retry_after_ms": 1, "code": "undefined"});
                    p.reply(nack).await;
                    continue;
                }
                _ => {}
            }
            self.taken = b.seq;
            self.measured += messages_in(&b);
            if mood == 2 {
                self.refused.push(b.seq);
                p.nack(b.seq, false).await;
                continue;
            }
            self.delivered.extend(sizes(&b));
            match mood {
                3 => return true, // taken, the ack is lost
                4 => {
                    p.close(1001, "").await;
                    return true;
                }
                _ => p.ack(b.seq).await,
            }
        }
    }
}

/// Red when: an answer that names no subprotocol is not taken for JSON, or by an agent that
/// speaks the binary form alone.
#[tokio::test]
async fn answers_without_a_subprotocol() {
    let r = Receiver::new(Encoding::Json).await;
    let _a = r.agent(|b| b);
    let first = soon(tokio_tungstenite::accept_async(r.connection().await)).await.unwrap();
    let mut ws = soon(tokio_tungstenite::accept_async(r.connection().await)).await.unwrap();
    let hello = soon(ws.next()).await.unwrap().unwrap();
    assert!(hello.is_text() && hello.to_text().unwrap().starts_with(r#"{"hello":"#));
    drop(first);

    let r = Receiver::new(Encoding::Proto).await;
    let a = r.agent(|b| b.encoding(Encoding::Proto));
    for _ in 0..3 {
        let mut ws = soon(tokio_tungstenite::accept_async(r.connection().await)).await.unwrap();
        assert!(!matches!(soon(ws.next()).await, Some(Ok(_))));
    }
    assert_eq!(a.stats().sessions, 0);
}
