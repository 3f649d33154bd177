//! TLS below the tap. tokio-tungstenite makes it together with the handshake, where
//! nothing fits between; this does the same on its own.

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::uri_mode;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::stream::Mode;
use tokio_tungstenite::{Connector, MaybeTlsStream};

/// Host and port of a `ws` or `wss` URL.
pub(crate) fn address(uri: &Uri) -> Result<String, Error> {
    let host = uri.host().ok_or(UrlError::NoHostName)?;
    let default = match uri.scheme_str() {
        Some("ws") => Some(80),
        Some("wss") => Some(443),
        _ => None,
    };
    let port = uri.port_u16().or(default).ok_or(UrlError::UnsupportedUrlScheme)?;
    Ok(format!("{host}:{port}"))
}

/// Makes TLS where the URL asks for it.
pub(crate) async fn encrypt<S>(uri: &Uri, stream: S, connector: Option<Connector>) -> Result<MaybeTlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Mode::Plain = uri_mode(uri)? {
        return Ok(MaybeTlsStream::Plain(stream));
    }
    // An IPv6 address is in brackets in a URL alone.
    let host = uri.host().ok_or(UrlError::NoHostName)?.trim_start_matches('[').trim_end_matches(']');
    match connector {
        #[cfg(feature = "native-tls")]
        Some(Connector::NativeTls(connector)) => native(host, stream, connector).await,
        #[cfg(feature = "__rustls-tls")]
        Some(Connector::Rustls(config)) => rustls(host, stream, config).await,
        #[cfg(feature = "native-tls")]
        None => native(host, stream, native_tls::TlsConnector::new().map_err(TlsError::from)?).await,
        #[cfg(all(feature = "__rustls-tls", not(feature = "native-tls")))]
        None => rustls(host, stream, default_config()?).await,
        _ => {
            let _ = host;
            Err(UrlError::TlsFeatureNotEnabled.into())
        }
    }
}

#[cfg(any(feature = "native-tls", feature = "__rustls-tls"))]
use tokio_tungstenite::tungstenite::error::TlsError;

#[cfg(feature = "native-tls")]
async fn native<S>(host: &str, stream: S, connector: native_tls::TlsConnector) -> Result<MaybeTlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connector = tokio_native_tls::TlsConnector::from(connector);
    let stream = connector.connect(host, stream).await.map_err(TlsError::from)?;
    Ok(MaybeTlsStream::NativeTls(stream))
}

#[cfg(feature = "__rustls-tls")]
async fn rustls<S>(
    host: &str,
    stream: S,
    config: std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
) -> Result<MaybeTlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from(host).map_err(|_| TlsError::InvalidDnsName)?;
    let stream = tokio_rustls::TlsConnector::from(config).connect(name.to_owned(), stream).await?;
    Ok(MaybeTlsStream::Rustls(stream))
}

/// Trusts the certificates of the features that are on. It names its cryptography: which
/// one the application has chosen, if any, must not decide whether this works.
#[cfg(all(feature = "__rustls-tls", not(feature = "native-tls")))]
fn default_config() -> Result<std::sync::Arc<tokio_rustls::rustls::ClientConfig>, Error> {
    use std::io;
    use std::sync::Arc;

    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let mut roots = RootCertStore::empty();
    #[cfg(feature = "rustls-tls-native-roots")]
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    #[cfg(feature = "rustls-tls-webpki-roots")]
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if roots.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no certificates of the system found").into());
    }
    let installed = CryptoProvider::get_default().cloned();
    let provider = installed.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
