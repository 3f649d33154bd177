package wsstatsreceiver

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// attributeNames are the names under which attributes are written.
type attributeNames struct {
	// own is the name of the conventions, "" where the twin replaces it.
	own [wire.NumAttrs]string
	// twin is the name of the stable semantic conventions, "" where there is none or it is not asked for.
	twin [wire.NumAttrs]string
	// protocol says that network.protocol.name is written.
	protocol bool
}

var stableTwins = map[wire.Attr]string{
	wire.AttrPeerIP:     "network.peer.address",
	wire.AttrPeerPort:   "network.peer.port",
	wire.AttrURL:        "url.full",
	wire.AttrHTTPURL:    "url.full",
	wire.AttrHTTPMethod: "http.request.method",
	wire.AttrStatusCode: "http.response.status_code",
}

const protocolName = "network.protocol.name"

func newAttributeNames(c Conventions) attributeNames {
	var n attributeNames
	for a := range wire.NumAttrs {
		n.own[a] = a.String()
	}
	if c == ConventionsWS {
		return n
	}
	n.protocol = true
	for a, twin := range stableTwins {
		n.twin[a] = twin
		if c == ConventionsSemconv {
			n.own[a] = ""
		}
	}
	return n
}

// written tells whether a user's attribute has a name that the receiver writes itself.
func (n *attributeNames) written(key string) bool {
	if !n.protocol {
		return false
	}
	switch key {
	case protocolName, "network.peer.address", "network.peer.port", "url.full", "http.request.method", "http.response.status_code":
		return true
	}
	return false
}

// attributes writes what the event states, then what it inherits from its
// connection, then what follows from both.
func (t *translator) attributes(row *observed.Row, dst pcommon.Map) {
	ev, c := row.Event, row.Conn
	size := ev.Len() + len(ev.User) + 4
	if c != nil {
		size += 5 + len(c.User)
	}
	if t.names.protocol {
		size += 3
	}
	dst.EnsureCapacity(size)

	for a := range wire.NumAttrs {
		if !ev.Has(a) {
			continue
		}
		switch a {
		case wire.AttrDirection, wire.AttrCloseClass:
			// The receiver's own word stands below.
		case wire.AttrURL:
			t.putStr(dst, a, strings.Clone(observed.RedactURL(ev.Str(a), t.allowURLQuery)))
		case wire.AttrHTTPURL:
			t.putHTTPURL(dst, strings.Clone(observed.RedactURL(ev.Str(a), t.allowURLQuery)), ev.Has(wire.AttrURL) || c != nil && c.URL != "")
		case wire.AttrConnectionID:
			if c != nil {
				t.putStr(dst, a, c.ID)
			} else {
				t.putStr(dst, a, strings.Clone(ev.Str(a)))
			}
		case wire.AttrMessageType, wire.AttrRole, wire.AttrProtocol, wire.AttrCloseInitiator, wire.AttrUpgrade, wire.AttrHTTPMethod:
			t.putStr(dst, a, intern(ev.Str(a)))
		default:
			t.putValue(dst, a, ev.Value(a))
		}
	}
	if c != nil {
		t.inherited(ev, c, dst)
	}
	switch row.Direction {
	case wire.DirectionSent:
		dst.PutStr("ws.direction", "sent")
	case wire.DirectionReceived:
		dst.PutStr("ws.direction", "received")
	case wire.DirectionOther:
		dst.PutStr("ws.direction", strings.Clone(ev.Str(wire.AttrDirection)))
	case wire.DirectionUnknown:
	}
	if row.CloseClass != "" {
		dst.PutStr("ws.close.class", row.CloseClass)
	}
	if t.names.protocol {
		dst.PutStr(protocolName, "websocket")
	}
	for _, kv := range ev.User {
		if !t.names.written(kv.Key) {
			observed.PutValue(dst, strings.Clone(kv.Key), observed.CloneValue(kv.Value))
		}
	}
}

// inherited writes what the connection states and the event does not.
func (t *translator) inherited(ev *wire.Event, c *observed.Conn, dst pcommon.Map) {
	inherit := func(a wire.Attr, s string) {
		if s != "" && !ev.Has(a) {
			t.putStr(dst, a, s)
		}
	}
	inherit(wire.AttrURL, c.URL)
	inherit(wire.AttrProtocol, c.Protocol)
	inherit(wire.AttrRole, c.RoleText)
	inherit(wire.AttrPeerIP, c.PeerIP)
	if c.HasPort && !ev.Has(wire.AttrPeerPort) {
		t.putValue(dst, wire.AttrPeerPort, wire.IntValue(c.PeerPort))
	}
	for _, kv := range c.User {
		if !t.names.written(kv.Key) && !has(ev.User, kv.Key) {
			observed.PutValue(dst, kv.Key, kv.Value)
		}
	}
}

func has(kvs []wire.KeyValue, key string) bool {
	for i := range kvs {
		if kvs[i].Key == key {
			return true
		}
	}
	return false
}

// putHTTPURL writes http.url, whose twin url.full is ws.url's where there is one.
func (t *translator) putHTTPURL(dst pcommon.Map, url string, hasWSURL bool) {
	twin := t.names.twin[wire.AttrHTTPURL]
	if hasWSURL {
		twin = ""
	}
	if own := t.names.own[wire.AttrHTTPURL]; own != "" || twin == "" {
		dst.PutStr(wire.AttrHTTPURL.String(), url)
	}
	if twin != "" {
		dst.PutStr(twin, url)
	}
}

func (t *translator) putStr(dst pcommon.Map, a wire.Attr, s string) {
	if own := t.names.own[a]; own != "" {
		dst.PutStr(own, s)
	}
	if twin := t.names.twin[a]; twin != "" {
		dst.PutStr(twin, s)
	}
}

func (t *translator) putValue(dst pcommon.Map, a wire.Attr, v wire.Value) {
	v.Str = strings.Clone(v.Str)
	if own := t.names.own[a]; own != "" {
		observed.PutValue(dst, own, v)
	}
	if twin := t.names.twin[a]; twin != "" {
		observed.PutValue(dst, twin, v)
	}
}

// intern returns an owned string, without a copy for the values that nearly
// every event has.
func intern(s string) string {
	switch s {
	case "text":
		return "text"
	case "binary":
		return "binary"
	case "client":
		return "client"
	case "server":
		return "server"
	case "ws":
		return "ws"
	case "wss":
		return "wss"
	case "local":
		return "local"
	case "remote":
		return "remote"
	case "websocket":
		return "websocket"
	case "GET":
		return "GET"
	}
	return strings.Clone(s)
}
