package observed

import (
	"container/list"
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Counter is a series that counts live connections.
type Counter interface {
	Add(delta int64)
}

// Conn is what the receiver remembers of one observed connection. It belongs
// to the agent instance (or anonymous session) that reports it, and is used by
// one session at a time.
type Conn struct {
	ID     string
	Role   wire.Role
	Shared bool // both ends know the id

	// Inherited attributes, as stated. Conventions are applied by the translator.
	RoleText string
	URL      string // redacted
	Protocol string
	PeerIP   string
	PeerPort int64
	HasPort  bool
	User     []wire.KeyValue
	members  int // of User

	// Opened says that the opening was observed: the handshake span exists and has these ids.
	Opened         bool
	OpenedAt       int64 // Unix ns, 0: not known
	HandshakeTrace wire.TraceID
	HandshakeSpan  wire.SpanID

	// Closing says that the message in hand closes the connection, Closed that
	// such a message was taken.
	Closing, Closed bool

	// Active is the series of ws.connections.active that counts this
	// connection, nil while none does. The aggregator owns it.
	Active Counter
	// Labels are those of the series that the connection's last event counted in,
	// which the next one's probably are. The aggregator owns it.
	Labels any
	// PingTimed says that a ping with a round trip was seen; later pong
	// latencies are then not observed. The aggregator owns it.
	PingTimed bool
	// Ended says that the end of the connection was counted: it was closed, or
	// its agent vanished. The aggregator owns it.
	Ended bool

	seed wire.Seed
	grouped
	forgotten bool // by the table
	// place is in Table.retired, nil while the connection is live: declared
	// open or its handshake seen, and not closed.
	place   *list.Element
	retired int64 // Unix ns: when it came there
}

// grouped is the place in Resolved.Groups in that message.
type grouped struct {
	group   int
	message uint64
}

func (c *Conn) live() bool { return c.place == nil }

func newConn(id string) *Conn {
	id = strings.Clone(id)
	return &Conn{ID: id, seed: wire.ConnectionSeed(id)}
}

// inherit remembers what later events of the connection need not repeat.
func (c *Conn) inherit(as *wire.Attrs, allowQuery bool) {
	keep := func(dst *string, a wire.Attr) {
		if as.Has(a) {
			*dst = strings.Clone(as.Str(a))
		}
	}
	keep(&c.Protocol, wire.AttrProtocol)
	keep(&c.PeerIP, wire.AttrPeerIP)
	if as.Has(wire.AttrURL) {
		c.URL = strings.Clone(RedactURL(as.Str(wire.AttrURL), allowQuery))
	}
	if as.Has(wire.AttrPeerPort) {
		c.PeerPort, c.HasPort = as.Int(wire.AttrPeerPort), true
	}
	if as.Has(wire.AttrRole) {
		c.RoleText = strings.Clone(as.Str(wire.AttrRole))
		c.Role = wire.ParseRole(c.RoleText)
	}
	if as.Has(wire.AttrShared) {
		c.Shared = as.Bool(wire.AttrShared)
	}
	if len(as.User) > 0 {
		c.User = CloneUser(as.User)
		c.members = members(c.User)
	}
}

// RedactURL cuts what a URL may hide secrets in: user information and the
// fragment always, the query unless it is allowed. Of what is no proper URL
// rather too much is cut than too little.
func RedactURL(url string, allowQuery bool) string {
	url, _, _ = strings.Cut(url, "#")
	path, _, _ := strings.Cut(url, "?")
	redacted := cutUserInfo(path)
	switch {
	case !allowQuery:
		return redacted
	case len(redacted) == len(path):
		return url
	}
	return redacted + url[len(path):]
}

// slashes are what parsers take for the slashes before an authority, or skip
// between them (WHATWG URL, section 4.4).
const slashes = "/\\ \t\n\r"

// cutUserInfo cuts user information (RFC 3986, section 3.2.1), be there a
// scheme or not. What is left has none, not even a second one.
func cutUserInfo(s string) string {
	if strings.IndexByte(s, '@') < 0 {
		return s
	}
	prefix := "" // up to the authority
	for {
		if prefix == "" {
			n, ok := authority(s)
			if !ok {
				return s
			}
			prefix, s = s[:n], s[n:]
		} else {
			s = strings.TrimLeft(s, slashes)
		}
		host, _, _ := strings.Cut(s, "/")
		at := strings.LastIndexByte(host, '@')
		if at < 0 {
			return prefix + s
		}
		s = s[at+1:]
	}
}

// authority finds where the authority begins, false where there is only a path.
func authority(s string) (int, bool) {
	start := 0
	if i := strings.IndexAny(s, ":/\\@"); i >= 0 && s[i] == ':' {
		start = i + 1
	}
	n := len(s[start:]) - len(strings.TrimLeft(s[start:], slashes))
	switch {
	case n == 0:
		return 0, true // what looks like a scheme is a host or a user
	case n == 1 && start == 0 && s[0] == '/':
		return 0, false
	}
	return start + n, true
}
