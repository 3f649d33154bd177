//! The agent against a receiver whose every word the test says itself.

mod agent;
mod application;
mod delivery;
mod hostile;
mod limits;
mod meter;
mod receiver;
mod restate;
mod sampling;
#[cfg(feature = "tls")]
mod tls;
