//! One connection to the receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::agent::Phase;
use crate::connect::Socket;
use crate::link::Link;
use crate::record::Conn;
use crate::wire::reply::Reply;

/// One connection to the receiver. A task reads; all else happens in serve.
pub(crate) struct Session<'a> {
    pub(crate) link: &'a mut Link,
    sink: SplitSink<Socket, Message>,

    pub(crate) welcomed_at: Option<Instant>,
    pub(crate) max_events: usize,
    pub(crate) max_bytes: usize,
    pub(crate) window: i64,
    pub(crate) silence: Duration, // that is too long

    pub(crate) heard: Instant,      // the last message
    waiting_since: Option<Instant>, // since when an answer is due

    pub(crate) restating: Vec<Arc<Conn>>, // that are still to be restated, the next one last
    pub(crate) sent: usize,               // of numbers, from the first on: sent in this session and not answered
    pub(crate) outstanding: usize,        // their bytes
    pub(crate) encoded: u64,              // the number that the encoder holds, 0: none
    pub(crate) retry_at: Option<Instant>,

    pub(crate) due_at: Option<Instant>, // when there is something to send, as far as it is known

    pub(crate) goaway: Option<i64>,       // ms until the agent may be back
    pub(crate) broken: Option<Broken>,    // a write failed: only the reader can tell why
    pub(crate) closed: bool,              // the close frame is sent
    pub(crate) leave_at: Option<Instant>, // no later than this
}

/// A write that failed.
pub(crate) struct Broken {
    why: String,
    timeout: bool,
}

/// How a session ended.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) why: String,
    pub(crate) code: u16,     // of the receiver's close frame, 0: there was none
    pub(crate) text: String,  // of the receiver's close frame
    pub(crate) ours: bool,    // the agent chose to end it
    pub(crate) stopped: bool, // because of a shutdown
}

/// How far a session came.
pub(crate) struct Outcome {
    pub(crate) welcomed_at: Option<Instant>,
    pub(crate) goaway: Option<i64>,
    pub(crate) sent: usize, // numbers that were not answered
}

/// Why there are no more messages of the receiver.
#[derive(Debug)]
pub(crate) enum End {
    /// It sent a close frame.
    Closed(u16, String),
    /// The connection broke.
    Lost(String),
    /// It broke the protocol; the code to close with.
    Violation(u16, &'static str),
}

impl<'a> Session<'a> {
    /// Serves a session to its end.
    pub(crate) async fn run(link: &'a mut Link, ws: Socket, binary: bool) -> (Ending, Outcome) {
        let (sink, stream) = ws.split();
        let (tx, mut incoming) = mpsc::channel(64);
        let reader = tokio::spawn(read(stream, tx));
        let silence = link.agent.cfg.timing.silence;
        let mut s = Session {
            link,
            sink,
            welcomed_at: None,
            max_events: 0,
            max_bytes: 0,
            window: 0,
            silence,
            heard: Instant::now(),
            waiting_since: None,
            restating: Vec::new(),
            sent: 0,
            outstanding: 0,
            encoded: 0,
            retry_at: None,
            due_at: None,
            goaway: None,
            broken: None,
            closed: false,
            leave_at: None,
        };
        let ending = s.serve(binary, &mut incoming).await;
        reader.abort();
        (ending, Outcome { welcomed_at: s.welcomed_at, goaway: s.goaway, sent: s.sent })
    }

    async fn serve(&mut self, binary: bool, incoming: &mut mpsc::Receiver<Result<Reply, End>>) -> Ending {
        let agent = Arc::clone(&self.link.agent);
        let mut phase = agent.phase.subscribe();
        self.link.enc.start(binary);
        let Link { enc, instance, .. } = &mut *self.link;
        enc.hello(instance, &agent.cfg.resource, agent.cfg.aggregates > 0);
        self.write().await;
        loop {
            let wrote = self.send(Instant::now()).await;
            if let Some(ending) = self.over(Instant::now()).await {
                return ending;
            }
            let message = if wrote {
                tokio::task::yield_now().await; // to the reader
                incoming.try_recv().ok()
            } else {
                tokio::select! {
                    message = incoming.recv() => Some(message.unwrap_or_else(|| Err(End::Lost("closed".to_owned())))),
                    () = agent.wake.notified() => None,
                    _ = phase.changed() => None,
                    () = sleep_until(self.next_time().into()) => None,
                }
            };
            if let Some(message) = message {
                if let Some(ending) = self.handle(message).await {
                    return ending;
                }
            }
        }
    }

    /// Tells whether the session ends by the agent's choice.
    async fn over(&mut self, now: Instant) -> Option<Ending> {
        let stopped = || Some(Ending { ours: true, stopped: true, ..Ending::default() });
        if *self.link.agent.phase.borrow() == Phase::Stopped {
            self.say_close(1000).await;
            return stopped();
        }
        if !self.closed && self.broken.is_none() && self.drained() {
            self.say_close(1000).await;
            self.leave_at = Some(now + self.link.agent.cfg.timing.closing);
        }
        if self.leave_at.is_some_and(|at| now >= at) {
            if self.closed {
                return stopped();
            }
            if self.goaway.is_some() {
                return Some(Ending { ours: true, why: "goaway without a close".to_owned(), ..Ending::default() });
            }
            if let Some(broken) = self.broken.take() {
                // A receiver that does not read is left by the agent's choice.
                return Some(Ending { why: broken.why, ours: broken.timeout, ..Ending::default() });
            }
        }
        if self.silent_at(now).is_some_and(|at| now >= at) {
            let why = format!("nothing heard from the receiver for {:?}", self.silence);
            return Some(Ending { ours: true, why, ..Ending::default() });
        }
        None
    }

    /// When the receiver's silence is too long, none where it owes nothing.
    fn silent_at(&mut self, now: Instant) -> Option<Instant> {
        if self.welcomed_at.is_some() && self.sent == 0 && self.window > 0 {
            self.waiting_since = None;
            return None;
        }
        let since = *self.waiting_since.get_or_insert(now);
        Some(self.heard.max(since) + self.silence)
    }

    /// When there is something to do though nothing happens.
    fn next_time(&mut self) -> Instant {
        let now = Instant::now();
        let times = [self.silent_at(now), self.leave_at, self.due_at];
        times.into_iter().flatten().min().unwrap_or(now + Duration::from_secs(3600))
    }

    /// Sends what the encoder holds and tells whether it could. A failure ends the session,
    /// but not before the reader had a chance to say what the receiver did.
    pub(crate) async fn write(&mut self) -> bool {
        let enc = &self.link.enc;
        let message = if enc.binary {
            Message::Binary(enc.buf.clone().into())
        } else {
            let text = Utf8Bytes::try_from(enc.buf.clone());
            Message::Text(text.unwrap_or_default()) // JSON is UTF-8
        };
        let (why, timed_out) = match timeout(self.silence, self.sink.send(message)).await {
            Ok(Ok(())) => return true,
            Ok(Err(e)) => (e.to_string(), false),
            Err(_) => ("the receiver does not read".to_owned(), true),
        };
        self.broken = Some(Broken { why, timeout: timed_out });
        self.leave_at = Some(Instant::now() + self.link.agent.cfg.timing.closing);
        false
    }

    async fn say_close(&mut self, code: u16) {
        self.closed = true;
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::default() };
        let close = self.sink.send(Message::Close(Some(frame)));
        let _ = timeout(self.link.agent.cfg.timing.closing / 4, close).await; // who does not read is left
    }

    /// Tells how the session ended from why there is nothing more to read.
    pub(crate) async fn read_end(&mut self, end: End) -> Ending {
        if self.closed {
            return Ending { ours: true, stopped: true, ..Ending::default() };
        }
        match end {
            End::Violation(code, why) => {
                self.say_close(code).await;
                Ending { ours: true, why: format!("receiver: {why}"), ..Ending::default() }
            }
            End::Closed(code, text) => {
                Ending { code, why: format!("closed with {code} {text}"), text, ..Ending::default() }
            }
            End::Lost(why) => Ending { why: format!("connection lost: {why}"), ..Ending::default() },
        }
    }
}

/// Hands on every message of the receiver, until none comes any more.
async fn read(mut stream: SplitStream<Socket>, to: mpsc::Sender<Result<Reply, End>>) {
    loop {
        let message = match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                serde_json::from_str(&text).map_err(|_| End::Violation(1008, "expected a message of the protocol"))
            }
            Some(Ok(Message::Binary(_))) => Err(End::Violation(1003, "expected text messages")),
            Some(Ok(Message::Close(frame))) => Err(match frame {
                Some(frame) => End::Closed(frame.code.into(), frame.reason.as_str().to_owned()),
                None => End::Closed(1005, String::new()),
            }),
            Some(Ok(_)) => continue, // pings are answered below
            Some(Err(e)) => Err(end_of(&e)),
            None => Err(End::Lost("closed".to_owned())),
        };
        let over = message.is_err();
        if to.send(message).await.is_err() {
            return;
        }
        if over {
            stream.next().await; // answers a close frame
            return;
        }
    }
}

fn end_of(e: &Error) -> End {
    match e {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => End::Violation(1009, "expected messages up to 64 KiB"),
        Error::Utf8(_) => End::Violation(1007, "expected UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Lost("reset".to_owned()),
        Error::Protocol(_) | Error::Capacity(_) => End::Violation(1002, "expected frames of RFC 6455"),
        e => End::Lost(e.to_string()),
    }
}
