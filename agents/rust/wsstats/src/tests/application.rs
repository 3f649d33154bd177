//! What the application tells, and the spans that it runs under.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Request};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue, Value};
use serde_json::json;

use super::receiver::*;
use crate::encode::event as event_of;
use crate::wire::attr::Attr;
use crate::wire::id::{Seed, Slot, SpanIds};
use crate::wire::kind::{Kind, MessageType, Role};
use crate::wire::message::Event;
use crate::wire::traceparent::TraceContext;
use crate::{Connection, Initiator, Message, Opening, TraceFields, message_id, queue_size};

const TEXT: MessageType = MessageType::Text;
const BINARY: MessageType = MessageType::Binary;

/// An agent whose queue is read by the test: its receiver accepts and says nothing.
async fn agent() -> Tested {
    static HOLE: LazyLock<TcpListener> = LazyLock::new(|| TcpListener::bind("127.0.0.1:0").unwrap());
    Tested::new(quick(format!("ws://{}/collector", HOLE.local_addr().unwrap())))
}

/// What was recorded of that kind.
fn recorded(a: &Tested, kind: Kind) -> Vec<Event> {
    let state = a.shared().state.lock();
    state.ring.rows().filter(|r| r.kind == kind).map(event_of).collect()
}

fn nothing_reserved(a: &Tested) {
    assert!(a.shared().state.lock().conns.is_empty());
    assert!(a.shared().reserve("5f0c", Role::Client).is_ok());
    a.shared().unreserve("5f0c");
}

fn opening() -> Opening {
    Opening {
        url: "wss://user:secret@example.com/chat?token=secret".to_owned(),
        peer: Some("192.0.2.7:4711".parse().unwrap()),
        subprotocol: "chat.v2".to_owned(),
        attributes: vec![KeyValue::new("user.id", "u-17")],
        ..Opening::new(Role::Server)
    }
}

/// A context with an active span, and what it is.
fn active(n: u8) -> (Context, SpanIds) {
    let ids = SpanIds { trace: [0xac, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n], span: [0xac, 0, 0, 0, 0, 0, 0, n] };
    let state = TraceState::from_key_value([("vendor", "value")]).unwrap();
    let span = SpanContext::new(
        TraceId::from_bytes(ids.trace),
        SpanId::from_bytes(ids.span),
        TraceFlags::default(),
        false,
        state,
    );
    (Context::new().with_remote_span_context(span), ids)
}

fn ids_of(context: &Context) -> SpanIds {
    crate::context::span_in(context).unwrap()
}

/// Red when: what is told of a connection is recorded otherwise, not counted in its summary,
/// or recorded after its close; or a secret of its URL is kept.
#[tokio::test]
async fn observed_connections() {
    let a = agent().await;
    let start = SystemTime::now() - Duration::from_secs(1);
    let c = a.observe(Opening { start: Some(start), ..opening() });
    let h = &recorded(&a, Kind::Handshake)[0];
    assert!(h.duration.unwrap() >= 1_000_000_000);
    assert_eq!(h.attrs.text(Attr::Subprotocol), "chat.v2");
    assert_eq!(h.attrs.int(Attr::StatusCode), Some(101));
    assert_eq!(h.attrs.get(Attr::HandshakeSuccess), Some(&Value::Bool(true)));
    assert_eq!((h.attrs.text(Attr::Url), h.attrs.text(Attr::Protocol)), ("wss://example.com/chat", "wss"));
    assert_eq!((h.attrs.text(Attr::PeerIp), h.attrs.int(Attr::PeerPort)), ("192.0.2.7", Some(4711)));
    assert_eq!(h.attrs.user, [KeyValue::new("user.id", "u-17")]);
    assert_eq!(c.id().len(), 32);

    c.received(TEXT, 10, []);
    c.sent(TEXT, 100, []);
    c.sent(BINARY, None, []);
    c.sending([queue_size(3)]);
    c.sent(BINARY, 7, [message_id("m-1"), KeyValue::new("room.id", 3)]);
    let sent = recorded(&a, Kind::Send);
    let told: Vec<_> = sent.iter().map(|e| (e.attrs.int(Attr::MessageSeq), e.attrs.int(Attr::MessageSize))).collect();
    assert_eq!(told, [(Some(1), Some(100)), (Some(2), None), (Some(3), Some(7))]);
    assert_eq!(sent[0].attrs.text(Attr::MessageType), "text");
    assert_eq!((sent[0].duration, sent[2].duration.is_some()), (None, true), "it began with sending");
    assert_eq!((sent[2].attrs.text(Attr::MessageId), sent[2].attrs.int(Attr::QueueSize)), ("m-1", Some(3)));
    assert_eq!(sent[2].attrs.user, [KeyValue::new("room.id", 3)]);

    c.pinged(Some(Duration::from_secs(60)), []);
    c.pinged(None, []);
    let (first, second) = (c.pinging(), c.pinging());
    second.answered(Some(Duration::from_nanos(1)), []);
    first.answered(None, []);
    let pings = recorded(&a, Kind::Ping);
    let told: Vec<_> = pings.iter().map(|e| (e.attrs.int(Attr::MessageSeq).unwrap(), e.duration)).collect();
    assert_eq!(told, [(1, Some(60_000_000_000)), (2, None), (4, Some(1)), (3, None)]);
    assert_eq!(pings[0].attrs.text(Attr::Direction), "sent");
    c.ping_received(4);
    c.pong_sent(4);
    c.pong_received(None);
    assert_eq!(recorded(&a, Kind::Pong).len(), 2);

    c.failed("ECONNRESET", "network", [KeyValue::new("error.message", "connection reset")]);
    let failed = &recorded(&a, Kind::Error)[0].attrs;
    assert_eq!((failed.text(Attr::ErrorType), failed.text(Attr::ErrorCategory)), ("ECONNRESET", "network"));
    c.protocol_error("bad_mask", "", []);
    assert_eq!(recorded(&a, Kind::ProtocolError)[0].attrs.text(Attr::ErrorCategory), "protocol");

    c.closed(4000, "bye", Initiator::Remote, [KeyValue::new("ws.close.clean", true)]);
    let close = &recorded(&a, Kind::Close)[0].attrs;
    assert_eq!((close.int(Attr::CloseCode), close.text(Attr::CloseReason)), (Some(4000), "bye"));
    assert_eq!((close.text(Attr::CloseInitiator), close.text(Attr::Direction)), ("remote", "received"));
    assert_eq!(close.get(Attr::CloseClean), Some(&Value::Bool(true)));
    let carried = [Attr::MessagesSent, Attr::MessagesReceived, Attr::BytesSent, Attr::BytesReceived];
    assert_eq!(carried.map(|attr| close.int(attr).unwrap()), [3, 1, 107, 10]);

    let observed = a.stats().observed;
    c.sent(TEXT, 1, []);
    c.received(TEXT, 1, []);
    c.pinged(None, []);
    c.failed("late", "", []);
    c.closed(1000, "", Initiator::Local, []);
    drop(c);
    assert_eq!(a.stats().observed, observed, "nothing after the close");
    nothing_reserved(&a);
    let all: Vec<_> = a.shared().state.lock().ring.rows().map(|r| format!("{r:?}")).collect();
    assert!(all.iter().all(|r| !r.contains("secret")));
}

/// Red when: a connection that is dropped stays open, or its id taken; or one that is not
/// observed does something.
#[tokio::test]
async fn dropped_connections_are_broken() {
    let a = agent().await;
    let c = a.observe(Opening { id: "mine".to_owned(), shared: true, ..opening() });
    assert_eq!((c.id(), c.is_shared()), ("mine", true));
    let other = a.observe(Opening { id: "mine".to_owned(), ..opening() });
    assert_ne!(other.id(), "mine", "it is open");
    drop((c.clone(), other));
    assert_eq!(recorded(&a, Kind::Close).len(), 1);
    drop(c);
    let close = &recorded(&a, Kind::Close)[1].attrs;
    assert_eq!((close.int(Attr::CloseCode), close.text(Attr::CloseInitiator)), (Some(1006), "none"));
    assert_eq!(close.get(Attr::CloseClean), Some(&Value::Bool(false)));
    assert_eq!(a.observe(Opening { id: "mine".to_owned(), ..opening() }).id(), "mine", "it is free again");
    nothing_reserved(&a);

    for (code, clean) in [(1000, None), (1006, Some(&Value::Bool(false))), (1015, Some(&Value::Bool(false)))] {
        a.observe(opening()).closed(code, "", Initiator::None, []);
        assert_eq!(recorded(&a, Kind::Close).pop().unwrap().attrs.get(Attr::CloseClean), clean, "{code}");
    }

    let observed = a.stats().observed;
    let none = Connection::default();
    let m = none.received(TEXT, 1, []);
    drop(none.process(m, []));
    none.sent(TEXT, 1, []);
    none.closed(1000, "", Initiator::Local, []);
    assert_eq!((none.id(), none.is_observed(), a.stats().observed), ("", false, observed));
}

/// Red when: the span that a handler runs under is not the one that the receiver derives, or
/// its record states what is derived; or the end is not recorded, or twice.
#[tokio::test]
async fn processing() {
    for (role, slot) in [(Role::Server, Slot::ClientData), (Role::Client, Slot::ServerData)] {
        let a = agent().await;
        let c = a.observe(Opening::new(role));
        let seed = Seed::connection(c.id());
        let first = c.received(TEXT, 10, []);
        c.received(BINARY, 20, []);
        let processing = c.process_in(&active(1).0, first, [KeyValue::new("room.id", "lobby")]);
        let want = SpanIds { trace: seed.trace_id(1, slot), span: seed.span_id(1, slot, Kind::Process, role) };
        assert_eq!(ids_of(processing.context()), want);
        let span = processing.context().span().span_context().clone();
        assert!(span.is_remote() && span.is_sampled());
        assert!(recorded(&a, Kind::Process).is_empty(), "it has not ended");
        let last = c.process(Message::default(), []);
        assert_eq!(ids_of(last.context()).trace, seed.trace_id(2, slot), "the last one");
        last.fail("quota");
        c.closed(1000, "", Initiator::Local, []);
        drop(processing);

        let processed = recorded(&a, Kind::Process);
        assert_eq!(processed.len(), 2);
        assert_eq!(processed[0].attrs.text(Attr::ErrorType), "quota");
        assert_eq!(processed[1].attrs.user, [KeyValue::new("room.id", "lobby")]);
        assert_eq!((processed[1].trace_id, processed[1].span_id), ([0; 16], [0; 8]), "all of it is derived");
        assert!(processed[1].duration.is_some());

        // A message that is handled again has a second span, which no derived id hides.
        let again = c.process(first, []);
        let stated = ids_of(again.context());
        assert_eq!(stated.trace, want.trace);
        assert_ne!(stated.span, want.span);
        drop(again);
        assert_eq!(recorded(&a, Kind::Process)[2].span_id, stated.span);
        let unknown = a.observe(Opening::new(role)).process(Message::default(), []);
        let stated = ids_of(unknown.context());
        drop(unknown);
        let e = &recorded(&a, Kind::Process)[3];
        assert_eq!((e.trace_id, e.span_id), (stated.trace, stated.span), "nothing was received");
    }
}

/// Red when: a handler's spans are sampled otherwise than the receiver samples the message.
#[tokio::test]
async fn processing_is_sampled_as_the_message_is() {
    let r = Receiver::new(crate::Encoding::Json).await;
    let a = r.agent(batch_of(1000));
    let mut p = r.accept().await;
    p.welcome(json!({"sampling_threshold": "8", "sampling_scope": "connection", "trace_mode": "connection"})).await;
    until(|| a.stats().sessions == 1).await;
    let mut seen = [0, 0];
    for _ in 0..40 {
        let c = a.observe(Opening::new(Role::Server));
        let seed = Seed::connection(c.id());
        let processing = c.process(c.received(TEXT, 1, []), []);
        assert_eq!(ids_of(processing.context()).trace, seed.trace_id(0, Slot::Handshake));
        let sampled = processing.context().span().span_context().is_sampled();
        assert_eq!(sampled, seed.randomness() >= 8 << 52);
        seen[usize::from(sampled)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// Red when: a span that a message names is not its parent, or is the next one's too.
#[tokio::test]
async fn messages_that_name_a_trace() {
    let a = agent().await;
    let (sender, sent) = active(7);
    let fields = TraceFields::inject(&sender);
    assert_eq!(fields.trace_id, "ac000000000000000000000000000007");
    assert_eq!(fields.span_id, "ac00000000000007");
    assert_eq!(TraceFields::inject(&Context::new()), TraceFields::default());
    let none = TraceFields { span_id: "zz".to_owned(), ..fields.clone() }.extract(&Context::new());
    assert!(!none.span().span_context().is_valid());
    let extracted = fields.extract(&Context::new());
    assert_eq!(ids_of(&extracted), sent);

    let c = a.observe(Opening::new(Role::Server));
    let seed = Seed::connection(c.id());
    let span = |n, kind| seed.span_id(n, Slot::ClientData, kind, Role::Server);
    let processing = c.process_in(&extracted, c.received_in(&extracted, TEXT, 1, []), []);
    let context = processing.context().clone();
    assert_eq!(ids_of(&context), SpanIds { trace: sent.trace, span: span(1, Kind::Process) });
    drop(processing);
    let (r, e) = (&recorded(&a, Kind::Receive)[0], &recorded(&a, Kind::Process)[0]);
    assert_eq!((r.trace_id, r.parent_span_id), (sent.trace, sent.span));
    assert_eq!((e.trace_id, e.parent_span_id), (sent.trace, span(1, Kind::Receive)));

    // The receive was recorded before the message was understood.
    drop(c.process_in(&extracted, c.received(TEXT, 1, []), []));
    let e = &recorded(&a, Kind::Process)[1];
    assert_eq!((e.trace_id, e.parent_span_id), (sent.trace, sent.span));

    // A loop that goes on with the context of the last message is in no old trace.
    let next = c.process_in(&context, c.received_in(&context, TEXT, 1, []), []);
    assert_eq!(ids_of(next.context()).trace, seed.trace_id(3, Slot::ClientData));
}

/// Red when: a send is not linked to what was active, or one that a broadcast or a batch tells
/// of has a span of its own.
#[tokio::test]
async fn sending() {
    let a = agent().await;
    let c = a.observe(Opening::new(Role::Server));
    let (context, span) = active(1);
    c.sending_in(&context, []);
    c.sent(TEXT, 5, []);
    c.sent(TEXT, 5, []);
    let sent = recorded(&a, Kind::Send);
    assert_eq!(sent[0].links[0].span, span);
    assert_eq!(sent[0].links[0].attributes, [KeyValue::new("ws.link.kind", "active")]);
    assert!(sent[1].links.is_empty(), "of one message");

    {
        let _active = context.attach();
        a.broadcast(TEXT, 7, 3, [KeyValue::new("room.id", "lobby")]);
        c.sending_batch(TEXT, 2, 9, []);
    }
    c.sending_broadcast();
    for _ in 0..4 {
        c.sent(TEXT, 9, []);
    }
    assert_eq!(recorded(&a, Kind::Send).len(), 3, "two of the batch and one of the broadcast are left out");
    let b = &recorded(&a, Kind::Broadcast)[0];
    assert_eq!((b.attrs.int(Attr::BroadcastRecipients), b.attrs.int(Attr::MessageSize)), (Some(3), Some(7)));
    assert_eq!((b.attrs.text(Attr::Role), b.links[0].span), ("server", span));
    let b = &recorded(&a, Kind::BatchSend)[0];
    assert_eq!((b.attrs.int(Attr::BatchSize), b.links[0].span), (Some(2), span));
    c.closed(1000, "", Initiator::Local, []);
    assert_eq!(recorded(&a, Kind::Close)[0].attrs.int(Attr::MessagesSent), Some(6));
}

fn request(uri: &str) -> Request<()> {
    Request::get(uri).header("upgrade", "websocket").header("host", "example.com").body(()).unwrap()
}

/// Red when: the ends of a handshake do not learn one id, the server's span is not the client's
/// child or the client's not that of the active one, or a stale header stays.
#[tokio::test]
async fn handshakes() {
    let (near, far) = (agent().await, agent().await);
    let (context, parent) = active(1);
    let mut asked = request("wss://example.com/chat?token=secret");
    asked
        .headers_mut()
        .insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
    asked.headers_mut().insert("tracestate", "stale=1".parse().unwrap());
    let client = {
        let _active = context.attach();
        near.client_handshake(&asked, [KeyValue::new("tenant", 1)])
    };
    client.set_headers(asked.headers_mut());
    assert_eq!(asked.headers().get("tracestate").unwrap(), "vendor=value");

    let mut got = request("/chat?token=secret");
    got.headers_mut().extend(asked.headers().clone());
    let server = far.server_handshake(&got, Some("[::ffff:192.0.2.1]:80".parse().unwrap()), []).secure();
    let mut answer = HeaderMap::from_iter([(http::header::SEC_WEBSOCKET_PROTOCOL, "chat".parse().unwrap())]);
    server.set_headers(&mut answer);
    let accepted = server.opened(&answer);
    let dialled = client.opened(&answer, Some("192.0.2.9:80".parse().unwrap()));

    assert_eq!(accepted.id(), dialled.id());
    assert!(accepted.is_shared() && dialled.is_shared());
    let (nh, fh) = (&recorded(&near, Kind::Handshake)[0], &recorded(&far, Kind::Handshake)[0]);
    let span = Seed::connection(dialled.id()).span_id(0, Slot::Handshake, Kind::Handshake, Role::Client);
    assert_eq!(nh.parent, Some(TraceContext { span: parent, flags: 0 }));
    assert_eq!(nh.tracestate, "vendor=value");
    assert_eq!(fh.parent, Some(TraceContext { span: SpanIds { trace: parent.trace, span }, flags: 0 }));
    assert_eq!(fh.tracestate, "vendor=value");
    for (h, ip) in [(nh, "192.0.2.9"), (fh, "192.0.2.1")] {
        assert_eq!(h.attrs.text(Attr::Url), "wss://example.com/chat");
        assert_eq!((h.attrs.text(Attr::PeerIp), h.attrs.text(Attr::Subprotocol)), (ip, "chat"));
        assert_eq!(h.attrs.get(Attr::Shared), Some(&Value::Bool(true)));
    }
    assert_eq!(nh.attrs.user, [KeyValue::new("tenant", 1)]);
    drop((accepted, dialled));

    // The state of the request's own is of another trace, where the active span has none too.
    let active = Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_bytes([1; 16]),
        SpanId::from_bytes([2; 8]),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ));
    let client = {
        let _active = active.attach();
        near.client_handshake(&asked, [])
    };
    client.set_headers(asked.headers_mut());
    assert_eq!(asked.headers().get("tracestate"), None);
    drop(client);
    nothing_reserved(&near);
    nothing_reserved(&far);
}

/// Red when: an id is taken for shared that the other end does not know, or that another open
/// connection has.
#[tokio::test]
async fn ids_that_cannot_be_shared() {
    let a = agent().await;
    let server = a.server_handshake(&request("/"), None, []);
    let mut headers =
        HeaderMap::from_iter([(http::HeaderName::from_static("wsstats-connection"), "stale".parse().unwrap())]);
    server.set_headers(&mut headers);
    assert!(headers.is_empty(), "nobody asked");
    assert!(!server.opened(&headers).is_shared());
    assert!(!a.client_handshake(&request("ws://example.com/"), []).opened(&headers, None).is_shared());

    // An agent that talks to itself has one name for each end.
    let mut asked = request("ws://example.com/");
    let client = a.client_handshake(&asked, []);
    client.set_headers(asked.headers_mut());
    let own = a.server_handshake(&asked, None, []);
    let mut answer = HeaderMap::new();
    own.set_headers(&mut answer);
    assert!(answer.is_empty());
    assert!(!own.opened(&answer).is_shared());

    // A client takes the id that the server answered, and states the span that it named.
    let sent = asked.headers().get("wsstats-connection").unwrap().to_str().unwrap().to_owned();
    answer.insert("wsstats-connection", "A81B44D0C5E6F7081928374655647382".parse().unwrap());
    let c = client.opened(&answer, None);
    assert_eq!((c.id(), c.is_shared()), ("a81b44d0c5e6f7081928374655647382", true));
    let named = Seed::connection(&sent);
    let h = recorded(&a, Kind::Handshake).pop().unwrap();
    assert_eq!(h.trace_id, named.trace_id(0, Slot::Handshake));
    assert_eq!(h.span_id, named.span_id(0, Slot::Handshake, Kind::Handshake, Role::Client));
    drop(c);
    nothing_reserved(&a);
}

/// Red when: a refusal is not recorded, an abandoned handshake is forgotten, or the agent
/// observes its own link.
#[tokio::test]
async fn handshakes_without_a_connection() {
    let a = agent().await;
    a.server_handshake(&request("/"), None, []).refused(Some(403), "");
    a.client_handshake(&request("ws://example.com/"), []).refused(None, "timeout");
    drop(a.client_handshake(&request("ws://example.com/"), []));
    a.observe_refused(opening(), Some(429), "");
    let refused = recorded(&a, Kind::Handshake);
    let causes: Vec<_> = refused.iter().map(|h| h.attrs.text(Attr::ErrorType)).collect();
    assert_eq!(causes, ["403", "timeout", "abandoned", "429"]);
    for h in &refused {
        assert_eq!(h.attrs.get(Attr::HandshakeSuccess), Some(&Value::Bool(false)));
        assert_eq!(h.attrs.get(Attr::ConnectionId), None);
    }

    let own = a.client_handshake(&request(&a.shared().cfg.endpoint.to_string()), []);
    let mut headers = HeaderMap::new();
    own.set_headers(&mut headers);
    assert!(headers.is_empty());
    assert!(!own.opened(&headers, None).is_observed());
    let link = HeaderMap::from_iter([(http::header::SEC_WEBSOCKET_PROTOCOL, "wsstats.v1.proto".parse().unwrap())]);
    assert!(!a.server_handshake(&request("/"), None, []).opened(&link).is_observed());
    assert_eq!(recorded(&a, Kind::Handshake).len(), 4);
    nothing_reserved(&a);
}

/// Red when: spans of `tracing` under a handler are not in the message's trace, or the active
/// one is not what a send is linked to and a client's handshake is the child of.
#[cfg(feature = "tracing")]
#[tokio::test]
async fn spans_of_tracing() {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    let a = agent().await;
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let c = a.observe(Opening::new(Role::Server));
    let seed = Seed::connection(c.id());
    let processing = c.process(c.received(TEXT, 1, []), []);
    processing.span().in_scope(|| {
        tracing::info_span!("query").in_scope(|| {
            c.sending([]);
            c.sent(TEXT, 1, []);
            drop(a.client_handshake(&request("ws://example.com/"), []));
        });
    });
    drop(processing);

    let spans = exporter.get_finished_spans().unwrap();
    let [query, handle] = &spans[..] else { panic!("{spans:?}") };
    let trace = seed.trace_id(1, Slot::ClientData);
    assert_eq!((query.name.as_ref(), query.span_context.trace_id().to_bytes()), ("query", trace));
    assert_eq!(query.parent_span_id, handle.span_context.span_id());
    let process = seed.span_id(1, Slot::ClientData, Kind::Process, Role::Server);
    assert_eq!(handle.parent_span_id.to_bytes(), process);
    let span = SpanIds { trace, span: query.span_context.span_id().to_bytes() };
    assert_eq!(recorded(&a, Kind::Send)[0].links[0].span, span);
    let h = recorded(&a, Kind::Handshake).pop().unwrap();
    assert_eq!((h.trace_id, h.parent_span_id), (span.trace, span.span));
}
