//! The rooms, and who is in them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{self, CloseFrame};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use wsstats::{Agent, Attribute, MessageType, TraceFields, current_context};
use wsstats_axum::WebSocket;

const OUTBOX: usize = 64;
const PING_EVERY: Duration = Duration::from_secs(5);

/// What goes over the socket, as one text message of JSON. The trace is that of the
/// message which it is about, for clients that want to go on with it.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct TracedMessage {
    r#type: String, // of a client: join, talk, leave; of the server: joined, talk, left, error
    #[serde(skip_serializing_if = "String::is_empty")]
    room: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    span_id: String,
}

impl TracedMessage {
    fn encode(mut self) -> ws::Utf8Bytes {
        let trace = TraceFields::inject(&current_context());
        (self.trace_id, self.span_id) = (trace.trace_id, trace.span_id);
        serde_json::to_string(&self).unwrap_or_default().into() // strings always encode
    }
}

/// What the chat saw, counted where it handles it: whole text messages.
#[derive(Default, Serialize)]
pub(crate) struct Counts {
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

type Room = HashMap<u64, mpsc::Sender<ws::Utf8Bytes>>; // by the number of the connection

/// All rooms.
pub(crate) struct Chat {
    agent: Agent,
    rooms: Mutex<HashMap<String, Room>>,
    closing: watch::Sender<bool>, // each member has a receiver while it is served
    counts: Counts,
}

/// One connection.
struct Member {
    number: u64,
    outbox: mpsc::Sender<ws::Utf8Bytes>,
    room: String, // "" in none
    user: String,
}

impl Chat {
    pub(crate) fn new(agent: Agent) -> Chat {
        Chat { agent, rooms: Mutex::default(), closing: watch::Sender::new(false), counts: Counts::default() }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Tells each member that the server goes away, and waits until they are gone.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }

    /// Serves a member until it is gone.
    pub(crate) async fn serve(self: Arc<Chat>, mut ws: WebSocket) {
        let mut closing = self.closing.subscribe();
        let number = self.counts.connections.fetch_add(1, Ordering::Relaxed);
        let (outbox, mut posted) = mpsc::channel(OUTBOX);
        let mut member = Member { number, outbox, room: String::new(), user: String::new() };
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut goes_away = false;
        loop {
            let done = tokio::select! {
                got = ws.recv() => match got {
                    Some(Ok(ws::Message::Text(text))) => self.handle(&mut ws, &mut member, &text).await,
                    Some(Ok(_)) => Ok(()),
                    Some(Err(_)) | None => break,
                },
                Some(text) = posted.recv() => {
                    ws.connection().sending_broadcast();
                    self.send(&mut ws, text).await
                }
                _ = ping.tick() => ws.send(ws::Message::Ping("".into())).await,
                () = async { drop(closing.wait_for(|closing| *closing).await) }, if !goes_away => {
                    goes_away = true;
                    let frame = CloseFrame { code: 1001, reason: "server is closing".into() };
                    ws.send(ws::Message::Close(Some(frame))).await
                }
            };
            if done.is_err() && !goes_away {
                break;
            }
        }
        drop(posted);
        self.leave(&mut member);
        drop(ws); // its close is recorded before it counts as gone
    }

    /// Acts on one message of a member: what it sends is in that message's trace.
    async fn handle(&self, ws: &mut WebSocket, member: &mut Member, text: &str) -> Result<(), axum::Error> {
        self.counts.received.fetch_add(1, Ordering::Relaxed);
        let said = serde_json::from_str::<TracedMessage>(text);
        let mut context = current_context();
        if let Ok(TracedMessage { trace_id, span_id, .. }) = &said {
            context = TraceFields { trace_id: trace_id.clone(), span_id: span_id.clone() }.extract(&context);
        }
        let room = member.room.clone();
        let processing = ws.connection().process_in(&context, wsstats::Message::default(), room_id(&room));
        let handling = async {
            let wrong = match said {
                Err(_) => Some("expected a JSON object"),
                Ok(said) => self.act(member, said).err(),
            };
            let Some(wrong) = wrong else { return Ok(()) };
            let answer = TracedMessage { r#type: "error".to_owned(), text: wrong.to_owned(), ..Default::default() };
            self.send(ws, answer.encode()).await
        };
        processing.run(handling).await
    }

    fn act(&self, member: &mut Member, said: TracedMessage) -> Result<(), &'static str> {
        match said.r#type.as_str() {
            "join" if said.room.is_empty() || said.user.is_empty() => {
                return Err("join needs a room and a user");
            }
            "join" => {
                self.leave(member);
                self.rooms.lock().entry(said.room.clone()).or_default().insert(member.number, member.outbox.clone());
                (member.room, member.user) = (said.room, said.user);
                self.broadcast(member, "joined", "");
            }
            "talk" if member.room.is_empty() => return Err("join a room first"),
            "talk" => self.broadcast(member, "talk", &said.text),
            "leave" => self.leave(member),
            _ => return Err("type must be join, talk or leave"),
        }
        Ok(())
    }

    /// Takes a member out of its room, if it is in one, and tells all in it.
    fn leave(&self, member: &mut Member) {
        if member.room.is_empty() {
            return;
        }
        self.broadcast(member, "left", "");
        let room = std::mem::take(&mut member.room);
        let mut rooms = self.rooms.lock();
        if let Some(members) = rooms.get_mut(&room) {
            members.remove(&member.number);
            if members.is_empty() {
                rooms.remove(&room);
            }
        }
    }

    /// Posts to everybody in the member's room: one span, with the number of them. One
    /// whose outbox is full misses it, and holds up nobody.
    fn broadcast(&self, member: &Member, typ: &str, text: &str) {
        let (room, user) = (member.room.clone(), member.user.clone());
        let said = TracedMessage { r#type: typ.to_owned(), room, user, text: text.to_owned(), ..Default::default() };
        let text = said.encode();
        let rooms = self.rooms.lock();
        let posted = rooms.get(&member.room).into_iter().flatten().filter(|(_, to)| to.try_send(text.clone()).is_ok());
        let recipients = posted.count();
        if recipients > 0 {
            self.agent.broadcast(MessageType::Text, text.len(), recipients, room_id(&member.room));
        }
    }

    async fn send(&self, ws: &mut WebSocket, text: ws::Utf8Bytes) -> Result<(), axum::Error> {
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        ws.send(ws::Message::Text(text)).await
    }
}

fn room_id(room: &str) -> Option<Attribute> {
    (!room.is_empty()).then(|| Attribute::new("room.id", room.to_owned()))
}
