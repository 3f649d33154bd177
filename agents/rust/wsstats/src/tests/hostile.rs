//! Receivers that break the protocol, and ones that are not there.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::receiver::*;
use crate::{Dropped, ShutdownError};

const MS: Duration = Duration::from_millis(1);

/// Red when: an agent stays with a receiver that breaks the protocol, closes with another
/// code, holds it against the message, or loses it.
#[tokio::test]
async fn hostile_receivers_are_left() {
    let cases = [
        ("garbage", 1008),
        ("wrong types", 1008),
        ("negative ack", 1008),
        ("ack not sent", 1008),
        ("nack not sent", 1008),
        ("second welcome", 1008),
        ("huge message", 1009),
        ("endless message", 1009),
        ("binary message", 1003),
        ("a frame out of line", 1002),
    ];
    for (e, (case, code)) in ENCODINGS.into_iter().flat_map(|e| cases.map(|case| (e, case))) {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        a.messages(None, 1..=1);
        for _ in 0..4 {
            // None of this is the message's fault.
            let mut p = r.welcomed(0).await;
            p.batch(1).await;
            match case {
                "garbage" => p.text("\0{{{").await,
                "wrong types" => p.text(r#"{"ack":"one"}"#).await,
                "negative ack" => p.text(r#"{"ack":-1}"#).await,
                "ack not sent" => p.ack(99).await,
                "nack not sent" => p.nack(99, false).await,
                "second welcome" => p.welcome(json!({})).await,
                "huge message" => p.text(&"x".repeat((64 << 10) + 1)).await,
                "endless message" => {
                    for i in 0..16 {
                        let code = if i == 0 { Data::Text } else { Data::Continue };
                        let frame = Frame::message(vec![b'x'; 16 << 10], OpCode::Data(code), false);
                        if p.ws.send(Message::Frame(frame)).await.is_err() {
                            break;
                        }
                    }
                }
                "binary message" => p.ws.send(Message::binary("{}")).await.unwrap(),
                _ => p.ws.get_mut().write_all(&[0x83, 0]).await.unwrap(),
            }
            assert_eq!(p.close_code().await, code, "{case}");
        }
        let mut p = r.welcomed(0).await;
        assert_eq!(sizes(&p.batch(1).await), [1], "{case}");
        p.ack(1).await;
        a.flushed().await;
    }
}

/// Red when: an agent leaves a receiver for what version 1 lets grow, or for answers that come
/// late or twice.
#[tokio::test]
async fn harmless_oddities() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        a.messages(None, 1..=1);
        let mut p = r.welcomed(0).await;
        p.batch(1).await;
        p.text("{}").await;
        p.text(r#"{"from_version_2":{}}"#).await;
        p.text(r#"{"error":{"code":"rejected","message":"no"}}"#).await;
        p.text(r#"{"flow":{"window_bytes":-5}}"#).await;
        p.reply(json!({"nack": 1, "retryable": true, "retry_after_ms": -1})).await;
        p.reply(json!({"nack": 1, "retryable": true})).await; // while it is not sent again yet
        p.text(r#"{"flow":{"window_bytes":100000}}"#).await;
        p.batch(1).await;
        p.ack(1).await;
        p.ack(1).await;
        p.nack(1, false).await;
        a.flushed().await;
        assert_eq!((a.stats().acknowledged, a.stats().sessions), (1, 1));
    }
}

/// Red when: nacks without end make the agent's memory grow, or keep its shutdown.
#[tokio::test]
async fn nacks_for_ever() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| batch_of(1)(b.max_queue_bytes(16 << 10)));
        a.messages(None, 1..=1);
        let mut p = r.welcomed(0).await;
        for _ in 0..50 {
            while !matches!(p.read().await, crate::wire::message::Message::Batch(b) if b.seq == 1) {}
            p.nack(1, true).await; // a receiver ignores the numbers after it
            a.messages(None, 2..=50);
        }
        let s = balanced(&a);
        assert!(s.held <= (16 << 10) / message(None, 1).memory() as u64, "{s:?}");
        assert!(a.shutdown(50 * MS).await.is_err());
    }
}

/// Red when: a receiver that does not read keeps a shutdown.
#[tokio::test]
async fn a_receiver_that_does_not_read() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(|b| b.batch(512, 1 << 20, Duration::from_secs(3600)).max_queue_bytes(64 << 20));
        let mut p = r.accept().await;
        p.welcome(json!({"window_bytes": 1_i64 << 40})).await;
        a.messages(None, 1..=200_000); // more than the sockets' buffers hold
        let at = Instant::now();
        assert!(a.shutdown(100 * MS).await.is_err());
        assert!(at.elapsed() < Duration::from_secs(5));
    }
}

/// Red when: a handshake that is none ends the agent, or its shutdown waits for one.
#[tokio::test]
async fn hostile_handshakes() {
    const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for answer in
        ["hello\r\n\r\n".to_owned(), format!("{SWITCHING}Sec-WebSocket-Accept: x\r\n\r\n"), "endless".to_owned()]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let a = Tested::new(quick(format!("ws://{}", listener.local_addr().unwrap())));
        for _ in 0..3 {
            // It comes back.
            let mut stream = soon(listener.accept()).await.unwrap().0;
            soon(stream.read(&mut [0; 4096])).await.unwrap();
            if answer != "endless" {
                stream.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            stream.write_all(SWITCHING.as_bytes()).await.unwrap();
            let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
            let mut lines = 0;
            while lines < 8 << 10 && soon(stream.write_all(line.as_bytes())).await.is_ok() {
                lines += 1;
            }
            assert!(lines < 8 << 10, "8 MB of headers were read");
        }
        soon(a.shutdown(PATIENCE)).await.unwrap();
    }
}

/// Red when: a receiver that is absent, or accepts and says nothing, keeps a recorder, a flush
/// or a shutdown, or what was held is not counted.
#[tokio::test]
async fn absent_or_black_holed() {
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let absent = ClosedPort::new();
    for endpoint in [absent.endpoint(), format!("ws://{}", hole.local_addr().unwrap())] {
        let a = Tested::new(quick(endpoint).max_queue_bytes(1 << 20));
        let at = Instant::now();
        a.messages(Some(&new_conn("a81b")), 1..=100_000);
        assert!(at.elapsed() < Duration::from_secs(2));
        assert!(tokio::time::timeout(20 * MS, a.flush()).await.is_err());
        let held = balanced(&a).held;
        assert_eq!(held, (1 << 20) / message(None, 1).memory() as u64);
        let at = Instant::now();
        assert_eq!(a.shutdown(50 * MS).await, Err(ShutdownError { lost: held }));
        assert!(at.elapsed() < Duration::from_secs(2));
        let dropped = Dropped { shutdown: held, queue_full: 100_000 - held, ..Dropped::default() };
        assert_eq!(a.stats().dropped, dropped);
    }
}
