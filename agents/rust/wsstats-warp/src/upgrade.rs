//! The filter.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use opentelemetry::context::FutureExt;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::Instrument;
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};
use wsstats::{Agent, ServerHandshake};
use wsstats_tungstenite::WebSocketStream;

use crate::refusals::request;
use crate::socket::WebSocket;

/// A [`warp::ws()`](warp::ws()) whose connections an agent observes. It takes and rejects the same
/// requests, by the same rejections.
pub fn ws(agent: Agent) -> impl Filter<Extract = (Ws,), Error = Rejection> + Clone {
    warp::ext::optional::<OnUpgrade>() // before warp's own filter takes it away
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::addr::remote())
        .and(warp::ws())
        .map(move |upgrade, path: FullPath, headers: HeaderMap, peer: Option<SocketAddr>, _| {
            let request = request(path.as_str(), &headers);
            let handshake = agent.server_handshake(&request, peer, []);
            Ws {
                key: headers.get(SEC_WEBSOCKET_KEY).cloned(),
                upgrade,
                config: WebSocketConfig::default(),
                protocol: None,
                handshake: Handshake(Some(handshake)),
            }
        })
}

/// A [`warp::ws::Ws`] whose connection is observed.
#[must_use = "nothing is answered before on_upgrade"]
pub struct Ws {
    key: Option<HeaderValue>,   // there: warp has looked
    upgrade: Option<OnUpgrade>, // none: the request did not come from a connection
    config: WebSocketConfig,
    protocol: Option<HeaderValue>,
    handshake: Handshake,
}

impl Ws {
    /// Sets how much may wait to be written before sending fails, in bytes: more than the
    /// write buffer of 128 KiB and a message. The default is no limit.
    pub fn max_write_buffer_size(mut self, max: usize) -> Ws {
        self.config.max_write_buffer_size = max;
        self
    }

    /// Sets the largest message that is received, in bytes. The default is 64 MiB.
    pub fn max_message_size(mut self, max: usize) -> Ws {
        self.config.max_message_size = Some(max);
        self
    }

    /// Sets the largest frame that is received, in bytes. The default is 16 MiB.
    pub fn max_frame_size(mut self, max: usize) -> Ws {
        self.config.max_frame_size = Some(max);
        self
    }

    /// Sets the subprotocol that is agreed on (`Sec-WebSocket-Protocol`). One that is added
    /// to the reply by other means is not recorded.
    pub fn protocol(mut self, protocol: HeaderValue) -> Ws {
        self.protocol = Some(protocol);
        self
    }

    /// Says that the server is reached by TLS: the connection is a `wss` one.
    pub fn secure(mut self) -> Ws {
        self.handshake.0 = self.handshake.0.take().map(ServerHandshake::secure);
        self
    }

    /// Accepts: the answer is to be returned, and the callback runs on a task of its own
    /// when the connection is there, under the span that is active now.
    #[must_use = "to set up the connection, the answer must be returned"]
    pub fn on_upgrade<F, U>(mut self, callback: F) -> Response
    where
        F: FnOnce(WebSocket) -> U + Send + 'static,
        U: Future<Output = ()> + Send + 'static,
    {
        let mut answer = self.answer();
        let handshake = self.handshake.0.take();
        if let Some(handshake) = &handshake {
            handshake.set_headers(answer.headers_mut());
        }
        let headers = answer.headers().clone();
        if let Some(upgrade) = self.upgrade.take() {
            let serving = async move {
                match upgrade.await {
                    Ok(upgraded) => {
                        let observed = handshake.and_then(|handshake| handshake.tapped(&headers));
                        let (upgraded, config) = (TokioIo::new(upgraded), Some(self.config));
                        let ws = WebSocketStream::from_raw_socket(observed, upgraded, Role::Server, config).await;
                        callback(WebSocket::new(ws)).await;
                    }
                    Err(err) => {
                        if let Some(handshake) = handshake {
                            handshake.refused(None, "write_failed");
                        }
                        tracing::debug!("ws upgrade error: {err}");
                    }
                }
            };
            tokio::spawn(serving.in_current_span().with_current_context());
        }
        answer
    }

    fn answer(&self) -> Response {
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = self.key.as_ref().and_then(|key| derive_accept_key(key.as_bytes()).parse().ok());
        if let Some(accept) = accept {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = &self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        answer
    }
}

impl fmt::Debug for Ws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ws").field("config", &self.config).field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// A handshake that is recorded only if its request is accepted: another filter may take
/// it, and the status of a refusal is not known here.
struct Handshake(Option<ServerHandshake>);

impl Drop for Handshake {
    fn drop(&mut self) {
        if let Some(handshake) = self.0.take() {
            handshake.ignore();
        }
    }
}
