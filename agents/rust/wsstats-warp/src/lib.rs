//! Observes the WebSocket connections of [warp] and reports them to an OpenTelemetry
//! Collector that runs the wsstats receiver.
//!
//! [`ws`] takes the place of [`warp::ws()`](warp::ws()), with an [`Agent`](wsstats::Agent); messages
//! and rejections stay warp's. [`refusals()`] around all routes records the requests for a
//! WebSocket that are refused:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use futures_util::{SinkExt, StreamExt};
//! use warp::Filter;
//! use wsstats::Agent;
//! use wsstats_warp::{WebSocket, Ws};
//!
//! async fn echo(mut ws: WebSocket) {
//!     while let Some(Ok(message)) = ws.next().await {
//!         if message.is_text() || message.is_binary() {
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
//! let agent = Agent::builder().service_name("echo").build()?; // to ws://localhost:4390/v1/wsstats
//! let routes = warp::path("echo")
//!     .and(wsstats_warp::ws(agent.clone()))
//!     .map(|ws: Ws| ws.on_upgrade(echo))
//!     .with(wsstats_warp::refusals(agent.clone()));
//! warp::serve(routes).run(([127, 0, 0, 1], 8080)).await;
//! agent.shutdown(Duration::from_secs(5)).await?; // hands over what is left
//! # Ok(())
//! # }
//! ```
//!
//! From then on the receiver has each connection's handshake, messages, pings, protocol
//! errors and close: the bytes are seen, and with them what the library does by itself, such
//! as answering pings and close frames. [`WebSocket::connection`] takes what bytes do not
//! say.
//!
//! What runs in [`Ws::on_upgrade`] is a task of its own; the `tracing` span and the
//! OpenTelemetry context of the handler are its too. A span of the request so lasts as long
//! as the connection. Where that is not wanted, leave it first:
//! `tracing::Span::none().in_scope(|| ws.on_upgrade(callback))`.
//!
//! # Limits
//!
//! - Errors are those of [tungstenite](tokio_tungstenite::tungstenite), as warp's cannot be
//!   made outside of it.
//! - A connection counts as `ws` unless [`Ws::secure`] says `wss`.
//! - The filters of a request run before it is known which of them answers it. So a
//!   handshake is recorded when [`Ws::on_upgrade`] is called, or by [`refusals()`]; one of a
//!   client that leaves before is not.

mod message;
mod refusals;
mod socket;
mod upgrade;

pub use refusals::refusals;
pub use socket::WebSocket;
pub use tokio_tungstenite::tungstenite::Error;
pub use upgrade::{Ws, ws};
