//! The observed socket.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::sink::{Sink, SinkExt};
use futures_util::stream::{FusedStream, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::Error;
use warp::ws::Message;
use wsstats::{Attribute, Connection, Processing};
use wsstats_tungstenite::WebSocketStream;

use crate::message::{from_tungstenite, to_tungstenite};

/// A [`warp::ws::WebSocket`] that is observed: the same `Stream` and `Sink` of warp's
/// messages.
///
/// The close is recorded at the end of the stream of bytes, or when this is dropped.
#[derive(Debug)]
pub struct WebSocket(WebSocketStream<TokioIo<Upgraded>>);

impl WebSocket {
    pub(crate) fn new(inner: WebSocketStream<TokioIo<Upgraded>>) -> WebSocket {
        WebSocket(inner)
    }

    /// Sends a close frame, and does not wait for its answer.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub async fn close(mut self) -> Result<(), Error> {
        SinkExt::close(&mut self).await
    }

    /// The connection as the agent knows it, for what only the application knows:
    /// [`Connection::process`], [`Connection::sending`], [`Connection::failed`] and
    /// others. A clone of it goes with each half of a socket that is split. What the
    /// bytes say is recorded already.
    pub fn connection(&self) -> &Connection {
        self.0.connection()
    }

    /// Begins the handling of the text or binary message that was read last:
    /// [`Connection::process`].
    #[must_use = "the handling ends when it is dropped"]
    pub fn process(&self, attributes: impl IntoIterator<Item = Attribute>) -> Processing {
        self.0.process(attributes)
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let next = match ready!(self.0.poll_next_unpin(cx)) {
                Some(Ok(message)) => from_tungstenite(message).map(Ok),
                Some(Err(err)) => Some(Err(err)),
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
        self.0.is_terminated()
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready_unpin(cx)
    }

    /// The span that is active becomes a link of the send.
    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.0.start_send_unpin(to_tungstenite(message)?)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_close_unpin(cx)
    }
}
