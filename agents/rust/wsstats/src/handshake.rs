//! Opening handshakes (RFC 6455 section 4), and the id that both ends share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{Request, Uri};
use opentelemetry::KeyValue;
use opentelemetry::trace::TraceContextExt;

use crate::Attribute;
use crate::adapter::Observed;
use crate::agent::{Agent, Shared};
use crate::clock::{Clock, unix, unix_now};
use crate::connection::{Connection, Opening};
use crate::context::current_context;
use crate::encode::set_connection;
use crate::observation::Observation;
use crate::record::{Conn, Record, clean, shared};
use crate::wire::attr::Attr;
use crate::wire::id::{NO_TRACE, Seed, Slot, SpanIds};
use crate::wire::kind::{Kind, Role};
use crate::wire::message::Event;
use crate::wire::traceparent::{TraceContext, hex, parse_hex};
use crate::wire::{SUBPROTOCOL_JSON, SUBPROTOCOL_PROTO};

/// Carries the connection id that both ends use.
const CONNECTION: HeaderName = HeaderName::from_static("wsstats-connection");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The handshake of a request that a server got. [`ServerHandshake::opened`] or
/// [`ServerHandshake::refused`] ends it; one that is dropped is recorded as abandoned.
pub struct ServerHandshake(Handshake);

/// The handshake of a request that a client is about to send.
/// [`ClientHandshake::opened`] or [`ClientHandshake::refused`] ends it; one that is
/// dropped is recorded as abandoned.
pub struct ClientHandshake(Handshake);

impl Agent {
    /// Begins the handshake of a request that a server got from that peer. The
    /// attributes are recorded with every event of its connection.
    pub fn server_handshake<B>(
        &self,
        request: &Request<B>,
        peer: Option<SocketAddr>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> ServerHandshake {
        let mut up = Upgrade::server(self.shared(), request, peer);
        up.attributes = attributes.into_iter().collect();
        ServerHandshake(Handshake(Some(up)))
    }

    /// Begins the handshake of a request that a client is about to send, as the child of
    /// the span that is active. The attributes are recorded with every event of its
    /// connection. The agent's own link is not observed.
    pub fn client_handshake<B>(
        &self,
        request: &Request<B>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> ClientHandshake {
        if self.shared().is_own(request.uri()) {
            return ClientHandshake(Handshake(None));
        }
        let mut up = Upgrade::client(self.shared(), request);
        up.attributes = attributes.into_iter().collect();
        ClientHandshake(Handshake(Some(up)))
    }
}

impl ServerHandshake {
    /// Says that the connection is a `wss` one, where the request's URI does not say it:
    /// one that a server got seldom does.
    #[must_use]
    pub fn secure(mut self) -> ServerHandshake {
        if let Some(up) = &mut self.0.0 {
            up.set_scheme(true);
        }
        self
    }

    /// Says when the handshake began, where that was before it was told of.
    #[must_use]
    pub fn began(mut self, start: SystemTime) -> ServerHandshake {
        if let Some(up) = &mut self.0.0 {
            up.start = Some(start);
        }
        self
    }

    /// Sets in the 101's headers what lets both ends share the connection's id.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        let Some(up) = &self.0.0 else { return };
        // A header that the application took over from elsewhere is about another connection.
        headers.remove(&CONNECTION);
        if up.answer {
            set(headers, CONNECTION, &up.id);
        }
    }

    /// Records that the handshake opened a connection, and returns it. Of the 101's
    /// headers `Sec-WebSocket-Protocol` is enough.
    pub fn opened(mut self, headers: &HeaderMap) -> Connection {
        self.0.opened(headers, None, false).unwrap_or_default()
    }

    /// [`ServerHandshake::opened`] for a tap that sees the connection's bytes; none where
    /// it is not to be observed.
    pub fn tapped(mut self, headers: &HeaderMap) -> Option<Observed> {
        self.0.opened(headers, None, true).map(Observed)
    }

    /// Records that the handshake opened no connection: see [`ClientHandshake::refused`].
    pub fn refused(mut self, status: Option<u16>, error_type: &str) {
        self.0.refused(status, error_type);
    }

    /// Records nothing: the request is for somebody else, and so is its connection.
    pub fn ignore(mut self) {
        self.0.ignore();
    }
}

impl ClientHandshake {
    /// Sets in the request's headers the connection's id, and the handshake span as the
    /// parent of the server's.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        let Some(up) = &self.0.0 else { return };
        set(headers, CONNECTION, &up.id);
        let flags = up.parent.map_or(1, |parent| parent.flags);
        set(headers, TRACEPARENT, &TraceContext { span: up.span, flags }.header());
        if up.active {
            // The request's own is of another trace.
            headers.remove(&TRACESTATE);
            if !up.tracestate.is_empty() {
                set(headers, TRACESTATE, &up.tracestate);
            }
        }
    }

    /// Records that the handshake opened a connection to that peer, and returns it. The
    /// headers are those of the 101.
    pub fn opened(mut self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Connection {
        self.0.opened(headers, peer, false).unwrap_or_default()
    }

    /// [`ClientHandshake::opened`] for a tap that sees the connection's bytes; none where
    /// it is not to be observed.
    pub fn tapped(mut self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<Observed> {
        self.0.opened(headers, peer, true).map(Observed)
    }

    /// Records that the handshake opened no connection. The status is the HTTP answer's,
    /// none where there was none; the error type (`error.type`, such as `"timeout"`) may
    /// be empty and is then the status.
    pub fn refused(mut self, status: Option<u16>, error_type: &str) {
        self.0.refused(status, error_type);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A handshake until it ends; none: it has ended, or is not to be recorded.
struct Handshake(Option<Upgrade>);

impl Handshake {
    fn opened(&mut self, headers: &HeaderMap, peer: Option<SocketAddr>, tapped: bool) -> Option<Connection> {
        let mut up = self.0.take()?;
        let subprotocol = text(headers, &SEC_WEBSOCKET_PROTOCOL);
        if subprotocol == SUBPROTOCOL_JSON || subprotocol == SUBPROTOCOL_PROTO {
            // The link of an agent: what is observed there would be sent there, and so on.
            up.agent.unreserve(&up.id);
            return None;
        }
        if up.role == Role::Client {
            up.adopt(text(headers, &CONNECTION));
        }
        up.peer = peer.or(up.peer);
        Some(up.open(subprotocol, tapped))
    }

    fn refused(&mut self, status: Option<u16>, error_type: &str) {
        if let Some(up) = self.0.take() {
            up.fail(status, error_type);
        }
    }

    fn ignore(&mut self) {
        if let Some(up) = self.0.take() {
            up.agent.unreserve(&up.id);
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.refused(None, "abandoned");
    }
}

/// The value of a header, "" where it is not there or no text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// An opening handshake that is under way. It ends with `open` or `fail`.
pub(crate) struct Upgrade {
    agent: Arc<Shared>,
    role: Role,
    start: Option<SystemTime>,

    secure: bool,
    place: String, // host and path, "" where they are not known
    token: String, // the Upgrade header
    peer: Option<SocketAddr>,
    attributes: Vec<KeyValue>, // of every event of the connection

    id: String,   // reserved
    shared: bool, // both ends know id
    answer: bool, // the server tells id in its 101

    parent: Option<TraceContext>, // the active span, or of the request's traceparent
    tracestate: String,           // beside parent
    active: bool,                 // parent is the active span
    stated: bool,                 // span is what the client's traceparent said
    span: SpanIds,
}

impl Upgrade {
    fn new(agent: &Arc<Shared>, role: Role) -> Upgrade {
        Upgrade {
            agent: Arc::clone(agent),
            role,
            start: Some(SystemTime::now()),
            secure: false,
            place: String::new(),
            token: "websocket".to_owned(),
            peer: None,
            attributes: Vec::new(),
            id: String::new(),
            shared: false,
            answer: false,
            parent: None,
            tracestate: String::new(),
            active: false,
            stated: false,
            span: SpanIds::default(),
        }
    }

    fn of_request<B>(agent: &Arc<Shared>, role: Role, request: &Request<B>) -> Upgrade {
        let (uri, headers) = (request.uri(), request.headers());
        let mut up = Upgrade::new(agent, role);
        up.set_place(uri, text(headers, &http::header::HOST));
        up.parent = TraceContext::parse(text(headers, &TRACEPARENT));
        if up.parent.is_some() {
            let members = headers.get_all(&TRACESTATE).iter().filter_map(|value| value.to_str().ok());
            up.tracestate = clean(&members.collect::<Vec<_>>().join(","), 512).to_owned();
        }
        up
    }

    /// Adopts the client's connection id where it can.
    fn server<B>(agent: &Arc<Shared>, request: &Request<B>, peer: Option<SocketAddr>) -> Upgrade {
        let mut up = Upgrade::of_request(agent, Role::Server, request);
        up.peer = peer;
        up.token = clean(text(request.headers(), &http::header::UPGRADE), 128).to_owned();
        let asked = text(request.headers(), &CONNECTION);
        if asked.is_empty() {
            up.draw();
            return up;
        }
        (up.shared, up.answer) = (true, true);
        let Some(id) = parse_connection_id(asked) else {
            up.draw();
            return up;
        };
        match agent.reserve(&id, Role::Server) {
            Ok(()) => up.id = id,
            Err(holder) => {
                // An agent that talks to itself has one name for each end, so they cannot share one.
                up.shared = holder == Role::Server;
                up.answer = up.shared;
                up.draw();
            }
        }
        up
    }

    /// The child of the span that is active. Where none is, its traceparent may say one;
    /// it may as well be left from a request that the application passes on.
    fn client<B>(agent: &Arc<Shared>, request: &Request<B>) -> Upgrade {
        let mut up = Upgrade::of_request(agent, Role::Client, request);
        let context = current_context();
        let span = context.span();
        let span = span.span_context();
        if span.is_valid() {
            let ids = SpanIds { trace: span.trace_id().to_bytes(), span: span.span_id().to_bytes() };
            up.active = true;
            up.parent = Some(TraceContext { span: ids, flags: span.trace_flags().to_u8() });
            up.tracestate = span.trace_state().header();
        }
        up.draw();
        let seed = Seed::connection(&up.id);
        up.span = SpanIds {
            trace: up.parent.map_or_else(|| seed.trace_id(0, Slot::Handshake), |parent| parent.span.trace),
            span: seed.span_id(0, Slot::Handshake, Kind::Handshake, up.role),
        };
        up
    }

    /// A handshake that is over already.
    pub(crate) fn observed(agent: &Arc<Shared>, opening: Opening) -> Upgrade {
        let mut up = Upgrade::new(agent, opening.role);
        (up.start, up.peer, up.attributes) = (opening.start, opening.peer, opening.attributes);
        if let Ok(uri) = opening.url.parse::<Uri>() {
            up.set_place(&uri, "");
        }
        if valid_id(&opening.id) && agent.reserve(&opening.id, opening.role).is_ok() {
            (up.id, up.shared) = (opening.id, opening.shared);
        } else {
            up.draw();
        }
        up
    }

    /// Takes the place out of a URI, without what may hold a secret.
    fn set_place(&mut self, uri: &Uri, host: &str) {
        self.secure = matches!(uri.scheme_str(), Some("wss" | "https"));
        let port = uri.port().map_or(String::new(), |port| format!(":{port}"));
        let authority = uri.host().map_or_else(|| host.to_owned(), |host| format!("{host}{port}"));
        if !authority.is_empty() {
            let path = if uri.path().is_empty() { "/" } else { uri.path() };
            self.place = format!("{authority}{path}");
        }
    }

    fn set_scheme(&mut self, secure: bool) {
        self.secure = secure;
    }

    /// Reserves a new id.
    fn draw(&mut self) {
        loop {
            self.id = hex(&rand::random::<[u8; 16]>());
            if self.agent.reserve(&self.id, self.role).is_ok() {
                return;
            }
        }
    }

    /// Takes the id that the server answered. A client that cannot take it goes on under
    /// its own.
    fn adopt(&mut self, answer: &str) {
        let Some(id) = parse_connection_id(answer) else { return };
        if id != self.id {
            if self.agent.reserve(&id, self.role).is_err() {
                return;
            }
            self.agent.unreserve(&self.id);
            self.id = id;
            // The span that the request named is derived from the id that was sent.
            self.stated = true;
        }
        self.shared = true;
    }

    /// Records a handshake that opened a connection just now.
    pub(crate) fn open(self, subprotocol: &str, tapped: bool) -> Connection {
        let clock = Clock::new();
        let mut conn = self.conn();
        conn.opened_at = clock.opened_at();
        let mut e = self.event(Some(101));
        e.attrs.set(Attr::HandshakeSuccess, true);
        e.attrs.set_text(Attr::Subprotocol, clean(subprotocol, 256));
        if self.stated {
            self.state_span(&mut e);
            conn.handshake = self.span;
        } else {
            self.state_parent(&mut e);
            if let Some(parent) = self.parent {
                let span = conn.seed().span_id(0, Slot::Handshake, Kind::Handshake, self.role);
                conn.handshake = SpanIds { trace: parent.span.trace, span };
            }
        }
        let conn = Arc::new(conn);
        self.agent.open(&conn);
        self.record(Some(Arc::clone(&conn)), e, clock.opened_at());
        let agent = Arc::clone(&self.agent);
        Connection::new(Observation::new(agent, conn, clock, tapped))
    }

    /// Records a handshake that opened no connection. The error type is by default the
    /// status.
    pub(crate) fn fail(self, status: Option<u16>, error_type: &str) {
        let mut e = self.event(status);
        set_connection(&mut e.attrs, &self.conn());
        e.attrs.unset(Attr::Shared);
        e.attrs.set(Attr::HandshakeSuccess, false);
        let error_type = clean(error_type, 256);
        if error_type.is_empty() {
            e.attrs.set(Attr::ErrorType, status.unwrap_or(0).to_string());
        } else {
            e.attrs.set(Attr::ErrorType, error_type.to_owned());
        }
        if self.role == Role::Client {
            // Without a connection id nothing else tells the span that the request named.
            self.state_span(&mut e);
        } else {
            self.state_parent(&mut e);
        }
        self.record(None, e, unix_now());
        self.agent.unreserve(&self.id);
    }

    fn conn(&self) -> Conn {
        let mut conn = Conn::new(&self.id, self.role);
        conn.shared = self.shared;
        if !self.place.is_empty() {
            conn.protocol = if self.secure { "wss" } else { "ws" };
            conn.url = shared(clean(&format!("{}://{}", conn.protocol, self.place), 2048));
        }
        if let Some(peer) = self.peer {
            conn.peer_ip = shared(&peer_ip(peer.ip()));
            conn.peer_port = peer.port();
        }
        conn.attributes.clone_from(&self.attributes);
        conn
    }

    /// What every handshake tells beside its connection.
    fn event(&self, status: Option<u16>) -> Event {
        let mut e = Event::default();
        e.attrs.set(Attr::HttpMethod, "GET");
        e.attrs.set(Attr::Upgrade, self.token.clone());
        if let Some(status) = status {
            e.attrs.set(Attr::StatusCode, i64::from(status));
        }
        e
    }

    fn state_parent(&self, e: &mut Event) {
        (e.parent, e.tracestate) = (self.parent, self.tracestate.clone());
    }

    fn state_span(&self, e: &mut Event) {
        if self.span.trace != NO_TRACE {
            (e.trace_id, e.span_id) = (self.span.trace, self.span.span);
        }
        e.parent_span_id = self.parent.map(|parent| parent.span.span).unwrap_or_default();
    }

    fn record(&self, conn: Option<Arc<Conn>>, e: Event, now: i64) {
        let mut r = Record::new(conn, Kind::Handshake, None, now);
        r.extra = Some(Arc::new(e));
        if let Some(start) = self.start {
            r.time = unix(start);
            r.duration = now.saturating_sub(r.time).max(0);
        }
        self.agent.record(r);
    }
}

fn peer_ip(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

/// Reads 32 hex digits and returns them in lower case.
fn parse_connection_id(text: &str) -> Option<String> {
    parse_hex::<16>(text).map(|id| hex(&id))
}

fn valid_id(id: &str) -> bool {
    let printable = |c: char| !c.is_control() && (c == ' ' || !c.is_whitespace());
    !id.is_empty() && id.len() <= 128 && id.chars().all(printable)
}
