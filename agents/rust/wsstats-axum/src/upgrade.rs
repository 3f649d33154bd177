//! The extractor.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;

use axum::Error;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{self, rejection::WebSocketUpgradeRejection};
use axum::response::Response;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use opentelemetry::context::FutureExt;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::Instrument;
use wsstats_tungstenite::WebSocketStream;

pub use axum::extract::ws::OnFailedUpgrade;

use crate::pending::Pending;
use crate::socket::WebSocket;

/// An [`axum::extract::ws::WebSocketUpgrade`] whose connection is observed, where its
/// router has a [`layer()`](crate::layer()). It takes and refuses the same requests, by the
/// same rejections.
#[must_use]
pub struct WebSocketUpgrade<F = DefaultOnFailedUpgrade> {
    asked: ws::WebSocketUpgrade, // what axum made of the request, and the subprotocol
    key: Option<HeaderValue>,    // none: HTTP/2
    upgrade: OnUpgrade,
    config: WebSocketConfig,
    on_failed_upgrade: F,
    pending: Option<Pending>, // none: there is no layer
}

/// Does nothing.
#[derive(Debug)]
#[non_exhaustive]
pub struct DefaultOnFailedUpgrade;

impl OnFailedUpgrade for DefaultOnFailedUpgrade {
    fn call(self, _: Error) {}
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = WebSocketUpgradeRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let upgrade = parts.extensions.get::<OnUpgrade>().cloned();
        let asked = ws::WebSocketUpgrade::from_request_parts(parts, state).await?;
        Ok(WebSocketUpgrade {
            asked,
            key: parts.headers.get(SEC_WEBSOCKET_KEY).filter(|_| parts.version <= Version::HTTP_11).cloned(),
            // axum refuses a request without one; this one would be of no connection.
            upgrade: upgrade.unwrap_or_else(|| hyper::upgrade::on(Request::new(()))),
            config: WebSocketConfig::default(),
            on_failed_upgrade: DefaultOnFailedUpgrade,
            pending: parts.extensions.get().cloned(),
        })
    }
}

impl<F> WebSocketUpgrade<F> {
    /// Sets the size of the buffer to read into, in bytes. The default is 128 KiB.
    pub fn read_buffer_size(mut self, size: usize) -> Self {
        self.config.read_buffer_size = size;
        self
    }

    /// Sets how much is buffered before it is written to the socket, in bytes. The default
    /// is 128 KiB, and 0 writes each message at once. Whoever flushes, as `send` does, does
    /// not depend on it.
    pub fn write_buffer_size(mut self, size: usize) -> Self {
        self.config.write_buffer_size = size;
        self
    }

    /// Sets how much may wait to be written before sending fails, in bytes: more than the
    /// write buffer and a message. The default is no limit.
    pub fn max_write_buffer_size(mut self, max: usize) -> Self {
        self.config.max_write_buffer_size = max;
        self
    }

    /// Sets the largest message that is received, in bytes. The default is 64 MiB.
    pub fn max_message_size(mut self, max: usize) -> Self {
        self.config.max_message_size = Some(max);
        self
    }

    /// Sets the largest frame that is received, in bytes. The default is 16 MiB.
    pub fn max_frame_size(mut self, max: usize) -> Self {
        self.config.max_frame_size = Some(max);
        self
    }

    /// Takes frames that are not masked, against RFC 6455. The default is not to.
    pub fn accept_unmasked_frames(mut self, accept: bool) -> Self {
        self.config.accept_unmasked_frames = accept;
        self
    }

    /// Sets the subprotocols that the server knows: the first one of them that the client
    /// knows as well is chosen. Without one the connection has none.
    pub fn protocols<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Cow<'static, str>>,
    {
        self.asked = self.asked.protocols(protocols);
        self
    }

    /// The subprotocols that the client knows.
    pub fn requested_protocols(&self) -> impl Iterator<Item = &HeaderValue> {
        self.asked.requested_protocols()
    }

    /// Chooses a subprotocol, whether the client asked for it or not.
    pub fn set_selected_protocol(&mut self, protocol: HeaderValue) {
        self.asked.set_selected_protocol(protocol);
    }

    /// The subprotocol that is chosen.
    pub fn selected_protocol(&self) -> Option<&HeaderValue> {
        self.asked.selected_protocol()
    }

    /// Sets what is called with the error where an answer that accepts opens no connection.
    /// By default nothing is. The failed handshake is recorded in any case.
    pub fn on_failed_upgrade<C: OnFailedUpgrade>(self, callback: C) -> WebSocketUpgrade<C> {
        WebSocketUpgrade {
            asked: self.asked,
            key: self.key,
            upgrade: self.upgrade,
            config: self.config,
            on_failed_upgrade: callback,
            pending: self.pending,
        }
    }

    /// Accepts: the answer is to be returned, and the callback runs on a task of its own
    /// when the connection is there, under the span that is active now.
    #[must_use = "to set up the WebSocket connection, this response must be returned"]
    pub fn on_upgrade<C, Fut>(self, callback: C) -> Response
    where
        C: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
        F: OnFailedUpgrade,
    {
        let mut answer = self.answer();
        if let Some(pending) = &self.pending {
            pending.accept(answer.headers_mut());
        }
        let headers = answer.headers().clone();
        let serving = async move {
            let upgraded = match self.upgrade.await {
                Ok(upgraded) => TokioIo::new(upgraded),
                Err(err) => {
                    if let Some(pending) = &self.pending {
                        pending.failed();
                    }
                    self.on_failed_upgrade.call(Error::new(err));
                    return;
                }
            };
            let observed = self.pending.and_then(|pending| pending.opened(&headers));
            let ws = WebSocketStream::from_raw_socket(observed, upgraded, Role::Server, Some(self.config)).await;
            callback(WebSocket::new(ws, headers.get(SEC_WEBSOCKET_PROTOCOL).cloned())).await;
        };
        tokio::spawn(serving.in_current_span().with_current_context());
        answer
    }

    fn answer(&self) -> Response {
        let mut answer = Response::new(Body::empty());
        let headers = answer.headers_mut();
        if let Some(key) = &self.key {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            if let Ok(accept) = derive_accept_key(key.as_bytes()).parse() {
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
        }
        if let Some(protocol) = self.selected_protocol() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        if self.key.is_some() {
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        answer
    }
}

impl<F> fmt::Debug for WebSocketUpgrade<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade")
            .field("asked", &self.asked)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
