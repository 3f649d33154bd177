//! A handshake between its request and its end.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use wsstats::ServerHandshake;
use wsstats::adapter::Observed;

/// A handshake that the layer begins. Whoever knows first how it ends says so. If nobody
/// does, because the client has gone or the handler failed, it is recorded as abandoned.
#[derive(Clone)]
pub(crate) struct Pending(Arc<Mutex<State>>);

struct State {
    handshake: Option<ServerHandshake>, // none: it has ended
    accepted: bool,                     // by our extractor
}

impl Pending {
    pub(crate) fn new(handshake: ServerHandshake) -> Pending {
        Pending(Arc::new(Mutex::new(State { handshake: Some(handshake), accepted: false })))
    }

    /// Notes that these are the headers of a 101 that goes out.
    pub(crate) fn accept(&self, headers: &mut HeaderMap) {
        let mut state = self.0.lock();
        state.accepted = true;
        if let Some(handshake) = &state.handshake {
            handshake.set_headers(headers);
        }
    }

    /// Notes the final answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        let mut state = self.0.lock();
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        if switched && state.accepted {
            return; // the connection is to come
        }
        let Some(handshake) = state.handshake.take() else { return };
        if switched {
            handshake.ignore();
        } else {
            handshake.refused(Some(status.as_u16()), "");
        }
    }

    /// Notes that the connection is there, by a 101 with these headers.
    pub(crate) fn opened(&self, headers: &HeaderMap) -> Option<Observed> {
        let handshake = self.0.lock().handshake.take()?;
        handshake.tapped(headers)
    }

    /// Notes that the 101 opened no connection.
    pub(crate) fn failed(&self) {
        if let Some(handshake) = self.0.lock().handshake.take() {
            handshake.refused(None, "write_failed");
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
