//! Protocol messages of records.

use crate::record::Conn;
use crate::wire::attr::{Attr, Attrs};

/// Sets what a connection's events inherit.
pub(crate) fn set_connection(attrs: &mut Attrs, conn: &Conn) {
    for (attr, text) in [(Attr::Url, &conn.url), (Attr::PeerIp, &conn.peer_ip)] {
        if !text.as_str().is_empty() {
            attrs.set(attr, text.clone());
        }
    }
    if !conn.protocol.is_empty() {
        attrs.set(Attr::Protocol, conn.protocol);
    }
    attrs.set(Attr::Role, conn.role.name());
    if conn.peer_port > 0 {
        attrs.set(Attr::PeerPort, i64::from(conn.peer_port));
    }
    if conn.shared {
        attrs.set(Attr::Shared, true);
    }
    attrs.add(&conn.attributes);
}
