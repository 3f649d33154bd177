//! Observes the WebSocket connections of [tokio-tungstenite](tokio_tungstenite) and
//! reports them to an OpenTelemetry Collector that runs the wsstats receiver.
//!
//! [`accept_async`], [`connect_async`] and the others are those of tokio-tungstenite with
//! an [`Agent`](wsstats::Agent) in front; what they return is the same `Stream` and `Sink`
//! of messages. Nothing else changes:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use futures_util::{SinkExt, StreamExt};
//! use tokio::net::TcpListener;
//! use wsstats::Agent;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder().service_name("echo").build()?; // to ws://localhost:4390/v1/wsstats
//! let listener = TcpListener::bind("localhost:8080").await?;
//! while let Ok((socket, _)) = listener.accept().await {
//!     let agent = agent.clone();
//!     tokio::spawn(async move {
//!         let mut ws = wsstats_tungstenite::accept_async(&agent, socket).await?;
//!         while let Some(message) = ws.next().await {
//!             let message = message?;
//!             if message.is_text() || message.is_binary() {
//!                 ws.send(message).await?;
//!             }
//!         }
//!         Ok::<_, tokio_tungstenite::tungstenite::Error>(())
//!     });
//! }
//! agent.shutdown(Duration::from_secs(5)).await?; // hands over what is left
//! # Ok(())
//! # }
//! ```
//!
//! From then on the receiver has each connection's handshake, messages, pings, protocol
//! errors and close. With an agent at both ends, in whatever language, a message's send
//! and receive are in one trace.
//!
//! # What bytes do not say
//!
//! How long a message was handled, the application tells by
//! [`WebSocketStream::process`]. What is called under it, and what is sent, is in the
//! message's trace:
//!
//! ```no_run
//! # use futures_util::{SinkExt, StreamExt};
//! # use tokio::io::{AsyncRead, AsyncWrite};
//! # use tokio_tungstenite::tungstenite::{Error, Message};
//! # use wsstats_tungstenite::WebSocketStream;
//! # async fn answer(question: Message) -> Message { question }
//! # async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocketStream<S>) -> Result<(), Error> {
//! while let Some(message) = ws.next().await {
//!     let message = message?;
//!     if message.is_text() {
//!         let processing = ws.process([]); // of the message that was read last, until it is dropped
//!         let answer = processing.run(answer(message)).await;
//!         processing.run(ws.send(answer)).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A message that another task handles takes its [`Processing`](wsstats::Processing) along.
//!
//! [`WebSocketStream::connection`] has the rest: what is known of the next message that is
//! sent ([`sending`](wsstats::Connection::sending)), broadcasts, batches and errors of the
//! application's. A clone of it goes with each half of a stream that is split.
//!
//! # Limits
//!
//! - The other end's address is known of a [`TcpStream`](tokio::net::TcpStream), and of TLS
//!   on one by the library whose feature is on.
//! - A message's type and size are known when it has passed the socket, not when it was
//!   put into a buffer: what is never flushed is never recorded.

mod client;
mod peer;
mod server;
mod stream;
mod tls;

pub use client::{client_async, client_async_with_config};
#[cfg(any(feature = "native-tls", feature = "__rustls-tls"))]
pub use client::{client_async_tls, client_async_tls_with_config, connect_async_tls_with_config};
pub use client::{connect_async, connect_async_with_config};
pub use server::{accept_async, accept_async_with_config, accept_hdr_async, accept_hdr_async_with_config};
pub use stream::WebSocketStream;

/// The page of all crates: this one has what its code needs.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/agents-rust.md")]
struct Documentation;
