//! Accepting connections.

use std::time::SystemTime;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, NoCallback, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use wsstats::adapter::Tap;
use wsstats::{Agent, Opening, Role, ServerHandshake};

use crate::peer::Peer;
use crate::stream::WebSocketStream;

/// Accepts as [`tokio_tungstenite::accept_async`] does, and observes the connection.
///
/// # Errors
///
/// Those of the library. A handshake that failed is recorded.
pub async fn accept_async<S>(agent: &Agent, stream: S) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    accept_hdr_async(agent, stream, NoCallback).await
}

/// [`accept_async`] with a configuration of the protocol.
///
/// # Errors
///
/// Those of [`accept_async`].
pub async fn accept_async_with_config<S>(
    agent: &Agent,
    stream: S,
    config: Option<WebSocketConfig>,
) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    accept_hdr_async_with_config(agent, stream, NoCallback, config).await
}

/// Accepts as [`tokio_tungstenite::accept_hdr_async`] does, and observes the connection.
/// The callback gets the same as there.
///
/// # Errors
///
/// Those of [`accept_async`], and the callback's refusal.
pub async fn accept_hdr_async<S, C>(agent: &Agent, stream: S, callback: C) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    C: Callback + Unpin,
{
    accept_hdr_async_with_config(agent, stream, callback, None).await
}

/// [`accept_hdr_async`] with a configuration of the protocol.
///
/// # Errors
///
/// Those of [`accept_hdr_async`].
pub async fn accept_hdr_async_with_config<S, C>(
    agent: &Agent,
    stream: S,
    callback: C,
    config: Option<WebSocketConfig>,
) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    C: Callback + Unpin,
{
    let (start, peer) = (SystemTime::now(), Peer::of(&stream));
    let mut answered = None;
    let answering = Answering { agent, peer, callback, answered: &mut answered };
    match tokio_tungstenite::accept_hdr_async_with_config(Tap::new(stream), answering, config).await {
        Ok(mut inner) => {
            if let Some((handshake, headers)) = answered {
                inner.get_mut().open(handshake.tapped(&headers), &headers);
            }
            Ok(WebSocketStream::new(inner))
        }
        Err(err) => {
            match answered {
                Some((handshake, _)) => refused(handshake, &err),
                None if asked_for_websocket(&err) => {
                    let opening = Opening { peer: peer.address, start: Some(start), ..Opening::new(Role::Server) };
                    agent.observe_refused(opening, None, "malformed_request");
                }
                None => {}
            }
            Err(err)
        }
    }
}

fn refused(handshake: ServerHandshake, err: &Error) {
    match err {
        Error::Http(answer) => handshake.refused(Some(answer.status().as_u16()), ""),
        Error::Io(_) => handshake.refused(None, "write_failed"),
        _ => handshake.refused(None, "malformed_answer"),
    }
}

/// Tells whether a request that was not answered asked for a WebSocket, wrongly. Other
/// bytes are none of ours.
fn asked_for_websocket(err: &Error) -> bool {
    matches!(
        err,
        Error::Protocol(
            ProtocolError::MissingSecWebSocketVersionHeader
                | ProtocolError::MissingSecWebSocketKey
                | ProtocolError::InvalidSecWebSocketKey
                | ProtocolError::JunkAfterRequest
        )
    )
}

/// The callback of a server that is observed.
struct Answering<'a, C> {
    agent: &'a Agent,
    peer: Peer,
    callback: C,
    answered: &'a mut Option<(ServerHandshake, HeaderMap)>,
}

impl<C: Callback> Callback for Answering<'_, C> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        let mut handshake = self.agent.server_handshake(request, self.peer.address, []);
        if self.peer.secure {
            handshake = handshake.secure();
        }
        let mut response = self.callback.on_request(request, response);
        let mut headers = HeaderMap::new();
        if let Ok(response) = &mut response {
            handshake.set_headers(response.headers_mut());
            headers.clone_from(response.headers());
        }
        *self.answered = Some((handshake, headers));
        response
    }
}
