//! A receiver whose every word the test says itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use serde_json::{Value as Json, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::agent::Agent;
use crate::builder::AgentBuilder;
use crate::record::{Conn, Record, shared};
use crate::wire::attr::Attr;
use crate::wire::decode::{Definitions, read_json};
use crate::wire::kind::{Direction, Kind, MessageType, Role};
use crate::wire::message::{Batch, Hello, Message as Said};
use crate::{Encoding, Stats};

/// How long a test waits for what has to happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Proto];

/// Waits for what has to happen.
pub(super) async fn soon<F: Future>(f: F) -> F::Output {
    timeout(PATIENCE, f).await.expect("nothing happened")
}

/// Waits until something is so.
pub(super) async fn until(mut is: impl FnMut() -> bool) {
    soon(async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Accepts sessions, which the test reads and answers.
pub(super) struct Receiver {
    listener: TcpListener,
    knows: Encoding,
}

impl Receiver {
    /// Starts a receiver that knows one encoding.
    pub(super) async fn new(knows: Encoding) -> Receiver {
        Receiver { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), knows }
    }

    /// Changes the encoding that it knows.
    pub(super) fn knows(&mut self, encoding: Encoding) {
        self.knows = encoding;
    }

    pub(super) fn endpoint(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// Starts an agent of this receiver with short pauses.
    pub(super) fn agent(&self, change: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Tested {
        Tested::new(change(quick(self.endpoint())))
    }

    /// Waits for the next connection.
    pub(super) async fn connection(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    /// Waits for the next session and its hello.
    pub(super) async fn accept(&self) -> Peer {
        self.accept_request().await.0
    }

    /// Waits for the next session, its request, and its hello.
    pub(super) async fn accept_request(&self) -> (Peer, Request) {
        let stream = self.connection().await;
        let mut request = None;
        let knows = Encoding::subprotocols(Some(self.knows))[0];
        #[allow(clippy::result_large_err)] // the library's
        let callback = |r: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(knows));
            request = Some(r.clone());
            Ok(answer)
        };
        let ws = soon(tokio_tungstenite::accept_hdr_async(stream, callback)).await.unwrap();
        let mut p = Peer {
            ws,
            encoding: self.knows,
            definitions: Definitions::default(),
            hello: Hello::default(),
            len: 0,
            nacked: 0,
        };
        let Said::Hello(hello) = p.read().await else { panic!("expected a hello") };
        p.hello = hello;
        (p, request.unwrap())
    }

    /// Accepts a session and welcomes it with a window that is wide open.
    pub(super) async fn welcomed(&self, resume_after: u64) -> Peer {
        let mut p = self.accept().await;
        p.welcome(json!({ "resume_after": resume_after })).await;
        p
    }
}

/// The receiver's side of one session.
pub(super) struct Peer {
    pub(super) ws: WebSocketStream<TcpStream>,
    encoding: Encoding,
    definitions: Definitions, // of the session
    pub(super) hello: Hello,
    pub(super) len: usize, // of the last message, bytes
    nacked: u64,           // the number that has to come before higher ones, 0: none
}

impl Peer {
    pub(super) async fn welcome(&mut self, change: Json) {
        let mut w = json!({
            "resume_after": 0, "max_message_bytes": 1 << 20, "max_events": 1000, "window_bytes": 1 << 20, "heartbeat_s": 10,
        });
        w.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.reply(json!({ "welcome": w })).await;
    }

    pub(super) async fn reply(&mut self, reply: Json) {
        if reply.get("retryable").is_some_and(|retryable| retryable == true) {
            self.nacked = reply["nack"].as_u64().unwrap();
        }
        self.text(&reply.to_string()).await;
    }

    pub(super) async fn ack(&mut self, seq: u64) {
        self.reply(json!({ "ack": seq })).await;
    }

    pub(super) async fn nack(&mut self, seq: u64, retryable: bool) {
        self.reply(json!({ "nack": seq, "retryable": retryable, "code": "refused", "message": "no" })).await;
    }

    pub(super) async fn text(&mut self, text: &str) {
        soon(self.ws.send(Message::text(text))).await.unwrap();
    }

    /// Ends the session with a close frame.
    pub(super) async fn close(mut self, code: u16, reason: &'static str) {
        soon(self.ws.close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await.unwrap();
    }

    /// Reads one message of the agent.
    pub(super) async fn read(&mut self) -> Said {
        self.next().await.expect("no message")
    }

    /// Reads one message of the agent, none where it leaves. After a retryable nack higher
    /// numbers are ignored with what they define, until it comes again and defines anew.
    pub(super) async fn next(&mut self) -> Option<Said> {
        loop {
            let message = soon(self.ws.next()).await?.ok()?;
            self.len = message.len();
            let seq = match &message {
                Message::Text(text) => serde_json::from_str::<Json>(text).unwrap()["seq"].as_u64().unwrap_or(0),
                Message::Binary(data) => Definitions::seq(data),
                Message::Close(_) => return None,
                other => panic!("expected a message, got {other:?}"),
            };
            if self.nacked > 0 && seq > self.nacked {
                continue;
            }
            if self.nacked > 0 && seq == self.nacked {
                (self.nacked, self.definitions) = (0, Definitions::default());
            }
            return match (message, self.encoding) {
                (Message::Text(text), Encoding::Json) => Some(read_json(&serde_json::from_str(&text).unwrap())),
                (Message::Binary(data), Encoding::Proto) => self.definitions.decode(&data),
                (other, _) => panic!("expected the other kind of message, got {other:?}"),
            };
        }
    }

    /// Reads one batch, which has this number (0: none).
    pub(super) async fn batch(&mut self, seq: u64) -> Batch {
        let Said::Batch(b) = self.read().await else { panic!("expected a batch") };
        assert_eq!(b.seq, seq);
        b
    }

    /// Asserts that the agent sends nothing for a moment.
    pub(super) async fn nothing(&mut self) {
        let message = timeout(Duration::from_millis(50), self.ws.next()).await;
        assert!(message.is_err(), "{message:?}");
    }

    /// Reads on until the agent's close frame and returns its code.
    pub(super) async fn close_code(&mut self) -> u16 {
        loop {
            match soon(self.ws.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map_or(1005, |frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(Error::Protocol(e))) => panic!("expected a close frame, got {e}"),
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }
}

/// An agent of this endpoint with short pauses.
pub(super) fn quick(endpoint: String) -> AgentBuilder {
    let mut b = Agent::builder().endpoint(endpoint);
    let t = &mut b.timing;
    t.first_jitter = Duration::ZERO;
    t.min_backoff = Duration::from_millis(1);
    t.max_backoff = Duration::from_millis(10);
    t.min_nack_retry = Duration::from_millis(1);
    t.closing = Duration::from_millis(200);
    b
}

/// An agent whose counts have to add up, whatever happens.
pub(super) struct Tested(Agent);

impl Tested {
    pub(super) fn new(b: AgentBuilder) -> Tested {
        Tested(b.build().unwrap())
    }

    /// Records messages of these sizes.
    pub(super) fn messages(&self, conn: Option<&Arc<Conn>>, sizes: std::ops::RangeInclusive<i64>) {
        for size in sizes {
            self.shared().record(message(conn, size));
        }
    }

    /// Tells the agent of a connection.
    pub(super) fn open(&self, conn: &Arc<Conn>) {
        self.shared().open(conn);
    }

    pub(super) async fn flushed(&self) {
        soon(self.flush()).await;
    }
}

impl Deref for Tested {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.0
    }
}

/// Nothing of an agent outlives its test: it would come to the receiver of another one.
impl Drop for Tested {
    fn drop(&mut self) {
        let shared = self.0.shared();
        shared.close(Duration::ZERO);
        let from = Instant::now();
        while shared.ended.borrow().is_none() && from.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !std::thread::panicking() {
            assert_eq!(balanced(&self.0).held, 0);
        }
    }
}

/// A port that nobody listens on, as long as it is held.
pub(super) struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub(super) fn new() -> ClosedPort {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        ClosedPort(socket)
    }

    pub(super) fn endpoint(&self) -> String {
        format!("ws://{}", self.0.local_addr().unwrap())
    }
}

/// Waits for a flush of the agent, in the background.
pub(super) fn flushing(a: &Tested) -> impl Future<Output = ()> + use<> {
    let a = (**a).clone();
    async move { a.flush().await }
}

pub(super) fn balanced(a: &Agent) -> Stats {
    let s = a.stats();
    assert_eq!(s.observed, s.acknowledged + s.held + s.dropped.total(), "{s:?}");
    assert!(s.rejected <= s.acknowledged, "{s:?}");
    s
}

/// Sends each batch of n messages at once.
pub(super) fn batch_of(n: usize) -> impl FnOnce(AgentBuilder) -> AgentBuilder {
    move |b| b.batch(n, 1 << 20, Duration::from_secs(3600))
}

/// A received message; its size tells it from others.
pub(super) fn message(conn: Option<&Arc<Conn>>, size: i64) -> Record {
    let mut r = event(conn, Kind::Receive);
    (r.size, r.typ, r.dir) = (size, Some(MessageType::Text), Some(Direction::Received));
    r
}

/// Any event of a connection.
pub(super) fn event(conn: Option<&Arc<Conn>>, kind: Kind) -> Record {
    Record::new(conn.cloned(), kind, None, 1_767_225_600_123_456_789)
}

pub(super) fn new_conn(id: &str) -> Arc<Conn> {
    Arc::new(conn(id))
}

pub(super) fn conn(id: &str) -> Conn {
    let mut conn = Conn::new(id, Role::Server);
    conn.url = shared("ws://example.com/chat");
    conn.protocol = "ws";
    conn.peer_ip = shared("192.0.2.7");
    conn.peer_port = 4711;
    conn.opened_at = 1_767_225_600_000_000_000;
    conn
}

/// The sizes of a batch's messages.
pub(super) fn sizes(b: &Batch) -> Vec<i64> {
    b.events.iter().map(|e| e.attrs.int(Attr::MessageSize).unwrap()).collect()
}

pub(super) fn dropped(b: &Batch) -> Vec<(&str, u64)> {
    b.dropped.iter().map(|(why, count)| (why.as_str(), *count)).collect()
}

/// The connections that a batch declares: id to open.
pub(super) fn entries(b: &Batch) -> BTreeMap<&str, bool> {
    b.connections.iter().map(|c| (c.attrs.text(Attr::ConnectionId), !c.closed)).collect()
}
