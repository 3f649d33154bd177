//! warp's messages and those of the library below.

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Error, Utf8Bytes};
use warp::ws::Message;

/// The message to send. Its payload is shared, not copied.
pub(crate) fn to_tungstenite(message: Message) -> Result<tungstenite::Message, Error> {
    if message.is_close() {
        let frame = message.close_frame();
        let frame = frame.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() });
        return Ok(tungstenite::Message::Close(frame));
    }
    Ok(if message.is_text() {
        tungstenite::Message::Text(Utf8Bytes::try_from(message.into_bytes())?)
    } else if message.is_ping() {
        tungstenite::Message::Ping(message.into_bytes())
    } else if message.is_pong() {
        tungstenite::Message::Pong(message.into_bytes())
    } else {
        tungstenite::Message::Binary(message.into_bytes())
    })
}

/// The message that was received; none: it is a frame, of which the library reads none.
/// Text is copied, as warp takes no other.
pub(crate) fn from_tungstenite(message: tungstenite::Message) -> Option<Message> {
    Some(match message {
        tungstenite::Message::Text(text) => Message::text(text.as_str()),
        tungstenite::Message::Binary(bytes) => Message::binary(bytes),
        tungstenite::Message::Ping(bytes) => Message::ping(bytes),
        tungstenite::Message::Pong(bytes) => Message::pong(bytes),
        tungstenite::Message::Close(None) => Message::close(),
        tungstenite::Message::Close(Some(frame)) => Message::close_with(frame.code, frame.reason.as_str().to_owned()),
        tungstenite::Message::Frame(_) => return None,
    })
}
