//! A link over TLS.

use std::sync::Arc;

use futures_util::StreamExt;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::receiver::*;
use crate::Encoding;

/// Red when: a `wss` link is not opened, or to a server that it has no reason to trust.
#[tokio::test]
async fn links_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(default_provider());
    let server =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
    let a = Tested::new(quick(endpoint.clone()).encoding(Encoding::Json)); // by the system's certificates
    for _ in 0..2 {
        let stream = soon(listener.accept()).await.unwrap().0;
        assert!(soon(acceptor.accept(stream)).await.is_err(), "it trusts anybody");
    }
    drop(a);

    let _a = Tested::new(quick(endpoint).encoding(Encoding::Json).tls_config(client));
    let stream = loop {
        let stream = soon(listener.accept()).await.unwrap().0;
        if let Ok(stream) = soon(acceptor.accept(stream)).await {
            break stream; // else it is one of the first agent's
        }
    };
    #[allow(clippy::result_large_err)] // the library's
    let callback = |_: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
        answer.headers_mut().insert("sec-websocket-protocol", "wsstats.v1.json".parse().unwrap());
        Ok(answer)
    };
    let mut ws = soon(tokio_tungstenite::accept_hdr_async(stream, callback)).await.unwrap();
    let hello = soon(ws.next()).await.unwrap().unwrap();
    assert!(hello.to_text().unwrap().starts_with(r#"{"hello":{"instance":""#));
}
