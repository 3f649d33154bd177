//! Handshakes that fail, and connections whose other end has no agent.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use futures_util::{SinkExt, StreamExt};
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use support::{Event, Observer, PATIENCE, closed, trace_id};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use wsstats_tungstenite::{
    accept_async, accept_async_with_config, accept_hdr_async, client_async, connect_async, connect_async_with_config,
};

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/chat", listener.local_addr().unwrap());
    (listener, url)
}

/// Answers one connection with these bytes when its request is there, and closes it.
async fn answer(listener: TcpListener, answer: &'static str) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
    }
    socket.write_all(answer.as_bytes()).await.unwrap();
}

/// Checks the only event, a handshake that failed.
fn failed(events: &[Event], role: &str, status: Option<u16>, error_type: &str) {
    let [event] = events else { panic!("one event: {events:#?}") };
    assert_eq!(event["event"], "handshake");
    assert_eq!(event["ws.role"], role);
    assert_eq!(event["ws.handshake.success"], false);
    assert_eq!(event["http.status_code"].as_u64(), status.map(u64::from));
    assert_eq!(event["error.type"], error_type);
    assert!(event["duration_ns"].as_i64().unwrap() >= 0);
    assert!(event["ws.connection.shared"].is_null());
}

/// Red when: a failed handshake is not recorded, or not with what it failed by.
#[tokio::test]
async fn clients_handshakes_that_fail() {
    let tests = [
        ("", None, "no_answer"),
        ("HTTP/1.1 101 Swi", None, "no_answer"),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", Some(401), "401"),
        ("SSH-2.0\r\n\r\n", None, "malformed_answer"),
        ("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", None, "malformed_answer"),
    ];
    for (bytes, status, error_type) in tests {
        let observer = Observer::start().await;
        let (listener, url) = listener().await;
        let (dialled, ()) = tokio::join!(connect_async(&observer.agent, url.as_str()), answer(listener, bytes));
        assert!(dialled.is_err());
        let events = observer.all().await;
        failed(&events, "client", status, error_type);
        assert_eq!(events[0]["ws.url"], url);
    }

    let observer = Observer::start().await;
    let nobody = TcpSocket::new_v4().unwrap(); // has a port, and does not listen
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("ws://{}/", nobody.local_addr().unwrap());
    assert!(matches!(connect_async(&observer.agent, url).await, Err(Error::Io(_))));
    failed(&observer.all().await, "client", None, "no_answer");

    let observer = Observer::start().await;
    let (silent, url) = listener().await;
    let dialled = tokio::time::timeout(PATIENCE / 100, connect_async(&observer.agent, url.as_str())).await;
    assert!(dialled.is_err(), "the future is dropped");
    failed(&observer.all().await, "client", None, "abandoned");
    drop(silent);

    let observer = Observer::start().await;
    for bad in ["http://localhost/", "ws://", "ws:///chat"] {
        assert!(connect_async(&observer.agent, bad).await.is_err());
    }
    assert!(observer.all().await.is_empty(), "nothing was tried");
    let (listener, url) = listener().await;
    assert!(matches!(connect_async(&observer.agent, url.replace("ws:", "http:")).await, Err(Error::Url(_))));
    failed(&observer.all().await, "client", None, "invalid_request");
    drop(listener);
}

/// Red when: the callback's refusal is not what the client gets, or not what is recorded.
#[tokio::test]
async fn refused_by_the_callback() {
    let (near, far) = (Observer::start().await, Observer::start().await);
    let (listener, url) = listener().await;
    #[allow(clippy::result_large_err)] // the library's
    let refuse = |request: &Request, _: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), "/chat");
        Err(Response::builder().status(403).body(Some("no".to_owned())).unwrap())
    };
    let accepted = async { accept_hdr_async(&far.agent, listener.accept().await.unwrap().0, refuse).await };
    let (dialled, accepted) = tokio::join!(connect_async(&near.agent, url.as_str()), accepted);
    assert!(matches!(accepted, Err(Error::Http(answer)) if answer.status() == 403));
    assert!(matches!(dialled, Err(Error::Http(answer)) if answer.status() == 403));
    let (asked, refused) = (near.all().await, far.all().await);
    failed(&asked, "client", Some(403), "403");
    failed(&refused, "server", Some(403), "403");
    let (trace, span) = (asked[0]["trace_id"].as_str().unwrap(), asked[0]["span_id"].as_str().unwrap());
    assert_eq!(refused[0]["traceparent"], format!("00-{trace}-{span}-01"));
}

/// Red when: a request that asks for a WebSocket wrongly is not recorded, or bytes that
/// do not ask for one are.
#[tokio::test]
async fn servers_handshakes_that_fail() {
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let tests = [
        (format!("{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n"), true),
        (format!("{upgrade}\r\n"), true),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), false),
        ("\x16\x03\x01\x02\0\r\n".to_owned(), false),
        (String::new(), false),
    ];
    for (request, recorded) in tests {
        let observer = Observer::start().await;
        let (listener, _) = listener().await;
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(accept_async(&observer.agent, listener.accept().await.unwrap().0).await.is_err());
        let events = observer.all().await;
        assert_eq!(events.len(), usize::from(recorded), "{request:?}");
        if recorded {
            failed(&events, "server", None, "malformed_request");
            assert_eq!(events[0]["net.peer.port"], socket.local_addr().unwrap().port());
        }
    }

    let observer = Observer::start().await;
    let (mut here, there) = tokio::io::duplex(1 << 16);
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    here.write_all(format!("{upgrade}{key}\r\n").as_bytes()).await.unwrap();
    drop(here);
    assert!(matches!(accept_async(&observer.agent, there).await, Err(Error::Io(_))));
    failed(&observer.all().await, "server", None, "write_failed");
}

/// Sends a message and closes; answers one, and reads to the end.
async fn exchange<C, S>(mut client: C, mut server: S)
where
    C: StreamExt<Item = Result<Message, Error>> + SinkExt<Message, Error = Error> + Unpin,
    S: StreamExt<Item = Result<Message, Error>> + SinkExt<Message, Error = Error> + Unpin,
{
    let asking = async {
        client.send(Message::text("hello")).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::binary("hello"));
        client.send(Message::Close(None)).await.unwrap();
        while client.next().await.is_some() {}
    };
    let answering = async {
        assert_eq!(server.next().await.unwrap().unwrap(), Message::text("hello"));
        server.send(Message::binary("hello")).await.unwrap();
        while server.next().await.is_some() {}
        drop(server);
    };
    tokio::join!(asking, answering);
}

/// Red when: a peer without an agent is disturbed, or taken for one with an agent.
#[tokio::test]
async fn peers_without_an_agent() {
    let observer = Observer::start().await;
    let (listener, url) = listener().await;
    let accepted = async { accept_async(&observer.agent, listener.accept().await.unwrap().0).await.unwrap() };
    let (dialled, server) = tokio::join!(tokio_tungstenite::connect_async(url.as_str()), accepted);
    let (client, answer) = dialled.unwrap();
    assert!(answer.headers().get("wsstats-connection").is_none(), "nobody asked");
    assert!(!server.connection().is_shared());
    exchange(client, server).await;
    assert_eq!(observer.close().await, closed(1005, "", "remote", true));
    assert_eq!(observer.messages("receive").await, ["text 1 5 in 1"]);
    assert_eq!(observer.messages("send").await, ["binary 1 5 in 1"]);

    let observer = Observer::start().await;
    let accepted = async { tokio_tungstenite::accept_async(listener.accept().await.unwrap().0).await.unwrap() };
    let (dialled, server) = tokio::join!(connect_async(&observer.agent, url.as_str()), accepted);
    let client = dialled.unwrap().0;
    assert!(!client.connection().is_shared());
    exchange(client, server).await;
    assert_eq!(observer.close().await, closed(1005, "", "local", true));
    assert_eq!(observer.messages("send").await, ["text 1 5 in 1"]);
    assert_eq!(observer.messages("receive").await, ["binary 1 5 in 1"]);
}

/// Red when: what was told of a message that there is no room for is lost, or is told of
/// another one.
#[tokio::test]
async fn a_message_without_room() {
    let observer = Observer::start().await;
    let (listener, url) = listener().await;
    let config = WebSocketConfig::default().write_buffer_size(0).max_write_buffer_size(100);
    let accepted = async { tokio_tungstenite::accept_async(listener.accept().await.unwrap().0).await.unwrap() };
    let (dialled, server) =
        tokio::join!(connect_async_with_config(&observer.agent, url, Some(config), false), accepted);
    let mut client = dialled.unwrap().0;
    client.connection().sending([wsstats::message_id("kept")]);
    let refused = client.send(Message::text("x".repeat(200))).await;
    assert!(matches!(refused, Err(Error::WriteBufferFull(_))));
    client.send(Message::text("small")).await.unwrap();
    client.connection().sending([wsstats::message_id("other")]);
    client.send(Message::text("next")).await.unwrap();
    client.close(None).await.unwrap();
    tokio::join!(client.for_each(async |_| {}), server.for_each(async |_| {}));
    let sends = observer.wait("send", 2).await;
    assert_eq!(sends.iter().map(support::message).collect::<Vec<_>>(), ["text 1 5 in 1", "text 2 4 in 1"]);
    assert_eq!((&sends[0]["ws.message.id"], &sends[1]["ws.message.id"]), (&"kept".into(), &"other".into()));
}

/// A client's handshake is a child of the span that is active, and its headers are the
/// application's but for ours.
///
/// Red when: the parent is lost, a header of the application is, or the subprotocol.
#[tokio::test]
async fn clients_handshake_under_a_span() {
    let (near, far) = (Observer::start().await, Observer::start().await);
    let (listener, url) = listener().await;
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("x-mine", "kept".parse().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", "other, chat".parse().unwrap());
    request
        .headers_mut()
        .insert("traceparent", "00-11111111111111111111111111111111-1111111111111111-00".parse().unwrap());
    let parent = SpanContext::new(
        TraceId::from_bytes([0xab; 16]),
        SpanId::from_bytes([0xcd; 8]),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    #[allow(clippy::result_large_err)] // the library's
    let choose = |request: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.headers()["x-mine"], "kept");
        assert_eq!(request.headers().get_all("traceparent").iter().count(), 1);
        answer.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
        answer.headers_mut().insert("wsstats-connection", "of another".parse().unwrap());
        Ok(answer)
    };
    let accepted = async { accept_hdr_async(&far.agent, listener.accept().await.unwrap().0, choose).await.unwrap() };
    let dialled = connect_async_with_config(&near.agent, request, Some(WebSocketConfig::default()), true)
        .with_context(Context::new().with_remote_span_context(parent));
    let (dialled, server) = tokio::join!(dialled, accepted);
    let client = dialled.unwrap().0;
    assert!(client.connection().is_shared());
    exchange(client, server).await;
    let (asked, accepted) = (&near.wait("handshake", 1).await[0], &far.wait("handshake", 1).await[0]);
    assert_eq!(asked["traceparent"], format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8)));
    let (trace, parent) = accepted["traceparent"].as_str().unwrap()[3..].split_once('-').unwrap();
    assert_eq!(trace, "ab".repeat(16));
    let id = asked["ws.connection.id"].as_str().unwrap();
    assert_eq!(parent, format!("{}-01", support::span_id(id, 0, 0, 1, 1)));
    assert_ne!(trace, trace_id(id, 0, 0));
    assert_eq!((&asked["ws.subprotocol"], &accepted["ws.subprotocol"]), (&"chat".into(), &"chat".into()));
}

/// The server of the test of transparency: echoes, pings and closes.
async fn talk<S>(mut ws: S)
where
    S: StreamExt<Item = Result<Message, Error>> + SinkExt<Message, Error = Error> + Unpin,
{
    ws.send(Message::Ping("from the server".into())).await.unwrap();
    while let Some(Ok(message)) = ws.next().await {
        if message.is_text() || message.is_binary() {
            ws.feed(message.clone()).await.unwrap();
            ws.send(message).await.unwrap();
        }
    }
}

/// What a server answers to these bytes, of which so many are written at once.
async fn answers<F>(bytes: &[u8], piece: usize, accept: impl FnOnce(TcpStream) -> F) -> Vec<u8>
where
    F: Future<Output = ()>,
{
    let (listener, _) = listener().await;
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let (accepted, _) = listener.accept().await.unwrap();
    let asking = async {
        let mut answer = vec![];
        let (request, frames) = bytes.split_at(bytes.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4);
        writing.write_all(request).await.unwrap();
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(reading.read_buf(&mut answer).await.unwrap(), 0);
            if answer.windows(4).any(|at| at == b"\r\n\r\n") {
                break;
            }
        }
        for piece in frames.chunks(piece) {
            writing.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        reading.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (answer, ()) = tokio::join!(asking, accept(accepted));
    answer
}

/// Red when: the tap changes, adds, holds back or loses any byte.
#[tokio::test]
async fn bytes_are_those_of_a_server_without_a_tap() {
    let mut bytes = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend(b"\x81\x85\0\0\0\0hello\x89\x82\0\0\0\0hi\x01\x81\0\0\0\0a\x80\x81\0\0\0\0b\x82\xfe\xff\xff\0\0\0\0");
    bytes.extend([7; 65_535]);
    bytes.extend(b"\x88\x85\x01\x02\x03\x04\x02\xea\x61\x7d\x64");
    for piece in [100, 4096, bytes.len()] {
        let bare = answers(&bytes, piece, async |socket| {
            talk(tokio_tungstenite::accept_async(socket).await.unwrap()).await;
        })
        .await;
        let observer = Observer::start().await;
        let tapped = answers(&bytes, piece, async |socket| {
            let ws = accept_async_with_config(&observer.agent, socket, Some(WebSocketConfig::default())).await.unwrap();
            talk(ws).await;
        })
        .await;
        assert!(bare.len() > 2 * 65_535 && bare == tapped, "{} and {} bytes", bare.len(), tapped.len());
        assert_eq!(observer.close().await, closed(1000, "bye", "remote", true));
        assert_eq!(observer.messages("receive").await, ["text 1 5 in 1", "text 2 2 in 2", "binary 3 65535 in 1"]);
        assert_eq!(observer.messages("send").await.len(), 6);
    }
}

/// A stream that is no socket is observed as well, without a peer.
///
/// Red when: it is not, or frames that came with the answer are lost.
#[tokio::test]
async fn streams_that_are_no_sockets() {
    let (near, far) = (Observer::start().await, Observer::start().await);
    let (here, there) = tokio::io::duplex(1 << 16);
    let accepted = async {
        let mut ws = accept_async(&far.agent, there).await.unwrap();
        ws.send(Message::text("early")).await.unwrap();
        ws
    };
    // The server's first message is there before the client reads its answer.
    let dialled = client_async(&near.agent, "ws://example.com/", Counted { stream: here, reads: 0 });
    let (dialled, mut server) = tokio::join!(dialled, accepted);
    let mut client = dialled.unwrap().0;
    assert_eq!(client.get_ref().reads, 1, "the answer and the message in one");
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("early"));
    client.send(Message::text("late")).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("late"));
    drop(client.into_inner());
    assert!(server.next().await.unwrap().is_err());
    drop(server);
    assert_eq!(near.close().await, closed(1006, "", "none", false));
    assert_eq!(far.close().await, closed(1006, "", "none", false));
    assert_eq!(near.messages("receive").await, ["text 1 5 in 1"]);
    assert_eq!(far.messages("receive").await, ["text 1 4 in 1"]);
    let handshake = &far.of("handshake").await[0];
    assert!(handshake["net.peer.ip"].is_null());
    assert_eq!(handshake["ws.url"], "ws://example.com/");
}

/// A stream that counts its reads.
struct Counted {
    stream: tokio::io::DuplexStream,
    reads: usize,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let there = std::task::ready!(std::pin::Pin::new(&mut self.stream).poll_read(cx, buf));
        self.reads += 1;
        std::task::Poll::Ready(there)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Red when: the agent observes its own link.
#[tokio::test]
async fn own_link() {
    let observer = Observer::start().await;
    let (ws, _) = {
        let mut request = observer.endpoint.as_str().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "wsstats.v1.json".parse().unwrap());
        connect_async(&observer.agent, request).await.unwrap()
    };
    assert!(!ws.connection().is_observed());
    drop(ws);
    assert!(observer.all().await.is_empty());
}
