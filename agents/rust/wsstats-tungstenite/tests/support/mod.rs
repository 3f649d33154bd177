//! A receiver that takes everything, and what it was told.

#![allow(dead_code)] // not each test uses all of it

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use wsstats::{Agent, Encoding};

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An event as the receiver gets it, in JSON.
pub(crate) type Event = Value;

/// An agent, and the receiver that it reports to.
pub(crate) struct Observer {
    pub(crate) agent: Agent,
    pub(crate) endpoint: String,
    events: Arc<Mutex<Vec<Event>>>,
}

/// Receivers live as long as the process: an agent that outlives its test would come to
/// the next one that gets the port.
static RECEIVERS: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

impl Observer {
    pub(crate) async fn start() -> Observer {
        let events = Arc::new(Mutex::new(vec![]));
        let listener = RECEIVERS.spawn(TcpListener::bind("127.0.0.1:0")).await.unwrap().unwrap();
        let endpoint = format!("ws://{}/v1/wsstats", listener.local_addr().unwrap());
        RECEIVERS.spawn(serve(listener, Arc::clone(&events)));
        let agent = Agent::builder().endpoint(&endpoint).encoding(Encoding::Json).build().unwrap();
        Observer { agent, endpoint, events }
    }

    /// All events so far, in the order in which they were recorded.
    pub(crate) async fn all(&self) -> Vec<Event> {
        timeout(PATIENCE, self.agent.flush()).await.expect("no acknowledgement");
        self.events.lock().clone()
    }

    /// Those of a kind.
    pub(crate) async fn of(&self, kind: &str) -> Vec<Event> {
        let mut all = self.all().await;
        all.retain(|event| event["event"] == kind);
        all
    }

    /// Waits for so many events of a kind: those of all connections.
    pub(crate) async fn wait(&self, kind: &str, n: usize) -> Vec<Event> {
        let waiting = async {
            loop {
                let found = self.of(kind).await;
                if found.len() >= n {
                    assert_eq!(found.len(), n, "{kind}");
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("no {n} {kind} in {:#?}", self.events.lock()),
        }
    }

    /// Waits for the only close, and returns its code, reason, initiator and cleanness.
    pub(crate) async fn close(&self) -> (i64, String, String, bool) {
        let close = &self.wait("close", 1).await[0];
        assert_eq!(self.all().await.last(), Some(close), "nothing after the close");
        assert!(close["ws.connection.duration_ms"].as_f64().unwrap() > 0.0);
        let text = |key: &str| close[key].as_str().unwrap_or("").to_owned();
        (
            close["ws.close.code"].as_i64().unwrap(),
            text("ws.close.reason"),
            text("ws.close.initiator"),
            close["ws.close.clean"].as_bool().unwrap(),
        )
    }

    /// The messages of a kind, as `text 1 2 in 1`: type, ordinal, size and frames.
    pub(crate) async fn messages(&self, kind: &str) -> Vec<String> {
        self.of(kind).await.iter().map(message).collect()
    }
}

pub(crate) fn message(event: &Event) -> String {
    let typ = event["ws.message.type"].as_str().unwrap_or("");
    let [seq, size, frames] = ["seq", "size", "frames"].map(|key| event[format!("ws.message.{key}")].as_i64());
    format!("{typ} {} {} in {}", seq.unwrap_or(0), size.unwrap_or(-1), frames.unwrap_or(0))
}

pub(crate) fn closed(code: i64, reason: &str, initiator: &str, clean: bool) -> (i64, String, String, bool) {
    (code, reason.to_owned(), initiator.to_owned(), clean)
}

/// Welcomes each session, and acknowledges all batches.
async fn serve(listener: TcpListener, events: Arc<Mutex<Vec<Event>>>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        #[allow(clippy::result_large_err)] // the library's
        let json_alone = |request: &Request, mut answer: Response| {
            assert_eq!(request.uri().path(), "/v1/wsstats");
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("wsstats.v1.json"));
            Ok(answer)
        };
        let mut ws = tokio_tungstenite::accept_hdr_async(socket, json_alone).await.unwrap();
        while let Some(Ok(message)) = ws.next().await {
            let Message::Text(text) = message else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            if !said["hello"].is_null() {
                let welcome = json!({"welcome": {
                    "resume_after": 0, "max_message_bytes": 4 << 20, "max_events": 8192, "window_bytes": 64 << 20,
                    "heartbeat_s": 10, "sampling_ratio": 1.0, "sampling_threshold": "0",
                }});
                let _ = ws.send(Message::text(welcome.to_string())).await; // the agent may be gone
            }
            events.lock().extend(said["events"].as_array().into_iter().flatten().cloned());
            if let Some(seq) = said["seq"].as_u64() {
                let _ = ws.send(Message::text(json!({ "ack": seq }).to_string())).await;
            }
        }
    }
}

/// The slots of docs/conventions.md: a message of the client, and one of the server.
pub(crate) const CLIENT_DATA: u64 = 1;
pub(crate) const SERVER_DATA: u64 = 2;

/// The trace id that both ends derive, as docs/conventions.md has it.
pub(crate) fn trace_id(connection: &str, slot: u64, ordinal: u64) -> String {
    let [a, b, ..] = words(connection);
    let k = mix(ordinal << 8 | slot);
    format!("{:016x}{:016x}", mix(a ^ k), mix(b ^ k))
}

/// The span id of a kind and role.
pub(crate) fn span_id(connection: &str, slot: u64, ordinal: u64, kind: u64, role: u64) -> String {
    let [_, _, c, _] = words(connection);
    format!("{:016x}", mix(c ^ mix(ordinal << 8 | slot) ^ (kind << 2 | role)))
}

fn words(connection: &str) -> [u64; 4] {
    let hash = Sha256::new().chain_update(b"wsstats1\0").chain_update(connection).finalize();
    std::array::from_fn(|i| u64::from_be_bytes(hash[8 * i..8 * i + 8].try_into().unwrap()))
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}
