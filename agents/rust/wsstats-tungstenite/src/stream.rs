//! The observed stream of messages.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::sink::{Sink, SinkExt};
use futures_util::stream::{FusedStream, Stream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use wsstats::adapter::{Observed, Tap};
use wsstats::{Attribute, Connection, MessageType, Processing};

/// A [`tokio_tungstenite::WebSocketStream`] that is observed: the same `Stream` and
/// `Sink` of messages, over the same stream of bytes. What the library does by itself,
/// such as answering pings and close frames, is recorded too.
///
/// The close is recorded at the end of the stream of bytes, or when this is dropped.
#[derive(Debug)]
pub struct WebSocketStream<S> {
    inner: tokio_tungstenite::WebSocketStream<Tap<S>>,
    connection: Connection,
}

impl<S> WebSocketStream<S> {
    fn tell(&self, told: impl FnOnce(&Observed))
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(observed) = self.inner.get_ref().observed() {
            told(observed);
        }
    }

    pub(crate) fn new(inner: tokio_tungstenite::WebSocketStream<Tap<S>>) -> WebSocketStream<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connection = inner.get_ref().connection();
        WebSocketStream { inner, connection }
    }

    /// Takes over a stream whose handshake another library has done, as
    /// [`tokio_tungstenite::WebSocketStream::from_raw_socket`] does, and observes its
    /// connection: that of
    /// [`ServerHandshake::tapped`](wsstats::ServerHandshake::tapped) or
    /// [`ClientHandshake::tapped`](wsstats::ClientHandshake::tapped).
    pub async fn from_raw_socket(
        observed: Option<Observed>,
        stream: S,
        role: Role,
        config: Option<WebSocketConfig>,
    ) -> WebSocketStream<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut tap = Tap::new(stream);
        tap.open(observed, &HeaderMap::new());
        WebSocketStream::new(tokio_tungstenite::WebSocketStream::from_raw_socket(tap, role, config).await)
    }

    /// The connection as the agent knows it, for what only the application knows:
    /// [`Connection::process`], [`Connection::sending`], [`Connection::failed`] and
    /// others. A clone of it goes with each half of a stream that is split. What the
    /// bytes say is recorded already.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Begins the handling of the text or binary message that was read last:
    /// [`Connection::process`].
    #[must_use = "the handling ends when it is dropped"]
    pub fn process(&self, attributes: impl IntoIterator<Item = Attribute>) -> Processing {
        self.connection.process(wsstats::Message::default(), attributes)
    }

    /// Ends the observation, and returns the stream of bytes.
    pub fn into_inner(self) -> S {
        self.inner.into_inner().into_inner()
    }

    /// The stream of bytes. What is read from or written to it is not observed.
    pub fn get_ref(&self) -> &S
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.inner.get_ref().get_ref()
    }

    /// The stream of bytes: see [`WebSocketStream::get_ref`].
    pub fn get_mut(&mut self) -> &mut S
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.inner.get_mut().get_mut()
    }

    /// The configuration of the protocol.
    pub fn get_config(&self) -> &WebSocketConfig {
        self.inner.get_config()
    }

    /// Sends a close frame. The connection is closed when the stream has ended: it is to
    /// be read until then.
    ///
    /// # Errors
    ///
    /// Those of the library: the connection is closed already, or broken.
    pub async fn close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.send(Message::Close(frame)).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocketStream<S> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.inner).poll_next(cx));
        // The tap may be ahead of the application: one read can bring many messages.
        match &next {
            Some(Ok(Message::Text(text))) => {
                self.connection.received(MessageType::Text, text.len(), []);
            }
            Some(Ok(Message::Binary(bytes))) => {
                self.connection.received(MessageType::Binary, bytes.len(), []);
            }
            _ => {}
        }
        Poll::Ready(next)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for WebSocketStream<S> {
    fn is_terminated(&self) -> bool {
        self.inner.is_terminated()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocketStream<S> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_ready(cx)
    }

    /// The span that is active becomes a link of the send. The bytes may be written
    /// later, and with those of other messages.
    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        if !begins_message(&message) {
            return Pin::new(&mut self.inner).start_send(message);
        }
        self.tell(Observed::taken);
        let result = Pin::new(&mut self.inner).start_send(message);
        if result.is_err() {
            self.tell(Observed::returned);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Tells whether what is sent begins a text or binary message.
fn begins_message(message: &Message) -> bool {
    match message {
        Message::Text(_) | Message::Binary(_) => true,
        Message::Frame(frame) => matches!(frame.header().opcode, OpCode::Data(Data::Text | Data::Binary)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => false,
    }
}
