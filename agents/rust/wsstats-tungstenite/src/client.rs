//! Opening connections.

use std::future::{Future, ready};
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream};
use wsstats::Agent;
use wsstats::adapter::Tap;

use crate::peer::Peer;
use crate::stream::WebSocketStream;
use crate::tls::{address, encrypt};

/// Connects as [`tokio_tungstenite::connect_async`] does, and observes the connection.
/// Its handshake is a child of the span that is active.
///
/// # Errors
///
/// Those of the library. A handshake that failed is recorded.
pub async fn connect_async<R>(
    agent: &Agent,
    request: R,
) -> Result<(WebSocketStream<MaybeTlsStream<TcpStream>>, Response), Error>
where
    R: IntoClientRequest + Unpin,
{
    connect_async_with_config(agent, request, None, false).await
}

/// [`connect_async`] with a configuration of the protocol, and without Nagle's algorithm
/// where that is asked for.
///
/// # Errors
///
/// Those of [`connect_async`].
pub async fn connect_async_with_config<R>(
    agent: &Agent,
    request: R,
    config: Option<WebSocketConfig>,
    disable_nagle: bool,
) -> Result<(WebSocketStream<MaybeTlsStream<TcpStream>>, Response), Error>
where
    R: IntoClientRequest + Unpin,
{
    connect(agent, request.into_client_request()?, config, disable_nagle, None).await
}

/// [`connect_async_with_config`] with what makes TLS connections; none: the library's
/// default.
///
/// # Errors
///
/// Those of [`connect_async`].
#[cfg(any(feature = "native-tls", feature = "__rustls-tls"))]
pub async fn connect_async_tls_with_config<R>(
    agent: &Agent,
    request: R,
    config: Option<WebSocketConfig>,
    disable_nagle: bool,
    connector: Option<Connector>,
) -> Result<(WebSocketStream<MaybeTlsStream<TcpStream>>, Response), Error>
where
    R: IntoClientRequest + Unpin,
{
    connect(agent, request.into_client_request()?, config, disable_nagle, connector).await
}

async fn connect(
    agent: &Agent,
    request: Request,
    config: Option<WebSocketConfig>,
    disable_nagle: bool,
    connector: Option<Connector>,
) -> Result<(WebSocketStream<MaybeTlsStream<TcpStream>>, Response), Error> {
    let uri = request.uri().clone();
    let address = address(&uri)?;
    let stream = async move {
        let socket = TcpStream::connect(address).await?;
        if disable_nagle {
            socket.set_nodelay(true)?;
        }
        encrypt(&uri, socket, connector).await
    };
    open(agent, request, stream, config).await
}

/// Opens a connection on a stream as [`tokio_tungstenite::client_async`] does, and
/// observes it. Its handshake is a child of the span that is active.
///
/// # Errors
///
/// Those of the library. A handshake that failed is recorded.
pub async fn client_async<R, S>(agent: &Agent, request: R, stream: S) -> Result<(WebSocketStream<S>, Response), Error>
where
    R: IntoClientRequest + Unpin,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    client_async_with_config(agent, request, stream, None).await
}

/// [`client_async`] with a configuration of the protocol.
///
/// # Errors
///
/// Those of [`client_async`].
pub async fn client_async_with_config<R, S>(
    agent: &Agent,
    request: R,
    stream: S,
    config: Option<WebSocketConfig>,
) -> Result<(WebSocketStream<S>, Response), Error>
where
    R: IntoClientRequest + Unpin,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    open(agent, request.into_client_request()?, ready(Ok(stream)), config).await
}

/// [`client_async`] with TLS below, where the request's URL is a `wss` one.
///
/// # Errors
///
/// Those of [`client_async`].
#[cfg(any(feature = "native-tls", feature = "__rustls-tls"))]
pub async fn client_async_tls<R, S>(
    agent: &Agent,
    request: R,
    stream: S,
) -> Result<(WebSocketStream<MaybeTlsStream<S>>, Response), Error>
where
    R: IntoClientRequest + Unpin,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    client_async_tls_with_config(agent, request, stream, None, None).await
}

/// [`client_async_tls`] with a configuration of the protocol, and with what makes TLS
/// connections; none: the library's default.
///
/// # Errors
///
/// Those of [`client_async`].
#[cfg(any(feature = "native-tls", feature = "__rustls-tls"))]
pub async fn client_async_tls_with_config<R, S>(
    agent: &Agent,
    request: R,
    stream: S,
    config: Option<WebSocketConfig>,
    connector: Option<Connector>,
) -> Result<(WebSocketStream<MaybeTlsStream<S>>, Response), Error>
where
    R: IntoClientRequest + Unpin,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = request.into_client_request()?;
    let uri = request.uri().clone();
    open(agent, request, async move { encrypt(&uri, stream, connector).await }, config).await
}

/// Opens a connection on a stream that is yet to come, which is part of the handshake.
async fn open<S>(
    agent: &Agent,
    mut request: Request,
    stream: impl Future<Output = Result<S, Error>>,
    config: Option<WebSocketConfig>,
) -> Result<(WebSocketStream<S>, Response), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let handshake = agent.client_handshake(&request, []);
    handshake.set_headers(request.headers_mut());
    let shake = async {
        let stream = stream.await?;
        let peer = Peer::of(&stream).address;
        let (inner, answer) = tokio_tungstenite::client_async_with_config(request, Tap::new(stream), config).await?;
        Ok((inner, answer, peer))
    };
    match shake.await {
        Ok((mut inner, answer, peer)) => {
            let observed = handshake.tapped(answer.headers(), peer);
            inner.get_mut().open(observed, answer.headers());
            Ok((WebSocketStream::new(inner), answer))
        }
        Err(err) => {
            match &err {
                Error::Http(answer) => handshake.refused(Some(answer.status().as_u16()), ""),
                _ => handshake.refused(None, cause(&err)),
            }
            Err(err)
        }
    }
}

/// The `error.type` of a handshake without an answer.
fn cause(err: &Error) -> &'static str {
    match err {
        Error::Io(err) if err.kind() == io::ErrorKind::TimedOut => "timeout",
        // tokio-rustls has no other way to say it.
        Error::Io(err) if err.kind() == io::ErrorKind::InvalidData => "tls",
        Error::Tls(_) => "tls",
        Error::Io(_) | Error::Protocol(ProtocolError::HandshakeIncomplete) => "no_answer",
        Error::Url(_) => "invalid_request",
        _ => "malformed_answer",
    }
}
