//! Reads the headers of a WebSocket byte stream (RFC 6455) and skips what they
//! carry: it tells which frames and messages went by, how large they were and what
//! a control frame said, and keeps no message.

use crate::frame::{Handler, Header, Masking, Message, Opcode, Violation};

/// Bytes of the longest header: two, 64 bits of length, a mask.
const MAX_HEADER: usize = 14;

/// Bytes of the longest payload of a control frame (section 5.5).
const MAX_CONTROL: usize = 125;

/// Reads one direction of a connection from the first byte after the opening
/// handshake. It can be fed in pieces of any size and says the same for all of them.
#[derive(Debug)]
pub(crate) struct Parser {
    masking: Masking,
    compression: bool,
    stopped: bool,

    /// The header at hand, of which `have` bytes are there.
    head: [u8; MAX_HEADER],
    have: usize,
    /// The frame at hand, once its header is complete, and its payload that is to come.
    current: Option<Header>,
    left: u64,
    mask: [u8; 4],
    /// Payload of a control frame, unmasked, of which `kept` bytes are there.
    control: [u8; MAX_CONTROL],
    kept: usize,

    /// The message at hand.
    message: Option<Message>,
}

impl Parser {
    /// Compression says that permessage-deflate was negotiated, so that RSV1 is
    /// allowed on the first frame of a message.
    pub(crate) fn new(masking: Masking, compression: bool) -> Self {
        Self {
            masking,
            compression,
            stopped: false,
            head: [0; MAX_HEADER],
            have: 0,
            current: None,
            left: 0,
            mask: [0; 4],
            control: [0; MAX_CONTROL],
            kept: 0,
            message: None,
        }
    }

    /// Reads the next bytes of the stream. After a violation or a close frame, behind
    /// which nothing may come (section 5.5.1), it does nothing.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], handler: &mut impl Handler) {
        while !bytes.is_empty() && !self.stopped {
            let frame = match self.current {
                Some(frame) => {
                    bytes = self.skip(frame, bytes);
                    frame
                }
                None => {
                    bytes = self.collect(bytes);
                    if self.have < self.needed() {
                        return; // the bytes are used up
                    }
                    self.have = 0;
                    match self.begin() {
                        Ok(frame) => {
                            handler.frame(frame);
                            frame
                        }
                        Err(violation) => {
                            self.stop();
                            return handler.violation(violation);
                        }
                    }
                }
            };
            if self.left == 0 {
                self.current = None;
                self.end(frame, handler);
            }
        }
    }

    /// Reads nothing more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many bytes the header has, by those of it that are there.
    fn needed(&self) -> usize {
        let [_, second, ..] = self.head;
        if self.have < 2 {
            return 2;
        }
        length_end(second) + if second & 0x80 == 0 { 0 } else { 4 }
    }

    /// Collects a header, and returns what is behind it.
    fn collect<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while self.have < self.needed() {
            let Some((&byte, rest)) = bytes.split_first() else {
                break;
            };
            if let Some(place) = self.head.get_mut(self.have) {
                *place = byte;
            }
            self.have += 1;
            bytes = rest;
        }
        bytes
    }

    /// Starts the frame whose header is complete.
    fn begin(&mut self) -> Result<Header, Violation> {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.head;
        let masked = second & 0x80 != 0;
        let rsv1 = first & 0x40 != 0;
        let begins_message = matches!(first & 0x0f, 0x1..=0x7);
        if first & 0x30 != 0 || rsv1 && !(self.compression && begins_message) {
            return Err(Violation::ReservedBits);
        }
        let opcode = Opcode::read(first & 0x0f).ok_or(Violation::ReservedOpcode)?;
        match self.masking {
            Masking::Required if !masked => return Err(Violation::MaskMissing),
            Masking::Forbidden if masked => return Err(Violation::MaskUnexpected),
            _ => {}
        }

        let (length, shortest) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([a, b])), 126),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 1 << 16),
            length => (u64::from(length), 0),
        };
        if length > i64::MAX as u64 {
            return Err(Violation::LengthTooLarge);
        }
        if length < shortest {
            return Err(Violation::LengthNotMinimal);
        }

        let header = Header { opcode, fin: first & 0x80 != 0, rsv1, masked, length };
        if opcode.is_control() {
            if length > MAX_CONTROL as u64 {
                return Err(Violation::ControlTooLong);
            }
            if !header.fin {
                return Err(Violation::ControlFragment);
            }
        } else {
            self.extend(&header)?;
        }
        self.mask = self.masked_with(&header);
        self.current = Some(header);
        self.left = length;
        Ok(header)
    }

    /// The mask of the header that is complete; of zeros where it has none.
    fn masked_with(&self, header: &Header) -> [u8; 4] {
        let [_, second, ..] = self.head;
        let at = length_end(second);
        match self.head.get(at..at + 4) {
            Some(&[a, b, c, d]) if header.masked => [a, b, c, d],
            _ => [0; 4],
        }
    }

    /// Adds a frame to its message.
    fn extend(&mut self, frame: &Header) -> Result<(), Violation> {
        match (&mut self.message, frame.opcode) {
            (None, Opcode::Continuation) => return Err(Violation::NothingToGoOn),
            (Some(message), Opcode::Continuation) => {
                message.size = (message.size + frame.length).min(i64::MAX as u64);
                message.frames = message.frames.saturating_add(1);
            }
            (Some(_), _) => return Err(Violation::MessageUnfinished),
            (None, opcode) => {
                self.message = Some(Message { opcode, compressed: frame.rsv1, size: frame.length, frames: 1 });
            }
        }
        Ok(())
    }

    /// Goes over payload, keeps that of a control frame, and returns what is behind it.
    fn skip<'a>(&mut self, frame: Header, bytes: &'a [u8]) -> &'a [u8] {
        let there = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (payload, rest) = bytes.split_at_checked(there).unwrap_or((bytes, &[]));
        self.left -= payload.len() as u64;
        if frame.opcode.is_control() {
            let places = self.control.iter_mut().zip(self.mask.iter().cycle()).skip(self.kept);
            for ((place, mask), byte) in places.zip(payload) {
                *place = byte ^ mask;
            }
            self.kept += payload.len();
        }
        rest
    }

    /// Finishes a frame.
    fn end(&mut self, frame: Header, handler: &mut impl Handler) {
        match frame.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                let kept = std::mem::take(&mut self.kept);
                let payload = self.control.get(..kept).unwrap_or_default();
                if frame.opcode == Opcode::Close {
                    self.stopped = true;
                    if let Err(violation) = check_close(payload) {
                        return handler.violation(violation);
                    }
                }
                handler.control(frame.opcode, payload);
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary if frame.fin => {
                if let Some(message) = self.message.take() {
                    handler.message(message);
                }
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
    }
}

/// Where the length of a header ends, by its second byte.
fn length_end(second: u8) -> usize {
    match second & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// Checks the payload of a close frame (section 5.5.1).
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    match payload {
        [] => Ok(()),
        [_] => Err(Violation::CloseTooShort),
        [a, b, _reason @ ..] if !valid_close_code(u16::from_be_bytes([*a, *b])) => Err(Violation::CloseCode),
        [_, _, reason @ ..] if std::str::from_utf8(reason).is_err() => Err(Violation::CloseReason),
        _ => Ok(()),
    }
}

/// Whether a close frame may carry the code: one that section 7.4 or the IANA
/// registry defines for the wire, or 3000 to 4999.
fn valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
