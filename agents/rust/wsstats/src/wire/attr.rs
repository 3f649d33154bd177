//! The attributes of the conventions (docs/conventions.md, "Attributes").

use opentelemetry::{KeyValue, Value};

/// The type of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Str,
    Int,
    Double,
    Bool,
}

macro_rules! attributes {
    ($($attr:ident = ($name:literal, $kind:ident),)*) => {
        /// An attribute of the conventions. The numbers are those of the binary form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Attr {
            /// The binary form has no number 0.
            _None,
            $($attr,)*
        }

        impl Attr {
            #[cfg(test)]
            pub(crate) const ALL: &[Attr] = &[$(Attr::$attr),*];

            /// The name of the attribute.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    Attr::_None => "",
                    $(Attr::$attr => $name,)*
                }
            }

            /// The type of its value.
            pub(crate) fn of_type(self) -> Type {
                match self {
                    Attr::_None => Type::Str,
                    $(Attr::$attr => Type::$kind,)*
                }
            }

            /// The attribute of that name.
            pub(crate) fn parse(name: &str) -> Option<Attr> {
                match name {
                    $($name => Some(Attr::$attr),)*
                    _ => None,
                }
            }
        }
    };
}

attributes! {
    Url = ("ws.url", Str),
    HttpUrl = ("http.url", Str),
    Protocol = ("ws.protocol", Str),
    Subprotocol = ("ws.subprotocol", Str),
    Upgrade = ("ws.upgrade", Str),
    HttpMethod = ("http.method", Str),
    Role = ("ws.role", Str),
    Direction = ("ws.direction", Str),
    ConnectionId = ("ws.connection.id", Str),
    MessageType = ("ws.message.type", Str),
    MessageId = ("ws.message.id", Str),
    CloseReason = ("ws.close.reason", Str),
    CloseInitiator = ("ws.close.initiator", Str),
    CloseClass = ("ws.close.class", Str),
    PeerIp = ("net.peer.ip", Str),
    ErrorType = ("error.type", Str),
    ErrorCategory = ("error.category", Str),
    ErrorMessage = ("error.message", Str),
    ErrorSeverity = ("error.severity", Str),
    StatusCode = ("http.status_code", Int),
    MessageSize = ("ws.message.size", Int),
    CompressedSize = ("ws.message.compressed_size", Int),
    MessageFrames = ("ws.message.frames", Int),
    MessageSeq = ("ws.message.seq", Int),
    MessageTimestamp = ("ws.message.timestamp", Int),
    PingTimestamp = ("ws.ping.timestamp", Int),
    QueueSize = ("ws.queue.size", Int),
    BatchSize = ("ws.batch.size", Int),
    BroadcastRecipients = ("ws.broadcast.recipients", Int),
    CloseCode = ("ws.close.code", Int),
    PeerPort = ("net.peer.port", Int),
    MessagesSent = ("ws.connection.messages.sent", Int),
    MessagesReceived = ("ws.connection.messages.received", Int),
    BytesSent = ("ws.connection.bytes.sent", Int),
    BytesReceived = ("ws.connection.bytes.received", Int),
    PongLatency = ("ws.pong.latency", Double),
    ProcessingTime = ("ws.processing.time_ms", Double),
    ConnectionDuration = ("ws.connection.duration_ms", Double),
    HandshakeSuccess = ("ws.handshake.success", Bool),
    Shared = ("ws.connection.shared", Bool),
    CloseClean = ("ws.close.clean", Bool),
}

/// The attributes of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attrs {
    /// Those of the conventions, ascending.
    known: Vec<(Attr, Value)>,
    /// All others, in the order in which they came.
    pub(crate) user: Vec<KeyValue>,
}

impl Attrs {
    /// Those of the conventions that are set, ascending.
    pub(crate) fn known(&self) -> &[(Attr, Value)] {
        &self.known
    }

    /// Sets an attribute of the conventions.
    pub(crate) fn set(&mut self, attr: Attr, value: impl Into<Value>) {
        let value = value.into();
        match self.known.binary_search_by_key(&attr, |known| known.0) {
            Ok(i) => {
                if let Some(known) = self.known.get_mut(i) {
                    known.1 = value;
                }
            }
            Err(i) => self.known.insert(i, (attr, value)),
        }
    }

    /// Sets an attribute of the conventions unless the text is empty.
    pub(crate) fn set_text(&mut self, attr: Attr, text: &str) {
        if !text.is_empty() {
            self.set(attr, text.to_owned());
        }
    }

    /// Removes an attribute of the conventions.
    pub(crate) fn unset(&mut self, attr: Attr) {
        self.known.retain(|known| known.0 != attr);
    }

    /// The value of an attribute of the conventions.
    pub(crate) fn get(&self, attr: Attr) -> Option<&Value> {
        let i = self.known.binary_search_by_key(&attr, |known| known.0).ok()?;
        self.known.get(i).map(|known| &known.1)
    }

    /// The value of a text attribute of the conventions, "" where it is not set.
    pub(crate) fn text(&self, attr: Attr) -> &str {
        match self.get(attr) {
            Some(Value::String(text)) => text.as_str(),
            _ => "",
        }
    }

    /// The value of an integer attribute of the conventions.
    pub(crate) fn int(&self, attr: Attr) -> Option<i64> {
        match self.get(attr) {
            Some(Value::I64(i)) => Some(*i),
            _ => None,
        }
    }

    /// Adds attributes of the application. One of the conventions is set unless it
    /// is there, or of another type.
    pub(crate) fn add(&mut self, attributes: &[KeyValue]) {
        for kv in attributes {
            let Some(attr) = Attr::parse(kv.key.as_str()) else {
                self.user.push(kv.clone());
                continue;
            };
            if self.get(attr).is_some() {
                continue;
            }
            match (attr.of_type(), &kv.value) {
                (Type::Str, Value::String(_)) | (Type::Int, Value::I64(_)) => self.set(attr, kv.value.clone()),
                (Type::Double, Value::F64(_)) | (Type::Bool, Value::Bool(_)) => self.set(attr, kv.value.clone()),
                (Type::Double, Value::I64(i)) => self.set(attr, *i as f64),
                _ => {}
            }
        }
    }
}
