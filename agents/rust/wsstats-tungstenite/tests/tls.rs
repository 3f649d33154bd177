//! `wss`: the tap is on top of TLS. It runs with the features of the libraries:
//! `cargo test --features native-tls,rustls-tls-webpki-roots`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#![cfg(any(feature = "native-tls", feature = "__rustls-tls"))]

mod support;

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use support::{Observer, closed};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream};
use wsstats_tungstenite::{accept_async, client_async_tls, connect_async, connect_async_tls_with_config};

/// A server's socket, and what makes TLS of what it accepts.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: CertificateDer<'static>,
}

impl Server {
    async fn start() -> Server {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (cert.der().clone(), PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap());
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.clone()], key).unwrap();
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        Server { listener, acceptor: TlsAcceptor::from(Arc::new(config)), certificate }
    }

    fn url(&self) -> String {
        format!("wss://localhost:{}/chat", self.listener.local_addr().unwrap().port())
    }

    /// What trusts the server.
    #[cfg(feature = "__rustls-tls")]
    fn by_rustls(&self) -> Connector {
        use tokio_rustls::rustls::{ClientConfig, RootCertStore};
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Connector::Rustls(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
    }

    #[cfg(feature = "native-tls")]
    fn by_native_tls(&self) -> Connector {
        let certificate = native_tls::Certificate::from_der(&self.certificate).unwrap();
        Connector::NativeTls(native_tls::TlsConnector::builder().add_root_certificate(certificate).build().unwrap())
    }

    fn connectors(&self) -> Vec<Connector> {
        vec![
            #[cfg(feature = "__rustls-tls")]
            self.by_rustls(),
            #[cfg(feature = "native-tls")]
            self.by_native_tls(),
        ]
    }
}

/// Red when: a tap sees what is encrypted, or an end of a secure connection does not say
/// that it is one.
#[tokio::test]
async fn taps_are_above_tls() {
    let server = Server::start().await;
    for connector in server.connectors() {
        let (near, far) = (Observer::start().await, Observer::start().await);
        let serving = async {
            let (socket, _) = server.listener.accept().await.unwrap();
            let mut ws = accept_async(&far.agent, server.acceptor.accept(socket).await.unwrap()).await.unwrap();
            while let Some(message) = ws.next().await {
                let message = message.unwrap();
                if message.is_text() {
                    ws.send(message).await.unwrap();
                }
            }
        };
        let asking = async {
            let url = server.url();
            let dialled = connect_async_tls_with_config(&near.agent, url, None, false, Some(connector)).await;
            let mut ws = dialled.unwrap().0;
            assert!(!matches!(ws.get_ref(), MaybeTlsStream::Plain(_)));
            ws.send(Message::text("hello")).await.unwrap();
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::text("hello"));
            ws.close(None).await.unwrap();
            while ws.next().await.is_some() {}
        };
        tokio::join!(serving, asking);
        assert_eq!(near.close().await, closed(1005, "", "local", true));
        assert_eq!(far.close().await, closed(1005, "", "remote", true));
        for observer in [&near, &far] {
            assert_eq!(observer.messages("send").await, ["text 1 5 in 1"]);
            assert_eq!(observer.messages("receive").await, ["text 1 5 in 1"]);
            assert!(observer.of("protocol_error").await.is_empty());
        }
        let (asked, accepted) = (&near.of("handshake").await[0], &far.of("handshake").await[0]);
        assert_eq!(asked["ws.url"], server.url());
        assert_eq!(asked["net.peer.port"], server.listener.local_addr().unwrap().port());
        assert_eq!(asked["ws.connection.id"], accepted["ws.connection.id"]);
        if cfg!(feature = "__rustls-tls") {
            assert_eq!(accepted["ws.url"], server.url());
            assert!(accepted["net.peer.port"].is_u64());
        }
    }
}

/// Red when: a certificate that nobody trusts opens a connection, or is recorded as
/// something else.
#[tokio::test]
async fn untrusted_certificate() {
    let server = Server::start().await;
    let address = server.listener.local_addr().unwrap();
    for on_a_stream in [false, true] {
        let observer = Observer::start().await;
        let serving = async {
            let (socket, _) = server.listener.accept().await.unwrap();
            assert!(server.acceptor.accept(socket).await.is_err());
        };
        let asking = async {
            if on_a_stream {
                let socket = TcpStream::connect(address).await.unwrap();
                client_async_tls(&observer.agent, server.url(), socket).await.err()
            } else {
                connect_async(&observer.agent, server.url()).await.err()
            }
        };
        let ((), failed) = tokio::join!(serving, asking);
        assert!(matches!(failed, Some(Error::Tls(_) | Error::Io(_))), "{failed:?}");
        let events = observer.all().await;
        assert_eq!(events.len(), 1);
        assert_eq!((&events[0]["error.type"], &events[0]["ws.url"]), (&"tls".into(), &server.url().into()));
    }
}
