//! The small sets of values that the protocol has numbers for.

/// The kind of an event. The numbers are those of the binary form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    #[default]
    Unknown,
    Handshake,
    Send,
    Receive,
    Process,
    #[allow(dead_code)] // of witnesses that cannot tell sending from receiving
    Message,
    Ping,
    Pong,
    Close,
    Error,
    ProtocolError,
    Broadcast,
    BatchSend,
}

impl Kind {
    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Unknown => "",
            Kind::Handshake => "handshake",
            Kind::Send => "send",
            Kind::Receive => "receive",
            Kind::Process => "process",
            Kind::Message => "message",
            Kind::Ping => "ping",
            Kind::Pong => "pong",
            Kind::Close => "close",
            Kind::Error => "error",
            Kind::ProtocolError => "protocol_error",
            Kind::Broadcast => "broadcast",
            Kind::BatchSend => "batch_send",
        }
    }
}

/// The side of a connection that an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// It opened the connection.
    Client = 1,
    /// It accepted the connection.
    Server = 2,
}

impl Role {
    /// The value of `ws.role`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

/// The type of a message (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// UTF-8 text.
    Text = 1,
    /// Any bytes.
    Binary = 2,
}

impl MessageType {
    /// The value of `ws.message.type`.
    pub fn name(self) -> &'static str {
        match self {
            MessageType::Text => "text",
            MessageType::Binary => "binary",
        }
    }
}

/// The way a message went, seen from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Direction {
    /// From here to the peer.
    Sent = 1,
    /// From the peer to here.
    Received = 2,
}

impl Direction {
    /// The value of `ws.direction`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Direction::Sent => "sent",
            Direction::Received => "received",
        }
    }
}
