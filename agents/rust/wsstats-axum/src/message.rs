//! axum's messages and those of the library below.

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use tokio_tungstenite::tungstenite;

/// The message to send. Its payload is shared, not copied.
pub(crate) fn to_tungstenite(message: Message) -> Result<tungstenite::Message, Error> {
    Ok(match message {
        Message::Text(text) => tungstenite::Message::Text(to_utf8(text)?),
        Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
        Message::Ping(bytes) => tungstenite::Message::Ping(bytes),
        Message::Pong(bytes) => tungstenite::Message::Pong(bytes),
        Message::Close(None) => tungstenite::Message::Close(None),
        Message::Close(Some(frame)) => tungstenite::Message::Close(Some(tungstenite::protocol::CloseFrame {
            code: frame.code.into(),
            reason: to_utf8(frame.reason)?,
        })),
    })
}

/// The message that was received; none: it is a frame, of which the library reads none.
pub(crate) fn from_tungstenite(message: tungstenite::Message) -> Result<Option<Message>, Error> {
    Ok(Some(match message {
        tungstenite::Message::Text(text) => Message::Text(from_utf8(text)?),
        tungstenite::Message::Binary(bytes) => Message::Binary(bytes),
        tungstenite::Message::Ping(bytes) => Message::Ping(bytes),
        tungstenite::Message::Pong(bytes) => Message::Pong(bytes),
        tungstenite::Message::Close(None) => Message::Close(None),
        tungstenite::Message::Close(Some(frame)) => {
            Message::Close(Some(CloseFrame { code: frame.code.into(), reason: from_utf8(frame.reason)? }))
        }
        tungstenite::Message::Frame(_) => return Ok(None),
    }))
}

// Both are UTF-8. Without unsafe code there is no way over that does not look again.

fn to_utf8(text: Utf8Bytes) -> Result<tungstenite::Utf8Bytes, Error> {
    Bytes::from(text).try_into().map_err(Error::new)
}

fn from_utf8(text: tungstenite::Utf8Bytes) -> Result<Utf8Bytes, Error> {
    Bytes::from(text).try_into().map_err(Error::new)
}
