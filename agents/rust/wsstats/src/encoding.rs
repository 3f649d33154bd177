use crate::wire::{SUBPROTOCOL_JSON, SUBPROTOCOL_PROTO};

/// A form of the messages that an agent sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Binary: a twentieth of the bytes.
    Proto,
    /// Text.
    Json,
}

impl Encoding {
    /// What is offered to the receiver, the best one first.
    pub(crate) fn subprotocols(this: Option<Encoding>) -> &'static [&'static str] {
        match this {
            Some(Encoding::Proto) => &[SUBPROTOCOL_PROTO],
            Some(Encoding::Json) => &[SUBPROTOCOL_JSON],
            None => &[SUBPROTOCOL_PROTO, SUBPROTOCOL_JSON],
        }
    }
}
