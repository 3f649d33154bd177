//! What a stream of bytes says of its other end.

use std::any::Any;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;

/// The other end of a stream. It is known of a TCP connection and of TLS on one, by the
/// libraries whose features are on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) secure: bool,
}

impl Peer {
    pub(crate) fn of<S: 'static>(stream: &S) -> Peer {
        let stream: &dyn Any = stream;
        if let Some(tcp) = stream.downcast_ref::<TcpStream>() {
            return Peer { address: tcp.peer_addr().ok(), secure: false };
        }
        if let Some(maybe) = stream.downcast_ref::<MaybeTlsStream<TcpStream>>() {
            let secure = !matches!(maybe, MaybeTlsStream::Plain(_));
            return Peer { address: maybe.get_ref().peer_addr().ok(), secure };
        }
        #[cfg(feature = "__rustls-tls")]
        if let Some(tls) = stream.downcast_ref::<tokio_rustls::server::TlsStream<TcpStream>>() {
            return Peer { address: tls.get_ref().0.peer_addr().ok(), secure: true };
        }
        #[cfg(feature = "__rustls-tls")]
        if let Some(tls) = stream.downcast_ref::<tokio_rustls::TlsStream<TcpStream>>() {
            return Peer { address: tls.get_ref().0.peer_addr().ok(), secure: true };
        }
        #[cfg(feature = "native-tls")]
        if let Some(tls) = stream.downcast_ref::<tokio_native_tls::TlsStream<TcpStream>>() {
            return Peer { address: tls.get_ref().get_ref().get_ref().peer_addr().ok(), secure: true };
        }
        Peer::default()
    }
}
