//! The parser against a table, against tungstenite's reading of the same bytes, and
//! against itself in other pieces.

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::{
    Error, Message as Received, WebSocket,
    protocol::{Role, WebSocketConfig, frame::FrameHeader},
};

use super::*;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;

/// What a handler was told, for comparison.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Frame(Header),
    Message(Message),
    Control(Opcode, Vec<u8>),
    Violation(Violation),
}

#[derive(Debug, Default, PartialEq)]
struct Log(Vec<Told>);

impl Handler for Log {
    fn frame(&mut self, header: Header) {
        self.0.push(Told::Frame(header));
    }
    fn message(&mut self, message: Message) {
        self.0.push(Told::Message(message));
    }
    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        self.0.push(Told::Control(opcode, payload.to_vec()));
    }
    fn violation(&mut self, violation: Violation) {
        self.0.push(Told::Violation(violation));
    }
}

/// Which parser reads a stream.
#[derive(Debug, Clone, Copy)]
struct As(Masking, bool);

const SERVER: As = As(Masking::Required, false);
const CLIENT: As = As(Masking::Forbidden, false);
const DEFLATE: As = As(Masking::Forbidden, true);

impl As {
    fn parser(self) -> Parser {
        Parser::new(self.0, self.1)
    }

    fn whole(self, stream: &[u8]) -> Vec<Told> {
        self.pieces([stream])
    }

    fn pieces<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Told> {
        let (mut parser, mut log) = (self.parser(), Log::default());
        for piece in pieces {
            parser.feed(piece, &mut log);
        }
        let over = matches!(log.0.last(), Some(Told::Violation(_) | Told::Control(Opcode::Close, _)));
        assert_eq!(parser.stopped, over);
        log.0
    }
}

/// A frame without a mask whose length is in its shortest form.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..=125 => bytes.push(n as u8),
        n @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// The same frame as a client sends it.
fn masked(mut frame: Vec<u8>) -> Vec<u8> {
    const KEY: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];
    let payload = frame.split_off(length_end(frame[1]));
    frame[1] |= 0x80;
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn head(opcode: Opcode, fin: bool, rsv1: bool, masked: bool, length: u64) -> Told {
    Told::Frame(Header { opcode, fin, rsv1, masked, length })
}

fn message(opcode: Opcode, compressed: bool, size: u64, frames: u32) -> Told {
    Told::Message(Message { opcode, compressed, size, frames })
}

/// Red when: a length form is read wrong, a control frame between fragments counts to
/// the message, RSV1 is lost, or something is read behind a close frame.
#[test]
fn what_streams_tell() {
    use Opcode::{Binary, Close, Continuation, Ping, Text};
    let tests: Vec<(&str, As, Vec<u8>, Vec<Told>)> = vec![
        ("nothing", CLIENT, vec![], vec![]),
        ("text", CLIENT, frame(FIN | 1, "hello"), vec![head(Text, true, false, false, 5), message(Text, false, 5, 1)]),
        (
            "empty binary",
            CLIENT,
            frame(FIN | 2, ""),
            vec![head(Binary, true, false, false, 0), message(Binary, false, 0, 1)],
        ),
        (
            "125 bytes",
            CLIENT,
            frame(FIN | 1, [b'a'; 125]),
            vec![head(Text, true, false, false, 125), message(Text, false, 125, 1)],
        ),
        (
            "16 bits of length",
            CLIENT,
            frame(FIN | 1, [b'a'; 126]),
            vec![head(Text, true, false, false, 126), message(Text, false, 126, 1)],
        ),
        (
            "the most in 16 bits",
            CLIENT,
            frame(FIN | 2, vec![0; 65535]),
            vec![head(Binary, true, false, false, 65535), message(Binary, false, 65535, 1)],
        ),
        (
            "64 bits of length",
            SERVER,
            masked(frame(FIN | 2, vec![0; 65536])),
            vec![head(Binary, true, false, true, 65536), message(Binary, false, 65536, 1)],
        ),
        (
            "control between fragments",
            SERVER,
            [masked(frame(1, "ab")), masked(frame(FIN | 9, "hi")), masked(frame(FIN, "c"))].concat(),
            vec![
                head(Text, false, false, true, 2),
                head(Ping, true, false, true, 2),
                Told::Control(Ping, b"hi".to_vec()),
                head(Continuation, true, false, true, 1),
                message(Text, false, 3, 2),
            ],
        ),
        (
            "compressed",
            DEFLATE,
            [frame(RSV1 | 2, "abc"), frame(FIN, "d")].concat(),
            vec![
                head(Binary, false, true, false, 3),
                head(Continuation, true, false, false, 1),
                message(Binary, true, 4, 2),
            ],
        ),
        (
            "close is the last",
            CLIENT,
            [frame(FIN | 8, b"\x03\xe8bye"), frame(FIN | 1, "late")].concat(),
            vec![head(Close, true, false, false, 5), Told::Control(Close, b"\x03\xe8bye".to_vec())],
        ),
        (
            "close without a code",
            CLIENT,
            frame(FIN | 8, ""),
            vec![head(Close, true, false, false, 0), Told::Control(Close, vec![])],
        ),
        (
            "message that never ends",
            CLIENT,
            vec![2, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2],
            vec![head(Binary, false, false, false, i64::MAX as u64)],
        ),
    ];
    for (name, read_as, stream, want) in tests {
        assert_eq!(read_as.whole(&stream), want, "{name}");
    }
}

/// A stream for each violation, and more for those with several causes.
fn breaches() -> Vec<(As, Vec<u8>, Violation)> {
    use Violation::*;
    let close = |code: u16| frame(FIN | 8, code.to_be_bytes());
    vec![
        (CLIENT, frame(FIN | RSV1 | 1, ""), ReservedBits),
        (DEFLATE, frame(FIN | 0x20 | 1, ""), ReservedBits),
        (DEFLATE, frame(FIN | 0x10 | 1, ""), ReservedBits),
        (DEFLATE, frame(FIN | RSV1 | 9, ""), ReservedBits),
        (DEFLATE, [frame(RSV1 | 1, ""), frame(FIN | RSV1, "")].concat(), ReservedBits),
        (CLIENT, frame(FIN | 3, ""), ReservedOpcode),
        (DEFLATE, frame(FIN | RSV1 | 7, ""), ReservedOpcode),
        (CLIENT, frame(FIN | 11, ""), ReservedOpcode),
        (CLIENT, frame(FIN | 15, ""), ReservedOpcode),
        (SERVER, frame(FIN | 1, ""), MaskMissing),
        (CLIENT, masked(frame(FIN | 1, "")), MaskUnexpected),
        (CLIENT, vec![FIN | 1, 126, 0, 125], LengthNotMinimal),
        (CLIENT, vec![FIN | 1, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], LengthNotMinimal),
        (CLIENT, vec![FIN | 1, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], LengthTooLarge),
        (CLIENT, frame(FIN | 9, [b'a'; 126]), ControlTooLong),
        (CLIENT, frame(9, ""), ControlFragment),
        (CLIENT, frame(FIN, ""), NothingToGoOn),
        (CLIENT, [frame(FIN | 1, ""), frame(FIN, "")].concat(), NothingToGoOn),
        (CLIENT, [frame(1, ""), frame(FIN | 2, "")].concat(), MessageUnfinished),
        (CLIENT, frame(FIN | 8, "\x03"), CloseTooShort),
        (CLIENT, close(999), CloseCode),
        (CLIENT, close(1004), CloseCode),
        (CLIENT, close(1005), CloseCode),
        (CLIENT, close(1006), CloseCode),
        (CLIENT, close(1015), CloseCode),
        (CLIENT, close(2999), CloseCode),
        (CLIENT, close(5000), CloseCode),
        (SERVER, masked(frame(FIN | 8, b"\x03\xe8\xff")), CloseReason),
    ]
}

/// Red when: a breach is not told, is told by another name, or is not the last thing
/// that is told.
#[test]
fn breaches_end_the_stream() {
    for (read_as, stream, want) in breaches() {
        let stream = [stream, frame(FIN | 1, "late"), vec![FIN | 3, 0]].concat();
        let told = read_as.whole(&stream);
        assert_eq!(told.last(), Some(&Told::Violation(want)), "{stream:02x?}");
        assert_eq!(told.iter().filter(|told| matches!(told, Told::Violation(_))).count(), 1);
        assert!(want.code().bytes().all(|b| b == b'_' || b.is_ascii_lowercase()));
        assert!(!want.text().is_empty());
    }
}

/// Red when: a sum of sizes goes over what an integer of the protocol holds.
#[test]
fn size_does_not_overflow() {
    let mut parser = CLIENT.parser();
    parser.message =
        Some(Message { opcode: Opcode::Binary, compressed: false, size: i64::MAX as u64 - 1, frames: u32::MAX });
    let mut log = Log::default();
    parser.feed(&frame(FIN, "ab"), &mut log);
    assert_eq!(log.0.last(), Some(&message(Opcode::Binary, false, i64::MAX as u64, u32::MAX)));
}

/// Red when: a header, a mask or a control payload is lost where a piece ends.
#[test]
fn every_split_tells_the_same() {
    let mut streams: Vec<(As, Vec<u8>)> =
        breaches().into_iter().map(|(read_as, stream, _)| (read_as, stream)).collect();
    streams.push((
        SERVER,
        [
            masked(frame(1, "ab")),
            masked(frame(FIN | 9, "hello")),
            masked(frame(FIN, [b'c'; 126])),
            masked(frame(FIN | 2, "")),
            masked(frame(FIN | 8, b"\x03\xe8bye")),
        ]
        .concat(),
    ));
    streams.push((DEFLATE, [frame(FIN | RSV1 | 1, "abc"), frame(FIN | 10, "x"), frame(FIN | 8, "")].concat()));
    for (read_as, stream) in streams {
        let whole = read_as.whole(&stream);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(read_as.pieces(pieces), whole, "{first} {second} of {stream:02x?}");
            }
        }
        assert_eq!(read_as.pieces(stream.chunks(1)), whole);
    }
    let long = masked(frame(FIN | 2, vec![7; 70_000]));
    assert_eq!(SERVER.pieces(long.chunks(1)), SERVER.whole(&long));
}

/// A stream to which only its bytes are known, as tungstenite reads it.
struct Bytes(Cursor<Vec<u8>>);

impl Read for Bytes {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What tungstenite reads of a stream.
struct Reading {
    messages: Vec<(Opcode, Vec<u8>)>,
    fault: Option<Error>,
}

fn tungstenite(role: Role, stream: &[u8]) -> Reading {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(Some(1 << 20));
    let mut socket = WebSocket::from_raw_socket(Bytes(Cursor::new(stream.to_vec())), role, Some(config));
    let mut messages = vec![];
    loop {
        match socket.read() {
            Ok(Received::Text(text)) => messages.push((Opcode::Text, text.as_bytes().to_vec())),
            Ok(Received::Binary(bytes)) => messages.push((Opcode::Binary, bytes.to_vec())),
            Ok(Received::Ping(payload)) => messages.push((Opcode::Ping, payload.to_vec())),
            Ok(Received::Pong(payload)) => messages.push((Opcode::Pong, payload.to_vec())),
            Ok(Received::Close(close)) => {
                let payload = close
                    .map_or(vec![], |close| [&u16::from(close.code).to_be_bytes(), close.reason.as_bytes()].concat());
                messages.push((Opcode::Close, payload));
                return Reading { messages, fault: None };
            }
            Ok(Received::Frame(_)) => panic!("no raw frame is read"),
            Err(Error::Protocol(
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => {
                return Reading { messages, fault: None };
            }
            Err(fault) => return Reading { messages, fault: Some(fault) },
        }
    }
}

/// A message by its size, and by its payload where the parser keeps that.
type Known = (Opcode, usize, Vec<u8>);

/// What the parser told, in the terms of tungstenite.
fn in_its_terms(told: &[Told]) -> (Vec<Known>, Option<Violation>) {
    let mut read = vec![];
    for told in told {
        match told {
            Told::Frame(_) => {}
            Told::Message(m) => read.push((m.opcode, m.size as usize, vec![])),
            Told::Control(opcode, payload) => read.push((*opcode, payload.len(), payload.clone())),
            Told::Violation(violation) => return (read, Some(*violation)),
        }
    }
    (read, None)
}

/// Tells whether the frame behind the last one that was told is not there as a whole.
fn incomplete(stream: &[u8], told: &[Told]) -> bool {
    let mut cursor = Cursor::new(stream);
    for _ in told.iter().filter(|told| matches!(told, Told::Frame(_))) {
        let (_, length) = FrameHeader::parse(&mut cursor).expect("a header").expect("a whole header");
        cursor.set_position(cursor.position() + length);
    }
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((_, length))) => length > stream.len() as u64 - cursor.position(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Holds the parser to what tungstenite reads, and the headers to what it makes of each.
fn same_as_tungstenite(role: Role, stream: &[u8]) {
    let read_as = if role == Role::Server { SERVER } else { CLIENT };
    let told = read_as.whole(stream);
    let (mut got, breach) = in_its_terms(&told);
    let Reading { messages, fault } = tungstenite(role, stream);
    let without_payload = |(opcode, payload): (Opcode, Vec<u8>)| {
        (opcode, payload.len(), if opcode.is_control() { payload } else { vec![] })
    };
    let mut want: Vec<Known> = messages.into_iter().map(without_payload).collect();
    match (told.last(), &fault) {
        // It looks into text, too.
        (_, Some(Error::Utf8(_))) if breach != Some(Violation::CloseReason) => got.truncate(want.len()),
        // It makes room for a whole frame at once, so that it needs a limit.
        (_, Some(Error::Capacity(_))) => {}
        // It takes longer forms of a length.
        (Some(Told::Violation(Violation::LengthNotMinimal)), _) => want.truncate(got.len()),
        // It hands out a close code that must not be sent as another one.
        (Some(Told::Violation(Violation::CloseCode)), None) => {
            assert_eq!(want.pop().map(|(opcode, ..)| opcode), Some(Opcode::Close));
        }
        // It does not know a code that was registered since.
        (Some(Told::Control(Opcode::Close, payload)), None) if payload.starts_with(&1014u16.to_be_bytes()) => {
            assert_eq!(want.pop().map(|(opcode, ..)| opcode), got.pop().map(|(opcode, ..)| opcode));
        }
        // It looks for the payload of a frame before it looks at its header.
        (Some(Told::Violation(_)), None) => assert!(incomplete(stream, &told)),
        _ => assert_eq!(breach.is_some(), fault.is_some(), "{told:?} and {fault:?} of {stream:02x?}"),
    }
    assert_eq!(got, want, "{told:?} and {fault:?} of {stream:02x?}");

    let mut cursor = Cursor::new(stream);
    for told in &told {
        let Told::Frame(header) = told else { continue };
        let (read, length) = FrameHeader::parse(&mut cursor).expect("a header").expect("a whole header");
        assert_eq!(
            (read.is_final, read.rsv1, read.mask.is_some(), length),
            (header.fin, header.rsv1, header.masked, header.length)
        );
        cursor.set_position(cursor.position() + length);
    }
}

prop_compose! {
    /// A frame that is mostly as it should be. Payload is ASCII, as tungstenite reads text.
    fn any_frame()(
        first in prop_oneof![
            20 => prop::sample::select(vec![FIN | 1, FIN | 2, 1, 2, 0, FIN, FIN | 9, FIN | 10]),
            2 => Just(FIN | 8),
            1 => any::<u8>(),
        ],
        size in prop_oneof![20 => 0usize..126, 2 => 126usize..300, 1 => 65_530usize..65_540],
        close in prop_oneof![Just(None), (990u16..1020).prop_map(Some), (2990u16..5010).prop_map(Some)],
        mask in prop::bool::weighted(0.95),
    ) -> (bool, Vec<u8>) {
        let mut payload = vec![b'x'; size];
        if first & 15 == 8 {
            payload.truncate(20);
            if let (Some(code), Some(place)) = (close, payload.first_chunk_mut::<2>()) {
                *place = code.to_be_bytes();
            }
        }
        (mask, frame(first, payload))
    }
}

proptest! {
    /// Red when: any rule of section 5 is read otherwise than tungstenite does.
    #[test]
    fn streams_as_tungstenite_reads_them(frames in prop::collection::vec(any_frame(), 0..12), cut in any::<prop::sample::Index>()) {
        for (role, usual) in [(Role::Server, true), (Role::Client, false)] {
            let mut stream: Vec<u8> = frames
                .iter()
                .flat_map(|(mask, frame)| if *mask == usual { masked(frame.clone()) } else { frame.clone() })
                .collect();
            same_as_tungstenite(role, &stream);
            stream.truncate(cut.index(stream.len() + 1));
            same_as_tungstenite(role, &stream);
        }
    }

    /// Red when: hostile bytes make the parser panic, or tell another thing in pieces.
    #[test]
    fn any_bytes_in_any_pieces(stream in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..17) {
        for read_as in [SERVER, CLIENT, DEFLATE, As(Masking::Required, true)] {
            prop_assert_eq!(read_as.pieces(stream.chunks(size)), read_as.whole(&stream));
        }
        for role in [Role::Server, Role::Client] {
            same_as_tungstenite(role, &stream);
        }
    }
}
