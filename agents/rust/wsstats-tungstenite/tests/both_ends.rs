//! Connections over real sockets with an agent at each end.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use futures_util::{SinkExt, StreamExt, TryStreamExt};
use opentelemetry::trace::TraceContextExt;
use support::{CLIENT_DATA, Observer, SERVER_DATA, closed, span_id, trace_id};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Error, Message};
use wsstats::Attribute;
use wsstats_tungstenite::{WebSocketStream, accept_async, connect_async};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Server = WebSocketStream<TcpStream>;

/// A connection with an agent at each end.
struct Both {
    near: Observer,
    far: Observer,
    client: Client,
    server: Server,
}

impl Both {
    async fn open() -> Both {
        let (near, far) = (Observer::start().await, Observer::start().await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://user:secret@{}/chat?token=secret#secret", listener.local_addr().unwrap());
        let accepted = async { accept_async(&far.agent, listener.accept().await.unwrap().0).await.unwrap() };
        let (dialled, server) = tokio::join!(connect_async(&near.agent, url), accepted);
        Both { near, far, client: dialled.unwrap().0, server }
    }

    /// Closes by the client's close frame, and reads to the end at both ends.
    async fn close(self) -> (Observer, Observer) {
        let Both { near, far, mut client, server } = self;
        client.close(Some(frame(1000, ""))).await.unwrap();
        tokio::join!(to_the_end(client), to_the_end(server));
        (near, far)
    }
}

fn frame(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code: code.into(), reason: reason.into() }
}

/// Reads until the stream ends, and closes it.
async fn to_the_end<S>(ws: S) -> Vec<Message>
where
    S: StreamExt<Item = Result<Message, Error>> + Unpin,
{
    ws.try_collect().await.unwrap()
}

/// Red when: a stream, or the handling of a message, cannot go to another task.
#[test]
fn other_tasks_can_have_them() {
    fn sendable<T: Send + 'static>() {}
    sendable::<Client>();
    sendable::<Server>();
    sendable::<wsstats::Connection>();
    sendable::<wsstats::Processing>();
}

/// Red when: a size is read wrong, an ordinal or type is not that of the other end, an
/// event has no connection, or a message not the time of its own bytes.
#[tokio::test]
async fn messages_of_all_sizes() {
    let mut both = Both::open().await;
    let mut want = vec![];
    for (i, size) in [0, 1, 125, 126, 127, 65_535, 65_536].into_iter().enumerate() {
        for message in [Message::text("x".repeat(size)), Message::binary(vec![0xff; size])] {
            let typ = if message.is_text() { "text" } else { "binary" };
            want.push(format!("{typ} {} {size} in 1", 2 * i + usize::from(message.is_binary()) + 1));
            let echo = async {
                let got = both.server.next().await.unwrap().unwrap();
                both.server.send(got).await.unwrap();
            };
            let ask = async {
                both.client.send(message.clone()).await.unwrap();
                assert_eq!(both.client.next().await.unwrap().unwrap(), message);
            };
            tokio::join!(echo, ask);
        }
    }
    let (near, far) = both.close().await;
    assert_eq!(near.close().await, closed(1000, "", "local", true));
    assert_eq!(far.close().await, closed(1000, "", "remote", true));
    for observer in [&near, &far] {
        assert_eq!(observer.messages("send").await, want);
        assert_eq!(observer.messages("receive").await, want);
        for kind in ["send", "receive"] {
            let times: Vec<_> = observer.of(kind).await.iter().map(|event| event["time"].as_i64()).collect();
            assert!(times.is_sorted_by(|earlier, later| earlier < later), "{kind}: {times:?}");
        }
        let close = &observer.of("close").await[0];
        let carried = 2 * (1 + 125 + 126 + 127 + 65_535 + 65_536);
        for way in ["sent", "received"] {
            assert_eq!(close[format!("ws.connection.bytes.{way}")], carried);
            assert_eq!(close[format!("ws.connection.messages.{way}")], want.len());
        }
        assert!(observer.of("error").await.is_empty() && observer.of("protocol_error").await.is_empty());
        let id = &observer.of("handshake").await[0]["ws.connection.id"];
        assert!(observer.all().await.iter().all(|event| event["ws.connection.id"] == *id));
    }
}

/// Red when: the ends do not share the id, the server's handshake is not the child of the
/// client's, or the URL has more than it may.
#[tokio::test]
async fn one_handshake() {
    let both = Both::open().await;
    let (id, is_shared) = (both.client.connection().id().to_owned(), both.client.connection().is_shared());
    assert!(is_shared && both.server.connection().is_shared());
    assert_eq!(both.server.connection().id(), id);
    let address = both.server.get_ref().local_addr().unwrap();
    let peer = both.server.get_ref().peer_addr().unwrap();
    let (near, far) = both.close().await;
    let (client, server) = (&near.wait("handshake", 1).await[0], &far.wait("handshake", 1).await[0]);
    for (event, role, peer) in [(client, "client", address), (server, "server", peer)] {
        assert_eq!(event["ws.connection.id"], id);
        assert_eq!(event["ws.role"], role);
        assert_eq!(event["ws.connection.shared"], true);
        assert_eq!(event["ws.handshake.success"], true);
        assert_eq!(event["http.status_code"], 101);
        assert_eq!(event["ws.url"], format!("ws://{address}/chat"));
        assert_eq!(event["net.peer.ip"], peer.ip().to_string());
        assert_eq!(event["net.peer.port"], peer.port());
        assert!(event["duration_ns"].as_i64().unwrap() > 0);
    }
    let parent = format!("00-{}-{}-01", trace_id(&id, 0, 0), span_id(&id, 0, 0, 1, 1));
    assert_eq!(server["traceparent"], parent);
    assert!(client["traceparent"].is_null() && client["trace_id"].is_null(), "derived");
}

/// Red when: fragments count as messages, what is told of one is lost, or a control frame
/// between them is.
#[tokio::test]
async fn fragments() {
    let mut both = Both::open().await;
    let fragment = |opcode, fin| Message::Frame(Frame::message("ab", OpCode::Data(opcode), fin));
    both.client.connection().sending([wsstats::message_id("fragmented")]);
    both.client.feed(fragment(Data::Text, false)).await.unwrap();
    both.client.feed(Message::Ping("between".into())).await.unwrap();
    both.client.feed(fragment(Data::Continue, false)).await.unwrap();
    both.client.feed(fragment(Data::Continue, true)).await.unwrap();
    both.client.connection().sending([wsstats::message_id("whole")]);
    both.client.send(Message::binary("c")).await.unwrap();
    let want = [Message::Ping("between".into()), Message::text("ababab"), Message::binary("c")];
    for message in want {
        assert_eq!(both.server.next().await.unwrap().unwrap(), message);
    }
    let (near, far) = both.close().await;
    far.close().await;
    assert_eq!(near.messages("send").await, ["text 1 6 in 3", "binary 2 1 in 1"]);
    assert_eq!(far.messages("receive").await, ["text 1 6 in 3", "binary 2 1 in 1"]);
    let ids: Vec<_> = near.of("send").await.iter().map(|event| event["ws.message.id"].clone()).collect();
    assert_eq!(ids, ["fragmented", "whole"]);
    assert_eq!(near.messages("ping").await, [" 1 7 in 0"]);
    assert_eq!(far.messages("ping").await, [" 1 7 in 0"]);
}

/// Red when: a pong that the library sends by itself is not seen, or a ping has not the
/// time until its pong.
#[tokio::test]
async fn pings_both_ways() {
    let mut both = Both::open().await;
    for payload in ["one", "second"] {
        both.client.send(Message::Ping(payload.into())).await.unwrap();
        assert_eq!(both.server.next().await.unwrap().unwrap(), Message::Ping(payload.into()));
        both.server.send(Message::Ping(payload.into())).await.unwrap(); // and the pong
        let pong_and_ping = [Message::Ping(payload.into()), Message::Pong(payload.into())];
        for _ in 0..2 {
            assert!(pong_and_ping.contains(&both.client.next().await.unwrap().unwrap()));
        }
        both.client.send(Message::text("so that the pong is out")).await.unwrap();
        assert_eq!(both.server.next().await.unwrap().unwrap(), Message::Pong(payload.into()));
        assert!(both.server.next().await.unwrap().unwrap().is_text());
    }
    let (near, far) = both.close().await;
    for observer in [&near, &far] {
        observer.close().await;
        for kind in ["ping", "pong"] {
            let events = observer.of(kind).await;
            for way in ["sent", "received"] {
                let those: Vec<_> = events.iter().filter(|event| event["ws.direction"] == way).collect();
                let got: Vec<_> = those.iter().map(|event| support::message(event)).collect();
                assert_eq!(got, [" 1 3 in 0", " 2 6 in 0"], "{kind} {way}");
                let timed = those.iter().all(|event| event["duration_ns"].as_i64().is_some_and(|ns| ns > 0));
                assert_eq!(timed, kind == "ping" && way == "sent");
            }
        }
    }
}

/// Red when: the close that the library answers by itself is not seen, or an end takes
/// itself for the one that closed.
#[tokio::test]
async fn close_codes() {
    let tests = [
        (Some(frame(1000, "bye")), 1000, "bye"),
        (Some(frame(1001, "")), 1001, ""),
        (Some(frame(4000, "own")), 4000, "own"),
        (None, 1005, ""),
    ];
    for (said, code, reason) in tests {
        for by_client in [true, false] {
            let Both { near, far, mut client, mut server } = Both::open().await;
            if by_client {
                client.close(said.clone()).await.unwrap();
            } else {
                server.close(said.clone()).await.unwrap();
            }
            let (at_client, at_server) = tokio::join!(to_the_end(client), to_the_end(server));
            assert_eq!(
                (at_client, at_server),
                (vec![Message::Close(said.clone())], vec![Message::Close(said.clone())])
            );
            let (local, remote) = (closed(code, reason, "local", true), closed(code, reason, "remote", true));
            let want = if by_client { (local, remote) } else { (remote, local) };
            assert_eq!((near.close().await, far.close().await), want);
        }
    }
}

/// Red when: a connection that breaks is not recorded as broken at both ends.
#[tokio::test]
async fn abnormal_ends() {
    for reset in [false, true] {
        let Both { near, far, mut client, mut server } = Both::open().await;
        client.send(Message::text("hello")).await.unwrap();
        assert!(server.next().await.unwrap().unwrap().is_text());
        if let (true, MaybeTlsStream::Plain(socket)) = (reset, client.get_ref()) {
            #[allow(deprecated)] // a linger of zero does not wait
            socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
        drop(client);
        assert!(server.next().await.unwrap().is_err());
        assert_eq!(far.close().await, closed(1006, "", "none", false), "before the server goes");
        drop(server);
        assert_eq!(near.close().await, closed(1006, "", "none", false));
    }
}

/// Red when: a violation is not recorded, is taken for a message, or payload is told.
#[tokio::test]
async fn protocol_errors() {
    let tests: [(&[u8], &str); 4] = [
        (b"\x83\x80\0\0\0\0", "reserved_opcode"),
        (b"\xf1\x80\0\0\0\0", "reserved_bits"),
        (b"\x81\x06canary", "mask_missing"),
        (b"\x80\x86\0\0\0\0canary", "unexpected_continuation"),
    ];
    for (bytes, want) in tests {
        let Both { far, mut client, mut server, .. } = Both::open().await;
        client.get_mut().write_all(bytes).await.unwrap(); // below the tap
        assert!(server.next().await.unwrap().is_err());
        drop(server);
        assert_eq!(far.close().await, closed(1006, "", "none", false));
        let error = &far.wait("protocol_error", 1).await[0];
        assert_eq!(error["error.type"], want);
        assert_eq!(error["ws.direction"], "received");
        assert!(far.of("receive").await.is_empty());
        assert!(!format!("{:?}", far.all().await).contains("canary"));
    }
}

/// Messages that wait in the library's buffer are told of when they are sent, and each
/// is linked to the span that was active then.
///
/// Red when: the telling of a message goes to another one, or what was refused for want
/// of room is told of twice.
#[tokio::test]
async fn sends_are_told_of_where_they_are_sent() {
    let mut both = Both::open().await;
    for i in 1..=3 {
        both.client.send(Message::text(format!("question {i}"))).await.unwrap();
    }
    let mut spans = vec![];
    for i in 1..=3 {
        assert!(both.server.next().await.unwrap().unwrap().is_text());
        let processing = both.server.process([]);
        both.server.connection().sending([wsstats::message_id(format!("m-{i}"))]);
        processing.run(both.server.feed(Message::text("answer"))).await.unwrap();
        spans.push(processing.context().span().span_context().clone());
    }
    both.server.feed(Message::text("unasked")).await.unwrap();
    assert!(both.far.of("send").await.is_empty(), "nothing is flushed");
    both.server.flush().await.unwrap();
    for _ in 1..=4 {
        assert!(both.client.next().await.unwrap().unwrap().is_text());
    }
    let id = both.client.connection().id().to_owned();
    let (_, far) = both.close().await;
    far.close().await;
    let sends = far.of("send").await;
    assert_eq!(sends.len(), 4);
    for (i, span) in spans.iter().enumerate() {
        assert_eq!(sends[i]["ws.message.id"], format!("m-{}", i + 1));
        let ordinal = i as u64 + 1;
        assert_eq!(span.trace_id().to_string(), trace_id(&id, CLIENT_DATA, ordinal));
        assert_eq!(span.span_id().to_string(), span_id(&id, CLIENT_DATA, ordinal, 4, 2));
        let link = &sends[i]["links"][0];
        assert_eq!(link["trace_id"], span.trace_id().to_string());
        assert_eq!(link["span_id"], span.span_id().to_string());
        assert_eq!(link["attributes"]["ws.link.kind"], "active");
    }
    assert!(sends[3]["links"].is_null() && sends[3]["ws.message.id"].is_null());
    let processed: Vec<_> = far.of("process").await.iter().map(|event| event["ws.message.seq"].as_i64()).collect();
    assert_eq!(processed, [Some(1), Some(2), Some(3)]);
}

/// Many connections, each split between tasks: both ends number alike, and derive the
/// same trace for each message.
///
/// Red when: an ordinal, a handled message or an event goes to another connection or
/// message.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks() {
    const CONNECTIONS: usize = 20;
    const MESSAGES: usize = 30;
    let (near, far) = (Observer::start().await, Observer::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let agent = far.agent.clone();
    let serving = tokio::spawn(async move {
        let mut serving = vec![];
        for _ in 0..CONNECTIONS {
            let (socket, agent) = (listener.accept().await.unwrap().0, agent.clone());
            serving.push(tokio::spawn(serve(agent, socket)));
        }
        let mut traces = BTreeMap::new();
        for serving in serving {
            let (id, of_sizes) = serving.await.unwrap();
            traces.insert(id, of_sizes);
        }
        traces
    });
    let dialling: Vec<_> = (0..CONNECTIONS).map(|i| tokio::spawn(ask(near.agent.clone(), url.clone(), i))).collect();
    for dialling in dialling {
        dialling.await.unwrap();
    }
    let traces = serving.await.unwrap();
    assert_eq!(traces.len(), CONNECTIONS);

    near.wait("close", CONNECTIONS).await;
    far.wait("close", CONNECTIONS).await;
    let by_connection = async |observer: &Observer, kind: &str| {
        let mut messages: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in observer.of(kind).await {
            let id = event["ws.connection.id"].as_str().unwrap().to_owned();
            messages.entry(id).or_default().push(support::message(&event));
        }
        messages
    };
    let sent = by_connection(&near, "send").await;
    assert_eq!(sent, by_connection(&far, "receive").await);
    assert_eq!(by_connection(&far, "send").await, by_connection(&near, "receive").await);
    assert_eq!(sent.keys().collect::<Vec<_>>(), traces.keys().collect::<Vec<_>>());
    for (id, messages) in sent {
        assert_eq!(messages.len(), MESSAGES);
        for (i, trace) in traces[&id].iter().enumerate() {
            assert_eq!(*trace, trace_id(&id, CLIENT_DATA, i as u64 + 1));
        }
    }
    let processed = by_connection(&far, "process").await;
    assert!(processed.values().all(|messages| messages.len() == MESSAGES));
    let answers = near.of("receive").await;
    let id = answers[0]["ws.connection.id"].as_str().unwrap();
    assert_ne!(trace_id(id, SERVER_DATA, 1), trace_id(id, CLIENT_DATA, 1));

    async fn serve(agent: wsstats::Agent, socket: TcpStream) -> (String, Vec<String>) {
        let ws = accept_async(&agent, socket).await.unwrap();
        let connection = ws.connection().clone();
        let (mut writing, mut reading) = ws.split();
        let mut traces = vec![];
        while let Some(message) = reading.next().await {
            let message = message.unwrap();
            if message.is_binary() {
                let processing = connection.process(wsstats::Message::default(), [Attribute::new("room.id", "lobby")]);
                traces.push(processing.context().span().span_context().trace_id().to_string());
                processing.run(writing.send(message)).await.unwrap();
            }
        }
        (connection.id().to_owned(), traces)
    }

    async fn ask(agent: wsstats::Agent, url: String, i: usize) {
        let (ws, _) = connect_async(&agent, url).await.unwrap();
        let (mut writing, mut reading) = ws.split();
        let written = tokio::spawn(async move {
            for n in 0..MESSAGES {
                writing.send(Message::binary(vec![0; 100 * i + n])).await.unwrap();
            }
            writing
        });
        for n in 0..MESSAGES {
            assert_eq!(reading.next().await.unwrap().unwrap().len(), 100 * i + n);
        }
        let mut ws = written.await.unwrap().reunite(reading).unwrap();
        ws.close(None).await.unwrap();
        to_the_end(ws).await;
    }
}
