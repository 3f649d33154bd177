//! Observes the WebSocket connections of an application and streams what happens on them
//! to an OpenTelemetry Collector that runs the wsstats receiver, which makes spans and
//! metrics of it.
//!
//! An [`Agent`] owns one link to the receiver. What is recorded goes into a bounded queue
//! and from there, in numbered batches, to the receiver; it is kept until the receiver
//! acknowledges it and is sent again after a reconnect. Recording never waits for the
//! network and never fails: where the queue is full, message samples are dropped first,
//! counted, and reported.
//!
//! ```
//! use std::time::Duration;
//! use wsstats::{Agent, Initiator, MessageType, Opening, Role};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder().service_name("chat").build()?; // to ws://localhost:4390/v1/wsstats
//!
//! let connection = agent.observe(Opening::new(Role::Server));
//! let message = connection.received(MessageType::Text, 12, []);
//! {
//!     let processing = connection.process(message, []);
//!     // What is called under processing.context() is in the message's trace.
//!     drop(processing);
//! }
//! connection.sent(MessageType::Text, 31, [wsstats::Attribute::new("room.id", "lobby")]);
//! connection.closed(1000, "", Initiator::Remote, []);
//!
//! agent.shutdown(Duration::from_secs(5)).await?; // hands over what is left
//! # Ok(())
//! # }
//! ```
//!
//! A connection is told of by its application, as above, or by an adapter of its library:
//! by [`Agent::server_handshake`], [`Agent::client_handshake`] and the methods of
//! [`Connection`], or, where the adapter sees the bytes, by an [`adapter::Tap`].
//!
//! Payload is never looked at, kept or sent.

pub mod adapter;

mod agent;
mod backoff;
mod builder;
mod clock;
mod connect;
mod connection;
mod context;
mod delivery;
mod encode;
mod encoding;
mod frame;
mod handshake;
mod histogram;
mod identity;
mod link;
mod measured;
mod meter;
mod observation;
mod parser;
mod process;
mod queue;
mod record;
mod ring;
mod sampling;
mod sending;
mod session;
mod sight;
mod spanrules;
mod tap;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod wire;

pub use opentelemetry::KeyValue as Attribute;

pub use agent::{Agent, ShutdownError, Stats};
pub use builder::{AgentBuilder, BuildError};
pub use connection::{Connection, Opening, Pinging};
pub use context::{TraceFields, current_context};
pub use encoding::Encoding;
pub use handshake::{ClientHandshake, ServerHandshake};
pub use observation::Initiator;
pub use process::{Message, Processing};
pub use ring::Dropped;
pub use sending::{message_id, queue_size};
pub use wire::kind::{MessageType, Role};

/// The version of this agent, as it is told to the receiver.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
