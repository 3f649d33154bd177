//! Opens a WebSocket to the receiver.

use std::io;
use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::Encoding;
use crate::builder::Config;
use crate::wire::SUBPROTOCOL_PROTO;

/// The most bytes of a message of the receiver.
pub(crate) const MAX_REPLY_BYTES: usize = 64 << 10;

/// A link that is open.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// An answer to the upgrade that is not a 101.
    #[error("expected 101, got {status}")]
    Refused { status: u16, after: Duration },
    #[error("expected an answer within {0:?}")]
    Timeout(Duration),
    #[error("expected no extensions")]
    Extensions,
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    #[error("handshake: {0}")]
    Handshake(Box<Error>),
}

/// Opens a WebSocket, and tells whether its messages are binary. A receiver that refuses
/// the list of encodings may know nothing but JSON, and is asked for that alone: each time
/// anew, as it may have learned more since.
pub(crate) async fn connect(cfg: &Config) -> Result<(Socket, bool), ConnectError> {
    let offers = Encoding::subprotocols(cfg.encoding);
    match dial(cfg, offers).await {
        Err(ConnectError::Refused { status: 400, .. }) if offers.len() > 1 => {
            dial(cfg, Encoding::subprotocols(Some(Encoding::Json))).await
        }
        // Without a subprotocol a session is one in JSON, for those that may speak it.
        Err(ConnectError::Handshake(e)) if no_subprotocol(&e) && cfg.encoding != Some(Encoding::Proto) => {
            dial(cfg, &[]).await
        }
        other => other,
    }
}

fn no_subprotocol(e: &Error) -> bool {
    let none = ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol);
    matches!(e, Error::Protocol(e) if *e == none)
}

async fn dial(cfg: &Config, offers: &[&str]) -> Result<(Socket, bool), ConnectError> {
    let limit = cfg.timing.handshake;
    timeout(limit, upgrade(cfg, offers)).await.unwrap_or(Err(ConnectError::Timeout(limit)))
}

async fn upgrade(cfg: &Config, offers: &[&str]) -> Result<(Socket, bool), ConnectError> {
    let failed = |e| ConnectError::Handshake(Box::new(e));
    let mut request = cfg.endpoint.clone().into_client_request().map_err(failed)?;
    request.headers_mut().extend(cfg.headers.clone());
    if let (false, Ok(offers)) = (offers.is_empty(), HeaderValue::from_str(&offers.join(", "))) {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offers);
    }
    let host = cfg.endpoint.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = if cfg.endpoint.scheme_str() == Some("wss") { 443 } else { 80 };
    let stream = TcpStream::connect((host, cfg.endpoint.port_u16().unwrap_or(port))).await?;
    stream.set_nodelay(true)?;

    let limits =
        WebSocketConfig::default().max_message_size(Some(MAX_REPLY_BYTES)).max_frame_size(Some(MAX_REPLY_BYTES));
    match handshake(cfg, request, stream, limits).await {
        Ok((ws, response)) => {
            if response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS) {
                return Err(ConnectError::Extensions);
            }
            let answer = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
            Ok((ws, answer.is_some_and(|answer| answer == SUBPROTOCOL_PROTO)))
        }
        Err(Error::Http(response)) => Err(ConnectError::Refused {
            status: response.status().as_u16(),
            after: retry_after(response.headers(), SystemTime::now()),
        }),
        Err(Error::Io(e)) => Err(e.into()),
        Err(e) => Err(failed(e)),
    }
}

type Upgraded = Result<(Socket, tungstenite::handshake::client::Response), Error>;

#[cfg(feature = "tls")]
async fn handshake(
    cfg: &Config,
    request: tungstenite::handshake::client::Request,
    stream: TcpStream,
    limits: WebSocketConfig,
) -> Upgraded {
    let connector = cfg.tls.clone().map(tokio_tungstenite::Connector::Rustls);
    tokio_tungstenite::client_async_tls_with_config(request, stream, Some(limits), connector).await
}

#[cfg(not(feature = "tls"))]
async fn handshake(
    _: &Config,
    request: tungstenite::handshake::client::Request,
    stream: TcpStream,
    limits: WebSocketConfig,
) -> Upgraded {
    tokio_tungstenite::client_async_with_config(request, MaybeTlsStream::Plain(stream), Some(limits)).await
}

/// Reads the header `Retry-After` (RFC 9110 section 10.2.3), zero where it is absent or
/// cannot be read.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Duration {
    let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).unwrap_or("");
    if let Ok(seconds) = value.parse::<u32>() {
        return Duration::from_secs(seconds.into());
    }
    let at = httpdate::parse_http_date(value).unwrap_or(now);
    at.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::retry_after;
    use http::header::{HeaderMap, RETRY_AFTER};
    use std::time::{Duration, UNIX_EPOCH};

    /// Red when: one of the two forms is not read, or a past or broken one is a pause.
    #[test]
    fn retry_after_has_two_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        for (value, want) in [
            ("7", 7),
            ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
            ("Wed, 31 Dec 2025 00:01:00 GMT", 0),
            ("-1", 0),
            ("soon", 0),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), Duration::from_secs(want), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), Duration::ZERO);
    }
}
