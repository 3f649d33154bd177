package wsstats

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// connectionHeader carries the connection id that both ends use.
const connectionHeader = "Wsstats-Connection"

// The headers of W3C Trace Context.
const (
	traceparentHeader = "Traceparent"
	tracestateHeader  = "Tracestate"
)

// upgrade is an opening handshake (RFC 6455 section 4) that is under way. It
// ends with succeed or fail, once.
type upgrade struct {
	rec   recorder
	role  wire.Role
	start time.Time

	url        string
	protocol   string // "ws" or "wss"
	token      string // the Upgrade header
	peer       netip.AddrPort
	attributes []Attribute // of every event of the connection

	id     string // reserved
	shared bool   // both ends know id
	answer bool   // the server tells id in its 101

	parent     wire.TraceContext // the active span, or of the request's traceparent; zero: none
	tracestate string            // beside parent
	active     bool              // parent is the active span
	stated     bool              // trace and span are what the client's traceparent said
	trace      wire.TraceID
	span       wire.SpanID
}

// upgradeRequested tells whether a request asks for a WebSocket over HTTP/1.1
// (section 4.2.1).
func upgradeRequested(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == "") && r.ProtoMajor < 2 && hasToken(r.Header, "Upgrade", "websocket") && hasToken(r.Header, "Connection", "upgrade")
}

func hasToken(h http.Header, key, token string) bool {
	for _, value := range h[key] {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

func newUpgrade(rec recorder, role wire.Role, r *http.Request, secure bool) *upgrade {
	u := &upgrade{
		rec: rec, role: role, start: time.Now(),
		token: clean(r.Header.Get("Upgrade"), 128),
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	u.setURL(secure, host, r.URL.EscapedPath())
	if parent, ok := parseTraceparent(r.Header.Get(traceparentHeader)); ok {
		u.parent, u.tracestate = parent, clean(strings.Join(r.Header[tracestateHeader], ","), 512)
	}
	return u
}

// setURL sets the protocol and the URL, without what may hold a secret.
func (u *upgrade) setURL(secure bool, host, path string) {
	u.protocol = "ws"
	if secure {
		u.protocol = "wss"
	}
	if path == "" {
		path = "/"
	}
	u.url = clean(u.protocol+"://"+host+path, 2048)
}

// newServerUpgrade begins the handshake of a request that a server got. It
// adopts the client's connection id where it can.
func newServerUpgrade(rec recorder, r *http.Request) *upgrade {
	u := newUpgrade(rec, wire.RoleServer, r, r.TLS != nil)
	u.peer, _ = netip.ParseAddrPort(r.RemoteAddr)
	asked := r.Header.Get(connectionHeader)
	if asked == "" {
		u.draw()
		return u
	}
	u.shared, u.answer = true, true
	id, ok := parseConnectionID(asked)
	if !ok {
		u.draw()
		return u
	}
	holder, free := reserve(rec, id, u.role)
	if free {
		u.id = id
		return u
	}
	// An agent that talks to itself has one name for each end, so they cannot share one.
	u.shared = holder == wire.RoleServer
	u.answer = u.shared
	u.draw()
	return u
}

// newClientUpgrade begins the handshake of a request that a client is about to
// send, with the headers of requestHeader. It is the child of the span that is
// active in the request's context. Where none is, its traceparent may say one; it
// may as well be left from a request that the application passes on.
func newClientUpgrade(rec recorder, r *http.Request, secure bool, remote net.Addr) *upgrade {
	u := newUpgrade(rec, wire.RoleClient, r, secure)
	u.peer = addrPort(remote)
	if span := trace.SpanContextFromContext(r.Context()); span.IsValid() {
		u.active = true
		u.parent = wire.TraceContext{TraceID: wire.TraceID(span.TraceID()), SpanID: wire.SpanID(span.SpanID()), Flags: byte(span.TraceFlags())}
		u.tracestate = span.TraceState().String()
	}
	u.draw()
	seed := wire.ConnectionSeed(u.id)
	u.trace, u.span = seed.TraceID(0, wire.SlotHandshake), seed.SpanID(0, wire.SlotHandshake, wire.KindHandshake, u.role)
	if u.parent.TraceID != (wire.TraceID{}) {
		u.trace = u.parent.TraceID
	}
	if rulesOf(rec).none {
		u.trace, u.span = u.parent.TraceID, u.parent.SpanID
	}
	return u
}

// requestHeader is what the client's request says beside its own: the
// connection id, and the handshake span as the parent of the server's.
func (u *upgrade) requestHeader() http.Header {
	flags := byte(1)
	if u.parent.TraceID != (wire.TraceID{}) {
		flags = u.parent.Flags
	}
	if u.span == (wire.SpanID{}) { // nobody makes spans, and none is active
		return http.Header{connectionHeader: {u.id}}
	}
	traceparent := "00-" + hex.EncodeToString(u.trace[:]) + "-" + hex.EncodeToString(u.span[:]) + "-" + hex.EncodeToString([]byte{flags})
	header := http.Header{connectionHeader: {u.id}, traceparentHeader: {traceparent}}
	if u.active { // the request's own is of another trace
		header[tracestateHeader] = nil
		if u.tracestate != "" {
			header[tracestateHeader] = []string{u.tracestate}
		}
	}
	return header
}

// answerHeader is what the server's 101 says beside its own. A header that the
// application took over from elsewhere is about another connection.
func (u *upgrade) answerHeader() http.Header {
	if !u.answer {
		return http.Header{connectionHeader: nil}
	}
	return http.Header{connectionHeader: {u.id}}
}

// draw reserves a new id.
func (u *upgrade) draw() {
	for {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		u.id = hex.EncodeToString(b[:])
		if _, ok := reserve(u.rec, u.id, u.role); ok {
			return
		}
	}
}

// adopt takes the id that the server answered. A client that cannot take it
// goes on under its own.
func (u *upgrade) adopt(answer string) {
	id, ok := parseConnectionID(answer)
	if !ok {
		return
	}
	if id != u.id {
		if _, free := reserve(u.rec, id, u.role); !free {
			return
		}
		unreserve(u.rec, u.id)
		u.id = id
		// The span that the request named is derived from the id that was sent.
		u.stated = true
	}
	u.shared = true
}

// succeed records the handshake that a 101 with this header ended, and returns
// the tap of the connection that it opened; nil for the link of an agent: what is
// observed there would be sent there, and so on.
func (u *upgrade) succeed(header http.Header) *tap {
	switch header.Get("Sec-Websocket-Protocol") {
	case wire.SubprotocolJSON, wire.SubprotocolProto:
		unreserve(u.rec, u.id)
		return nil
	}
	if u.role == wire.RoleClient {
		u.adopt(header.Get(connectionHeader))
	}
	c, opened := u.open(header.Get("Sec-Websocket-Protocol"))
	return newTap(u.rec, c, compressed(header), opened, u.release())
}

// open records a handshake that opened a connection just now.
func (u *upgrade) open(subprotocol string) (*conn, time.Time) {
	now := time.Now()
	c := u.conn()
	c.openedAt = now.UnixNano()
	e := u.event(http.StatusSwitchingProtocols)
	e.SetBool(wire.AttrHandshakeSuccess, true)
	setText(&e.Attrs, wire.AttrSubprotocol, clean(subprotocol, 256))
	if u.stated {
		u.stateSpan(e)
		c.traceID, c.spanID = u.trace, u.span
	} else {
		u.stateParent(e)
		if u.parent.TraceID != (wire.TraceID{}) {
			c.traceID = u.parent.TraceID
			c.spanID = wire.ConnectionSeed(u.id).SpanID(0, wire.SlotHandshake, wire.KindHandshake, u.role)
		}
	}
	u.rec.open(c)
	u.record(c, e, now)
	return c, now
}

// release returns what gives the connection id back. It holds no more than that.
func (u *upgrade) release() func() {
	rec, id := u.rec, u.id
	return func() { unreserve(rec, id) }
}

// fail records a handshake that opened no connection. The status is 0 where
// there was no answer; cause is an error.type, by default the status.
func (u *upgrade) fail(status int, cause string) {
	e := u.event(status)
	setConnection(&e.Attrs, u.conn())
	e.Unset(wire.AttrShared)
	e.SetBool(wire.AttrHandshakeSuccess, false)
	if cause == "" {
		cause = strconv.Itoa(status)
	}
	e.SetStr(wire.AttrErrorType, cause)
	if u.role == wire.RoleClient {
		u.stateSpan(e) // without a connection id nothing else tells the span that the request named
	} else {
		u.stateParent(e)
	}
	u.record(nil, e, time.Now())
	unreserve(u.rec, u.id)
}

func (u *upgrade) conn() *conn {
	c := &conn{id: u.id, role: u.role, shared: u.shared, url: u.url, protocol: u.protocol, attributes: u.attributes}
	if u.peer.IsValid() {
		c.peerIP, c.peerPort = peerIP(u.peer), int(u.peer.Port())
	}
	return c
}

// event holds what every handshake tells beside its connection.
func (u *upgrade) event(status int) *wire.Event {
	e := &wire.Event{}
	e.SetStr(wire.AttrHTTPMethod, http.MethodGet)
	e.SetStr(wire.AttrUpgrade, u.token)
	if status != 0 {
		e.SetInt(wire.AttrStatusCode, int64(status))
	}
	return e
}

func (u *upgrade) stateParent(e *wire.Event) {
	e.Parent, e.Tracestate = u.parent, u.tracestate
}

func (u *upgrade) stateSpan(e *wire.Event) {
	e.TraceID, e.SpanID, e.ParentSpanID = u.trace, u.span, u.parent.SpanID
	e.Parent.Flags = u.parent.Flags // for providers; on the wire there are none without a traceparent
}

func (u *upgrade) record(c *conn, e *wire.Event, now time.Time) {
	r := record{conn: c, extra: e, kind: wire.KindHandshake, time: now.UnixNano(), duration: -1, size: -1}
	if !u.start.IsZero() {
		r.time, r.duration = u.start.UnixNano(), max(0, int64(now.Sub(u.start)))
	}
	u.rec.record(r)
}

// compressed tells whether a 101 agreed on permessage-deflate (RFC 7692 section 5.1).
func compressed(header http.Header) bool {
	for _, value := range header["Sec-Websocket-Extensions"] {
		for extension := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(extension, ";")
			if strings.EqualFold(strings.TrimSpace(name), "permessage-deflate") {
				return true
			}
		}
	}
	return false
}

// reserved holds the ids of the connections that are open in this process. Ids
// have to be unique within an agent, which is the receiver's name for them.
var reserved sync.Map // reservation to wire.Role

type reservation struct {
	rec recorder
	id  string
}

// reserve takes an id, or returns the role of the connection that has it.
func reserve(rec recorder, id string, role wire.Role) (holder wire.Role, ok bool) {
	held, loaded := reserved.LoadOrStore(reservation{rec, id}, role)
	return held.(wire.Role), !loaded
}

func unreserve(rec recorder, id string) { reserved.Delete(reservation{rec, id}) }

// parseConnectionID reads 32 hex digits and returns them in lower case.
func parseConnectionID(s string) (string, bool) {
	var b [16]byte
	if !parseHex(b[:], s) {
		return "", false
	}
	return hex.EncodeToString(b[:]), true
}

// parseTraceparent reads the header of W3C Trace Context level 1, and of later
// versions what that level has.
func parseTraceparent(s string) (wire.TraceContext, bool) {
	var tc wire.TraceContext
	var version, flags [1]byte
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s != strings.ToLower(s) ||
		!parseHex(version[:], s[:2]) || !parseHex(tc.TraceID[:], s[3:35]) ||
		!parseHex(tc.SpanID[:], s[36:52]) || !parseHex(flags[:], s[53:55]) {
		return wire.TraceContext{}, false
	}
	tc.Flags = flags[0]
	tooLong := len(s) > 55 && (version[0] == 0 || s[55] != '-')
	if version[0] == 0xff || tooLong || tc.TraceID == (wire.TraceID{}) || tc.SpanID == (wire.SpanID{}) {
		return wire.TraceContext{}, false
	}
	return tc, true
}

func parseHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

func addrPort(a net.Addr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

func peerIP(ap netip.AddrPort) string { return ap.Addr().Unmap().WithZone("").String() }

// clean makes a stranger's string fit to be an attribute: UTF-8, at most n bytes.
func clean(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), n)], "")
	return strings.Clone(s)
}
