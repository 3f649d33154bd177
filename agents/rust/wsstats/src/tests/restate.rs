//! Connections as they are declared.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::receiver::*;
use crate::wire::attr::Attr;
use crate::wire::kind::Kind;

/// Red when: a connection is declared twice in a session, or not at all, or without what its
/// events inherit.
#[tokio::test]
async fn connections_are_declared_once_a_session() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        let mut early = conn("early");
        (early.handshake.trace, early.handshake.span) = ([1; 16], [2; 8]);
        let (early, late, handshaken) = (Arc::new(early), new_conn("late"), new_conn("handshaken"));
        a.open(&early);

        let mut p = r.welcomed(0).await;
        let b = p.batch(0).await;
        assert_eq!(entries(&b), [("early", true)].into());
        let entry = &b.connections[0];
        assert_eq!(entry.attrs.text(Attr::Url), "ws://example.com/chat");
        assert_eq!(entry.attrs.text(Attr::Role), "server");
        assert_eq!(entry.attrs.text(Attr::PeerIp), "192.0.2.7");
        assert_eq!(entry.attrs.int(Attr::PeerPort), Some(4711));
        assert_eq!(entry.opened_at, Some(early.opened_at));
        assert_eq!(entry.handshake, early.handshake);

        // Opened in the session, without a handshake: declared where it is first named.
        a.open(&late);
        a.messages(Some(&early), 1..=1);
        a.messages(Some(&late), 2..=2);
        assert_eq!(entries(&p.batch(1).await), [("late", true)].into());
        a.messages(Some(&late), 3..=4);
        assert!(entries(&p.batch(2).await).is_empty());

        // A handshake declares it too.
        a.open(&handshaken);
        a.shared().record(event(Some(&handshaken), Kind::Handshake));
        a.messages(Some(&handshaken), 5..=5);
        let b = p.batch(3).await;
        assert!(entries(&b).is_empty());
        assert_eq!(b.events[0].attrs.text(Attr::Url), "ws://example.com/chat");
        assert_eq!(b.events[0].attrs.text(Attr::Role), "server");
        assert_eq!(b.events[1].attrs.get(Attr::Url), None); // inherited
        p.ack(3).await;
        a.flushed().await;
    }
}

/// Red when: a receiver that forgot everything does not hear of an open connection, or of one
/// that an unanswered number names, before it.
#[tokio::test]
async fn restate_after_reconnect() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        let mut unseen = conn("unseen");
        unseen.opened_at = 0;
        let (gone, open, sent, unseen) = (new_conn("gone"), new_conn("open"), new_conn("sent"), Arc::new(unseen));
        for c in [&gone, &open, &sent, &unseen] {
            a.open(c);
        }
        let mut p = r.welcomed(0).await;
        assert_eq!(entries(&p.batch(0).await).len(), 4);
        a.messages(Some(&gone), 1..=1);
        a.shared().record(event(Some(&gone), Kind::Close));
        p.batch(1).await;
        p.ack(1).await;
        a.messages(Some(&sent), 2..=2);
        a.shared().record(event(Some(&sent), Kind::Close));
        p.batch(2).await;
        until(|| a.stats().acknowledged == 2).await;
        drop(p);

        let mut q = r.welcomed(1).await;
        let b = q.batch(0).await;
        assert_eq!(entries(&b), [("open", true), ("unseen", true), ("sent", false)].into());
        for c in &b.connections {
            assert_eq!(c.attrs.text(Attr::ConnectionId) != "unseen", c.opened_at.is_some());
        }
        assert!(entries(&q.batch(2).await).is_empty());
        q.ack(2).await;
        a.flushed().await;
    }
}

/// A receiver that refuses a number ignores those after it, with the connections that they
/// declare. Red when: what comes again does not declare them again.
#[tokio::test]
async fn connections_of_ignored_numbers_are_declared_again() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(2));
        let (first, second) = (new_conn("first"), new_conn("second"));
        let mut p = r.welcomed(0).await;
        a.messages(Some(&first), 1..=2);
        a.messages(Some(&second), 3..=4);
        for _ in 0..2 {
            assert_eq!(entries(&p.batch(1).await), [("first", true)].into());
            assert_eq!(entries(&p.batch(2).await), [("second", true)].into());
            p.nack(1, true).await;
        }
        assert_eq!(entries(&p.batch(1).await), [("first", true)].into());
        p.ack(1).await;
        assert_eq!(entries(&p.batch(2).await), [("second", true)].into());
        p.ack(2).await;
        a.messages(Some(&second), 5..=6);
        assert!(entries(&p.batch(3).await).is_empty());
        p.ack(3).await;
        a.flushed().await;
    }
}

/// Red when: a message of declarations is over the receiver's limit, or a connection is
/// declared twice or not at all.
#[tokio::test]
async fn many_connections_are_restated_in_pieces() {
    for e in ENCODINGS {
        let r = Receiver::new(e).await;
        let a = r.agent(batch_of(1));
        for i in 0..612 {
            a.open(&new_conn(&format!("{i:032}")));
        }
        a.messages(Some(&new_conn("other")), 1..=1);
        let mut p = r.accept().await;
        p.welcome(json!({"max_message_bytes": 20_000})).await;
        let mut all = BTreeSet::new();
        while all.len() < 612 {
            let b = p.batch(0).await;
            assert!(p.len <= 20_000);
            for id in entries(&b).keys() {
                assert!(all.insert((*id).to_owned()), "{id}");
            }
        }
        p.batch(1).await;
        p.ack(1).await;
        a.flushed().await;
    }
}
