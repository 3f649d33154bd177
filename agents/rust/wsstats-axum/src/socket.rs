//! The observed socket.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Error;
use axum::extract::ws::Message;
use futures_util::sink::{Sink, SinkExt};
use futures_util::stream::{FusedStream, Stream, StreamExt};
use http::HeaderValue;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use wsstats::{Attribute, Connection, Processing};
use wsstats_tungstenite::WebSocketStream;

use crate::message::{from_tungstenite, to_tungstenite};

/// An [`axum::extract::ws::WebSocket`] that is observed: the same `Stream` and `Sink` of
/// axum's messages.
///
/// The close is recorded at the end of the stream of bytes, or when this is dropped.
#[derive(Debug)]
pub struct WebSocket {
    inner: WebSocketStream<TokioIo<Upgraded>>,
    protocol: Option<HeaderValue>,
}

impl WebSocket {
    pub(crate) fn new(inner: WebSocketStream<TokioIo<Upgraded>>, protocol: Option<HeaderValue>) -> WebSocket {
        WebSocket { inner, protocol }
    }

    /// Receives another message; none: the stream has ended.
    ///
    /// # Errors
    ///
    /// The connection broke, or the peer broke the protocol.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        self.next().await
    }

    /// Sends a message. The span that is active becomes a link of the send.
    ///
    /// # Errors
    ///
    /// The connection is closed or broken, or the message is too big.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        SinkExt::send(self, message).await
    }

    /// The subprotocol that was agreed on (`Sec-WebSocket-Protocol`).
    pub fn protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }

    /// The connection as the agent knows it, for what only the application knows:
    /// [`Connection::process`], [`Connection::sending`], [`Connection::failed`] and
    /// others. A clone of it goes with each half of a socket that is split. What the
    /// bytes say is recorded already.
    pub fn connection(&self) -> &Connection {
        self.inner.connection()
    }

    /// Begins the handling of the text or binary message that was read last:
    /// [`Connection::process`].
    #[must_use = "the handling ends when it is dropped"]
    pub fn process(&self, attributes: impl IntoIterator<Item = Attribute>) -> Processing {
        self.inner.process(attributes)
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let next = match ready!(self.inner.poll_next_unpin(cx)) {
                Some(Ok(message)) => from_tungstenite(message).transpose(),
                Some(Err(err)) => Some(Err(Error::new(err))),
                None => return Poll::Ready(None),
            };
            if next.is_some() {
                return Poll::Ready(next);
            }
        }
    }
}

impl FusedStream for WebSocket {
    fn is_terminated(&self) -> bool {
        self.inner.is_terminated()
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready_unpin(cx).map_err(Error::new)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.inner.start_send_unpin(to_tungstenite(message)?).map_err(Error::new)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_flush_unpin(cx).map_err(Error::new)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_close_unpin(cx).map_err(Error::new)
    }
}
