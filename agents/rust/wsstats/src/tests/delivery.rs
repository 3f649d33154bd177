//! Numbers and their answers.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::receiver::*;
use crate::{Dropped, Stats, VERSION};

const MS: Duration = Duration::from_millis(1);

/// Red when: a number is sent before the welcome, an ack frees nothing, or the hello or its
/// request lacks something.
#[tokio::test]
async fn hello_welcome_ack() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| batch_of(2)(b.token("secret").service_name("chat").resource("room", "lobby")));
        a.messages(Some(&new_conn("a81b")), 1..=2);

        let (mut p, request) = r.accept_request().await;
        assert_eq!(request.uri().path(), "/v1/wsstats");
        assert_eq!(request.headers().get("authorization").unwrap(), "Bearer secret");
        assert_eq!(request.headers().get("sec-websocket-protocol").unwrap(), "wsstats.v1.proto, wsstats.v1.json");
        assert_eq!(p.hello.instance.len(), 32);
        assert_eq!((p.hello.agent_name.as_str(), p.hello.agent_version.as_str()), ("wsstats-rust", VERSION));
        let resource: Vec<_> = p.hello.resource.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
        assert_eq!(resource, ["room=lobby", "service.name=chat"]);

        // Heartbeats may come before the welcome, and no number is sent before it.
        p.reply(json!({"flow": {"window_bytes": 0}})).await;
        p.nothing().await;
        p.welcome(json!({})).await;

        assert_eq!(sizes(&p.batch(1).await), [1, 2]);
        assert_eq!(balanced(&a).held, 2);
        p.ack(1).await;
        a.flushed().await;
        assert_eq!(a.stats(), Stats { sessions: 1, observed: 2, acknowledged: 2, ..Stats::default() });
    }
}

/// Red when: what is sent again has another number, other rows or another order, or another
/// instance.
#[tokio::test]
async fn resend_after_reconnect() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        a.messages(None, 1..=6);
        let mut p = r.welcomed(0).await;
        let first = [p.batch(1).await, p.batch(2).await, p.batch(3).await];
        p.ack(1).await;
        until(|| a.stats().acknowledged == 2).await;
        let instance = p.hello.instance.clone();
        drop(p);

        let mut q = r.welcomed(1).await;
        assert_eq!(q.hello.instance, instance);
        assert_eq!(q.batch(2).await.events, first[1].events);
        assert_eq!(q.batch(3).await.events, first[2].events);
        a.messages(None, 7..=8);
        assert_eq!(sizes(&q.batch(4).await), [7, 8]);
        q.ack(4).await;
        a.flushed().await;
        assert_eq!(a.stats().acknowledged, 8);
    }
}

/// Red when: what `resume_after` covers is sent again, or does not count as taken; or what
/// was refused while nobody listened does.
#[tokio::test]
async fn the_welcome_tells_what_was_answered() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        a.messages(None, 1..=8);
        let mut p = r.welcomed(0).await;
        for seq in 1..=4 {
            p.batch(seq).await;
        }
        drop(p); // the ack of 1, the nack of 2 and the ack of 3 are lost
        let mut q = r.accept().await;
        q.welcome(json!({"resume_after": 3, "refused": [2, 9]})).await;
        assert_eq!(sizes(&q.batch(4).await), [7, 8]);
        q.ack(4).await;
        a.flushed().await;
        assert_eq!((a.stats().acknowledged, a.stats().dropped.refused), (6, 2));
    }
}

/// Red when: numbers go on under an instance that somebody else counts by.
#[tokio::test]
async fn resume_after_of_another_draws_a_new_instance() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        a.messages(None, 1..=2);
        let mut p = r.welcomed(7).await;
        assert_eq!(p.close_code().await, 1008);
        let mut q = r.welcomed(0).await;
        assert_ne!(p.hello.instance, q.hello.instance);
        assert_eq!(sizes(&q.batch(1).await), [1, 2]);
        q.ack(1).await;
        a.flushed().await;
    }
}

/// Red when: a number after the nacked one is not sent again, or the pause is not kept.
#[tokio::test]
async fn retryable_nack_goes_back() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        a.messages(None, 1..=3);
        let mut p = r.welcomed(0).await;
        for seq in 1..=3 {
            p.batch(seq).await;
        }
        let at = Instant::now();
        p.reply(json!({"nack": 2, "retryable": true, "retry_after_ms": 60, "code": "unavailable"})).await;
        assert_eq!(sizes(&p.batch(2).await), [2]);
        assert!(at.elapsed() >= 60 * MS);
        assert_eq!(sizes(&p.batch(3).await), [3]);
        assert_eq!((a.stats().acknowledged, a.stats().nacks), (1, 1));
        p.ack(3).await;
        a.flushed().await;
    }
}

/// Red when: a refused number is sent again, or its loss is not told with the next one.
#[tokio::test]
async fn refused_is_dropped_and_reported() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        a.messages(None, 1..=1);
        let mut p = r.welcomed(0).await;
        p.batch(1).await;
        p.nack(1, false).await;
        a.flushed().await;
        a.messages(None, 2..=2);
        assert_eq!(dropped(&p.batch(2).await), [("refused", 1)]);
        p.nack(2, false).await; // with what it reported
        a.flushed().await;
        a.messages(None, 3..=3);
        let b = p.batch(3).await;
        assert_eq!((sizes(&b), dropped(&b)), (vec![3], vec![("refused", 2)]));
        p.ack(3).await;
        a.flushed().await;
        let dropped = Dropped { refused: 2, ..Dropped::default() };
        assert_eq!(a.stats(), Stats { sessions: 1, observed: 3, acknowledged: 1, dropped, ..Stats::default() });
    }
}

/// Red when: a report of drops that is refused is sent again and again.
#[tokio::test]
async fn refused_report_of_drops_is_not_repeated_for_ever() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.batch(2, 1 << 20, 10 * MS));
        a.messages(None, 1..=2);
        let mut p = r.welcomed(0).await;
        p.batch(1).await;
        p.nack(1, false).await;
        let b = p.batch(2).await; // of drops alone, for nothing else comes
        assert!(b.events.is_empty());
        assert_eq!(dropped(&b), [("refused", 2)]);
        p.nack(2, false).await;
        p.nothing().await;
    }
}

/// Red when: rows that were refused one by one are not counted, or counted as dropped.
#[tokio::test]
async fn partial_success_is_counted() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(4));
        a.messages(None, 1..=4);
        let mut p = r.welcomed(0).await;
        p.batch(1).await;
        p.reply(json!({"ack": 1, "rejected": {"count": 3, "first": "events[0]: no"}})).await;
        a.flushed().await;
        let want = Stats { sessions: 1, observed: 4, acknowledged: 4, rejected: 3, ..Stats::default() };
        assert_eq!(a.stats(), want);
    }
}

/// Red when: something new is sent after a goaway, an ack after it is not read, the pause is
/// not kept, or the rest is not sent elsewhere.
#[tokio::test]
async fn goaway() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        a.messages(None, 1..=2);
        let mut p = r.welcomed(0).await;
        p.batch(1).await;
        p.batch(2).await;
        let at = Instant::now();
        p.reply(json!({"goaway": {"reason": "shutdown", "reconnect_after_ms": 50}})).await;
        p.ack(1).await; // acks of what is in hand still come
        until(|| a.stats().acknowledged == 1).await;
        a.messages(None, 3..=3);
        p.nothing().await;
        p.close(1001, "").await;
        let mut q = r.welcomed(0).await;
        assert!(at.elapsed() >= 50 * MS);
        assert_eq!(sizes(&q.batch(2).await), [2]);
        assert_eq!(sizes(&q.batch(3).await), [3]);
        q.ack(3).await;
        a.flushed().await;
    }
}

/// Red when: a receiver that says goaway and stays keeps the agent for ever.
#[tokio::test]
async fn goaway_without_a_close() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|mut b| {
            b.timing.goaway = 30 * MS;
            batch_of(1)(b)
        });
        let mut p = r.welcomed(0).await;
        p.reply(json!({"goaway": {}})).await;
        a.messages(None, 1..=1);
        let mut q = r.welcomed(0).await;
        assert_eq!(sizes(&q.batch(1).await), [1]);
        q.ack(1).await;
        a.flushed().await;
    }
}

/// Red when: an agent fights for an instance that another one has, or loses what was not
/// answered.
#[tokio::test]
async fn taken_over_draws_a_new_instance() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        a.messages(None, 1..=6);
        let mut p = r.welcomed(0).await;
        for seq in 1..=3 {
            p.batch(seq).await;
        }
        p.ack(1).await;
        let instance = p.hello.instance.clone();
        p.close(1008, "taken over").await;
        let mut q = r.welcomed(0).await;
        assert_ne!(q.hello.instance, instance);
        assert_eq!(sizes(&q.batch(1).await), [3, 4]);
        assert_eq!(sizes(&q.batch(2).await), [5, 6]);
        q.ack(2).await;
        a.flushed().await;
        assert_eq!(a.stats().acknowledged, 6);
    }
}

/// Red when: a message that breaks each session blocks the agent for ever, or is given up
/// before the third time, or for ends that are not its doing.
#[tokio::test]
async fn poison() {
    for (e, code) in ENCODINGS.into_iter().flat_map(|e| [0, 1002, 1003, 1007, 1008, 1009, 1011].map(|code| (e, code))) {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        a.messages(None, 1..=4);
        for i in 0..3 {
            if i == 2 {
                // This neither counts, nor begins the count anew.
                let mut p = r.welcomed(0).await;
                p.batch(1).await;
                p.close(1001, "").await;
            }
            let mut p = r.welcomed(0).await;
            assert_eq!(sizes(&p.batch(1).await), [1, 2], "{code}");
            if code > 0 {
                p.close(code, "malformed").await;
            }
        }
        let mut p = r.welcomed(0).await;
        assert!(p.batch(1).await.events.is_empty());
        assert_eq!(sizes(&p.batch(2).await), [3, 4]);
        p.ack(2).await;
        a.flushed().await;
        let dropped = Dropped { poison: 2, ..Dropped::default() };
        assert_eq!(a.stats(), Stats { sessions: 5, observed: 4, acknowledged: 2, dropped, ..Stats::default() });
    }
}

/// Red when: a number that was answered in between is given up.
#[tokio::test]
async fn an_answer_begins_the_poison_count_anew() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        a.messages(None, 1..=1);
        for i in 0..5 {
            let mut p = r.welcomed(0).await;
            assert_eq!(sizes(&p.batch(1).await), [1]);
            if i % 2 == 1 {
                p.nack(1, true).await;
                p.batch(1).await;
            }
            p.close(1008, "").await;
        }
        let mut p = r.welcomed(0).await;
        assert_eq!(sizes(&p.batch(1).await), [1]);
        p.ack(1).await;
        a.flushed().await;
    }
}

/// Red when: an application's code, or a link that breaks long after the message was sent,
/// is held against it.
#[tokio::test]
async fn ends_that_are_not_the_messages_doing() {
    for (e, code) in ENCODINGS.into_iter().flat_map(|e| [0, 4000].map(|code| (e, code))) {
        let r = Receiver::new(e).await;
        let a = r.agent(|mut b| {
            b.timing.poison = MS;
            batch_of(1)(b)
        });
        a.messages(None, 1..=1);
        for i in 0..6 {
            let mut p = r.welcomed(0).await;
            assert_eq!(sizes(&p.batch(1).await), [1]);
            if i % 3 != 1 {
                p.close(1002, "").await;
            } else if code > 0 {
                p.close(code, "").await; // breaks the row of two that are
            } else {
                tokio::time::sleep(5 * MS).await;
                p.ws.get_mut().shutdown().await.unwrap();
            }
        }
        let mut p = r.welcomed(0).await;
        assert_eq!(sizes(&p.batch(1).await), [1]);
        p.ack(1).await;
        a.flushed().await;
    }
}

/// Red when: an agent waits for ever for a receiver that says nothing: no welcome, no ack, or
/// no window.
#[tokio::test]
async fn silence_reconnects() {
    let welcomes = [None, Some(json!({"heartbeat_s": 0.01})), Some(json!({"heartbeat_s": 0.01, "window_bytes": 0}))];
    for (e, welcome) in ENCODINGS.into_iter().flat_map(|e| welcomes.clone().map(|welcome| (e, welcome))) {
        let r = Receiver::new(e).await;
        let a = r.agent(|mut b| {
            b.timing.silence = 300 * MS;
            batch_of(1)(b)
        });
        a.messages(None, 1..=1);
        let mut p = r.accept().await;
        if let Some(welcome) = welcome {
            p.welcome(welcome).await;
        }
        let mut q = r.welcomed(0).await;
        q.batch(1).await;
        q.ack(1).await;
        a.flushed().await;
    }
}

/// Red when: heartbeats do not count as a sign of life, or an idle session needs one.
#[tokio::test]
async fn heartbeats_keep_a_session_that_owes_an_answer() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        let mut p = r.accept().await;
        p.welcome(json!({"heartbeat_s": 0.1})).await;
        tokio::time::sleep(400 * MS).await; // idle for longer than three heartbeats
        a.messages(None, 1..=1);
        p.batch(1).await;
        for _ in 0..10 {
            tokio::time::sleep(50 * MS).await; // the receiver's own pace
            p.reply(json!({"flow": {}})).await;
        }
        p.ack(1).await;
        a.flushed().await;
        assert_eq!(a.stats().sessions, 1);
    }
}

/// Red when: a flush waits for the delay of a batch, or for what was recorded after it.
#[tokio::test]
async fn flush_sends_at_once_and_waits_for_its_own_only() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(100));
        let mut p = r.welcomed(0).await;
        a.flushed().await; // nothing is held
        a.messages(None, 1..=2);
        let flush = tokio::spawn(flushing(&a));
        assert_eq!(sizes(&p.batch(1).await), [1, 2]);
        a.messages(None, 3..=3);
        p.ack(1).await;
        soon(flush).await.unwrap();
        assert_eq!(a.stats().held, 1);

        assert!(tokio::time::timeout(20 * MS, a.flush()).await.is_err());
        p.batch(2).await;
        p.ack(2).await;
        a.flushed().await;
    }
}
