//! Observes the WebSocket connections of [axum] and reports them to an OpenTelemetry
//! Collector that runs the wsstats receiver.
//!
//! A router gets a [`layer()`] with an [`Agent`](wsstats::Agent), and handlers take
//! [`WebSocketUpgrade`] from here in place of axum's. Messages, close frames, errors and
//! rejections stay axum's:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use axum::Router;
//! use axum::extract::ws::Message;
//! use axum::response::Response;
//! use axum::routing::any;
//! use wsstats::Agent;
//! use wsstats_axum::{WebSocket, WebSocketUpgrade};
//!
//! async fn chat(ws: WebSocketUpgrade) -> Response {
//!     ws.on_upgrade(echo)
//! }
//!
//! async fn echo(mut ws: WebSocket) {
//!     while let Some(Ok(message)) = ws.recv().await {
//!         if let Message::Text(_) | Message::Binary(_) = message {
//!             let processing = ws.process([]); // of the message that was read last, until it is dropped
//!             if processing.run(ws.send(message)).await.is_err() {
//!                 return;
//!             }
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder().service_name("chat").build()?; // to ws://localhost:4390/v1/wsstats
//! let app = Router::new().route("/chat", any(chat)).layer(wsstats_axum::layer(agent.clone()));
//! let listener = tokio::net::TcpListener::bind("localhost:8080").await?;
//! axum::serve(listener, app).await?;
//! agent.shutdown(Duration::from_secs(5)).await?; // hands over what is left
//! # Ok(())
//! # }
//! ```
//!
//! From then on the receiver has each connection's handshake, messages, pings, protocol
//! errors and close: the bytes are seen, and with them what the library does by itself, such
//! as answering pings and close frames. A request for a WebSocket that is answered
//! otherwise, by a handler, an extractor or a layer below, is recorded as a handshake that
//! failed, with its status. [`WebSocket::connection`] takes what bytes do not say.
//!
//! What runs in [`WebSocketUpgrade::on_upgrade`] is a task of its own; the `tracing` span
//! and the OpenTelemetry context of the handler are its too. A span of the request so lasts
//! as long as the connection. Where that is not wanted, leave it first:
//! `tracing::Span::none().in_scope(|| ws.on_upgrade(callback))`.
//!
//! axum's graceful shutdown does not wait for these tasks. What happens on a connection
//! after [`Agent::shutdown`](wsstats::Agent::shutdown) is not recorded, so an application
//! ends its connections first.
//!
//! # Limits
//!
//! - The peer's address is known where the router is served by
//!   `into_make_service_with_connect_info::<SocketAddr>()`.
//! - The layer is the outermost of those that may refuse: what one above it answers in place
//!   of a handler is not seen.
//! - A connection counts as `ws` unless [`ObserveLayer::secure`] says `wss`.
//! - WebSockets over HTTP/2 (RFC 8441) are served and not observed, as are those of axum's
//!   own `WebSocketUpgrade`, and those of a router without the layer.

mod layer;
mod message;
mod pending;
mod socket;
mod upgrade;

pub use layer::{Observe, ObserveFuture, ObserveLayer, layer};
pub use socket::WebSocket;
pub use upgrade::{DefaultOnFailedUpgrade, OnFailedUpgrade, WebSocketUpgrade};
