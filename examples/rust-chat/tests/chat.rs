//! The chat as its users have it: a process, and clients on sockets.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, unreachable_pub)] // a test may panic

#[path = "../../../agents/rust/wsstats-tungstenite/tests/support/mod.rs"]
mod support;

use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{CLIENT_DATA, Observer, PATIENCE, trace_id};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use wsstats_tungstenite::{WebSocketStream, connect_async};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The chat, reporting to an observer.
struct Chat {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Chat {
    async fn start(observer: &Observer) -> Chat {
        let mut process = Command::new(env!("CARGO_BIN_EXE_rust-chat"))
            .arg("127.0.0.1:0")
            .env("WSSTATS_ENDPOINT", &observer.endpoint)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let url = line.strip_prefix("chat: listening on ").unwrap().to_owned();
        Chat { process, lines, url }
    }

    /// Interrupts it, and returns what it says at last.
    async fn interrupt(mut self) -> Value {
        let pid = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
        let line = timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap().success());
        assert!(self.lines.next_line().await.unwrap().is_none());
        serde_json::from_str(&line).unwrap()
    }
}

async fn say(client: &mut Client, said: Value) {
    client.send(Message::text(said.to_string())).await.unwrap();
}

/// The next message; pings are answered meanwhile.
async fn hear(client: &mut Client) -> Value {
    loop {
        if let Message::Text(text) = timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Two people in a room. What they talk of, and the receiver's view of it.
///
/// Red when: a message does not get to the room, does not name its trace, a broadcast
/// counts each recipient as a send, or an interrupt loses what was seen.
#[tokio::test]
async fn two_people_in_a_room() {
    let (near, far) = (Observer::start().await, Observer::start().await);
    far.agent.shutdown(PATIENCE).await.unwrap(); // its receiver serves one at a time: the chat
    let chat = Chat::start(&far).await;
    let mut ann = connect_async(&near.agent, chat.url.as_str()).await.unwrap().0;
    let id = ann.connection().id().to_owned();
    say(&mut ann, json!({"type": "talk", "text": "too early"})).await;
    assert_eq!(hear(&mut ann).await["text"], "join a room first");
    say(&mut ann, json!({"type": "join", "room": "lobby", "user": "ann"})).await;
    assert_eq!(hear(&mut ann).await["type"], "joined");
    let mut bob = connect_async(&near.agent, chat.url.as_str()).await.unwrap().0;
    say(&mut bob, json!({"type": "join", "room": "lobby", "user": "bob"})).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(hear(client).await["user"], "bob");
    }
    say(&mut ann, json!({"type": "talk", "text": "hello"})).await;
    let stated = ("ab".repeat(16), "cd".repeat(8));
    for client in [&mut ann, &mut bob] {
        let talk = hear(client).await;
        assert_eq!((&talk["user"], &talk["text"]), (&json!("ann"), &json!("hello")));
        assert_eq!(talk["trace_id"], trace_id(&id, CLIENT_DATA, 3), "that of ann's message");
    }
    say(&mut bob, json!({"type": "talk", "text": "hi", "trace_id": stated.0, "span_id": stated.1})).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(hear(client).await["trace_id"], stated.0, "that of bob's own span");
    }
    bob.close(None).await.unwrap();
    while bob.next().await.is_some() {}
    assert_eq!(hear(&mut ann).await["type"], "left");

    let talk = tokio::spawn(async move { while ann.next().await.is_some() {} });
    let said = chat.interrupt().await;
    timeout(PATIENCE, talk).await.unwrap().unwrap();

    // ann: an error, two joins, two talks, bob's leaving. bob: his join, two talks.
    assert_eq!(said["application"], json!({"connections": 2, "received": 5, "sent": 9}));
    let all = far.all().await;
    let events = all.len() as u64;
    for (key, want) in [("observed", events), ("acknowledged", events), ("rejected", 0)] {
        assert_eq!(said["agent"][key], want, "{key}: {said} {all:#?}");
    }
    assert!(said["agent"]["dropped"].as_object().unwrap().values().all(|n| n == 0));
    let closes: Vec<_> = far.of("close").await.iter().map(|close| close["ws.close.code"].clone()).collect();
    assert_eq!(closes, [1005, 1001]);
    assert_eq!(far.of("send").await.len(), 1, "the error alone");
    let recipients: Vec<_> =
        far.of("broadcast").await.iter().map(|event| event["ws.broadcast.recipients"].clone()).collect();
    assert_eq!(recipients, [1, 2, 2, 2, 1]);
    assert_eq!((far.of("receive").await.len(), far.of("process").await.len()), (5, 5));
}
