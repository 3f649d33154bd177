//! TLS of a `wss` link.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

/// A configuration that trusts the system's certificates. It names its cryptography: which
/// one the application has chosen, if any, must not decide whether the link works.
pub(crate) fn system() -> Result<Arc<ClientConfig>, rustls::Error> {
    let installed = CryptoProvider::get_default().cloned();
    let provider = installed.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let found = rustls_native_certs::load_native_certs();
    for e in &found.errors {
        tracing::warn!("wsstats: certificates of the system: {e}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
