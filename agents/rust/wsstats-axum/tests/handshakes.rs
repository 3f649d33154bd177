//! Requests for a WebSocket that are refused, and those that nobody observes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, unreachable_pub)] // a test may panic

mod served;
#[path = "../../wsstats-tungstenite/tests/support/mod.rs"]
mod support;

use axum::Router;
use axum::extract::{Request, ws};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use served::Served;
use support::{Event, Observer, PATIENCE, closed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use wsstats_axum::{WebSocket, WebSocketUpgrade};
use wsstats_tungstenite::connect_async;

async fn hello(ws: WebSocketUpgrade) -> Response {
    ws.on_upgrade(async |mut ws: WebSocket| {
        ws.send("hello".into()).await.unwrap();
        while ws.recv().await.is_some() {}
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

/// Red when: a request that is refused, by whomever, is not recorded with its status, or one
/// that does not ask for a WebSocket is.
#[tokio::test]
async fn refused() {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, WebSocket\r\n";
    const ASKS: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    let observer = Observer::start().await;
    let app = Router::new()
        .route("/chat", any(hello))
        .route("/never", any(async |_: WebSocketUpgrade| StatusCode::FORBIDDEN))
        .route("/guarded", any(hello).layer(middleware::from_fn(async |_: Request, _: Next| StatusCode::UNAUTHORIZED)))
        .layer(wsstats_axum::layer(observer.agent.clone()));
    let served = Served::start(app).await;
    let tests = [
        ("GET /chat HTTP/1.1", format!("{ASKS}{VERSION}"), 400, true),
        ("GET /chat HTTP/1.1", format!("{ASKS}{KEY}"), 400, true),
        ("GET /chat HTTP/1.1", format!("{UPGRADE}{KEY}{VERSION}"), 400, true),
        ("GET /chat HTTP/1.1", format!("Upgrade: websocket\r\n{KEY}{VERSION}"), 400, true),
        ("POST /chat HTTP/1.1", format!("{ASKS}{KEY}{VERSION}"), 405, true),
        ("GET /chat HTTP/1.0", format!("{ASKS}{KEY}{VERSION}"), 426, true),
        ("GET /never HTTP/1.1", format!("{ASKS}{KEY}{VERSION}"), 403, true),
        ("GET /guarded HTTP/1.1", format!("{ASKS}{KEY}{VERSION}"), 401, true),
        ("GET /nowhere HTTP/1.1", format!("{ASKS}{KEY}{VERSION}"), 404, true),
        ("GET /chat HTTP/1.1", format!("{KEY}{VERSION}"), 400, false),
        ("GET /nowhere HTTP/1.1", String::new(), 404, false),
    ];
    let mut want = 0;
    for (line, headers, code, recorded) in tests {
        assert_eq!(status(&served, &format!("{line}\r\nHost: x\r\n{headers}\r\n")).await, code, "{line} {headers}");
        want += usize::from(recorded);
        let events = observer.all().await;
        assert_eq!(events.len(), want, "{line} {headers}");
        if recorded {
            failed(&events[want - 1], Some(code), &code.to_string());
            let path = line.split(' ').nth(1).unwrap();
            assert_eq!(events[want - 1]["ws.url"], format!("ws://x{path}"));
        }
    }
}

/// Both ends record the refusal in one trace.
///
/// Red when: the server's is not the child of the client's.
#[tokio::test]
async fn refused_in_one_trace() {
    let (near, far) = (Observer::start().await, Observer::start().await);
    let app = Router::new()
        .route("/chat", any(async || (StatusCode::FORBIDDEN, "no")))
        .layer(wsstats_axum::layer(far.agent.clone()));
    let served = Served::start(app).await;
    let dialled = connect_async(&near.agent, served.url()).await;
    assert!(matches!(dialled, Err(Error::Http(answer)) if answer.status() == 403));
    let (asked, refused) = (&near.all().await[0], &far.all().await[0]);
    failed(refused, Some(403), "403");
    let (trace, span) = (asked["trace_id"].as_str().unwrap(), asked["span_id"].as_str().unwrap());
    assert_eq!(refused["traceparent"], format!("00-{trace}-{span}-01"));
}

/// An answer that accepts, and is replaced by a layer below ours: hyper hands over what is
/// left of the connection, which is none.
///
/// Red when: it is taken for a connection, or not recorded with its status.
#[tokio::test]
async fn accepted_and_refused() {
    let observer = Observer::start().await;
    let accept =
        async |ws: WebSocketUpgrade| -> Response { ws.on_upgrade(async |ws| assert!(!ws.connection().is_observed())) };
    let fail = async |_: Response| StatusCode::BAD_GATEWAY.into_response();
    let app = Router::new()
        .route("/chat", any(accept).layer(middleware::map_response(fail)))
        .layer(wsstats_axum::layer(observer.agent.clone()));
    let served = Served::start(app).await;
    let dialled = tokio_tungstenite::connect_async(served.url()).await;
    assert!(matches!(dialled, Err(Error::Http(answer)) if answer.status() == 502));
    let events = observer.all().await;
    failed(&events[0], Some(502), "502");
    assert_eq!(events.len(), 1);
}

/// A client that leaves when it is accepted, before the answer goes out.
///
/// Red when: it is not recorded, or not told to the application.
#[tokio::test]
async fn upgrades_that_fail() {
    let observer = Observer::start().await;
    let (asked, mut asking) = tokio::sync::mpsc::channel::<()>(1);
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let accept = async move |ws: WebSocketUpgrade| -> Response {
        let answer = ws
            .on_failed_upgrade(move |err: axum::Error| tell.try_send(err).unwrap())
            .on_upgrade(async |_| panic!("no connection"));
        asked.send(()).await.unwrap();
        std::future::pending::<()>().await;
        answer
    };
    let app = Router::new().route("/chat", any(accept)).layer(wsstats_axum::layer(observer.agent.clone()));
    let served = Served::start(app).await;
    let dialling = tokio::spawn(tokio_tungstenite::connect_async(served.url()));
    timeout(PATIENCE, asking.recv()).await.unwrap().unwrap();
    dialling.abort();
    timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    failed(&observer.wait("handshake", 1).await[0], None, "write_failed");
}

/// Red when: a client that leaves before its answer is not recorded.
#[tokio::test]
async fn abandoned() {
    let observer = Observer::start().await;
    let (asked, mut asking) = tokio::sync::mpsc::channel::<()>(1);
    let wait = async move |ws: WebSocketUpgrade| -> Response {
        asked.send(()).await.unwrap();
        std::future::pending::<()>().await;
        ws.on_upgrade(async |_| ())
    };
    let app = Router::new().route("/chat", any(wait)).layer(wsstats_axum::layer(observer.agent.clone()));
    let served = Served::start(app).await;
    let dialling = tokio::spawn(tokio_tungstenite::connect_async(served.url()));
    timeout(PATIENCE, asking.recv()).await.unwrap().unwrap();
    dialling.abort();
    failed(&observer.wait("handshake", 1).await[0], None, "abandoned");
}

/// Red when: a peer without an agent is disturbed, or taken for one with an agent.
#[tokio::test]
async fn peers_without_an_agent() {
    let observer = Observer::start().await;
    let app = Router::new().route("/chat", any(hello)).layer(wsstats_axum::layer(observer.agent.clone()));
    let served = Served::start(app).await;
    let (client, answer) = tokio_tungstenite::connect_async(served.url()).await.unwrap();
    assert!(answer.headers().get("wsstats-connection").is_none(), "nobody asked");
    say_goodbye(client).await;
    assert_eq!(observer.close().await, closed(1005, "", "remote", true));
    assert_eq!(observer.messages("send").await, ["text 1 5 in 1"]);
    assert!(observer.of("handshake").await[0]["ws.connection.shared"].is_null());
}

/// Red when: what is not to be observed is, or does not work.
#[tokio::test]
async fn not_observed() {
    let observer = Observer::start().await;
    let of_axum = async |ws: ws::WebSocketUpgrade| {
        ws.on_upgrade(async |mut ws| {
            ws.send("hello".into()).await.unwrap();
            while ws.recv().await.is_some() {}
        })
    };
    let link = async |ws: WebSocketUpgrade| -> Response {
        ws.protocols(["wsstats.v1.json"]).on_upgrade(async |mut ws: WebSocket| {
            assert!(!ws.connection().is_observed());
            ws.send("hello".into()).await.unwrap();
            while ws.recv().await.is_some() {}
        })
    };
    let app = Router::new()
        .route("/axum", any(of_axum))
        .route("/link", any(link))
        .layer(wsstats_axum::layer(observer.agent.clone()))
        .route("/no/layer", any(hello));
    let served = Served::start(app).await;
    for path in ["axum", "no/layer"] {
        let (client, answer) =
            tokio_tungstenite::connect_async(format!("ws://{}/{path}", served.address)).await.unwrap();
        assert!(answer.headers().get("wsstats-connection").is_none());
        say_goodbye(client).await;
    }
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{}/link", served.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "wsstats.v1.json".parse().unwrap());
    say_goodbye(tokio_tungstenite::connect_async(request).await.unwrap().0).await;
    assert!(observer.all().await.is_empty());
}

/// Two layers are as good as one.
///
/// Red when: a connection or a refusal is recorded twice.
#[tokio::test]
async fn two_layers() {
    let observer = Observer::start().await;
    let layer = wsstats_axum::layer(observer.agent.clone());
    let served = Served::start(Router::new().route("/chat", any(hello)).layer(layer.clone()).layer(layer)).await;
    say_goodbye(tokio_tungstenite::connect_async(served.url()).await.unwrap().0).await;
    observer.close().await;
    let nowhere = format!("ws://{}/nowhere", served.address);
    assert!(tokio_tungstenite::connect_async(nowhere).await.is_err());
    let handshakes = observer.of("handshake").await;
    assert_eq!(handshakes.len(), 2, "{handshakes:#?}");
}
