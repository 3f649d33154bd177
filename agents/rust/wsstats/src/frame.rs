//! The frames of a WebSocket byte stream (RFC 6455).

/// The meaning of a frame (RFC 6455 section 5.2). All other values are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(crate) fn read(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether frames of that opcode are control frames (section 5.5).
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of one frame (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    /// Of the first frame of a compressed message (RFC 7692 section 6).
    pub(crate) rsv1: bool,
    pub(crate) masked: bool,
    /// Bytes of the payload, less than 2^63.
    pub(crate) length: u64,
}

/// A whole text or binary message, over all of its frames (section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    /// Text or Binary.
    pub(crate) opcode: Opcode,
    /// permessage-deflate: the size counts compressed bytes.
    pub(crate) compressed: bool,
    /// Bytes of the payload; stays at 2^63 - 1 rather than overflow.
    pub(crate) size: u64,
    /// From 1; stays at its maximum.
    pub(crate) frames: u32,
}

/// What is told what a [`Parser`](crate::parser::Parser) finds, in the order of the stream.
pub(crate) trait Handler {
    /// A header is complete and without fault, and none of its payload is read.
    fn frame(&mut self, header: Header);
    /// The last byte of a text or binary message went by.
    fn message(&mut self, message: Message);
    /// The last byte of a close, ping or pong frame went by. The payload is
    /// unmasked and at most 125 bytes. That of a close frame is empty, or holds a
    /// permitted code and a reason in UTF-8.
    fn control(&mut self, opcode: Opcode, payload: &[u8]);
    /// The first breach of the protocol. It is the last call.
    fn violation(&mut self, violation: Violation);
}

/// Which frames of a direction have to be masked (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masking {
    /// Client to server.
    Required,
    /// Server to client.
    Forbidden,
}

/// A breach of RFC 6455 that ends the parsing of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Section 5.2, RFC 7692 section 6.
    ReservedBits,
    /// Section 5.2.
    ReservedOpcode,
    /// Section 5.1.
    MaskMissing,
    /// Section 5.1.
    MaskUnexpected,
    /// Section 5.2.
    LengthNotMinimal,
    /// Section 5.2: the most significant bit of 64 is 0.
    LengthTooLarge,
    /// Section 5.5.
    ControlTooLong,
    /// Section 5.5.
    ControlFragment,
    /// Section 5.4: a continuation without a beginning.
    NothingToGoOn,
    /// Section 5.4: a message inside a fragmented one.
    MessageUnfinished,
    /// Section 5.5.1: a payload of one byte.
    CloseTooShort,
    /// Section 7.4.
    CloseCode,
    /// Section 5.5.1: not UTF-8.
    CloseReason,
}

impl Violation {
    /// A short stable name, in lower-case letters and underscores: `error.type`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved_bits",
            Self::ReservedOpcode => "reserved_opcode",
            Self::MaskMissing => "mask_missing",
            Self::MaskUnexpected => "mask_unexpected",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::LengthTooLarge => "length_too_large",
            Self::ControlTooLong => "control_too_long",
            Self::ControlFragment => "control_fragmented",
            Self::NothingToGoOn => "unexpected_continuation",
            Self::MessageUnfinished => "unfinished_message",
            Self::CloseTooShort => "close_too_short",
            Self::CloseCode => "close_code",
            Self::CloseReason => "close_reason",
        }
    }

    /// One sentence about it, which holds nothing of the stream.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ReservedBits => "a reserved bit is set that no extension uses",
            Self::ReservedOpcode => "the opcode is reserved",
            Self::MaskMissing => "a client's frame is not masked",
            Self::MaskUnexpected => "a server's frame is masked",
            Self::LengthNotMinimal => "the length is not in its shortest form",
            Self::LengthTooLarge => "the length is over 63 bits",
            Self::ControlTooLong => "a control frame is over 125 bytes",
            Self::ControlFragment => "a control frame is fragmented",
            Self::NothingToGoOn => "a continuation frame without a message to continue",
            Self::MessageUnfinished => "a new message before the fragmented one was finished",
            Self::CloseTooShort => "a close frame of one byte",
            Self::CloseCode => "a close code that must not be sent",
            Self::CloseReason => "a close reason that is not UTF-8",
        }
    }
}
