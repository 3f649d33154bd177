package wsstats

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Role is the side of a connection that an application is.
type Role = wire.Role

// The sides of a connection.
const (
	RoleClient = wire.RoleClient
	RoleServer = wire.RoleServer
)

// MessageType is the type of a message (RFC 6455 section 5.6).
type MessageType = wire.MessageType

// The types of messages.
const (
	TextMessage   = wire.MessageText
	BinaryMessage = wire.MessageBinary
)

// Initiator is the side that closed a connection: ws.close.initiator.
type Initiator string

// The values of an Initiator.
const (
	Local  Initiator = "local"  // this side sent the first close frame
	Remote Initiator = "remote" // the peer did
	None   Initiator = "none"   // nobody did: the connection broke
)

// Opening is what is known of a connection when its handshake is over. All but
// Role may be left out.
type Opening struct {
	Role        Role
	URL         string         // ws or wss; user information, query and fragment are not recorded
	Peer        netip.AddrPort // the other end
	Subprotocol string         // that was agreed on (Sec-WebSocket-Protocol)
	Start       time.Time      // when the handshake began; zero: it has no duration

	// ID names the connection, in 1 to 128 printable characters. Without one, or
	// where this agent has an open connection of that name, a new one is drawn.
	ID string
	// Shared says that the other end reports under the same ID, for one trace a message.
	Shared bool

	// Attributes are recorded with every event of the connection.
	Attributes []Attribute
}

// Connection is what the application, or an adapter for its library, tells of a
// connection: all of it ([Agent.Observe]), or, where a tap sees the bytes
// ([ConnectionFromContext], [ConnectionOf]), what they do not say. There, Sent,
// Pinged, Closed and the other methods that tell what went by record nothing, so
// that nothing counts twice.
//
// Its methods are safe for concurrent use, wait for nothing but a short lock, and
// record nothing after the close, but for what was processed. A nil Connection is
// one that is not observed: its methods do nothing.
//
// The attributes that they take are the user's own, or ones of the conventions
// that have no parameter, such as those of [MessageID] and [QueueSize]. They are cloned.
type Connection struct {
	*observation
	tapped   bool
	sent     traffic // of a connection that is not tapped
	received traffic // where it is tapped: what the application says that it has read
	last     Message // that the application received
	handled  window  // ordinals of messages with a process span
	ids      wire.Seed
	seeded   bool // ids is set
}

// Observe records the handshake that opened a connection, and returns what is
// to be told of it from then on. Closed has to be called at its end. Connections
// that a tap sees (Handler, Dialer, Transport, …) must not be observed twice.
func (a *Agent) Observe(o Opening) *Connection { return observe(a, o) }

// ObserveRefused records a handshake that opened no connection. The status is
// the HTTP answer's, 0 where there was none; errorType (error.type, such as
// "timeout") may be empty and is then the status.
func (a *Agent) ObserveRefused(o Opening, status int, errorType string) {
	newObservedUpgrade(a, o).fail(status, errorType)
}

func observe(rec recorder, o Opening) *Connection {
	u := newObservedUpgrade(rec, o)
	c, opened := u.open(o.Subprotocol)
	return u.observed(c, opened)
}

// observed is the Connection of one that nothing else observes.
func (u *upgrade) observed(c *conn, opened time.Time) *Connection {
	return &Connection{observation: &observation{rec: u.rec, conn: c, release: u.release(), clock: newClock(opened)}}
}

func newObservedUpgrade(rec recorder, o Opening) *upgrade {
	u := &upgrade{rec: rec, role: o.Role, start: o.Start, peer: o.Peer, token: "websocket"}
	u.attributes = append(u.attributes, o.Attributes...)
	if parsed, err := url.Parse(o.URL); err == nil && parsed.Host != "" {
		secure := parsed.Scheme == "wss" || parsed.Scheme == "https"
		u.setURL(secure, parsed.Host, parsed.EscapedPath())
	}
	if validID(o.ID) {
		if _, free := reserve(rec, o.ID, o.Role); free {
			u.id, u.shared = strings.Clone(o.ID), o.Shared
			return u
		}
	}
	u.draw()
	return u
}

func validID(id string) bool {
	unprintable := func(r rune) bool { return !strconv.IsPrint(r) }
	return id != "" && len(id) <= 128 && utf8.ValidString(id) && strings.IndexFunc(id, unprintable) < 0
}

// ID is the connection's name in all that is recorded of it, "" for nil.
func (c *Connection) ID() string {
	if c == nil {
		return ""
	}
	return c.conn.id
}

// Tapped tells whether a tap sees the connection, and records what goes by.
func (c *Connection) Tapped() bool { return c != nil && c.tapped }

// silent tells that nothing is to be recorded of what went by.
func (c *Connection) silent() bool { return c == nil || c.tapped }

// Sent records a message that was sent. The size is that of its payload before
// compression, in bytes; negative: not known. What [Connection.Sending] told is
// of this message.
func (c *Connection) Sent(t MessageType, size int, attributes ...Attribute) {
	if c.silent() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	r := c.momentRecord(wire.KindSend, wire.DirectionSent, nil)
	r.typ, r.seq, r.size = t, c.sent.message(int64(max(size, 0))), int64(max(size, -1))
	if began := c.sending.began; began > 0 {
		r.time, r.duration = c.clock.unix(began), int64(c.now-began)
	}
	if c.sending.tell(&r, attributes) {
		c.rec.record(r)
	}
}

// Pinged records a ping that was sent. It took this long until its pong came;
// negative: none did.
func (c *Connection) Pinged(roundTrip time.Duration, attributes ...Attribute) {
	if c.silent() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent.pings++
	c.pinged(c.sent.pings, roundTrip, attributes)
}

// Pinging is [Connection.Pinged] for pings that may overtake each other: it is
// called when one is sent, and what it returns, once, when its pong came or none
// will.
func (c *Connection) Pinging() func(roundTrip time.Duration, attributes ...Attribute) {
	if c.silent() {
		return func(time.Duration, ...Attribute) {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent.pings++
	n := c.sent.pings
	return func(roundTrip time.Duration, attributes ...Attribute) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pinged(n, roundTrip, attributes)
	}
}

func (c *Connection) pinged(n int64, roundTrip time.Duration, attributes []Attribute) {
	if c.done {
		return
	}
	r := c.momentRecord(wire.KindPing, wire.DirectionSent, attributes)
	r.seq = n
	if roundTrip >= 0 {
		r.time, r.duration = r.time-int64(roundTrip), int64(roundTrip)
	}
	c.rec.record(r)
}

// PingReceived records a ping of the peer, PongSent and PongReceived a pong (RFC
// 6455 sections 5.5.2 and 5.5.3). The size is that of the payload, in bytes;
// negative: not known.
func (c *Connection) PingReceived(size int) {
	c.control(wire.KindPing, wire.DirectionReceived, size)
}

// PongSent records a pong that was sent: see [Connection.PingReceived].
func (c *Connection) PongSent(size int) { c.control(wire.KindPong, wire.DirectionSent, size) }

// PongReceived records a pong of the peer: see [Connection.PingReceived].
func (c *Connection) PongReceived(size int) { c.control(wire.KindPong, wire.DirectionReceived, size) }

func (c *Connection) control(kind wire.Kind, dir wire.Direction, size int) {
	if c.silent() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	of := &c.received
	if dir == wire.DirectionSent {
		of = &c.sent
	}
	n := &of.pings
	if kind == wire.KindPong {
		n = &of.pongs
	}
	*n++
	r := c.momentRecord(kind, dir, nil)
	r.seq, r.size = *n, int64(max(size, -1))
	c.rec.record(r)
}

// Failed records an error: error.type and error.category, short names from a
// small set, such as "ECONNRESET" and "network". It does not end the connection.
func (c *Connection) Failed(errorType, category string, attributes ...Attribute) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	r := c.momentRecord(wire.KindError, wire.DirectionUnknown, attributes)
	r.extra = &wire.Event{}
	setText(&r.extra.Attrs, wire.AttrErrorType, clean(errorType, 256))
	setText(&r.extra.Attrs, wire.AttrErrorCategory, clean(category, 256))
	c.rec.record(r)
}

// Closed records the end of the connection, with a summary of what it has
// carried. The code is the close frame's (RFC 6455 section 7.4), 1006 where the
// connection broke without one; the reason, which is recorded, may be empty.
func (c *Connection) Closed(code int, reason string, initiator Initiator, attributes ...Attribute) {
	if c.silent() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	c.now = c.clock.now()
	r := c.summary(closing{code, clean(reason, 123), string(initiator)}, &c.sent, &c.received)
	r.setAttributes(attributes)
	if code == 1006 || code == 1015 { // no close frame went by (section 7.4.1)
		r.extra.SetBool(wire.AttrCloseClean, false)
	}
	c.finish(r)
}

func (c *Connection) momentRecord(kind wire.Kind, dir wire.Direction, attributes []Attribute) record {
	c.now = c.clock.now()
	r := c.newRecord(kind, dir)
	r.setAttributes(attributes)
	return r
}
