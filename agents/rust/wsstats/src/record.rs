//! What is recorded: events as they wait to be sent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use opentelemetry::{KeyValue, StringValue};

use parking_lot::Mutex;

use crate::histogram::Histogram;
use crate::meter::{Labels, Recent};
use crate::wire::id::{Seed, SpanIds};
use crate::wire::kind::{Direction, Kind, MessageType, Role};
use crate::wire::message::Event;

/// A connection of the application that is observed.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) key: u64, // unlike that of any other one of this process
    pub(crate) id: StringValue,
    pub(crate) role: Role,
    pub(crate) shared: bool, // both ends know id
    pub(crate) url: StringValue,
    pub(crate) protocol: &'static str, // "ws", "wss", or "" where it is not known
    pub(crate) peer_ip: StringValue,
    pub(crate) peer_port: u16,
    pub(crate) opened_at: i64,            // Unix ns
    pub(crate) attributes: Vec<KeyValue>, // of every event
    /// The ids of its handshake span where that states its own; zero: derived.
    pub(crate) handshake: SpanIds,

    pub(crate) closed: AtomicBool, // the close was recorded
    seed: OnceLock<Seed>,
    /// The series that its messages counted in last, sent and received.
    pub(crate) recent: Mutex<[Option<Recent>; 2]>,

    // The link's own: the session that knows this connection, and the message
    // that mentioned it last.
    pub(crate) declared: AtomicU64,
    pub(crate) mentioned: AtomicU64,
}

impl Conn {
    pub(crate) fn new(id: &str, role: Role) -> Conn {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        Conn {
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            id: shared(id),
            role,
            shared: false,
            url: StringValue::from(""),
            protocol: "",
            peer_ip: StringValue::from(""),
            peer_port: 0,
            opened_at: 0,
            attributes: Vec::new(),
            handshake: SpanIds::default(),
            closed: AtomicBool::new(false),
            seed: OnceLock::new(),
            recent: Mutex::default(),
            declared: AtomicU64::new(0),
            mentioned: AtomicU64::new(0),
        }
    }

    /// What the ids of the connection's messages are derived from.
    pub(crate) fn seed(&self) -> &Seed {
        self.seed.get_or_init(|| Seed::connection(self.id.as_str()))
    }
}

/// A text that is cloned without being copied.
pub(crate) fn shared(text: &str) -> StringValue {
    StringValue::from(Arc::<str>::from(text))
}

/// What a series counted until it was put into the queue.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) histogram: Histogram,
    pub(crate) labels: Labels,
    pub(crate) dimensions: Vec<KeyValue>,
    pub(crate) start: i64, // Unix ns
    pub(crate) end: i64,   // Unix ns
    pub(crate) left: u64,  // messages that nothing else tells of
}

/// An event that waits to be sent. Messages without attributes of their own take no
/// memory beside it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) conn: Option<Arc<Conn>>,
    pub(crate) stat: Option<Arc<Sealed>>, // no event, but what was measured of some
    /// Of the rare kinds: further attributes, ids and parents.
    pub(crate) extra: Option<Arc<Event>>,
    pub(crate) attributes: Option<Arc<[KeyValue]>>, // of the application
    pub(crate) active: Option<Arc<SpanIds>>,        // that a send is linked to
    pub(crate) time: i64,                           // Unix ns: when the event began
    pub(crate) duration: i64,                       // ns, -1: none
    pub(crate) seq: i64,                            // ordinal from 1, 0: none
    pub(crate) size: i64,                           // payload bytes, -1: not known
    pub(crate) frames: u32,                         // 0: not stated
    pub(crate) compressed: bool,                    // size is that of the compressed payload
    pub(crate) kind: Kind,
    pub(crate) typ: Option<MessageType>,
    pub(crate) dir: Option<Direction>,
}

impl Record {
    /// A record without anything that is optional.
    pub(crate) fn new(conn: Option<Arc<Conn>>, kind: Kind, dir: Option<Direction>, time: i64) -> Record {
        Record {
            conn,
            stat: None,
            extra: None,
            attributes: None,
            active: None,
            time,
            duration: -1,
            seq: 0,
            size: -1,
            frames: 0,
            compressed: false,
            kind,
            typ: None,
            dir,
        }
    }
}

/// A size as records hold it.
pub(crate) fn size(size: Option<usize>) -> i64 {
    size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX))
}

/// What the application gave an event; empty ones take no memory.
pub(crate) fn freeze(attributes: Vec<KeyValue>) -> Option<Arc<[KeyValue]>> {
    if attributes.is_empty() { None } else { Some(attributes.into()) }
}

/// Makes a stranger's text fit to be an attribute: at most n bytes.
pub(crate) fn clean(text: &str, n: usize) -> &str {
    let end = (0..=n.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}
