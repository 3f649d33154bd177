//! What taps record of bytes that no socket brings in this order and these pieces.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request};
use opentelemetry::Value;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::*;
use crate::Agent;
use crate::record::Record;
use crate::wire::attr::Attr;
use crate::wire::kind::Kind;

const TEXT: OpCode = OpCode::Data(Data::Text);
const BINARY: OpCode = OpCode::Data(Data::Binary);
const CONTINUATION: OpCode = OpCode::Data(Data::Continue);
const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);
const CLOSE: OpCode = OpCode::Control(Control::Close);

/// A connection of a client, and an agent that delivers to nobody.
struct Tapped {
    agent: Agent,
    sight: Option<Sight>,
}

impl Tapped {
    fn open() -> Tapped {
        let agent = Agent::builder().endpoint("ws://127.0.0.1:9/").build().expect("an agent");
        let request = Request::get("ws://example.com/chat").body(()).expect("a request");
        let observed = agent.client_handshake(&request, []).tapped(&HeaderMap::new(), None).expect("observed");
        Tapped { sight: Some(Sight::new(observed, true)), agent }
    }

    fn sight(&mut self) -> &mut Sight {
        self.sight.as_mut().expect("not ended")
    }

    /// A frame of this side.
    fn sends(&mut self, opcode: OpCode, fin: bool, payload: &[u8]) {
        let at = self.sight().now();
        let bytes = client_frame(opcode, fin, payload);
        self.sight().sent(&bytes, at);
    }

    /// A frame of the peer.
    fn receives(&mut self, opcode: OpCode, fin: bool, payload: &[u8]) {
        let bytes = server_frame(opcode, fin, payload);
        self.sight().received(&bytes);
    }

    /// The application closes the socket.
    fn ends(&mut self) {
        self.sight = None;
    }

    fn records(&self) -> Vec<Record> {
        self.agent.shared().state.lock().ring.rows().cloned().collect()
    }

    fn of(&self, kind: Kind) -> Vec<Record> {
        self.records().into_iter().filter(|record| record.kind == kind).collect()
    }

    /// What is the same at both ends: ordinal, size, whether that is compressed, frames and type.
    fn messages(&self, kind: Kind) -> Vec<(i64, i64, bool, u32, Option<MessageType>)> {
        self.of(kind).iter().map(|r| (r.seq, r.size, r.compressed, r.frames, r.typ)).collect()
    }

    fn ordinals(&self, kind: Kind) -> Vec<i64> {
        self.of(kind).iter().map(|r| r.seq).collect()
    }

    /// What the close says that the connection has carried.
    fn summary(&self, attr: Attr) -> Option<i64> {
        self.of(Kind::Close).first()?.extra.as_ref()?.attrs.int(attr)
    }

    /// Code, reason, initiator and cleanness of the close.
    fn close(&self) -> Option<(i64, String, String, bool)> {
        let closes = self.of(Kind::Close);
        assert!(closes.len() <= 1, "one close");
        let e = Arc::clone(closes.first()?.extra.as_ref().expect("a summary"));
        assert!(matches!(e.attrs.get(Attr::ConnectionDuration), Some(Value::F64(ms)) if *ms > 0.0));
        Some((
            e.attrs.int(Attr::CloseCode)?,
            e.attrs.text(Attr::CloseReason).to_owned(),
            e.attrs.text(Attr::CloseInitiator).to_owned(),
            e.attrs.get(Attr::CloseClean) == Some(&Value::Bool(true)),
        ))
    }
}

fn server_frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    frame(FrameHeader { is_final, opcode, ..FrameHeader::default() }, payload)
}

fn client_frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    frame(FrameHeader { is_final, opcode, mask: Some([1, 2, 3, 4]), ..FrameHeader::default() }, payload)
}

fn frame(header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).expect("a frame");
    bytes
}

fn reason(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A message begins at its first frame and lasts until its last.
///
/// Red when: the time of a later frame is taken, a message in one piece has a duration,
/// or a control frame in between counts.
#[test]
fn message_times() {
    let mut t = Tapped::open();
    t.receives(TEXT, false, b"ab");
    let between = crate::clock::unix_now();
    std::thread::sleep(Duration::from_millis(2)); // so that the clocks differ
    t.receives(PING, true, b"");
    t.receives(CONTINUATION, true, b"c");
    t.receives(BINARY, true, b"d");
    let big = server_frame(BINARY, true, &[b'e'; 1000]);
    t.sight().received(&big[..10]);
    t.sight().received(&big[10..]);

    let text = Some(MessageType::Text);
    let binary = Some(MessageType::Binary);
    assert_eq!(
        t.messages(Kind::Receive),
        [(1, 3, false, 2, text), (2, 1, false, 1, binary), (3, 1000, false, 1, binary)]
    );
    let got = t.of(Kind::Receive);
    assert!(got[0].time <= between && got[0].duration >= 2_000_000, "{:?}", got[0]);
    assert_eq!(got[1].duration, -1);
    assert!(got[2].duration > 0);
    assert_eq!(got[0].dir, Some(Direction::Received));
    t.ends();
    assert_eq!(t.summary(Attr::BytesReceived), Some(1004));
}

/// Red when: a message that is not of RSV1 counts as compressed, or the reverse.
#[test]
fn compressed_size() {
    let mut t = Tapped::open();
    let first = FrameHeader { is_final: false, rsv1: true, opcode: BINARY, ..FrameHeader::default() };
    let bytes = [frame(first, b"abc"), server_frame(CONTINUATION, true, b"d")].concat();
    t.sight().received(&bytes);
    t.receives(BINARY, true, b"abc");
    let binary = Some(MessageType::Binary);
    assert_eq!(t.messages(Kind::Receive), [(1, 4, true, 2, binary), (2, 3, false, 1, binary)]);
}

/// Red when: a pong is taken for that of another ping, a ping is recorded before its
/// pong, or more than the bound wait.
#[test]
fn pings_and_pongs() {
    let mut t = Tapped::open();
    t.receives(PONG, true, b"unasked");
    for payload in [b"a", b"b", b"a"] {
        t.sends(PING, true, payload);
    }
    assert!(t.ordinals(Kind::Ping).is_empty(), "not before the pong");
    t.receives(PONG, true, b"c");
    t.receives(PONG, true, b"b"); // the peer may answer the latest only
    assert_eq!(t.ordinals(Kind::Ping), [2]);
    t.receives(PONG, true, b"a");
    t.receives(PONG, true, b"a");
    assert_eq!(t.ordinals(Kind::Ping), [2, 1, 3], "the oldest of two alike first");
    assert!(t.of(Kind::Ping).iter().all(|ping| ping.duration > 0 && ping.size == 1));
    assert_eq!(t.ordinals(Kind::Pong), [1, 2, 3, 4, 5]);

    for _ in 0..MAX_PINGS + 2 {
        t.sends(PING, true, b"");
    }
    assert_eq!(t.ordinals(Kind::Ping), [2, 1, 3, 4, 5], "the two oldest made room");
    assert_eq!(t.of(Kind::Ping)[3].duration, -1);
    t.receives(PONG, true, b"");
    assert_eq!(t.ordinals(Kind::Ping)[5], 6);
    t.ends();
    assert_eq!(t.ordinals(Kind::Ping).len(), 3 + MAX_PINGS + 2);
    assert_eq!(t.of(Kind::Ping).last().map(|ping| ping.duration), Some(-1));
    assert_eq!(t.records().last().map(|last| last.kind), Some(Kind::Close), "the close is the last");
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
enum Step {
    We(u16, &'static str),
    They(u16, &'static str),
    /// The first half of our close frame with 1000, and the other one.
    HalfOfOurs,
    OtherHalf,
    /// A close frame of theirs without a code, and the beginning of one with 4000.
    TheyWithoutCode,
    TheyBegin,
    ReadEnds,
    WriteEnds,
    End,
}

/// Code, reason, initiator and cleanness.
type Close = (i64, &'static str, &'static str, bool);

/// When the close is recorded, and what it says.
///
/// Red when: the first close frame is not the one that counts, the close is recorded
/// before the last step of a case, or anything is recorded behind it.
#[test]
fn closes() {
    use Step::*;
    let long: &'static str = "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééex";
    #[rustfmt::skip]
    let tests: [(&str, &[Step], Close); 16] = [
        ("we close", &[We(1001, "we"), They(1000, "they"), End], (1001, "we", "local", true)),
        ("we close, they answer and go", &[We(1001, "we"), They(1001, ""), ReadEnds], (1001, "we", "local", true)),
        ("they close", &[They(4000, "they"), We(4000, ""), End], (4000, "they", "remote", true)),
        ("they close and go before our answer", &[They(4000, "they"), ReadEnds, We(4000, "")], (4000, "they", "remote", true)),
        ("they close and we do not answer", &[They(4000, "they"), ReadEnds, End], (4000, "they", "remote", false)),
        ("they close and we end our side", &[They(4000, "they"), ReadEnds, WriteEnds], (4000, "they", "remote", false)),
        ("we close and they vanish", &[We(1000, "we"), ReadEnds], (1000, "we", "local", false)),
        ("we cannot write and find their close", &[WriteEnds, They(1012, "they"), ReadEnds], (1012, "they", "remote", false)),
        ("they vanish", &[ReadEnds], (1006, "", "none", false)),
        ("we vanish", &[End], (1006, "", "none", false)),
        ("no code", &[TheyWithoutCode, End], (1005, "", "remote", false)),
        ("no code, and ours", &[TheyWithoutCode, We(1000, "we"), End], (1005, "", "remote", true)),
        ("their code is not read", &[TheyBegin, End], (1005, "", "remote", false)),
        ("their close frame is at fault", &[They(999, "they"), We(1002, "we"), End], (1002, "we", "local", false)),
        ("both at once", &[HalfOfOurs, They(1001, "they"), OtherHalf, End], (1000, "we", "local", true)),
        ("long reason", &[They(1000, long), End], (1000, long, "remote", false)),
    ];
    for (name, steps, (code, reason_said, initiator, clean)) in tests {
        let mut t = Tapped::open();
        let ours = client_frame(CLOSE, true, &reason(1000, "we"));
        for step in steps {
            assert_eq!(t.close(), None, "{name}: before {step:?}");
            let at = t.sight().now();
            match *step {
                We(code, said) => t.sends(CLOSE, true, &reason(code, said)),
                They(code, said) => t.receives(CLOSE, true, &reason(code, said)),
                HalfOfOurs => t.sight().sent(&ours[..6], at),
                OtherHalf => t.sight().sent(&ours[6..], at),
                TheyWithoutCode => t.receives(CLOSE, true, b""),
                TheyBegin => t.sight().received(&server_frame(CLOSE, true, &reason(4000, "they"))[..2]),
                ReadEnds => t.sight().read_ended(),
                WriteEnds => t.sight().write_ended(),
                End => t.ends(),
            }
        }
        assert_eq!(t.close(), Some((code, reason_said.to_owned(), initiator.to_owned(), clean)), "{name}");
        let recorded = t.records().len();
        if t.sight.is_some() {
            t.sight().read_ended();
            t.sight().write_ended();
            t.sends(TEXT, true, b"late");
            t.receives(TEXT, true, b"late");
            t.ends();
        }
        assert_eq!(t.records().len(), recorded, "{name}: nothing after the close");
    }
}

/// Red when: a direction counts on after a violation, the other one does not, or
/// payload gets into a record.
#[test]
fn violations_end_one_direction() {
    let mut t = Tapped::open();
    t.receives(TEXT, true, b"canary");
    t.sight().received(b"\x83\x06canary");
    t.receives(TEXT, true, b"canary");
    t.sends(TEXT, true, b"canary");
    t.sends(CLOSE, true, &reason(1002, ""));
    t.ends();
    assert_eq!(t.of(Kind::Receive).len(), 1);
    assert_eq!(t.of(Kind::Send).len(), 1);
    let errors = t.of(Kind::ProtocolError);
    assert_eq!(errors.len(), 1);
    let e = errors[0].extra.as_ref().expect("an error");
    assert_eq!(e.attrs.text(Attr::ErrorType), "reserved_opcode");
    assert_eq!(e.attrs.text(Attr::ErrorCategory), "protocol");
    assert_eq!(e.attrs.text(Attr::ErrorMessage), "the opcode is reserved");
    assert_eq!(errors[0].dir, Some(Direction::Received));
    assert_eq!(t.close(), Some((1002, String::new(), "local".to_owned(), false)));
    assert!(!format!("{:?}", t.records()).contains("canary"));
}

/// Red when: a sum of sizes goes over what an integer of the protocol holds.
#[test]
fn bytes_do_not_overflow() {
    let mut t = Tapped::open();
    let connection = t.sight().observed().connection().clone();
    connection.observed().expect("observed").state.lock().received.bytes = i64::MAX - 1;
    t.receives(TEXT, true, b"hello");
    t.ends();
    assert_eq!(t.summary(Attr::BytesReceived), Some(i64::MAX));
}

/// What is told of messages when the library takes them is of these ones, in whatever
/// pieces it writes them later.
///
/// Red when: the telling of a message goes to another one, one that is returned is told
/// of twice or not at all, or what a broadcast tells of is recorded.
#[test]
fn messages_are_told_of_when_they_are_taken() {
    let mut t = Tapped::open();
    let connection = t.sight().observed().connection().clone();
    let named = |id: &'static str| [crate::message_id(id)];
    connection.sending(named("first"));
    t.sight().observed().taken();
    t.sight().observed().taken();
    connection.sending_broadcast();
    t.sight().observed().taken();
    connection.sending(named("of the fifth"));
    t.sight().observed().taken();
    connection.sending_broadcast();
    t.sight().observed().returned(); // there is no room
    for _ in 0..3 {
        t.sends(TEXT, true, b"x");
    }
    t.sends(TEXT, true, b"not taken, and of the broadcast");
    t.sends(TEXT, true, b"not taken");
    connection.sending(named("sixth"));
    t.sight().observed().taken();
    t.sends(TEXT, true, b"x");
    t.sends(TEXT, true, b"not taken");

    let told: Vec<_> = t
        .of(Kind::Send)
        .iter()
        .map(|r| (r.seq, r.attributes.as_ref().map_or(String::new(), |all| all[0].value.as_str().into_owned())))
        .collect();
    let want = [(1, "first"), (2, ""), (5, "of the fifth"), (6, "sixth"), (7, "")];
    assert_eq!(told, want.map(|(seq, id)| (seq, id.to_owned())));
    t.ends();
    assert_eq!(t.summary(Attr::MessagesSent), Some(7));
}

/// Red when: the memory of what was told of unwritten messages is not bounded, or more than
/// the telling is lost beyond that.
#[test]
fn what_is_told_of_unwritten_messages_is_bounded() {
    let mut t = Tapped::open();
    let connection = t.sight().observed().connection().clone();
    let messages = crate::queue::MAX_TOLD + 2;
    for _ in 0..messages {
        connection.sending([crate::queue_size(1)]);
        t.sight().observed().taken();
    }
    for _ in 0..messages {
        t.sends(TEXT, true, b"x");
    }
    let sends = t.of(Kind::Send);
    assert_eq!(sends.len(), messages);
    assert_eq!(sends.iter().position(|r| r.attributes.is_none()), Some(crate::queue::MAX_TOLD));
}
