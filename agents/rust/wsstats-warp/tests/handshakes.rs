//! Requests for a WebSocket that are refused, and those that nobody observes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, unreachable_pub)] // a test may panic

mod served;
#[path = "../../wsstats-tungstenite/tests/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use served::Served;
use support::{Event, Observer, PATIENCE, closed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use warp::{Filter, Rejection, Reply};
use wsstats_tungstenite::connect_async;
use wsstats_warp::{WebSocket, Ws};

fn hello(ws: Ws) -> impl Reply {
    ws.on_upgrade(async |mut ws: WebSocket| {
        ws.send(warp::ws::Message::text("hello")).await.unwrap();
        while ws.next().await.is_some() {}
    })
}

/// Checks a handshake that failed.
fn failed(event: &Event, status: Option<u16>, error_type: &str) {
    assert_eq!(event["event"], "handshake");
    assert_eq!(event["ws.role"], "server");
    assert_eq!(event["ws.handshake.success"], false);
    assert_eq!(event["http.status_code"].as_u64(), status.map(u64::from));
    assert_eq!(event["error.type"], error_type);
    assert!(event["duration_ns"].as_i64().unwrap() >= 0);
}

/// Sends a request, and returns the status of its answer.
async fn status(served: &Served, request: &str) -> u16 {
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    while !answer.contains(&b'\r') {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
    }
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Reads the server's hello, and closes.
async fn say_goodbye(mut client: WebSocketStream<MaybeTlsStream<TcpStream>>) {
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("hello"));
    client.send(Message::Close(None)).await.unwrap();
    while client.next().await.is_some() {}
}

#[derive(Debug)]
struct Unauthorized;

impl warp::reject::Reject for Unauthorized {}

/// Answers what is rejected.
async fn recover(rejection: Rejection) -> Result<impl Reply, Rejection> {
    match rejection.find::<Unauthorized>() {
        Some(_) => Ok(StatusCode::UNAUTHORIZED),
        None => Err(rejection),
    }
}

/// Red when: a request that is refused, by whomever, is not recorded once with its status,
/// or one that does not ask for a WebSocket is.
#[tokio::test]
async fn refused() {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    const ASKS: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    let observer = Observer::start().await;
    let ws = || wsstats_warp::ws(observer.agent.clone());
    let token = warp::header::optional::<String>("authorization")
        .and_then(async |token: Option<String>| token.map(drop).ok_or_else(|| warp::reject::custom(Unauthorized)))
        .untuple_one();
    let routes = (warp::path("chat").and(ws()).map(hello))
        .or(warp::path("never").and(ws()).map(|_: Ws| StatusCode::FORBIDDEN))
        .or(warp::path("guarded").and(ws()).and(token).map(hello))
        .or(ws().and(warp::path("last")).map(hello))
        .recover(recover)
        .with(wsstats_warp::refusals(observer.agent.clone()));
    let served = Served::start(routes).await;
    let asks = format!("{ASKS}{KEY}{VERSION}");
    let tests = [
        ("GET /chat", format!("{ASKS}{VERSION}"), 400, true),
        ("GET /chat", format!("{ASKS}{KEY}"), 400, true),
        ("GET /chat", format!("Upgrade: websocket\r\n{KEY}{VERSION}"), 400, true),
        ("POST /chat", asks.clone(), 405, true),
        ("GET /never", asks.clone(), 403, true),
        ("GET /guarded", asks.clone(), 401, true),
        ("GET /nowhere", asks, 404, true),
        ("GET /chat", format!("{KEY}{VERSION}"), 400, false),
    ];
    let mut want = 0;
    for (line, headers, code, recorded) in tests {
        assert_eq!(
            status(&served, &format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await,
            code,
            "{line} {headers}"
        );
        want += usize::from(recorded);
        let events = observer.all().await;
        assert_eq!(events.len(), want, "{line} {headers} {events:#?}");
        if recorded {
            failed(&events[want - 1], Some(code), &code.to_string());
            let path = line.split(' ').nth(1).unwrap();
            assert_eq!(events[want - 1]["ws.url"], format!("ws://x{path}"));
        }
    }
}

/// Both ends record the refusal in one trace.
///
/// Red when: the server's is not the child of the client's, or does not last as long as the
/// handler took.
#[tokio::test]
async fn refused_in_one_trace() {
    const TOOK: Duration = Duration::from_millis(20);
    let (near, far) = (Observer::start().await, Observer::start().await);
    let refuse = async |_: Ws| {
        tokio::time::sleep(TOOK).await;
        Ok::<_, Infallible>(StatusCode::FORBIDDEN)
    };
    let routes = wsstats_warp::ws(far.agent.clone()).and_then(refuse).with(wsstats_warp::refusals(far.agent.clone()));
    let served = Served::start(routes).await;
    let dialled = connect_async(&near.agent, served.url()).await;
    assert!(matches!(dialled, Err(Error::Http(answer)) if answer.status() == 403));
    let (asked, refused) = (&near.all().await[0], &far.all().await[0]);
    failed(refused, Some(403), "403");
    assert!(refused["duration_ns"].as_u64().unwrap() >= TOOK.as_nanos() as u64);
    assert!(refused["net.peer.port"].as_u64().unwrap() > 0);
    let (trace, span) = (asked["trace_id"].as_str().unwrap(), asked["span_id"].as_str().unwrap());
    assert_eq!(refused["traceparent"], format!("00-{trace}-{span}-01"));
}

/// A client that leaves when it is accepted, before the answer goes out.
///
/// Red when: it is not recorded.
#[tokio::test]
async fn upgrades_that_fail() {
    let observer = Observer::start().await;
    let (asked, mut asking) = tokio::sync::mpsc::channel::<()>(1);
    let accept = move |ws: Ws| {
        let asked = asked.clone();
        async move {
            let answer = ws.on_upgrade(async |_| panic!("no connection"));
            asked.send(()).await.unwrap();
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(answer)
        }
    };
    let served = Served::start(wsstats_warp::ws(observer.agent.clone()).and_then(accept)).await;
    let dialling = tokio::spawn(tokio_tungstenite::connect_async(served.url()));
    timeout(PATIENCE, asking.recv()).await.unwrap().unwrap();
    dialling.abort();
    failed(&observer.wait("handshake", 1).await[0], None, "write_failed");
}

/// Red when: a peer without an agent is disturbed, or taken for one with an agent.
#[tokio::test]
async fn peers_without_an_agent() {
    let observer = Observer::start().await;
    let served = Served::start(wsstats_warp::ws(observer.agent.clone()).map(hello)).await;
    let (client, answer) = tokio_tungstenite::connect_async(served.url()).await.unwrap();
    assert!(answer.headers().get("wsstats-connection").is_none(), "nobody asked");
    say_goodbye(client).await;
    assert_eq!(observer.close().await, closed(1005, "", "remote", true));
    assert_eq!(observer.messages("send").await, ["text 1 5 in 1"]);
    assert!(observer.of("handshake").await[0]["ws.connection.shared"].is_null());
}

/// warp's own filter beside ours.
///
/// Red when: its connections are observed, or do not work.
#[tokio::test]
async fn not_observed() {
    let observer = Observer::start().await;
    let of_warp = |ws: warp::ws::Ws| {
        ws.on_upgrade(async |mut ws| {
            ws.send(warp::ws::Message::text("hello")).await.unwrap();
            while ws.next().await.is_some() {}
        })
    };
    let routes = warp::path("other")
        .and(wsstats_warp::ws(observer.agent.clone()))
        .map(hello)
        .or(warp::path("chat").and(warp::ws()).map(of_warp))
        .with(wsstats_warp::refusals(observer.agent.clone()));
    let served = Served::start(routes).await;
    say_goodbye(tokio_tungstenite::connect_async(served.url()).await.unwrap().0).await;
    assert!(observer.all().await.is_empty());
}

/// Red when: a pong of the application or [`WebSocket::close`] is not what it says, or not
/// recorded.
#[tokio::test]
async fn closed_by_the_server() {
    let observer = Observer::start().await;
    let close = |ws: Ws| {
        ws.on_upgrade(async |mut ws| {
            ws.send(warp::ws::Message::pong("unasked")).await.unwrap();
            ws.close().await.unwrap();
        })
    };
    let served = Served::start(wsstats_warp::ws(observer.agent.clone()).map(close)).await;
    let mut client = tokio_tungstenite::connect_async(served.url()).await.unwrap().0;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("unasked".into()));
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(None));
    let (code, _, initiator, _) = observer.close().await;
    assert_eq!((code, initiator.as_str()), (1005, "local"));
    assert_eq!(observer.messages("pong").await, [" 1 7 in 0"]);
}
