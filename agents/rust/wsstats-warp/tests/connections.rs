//! Connections of a warp server with an agent at each end.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, unreachable_pub)] // a test may panic

mod served;
#[path = "../../wsstats-tungstenite/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use futures_util::{SinkExt, StreamExt};
use served::Served;
use support::{CLIENT_DATA, Event, Observer, SERVER_DATA, closed, span_id, trace_id};
use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use warp::Filter;
use warp::ws::Message as Sent;
use wsstats_tungstenite::{WebSocketStream, connect_async};
use wsstats_warp::{WebSocket, Ws};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server of one route, and who observes each end.
struct Both {
    near: Observer,
    far: Observer,
    served: Served,
}

impl Both {
    async fn serve<F: Future<Output = ()> + Send + 'static>(
        handle: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static,
    ) -> Both {
        let (near, far) = (Observer::start().await, Observer::start().await);
        let chosen = http::HeaderValue::from_static("chat");
        let routes = warp::path("chat")
            .and(wsstats_warp::ws(far.agent.clone()))
            .map(move |ws: Ws| ws.protocol(chosen.clone()).on_upgrade(handle.clone()))
            .with(wsstats_warp::refusals(far.agent.clone()));
        Both { near, far, served: Served::start(routes).await }
    }

    async fn dial(&self) -> Client {
        let mut request = format!("{}?token=secret", self.served.url()).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
        connect_async(&self.near.agent, request).await.unwrap().0
    }
}

/// Answers each message with itself, until the stream ends.
async fn echo(mut ws: WebSocket) {
    while let Some(Ok(message)) = ws.next().await {
        if message.is_text() || message.is_binary() {
            ws.send(message).await.unwrap();
        }
    }
}

fn frame(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code: code.into(), reason: reason.into() }
}

async fn to_the_end(mut client: Client) {
    while client.next().await.is_some() {}
}

/// Red when: the ends do not share the id, the server's handshake is not the child of the
/// client's, or the URL has more than it may.
#[tokio::test]
async fn one_handshake() {
    let both = Both::serve(async |ws: WebSocket| {
        assert!(ws.connection().is_tapped());
        echo(ws).await;
    })
    .await;
    let mut client = both.dial().await;
    let (id, here) = (client.connection().id().to_owned(), client.connection().is_shared());
    assert!(here);
    let MaybeTlsStream::Plain(socket) = client.get_ref() else { panic!() };
    let address = socket.local_addr().unwrap();
    client.close(None).await.unwrap();
    to_the_end(client).await;

    let (client, server) = (&both.near.wait("handshake", 1).await[0], &both.far.wait("handshake", 1).await[0]);
    for (event, role, peer) in [(client, "client", both.served.address), (server, "server", address)] {
        assert_eq!(event["ws.connection.id"], id);
        assert_eq!(event["ws.role"], role);
        assert_eq!(event["ws.connection.shared"], true);
        assert_eq!(event["ws.handshake.success"], true);
        assert_eq!(event["http.status_code"], 101);
        assert_eq!(event["ws.subprotocol"], "chat");
        assert_eq!(event["ws.url"], both.served.url());
        assert_eq!(event["net.peer.ip"], peer.ip().to_string());
        assert_eq!(event["net.peer.port"], peer.port());
        assert!(event["duration_ns"].as_i64().unwrap() > 0);
    }
    assert_eq!(server["traceparent"], format!("00-{}-{}-01", trace_id(&id, 0, 0), span_id(&id, 0, 0, 1, 1)));
    assert_eq!(both.far.close().await, closed(1005, "", "remote", true));
}

/// Red when: a message is changed on its way, or a size, ordinal or type is not that of
/// the other end.
#[tokio::test]
async fn messages_of_all_sizes() {
    let both = Both::serve(echo).await;
    let mut client = both.dial().await;
    let mut want = vec![];
    for size in [0, 2, 126, 65_536] {
        for message in [Message::text("é".repeat(size / 2)), Message::binary(vec![0xff; size])] {
            let typ = if message.is_text() { "text" } else { "binary" };
            want.push(format!("{typ} {} {size} in 1", want.len() + 1));
            client.send(message.clone()).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), message);
        }
    }
    client.close(Some(frame(1000, "bye"))).await.unwrap();
    to_the_end(client).await;
    assert_eq!(both.near.close().await, closed(1000, "bye", "local", true));
    assert_eq!(both.far.close().await, closed(1000, "bye", "remote", true));
    for observer in [&both.near, &both.far] {
        assert_eq!(observer.messages("send").await, want);
        assert_eq!(observer.messages("receive").await, want);
        let close = &observer.of("close").await[0];
        for way in ["sent", "received"] {
            assert_eq!(close[format!("ws.connection.bytes.{way}")], 2 * (2 + 126 + 65_536));
            assert_eq!(close[format!("ws.connection.messages.{way}")], want.len());
        }
        assert_eq!(observer.all().await.len(), 1 + 2 * want.len() + 1);
    }
}

/// Red when: a pong that the library sends by itself is not seen, or a ping has not the
/// time until its pong.
#[tokio::test]
async fn pings_both_ways() {
    let both = Both::serve(async |mut ws: WebSocket| {
        let ping = ws.next().await.unwrap().unwrap();
        assert_eq!(ping, Sent::ping("three"));
        ws.send(ping).await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap(), Sent::pong("three"));
        assert_eq!(ws.next().await.unwrap().unwrap(), Sent::close());
        assert!(ws.next().await.is_none());
    })
    .await;
    let mut client = both.dial().await;
    client.send(Message::Ping("three".into())).await.unwrap();
    for _ in 0..2 {
        let got = client.next().await.unwrap().unwrap();
        assert!(got.is_ping() || got.is_pong());
    }
    client.close(None).await.unwrap();
    to_the_end(client).await;
    for observer in [&both.near, &both.far] {
        observer.close().await;
        for kind in ["ping", "pong"] {
            let events = observer.of(kind).await;
            assert_eq!(events.len(), 2, "{kind}");
            for event in events {
                assert_eq!(support::message(&event), " 1 5 in 0");
                let timed = kind == "ping" && event["ws.direction"] == "sent";
                assert_eq!(event["duration_ns"].as_i64().is_some_and(|ns| ns > 0), timed);
            }
        }
    }
}

/// Red when: a close frame loses its code or reason, a close is recorded twice, or an end
/// takes itself for the one that closed.
#[tokio::test]
async fn closes_by_either_end() {
    for (said, code, reason) in
        [(Some((1000, "bye")), 1000, "bye"), (Some((4000, "own")), 4000, "own"), (None, 1005, "")]
    {
        let local = closed(code, reason, "local", true);
        let remote = closed(code, reason, "remote", true);

        let both = Both::serve(move |mut ws: WebSocket| async move {
            let got = ws.next().await.unwrap().unwrap();
            assert!(got.is_close());
            assert_eq!(got.close_frame(), said);
            assert!(ws.next().await.is_none());
        })
        .await;
        let mut client = both.dial().await;
        client.close(said.map(|(code, reason)| frame(code, reason))).await.unwrap();
        to_the_end(client).await;
        assert_eq!((both.near.close().await, both.far.close().await), (local.clone(), remote.clone()));

        let both = Both::serve(move |mut ws: WebSocket| async move {
            let said = said.map_or_else(Sent::close, |(code, reason): (u16, _)| Sent::close_with(code, reason));
            ws.send(said).await.unwrap();
            while ws.next().await.is_some() {}
        })
        .await;
        to_the_end(both.dial().await).await;
        assert_eq!((both.near.close().await, both.far.close().await), (remote, local));
    }
}

/// Red when: a connection that breaks is not recorded as broken, at either end.
#[tokio::test]
async fn abnormal_ends() {
    let both = Both::serve(async |mut ws: WebSocket| {
        assert!(ws.next().await.unwrap().is_ok());
        assert!(ws.next().await.unwrap().is_err());
    })
    .await;
    let mut client = both.dial().await;
    client.send(Message::text("hello")).await.unwrap();
    drop(client);
    assert_eq!(both.far.close().await, closed(1006, "", "none", false));

    let both = Both::serve(async |_: WebSocket| {}).await;
    assert!(both.dial().await.next().await.unwrap().is_err());
    assert_eq!(both.far.close().await, closed(1006, "", "none", false));
    assert_eq!(both.near.close().await, closed(1006, "", "none", false));
}

/// A message of the client that is too big for the server.
///
/// Red when: the limits are not the library's, or the close is not recorded.
#[tokio::test]
async fn limits_are_kept() {
    let (near, far) = (Observer::start().await, Observer::start().await);
    let (tell, mut told) = tokio::sync::mpsc::channel(2);
    let accept = move |ws: Ws| {
        let tell = tell.clone();
        ws.max_message_size(4).max_frame_size(4).secure().on_upgrade(async move |mut ws| {
            for _ in 0..2 {
                tell.send(ws.next().await.unwrap().is_ok()).await.unwrap();
            }
        })
    };
    let served = Served::start(warp::path("chat").and(wsstats_warp::ws(far.agent.clone())).map(accept)).await;
    let mut client = connect_async(&near.agent, served.url()).await.unwrap().0;
    client.send(Message::text("four")).await.unwrap();
    client.send(Message::text("fives")).await.unwrap();
    to_the_end(client).await;
    assert_eq!((told.recv().await, told.recv().await), (Some(true), Some(false)));
    far.wait("close", 1).await;
    assert_eq!(far.of("handshake").await[0]["ws.url"], served.url().replace("ws:", "wss:"));
    assert_eq!(far.messages("receive").await[0], "text 1 4 in 1");
}

/// The application's spans, and whose children they are.
///
/// Red when: the handler's span or context is not that of the connection's task, a handled
/// message's are not in its trace, or what is sent has no link to them.
#[tokio::test]
async fn spans_of_the_application() {
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    use tracing::Instrument;
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::layer::SubscriberExt;

    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let (near, far) = (Observer::start().await, Observer::start().await);
    let accept = |ws: Ws| {
        let request = tracing::info_span!("request");
        let id = request.id();
        assert!(id.is_some());
        let _entered = request.entered();
        ws.on_upgrade(async move |mut ws| {
            assert_eq!(tracing::Span::current().id(), id, "the handler's");
            tracing::info_span!("join").in_scope(|| ());
            ws.next().await.unwrap().unwrap();
            let processing = ws.process([]);
            let handling = async {
                async { ws.send(Sent::text("answer")).await.unwrap() }.instrument(tracing::info_span!("answer")).await;
            };
            processing.run(handling).await;
            drop(processing);
            ws.next().await;
            ws.next().await;
            let current = tracing::Span::current().context();
            assert!(current.span().span_context().is_valid());
        })
    };
    let served = Served::start(warp::path("chat").and(wsstats_warp::ws(far.agent.clone())).map(accept)).await;
    let mut client = connect_async(&near.agent, served.url()).await.unwrap().0;
    let id = client.connection().id().to_owned();
    client.send(Message::text("question")).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("answer"));
    client.close(None).await.unwrap();
    to_the_end(client).await;
    far.close().await;

    let spans: BTreeMap<_, _> =
        exporter.get_finished_spans().unwrap().into_iter().map(|span| (span.name.to_string(), span)).collect();
    let (request, join, answer) = (&spans["request"], &spans["join"], &spans["answer"]);
    assert_eq!(join.parent_span_id, request.span_context.span_id());
    assert_eq!(join.span_context.trace_id(), request.span_context.trace_id());
    assert_eq!(answer.span_context.trace_id().to_string(), trace_id(&id, CLIENT_DATA, 1));
    let send = &far.of("send").await[0];
    assert_eq!(send["links"][0]["span_id"], answer.span_context.span_id().to_string());
    assert_eq!(spans["ws.handle"].parent_span_id.to_string(), span_id(&id, CLIENT_DATA, 1, 4, 2));
    assert_eq!(far.messages("process").await.len(), 1);
}

/// Many connections at once, each split between tasks: both ends number alike, and derive
/// the same trace for each message.
///
/// Red when: an ordinal, a handled message or an event goes to another connection or
/// message, or is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks() {
    const CONNECTIONS: usize = 20;
    const MESSAGES: usize = 30;
    let both = Both::serve(async |ws: WebSocket| {
        let connection = ws.connection().clone();
        let (mut writing, mut reading) = ws.split();
        while let Some(Ok(message)) = reading.next().await {
            if message.is_binary() {
                let processing = connection.process(wsstats::Message::default(), []);
                processing.run(writing.send(message)).await.unwrap();
            }
        }
    })
    .await;
    let ask = async |mut client: Client, i: usize| {
        for n in 0..MESSAGES {
            let message = Message::binary(vec![0; 100 * i + n]);
            client.send(message.clone()).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), message);
        }
        client.close(None).await.unwrap();
        to_the_end(client).await;
    };
    let dialled = futures_util::future::join_all((0..CONNECTIONS).map(|_| both.dial())).await;
    futures_util::future::join_all(dialled.into_iter().enumerate().map(|(i, client)| ask(client, i))).await;

    for observer in [&both.near, &both.far] {
        observer.wait("handshake", CONNECTIONS).await;
        observer.wait("close", CONNECTIONS).await;
        observer.wait("send", CONNECTIONS * MESSAGES).await;
        observer.wait("receive", CONNECTIONS * MESSAGES).await;
    }
    let sent = by_connection(&both.near.of("send").await);
    assert_eq!(sent.len(), CONNECTIONS);
    assert_eq!(sent, by_connection(&both.far.of("receive").await));
    assert_eq!(sent, by_connection(&both.far.of("send").await), "an echo");
    assert_eq!(sent, by_connection(&both.near.of("receive").await));
    for event in both.far.wait("process", CONNECTIONS * MESSAGES).await {
        assert!(event["span_id"].is_null() && event["trace_id"].is_null(), "derived: it is handled once");
    }
    for event in both.far.of("send").await {
        let (id, n) = (event["ws.connection.id"].as_str().unwrap(), event["ws.message.seq"].as_u64().unwrap());
        assert_eq!(event["links"][0]["trace_id"], trace_id(id, CLIENT_DATA, n));
        assert_ne!(event["links"][0]["trace_id"], trace_id(id, SERVER_DATA, n));
    }
    let stats = both.far.agent.stats();
    assert_eq!(stats.observed, (CONNECTIONS * (2 + 3 * MESSAGES)) as u64);
    assert_eq!((stats.acknowledged, stats.held), (stats.observed, 0));
}

fn by_connection(events: &[Event]) -> BTreeMap<String, Vec<String>> {
    let mut messages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        let id = event["ws.connection.id"].as_str().unwrap().to_owned();
        messages.entry(id).or_default().push(support::message(event));
    }
    messages
}
