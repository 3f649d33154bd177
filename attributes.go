package wsstatsreceiver

import (
	"math/bits"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/xpdata"

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

// attributeWriter writes attributes of spans and scopes. It notes them first,
// so that their map is made in its size, and once: growing it, and looking for
// each key in it, costs as much as the attributes do.
type attributeWriter struct {
	names         *attributeNames
	allowURLQuery bool
	noted         []wire.KeyValue
	pairs         xpdata.MapBuilder
	texts         texts
}

// event writes what the event states, then what it inherits from its connection
// unless the scope says that, and then what follows from both.
func (w *attributeWriter) event(row *observed.Row, scoped bool, dst pcommon.Map) {
	ev, c := row.Event, row.Conn
	for left := ev.Mask(); left != 0; left &= left - 1 {
		w.stated(row, wire.Attr(bits.TrailingZeros64(left)), scoped)
	}
	if c != nil && !scoped {
		w.inherited(ev, c)
	}
	switch row.Direction {
	case wire.DirectionSent:
		w.noteStr("ws.direction", "sent")
	case wire.DirectionReceived:
		w.noteStr("ws.direction", "received")
	case wire.DirectionOther:
		w.noteStr("ws.direction", w.texts.clone(ev.Str(wire.AttrDirection)))
	case wire.DirectionUnknown:
	}
	if row.CloseClass != "" {
		w.noteStr("ws.close.class", row.CloseClass)
	}
	if w.names.protocol && !scoped {
		w.noteStr(protocolName, "websocket")
	}
	for _, kv := range ev.User {
		if !w.names.written(kv.Key) {
			w.note(w.texts.clone(kv.Key), w.texts.cloneValue(kv.Value))
		}
	}
	w.write(dst)
}

// stated notes one attribute of the event.
func (w *attributeWriter) stated(row *observed.Row, a wire.Attr, scoped bool) {
	ev, c := row.Event, row.Conn
	switch a {
	case wire.AttrDirection, wire.AttrCloseClass:
		// The receiver's own word stands below.
	case wire.AttrURL:
		w.known(a, wire.StringValue(w.texts.clone(observed.RedactURL(ev.Str(a), w.allowURLQuery))))
	case wire.AttrHTTPURL:
		w.httpURL(w.texts.clone(observed.RedactURL(ev.Str(a), w.allowURLQuery)), ev.Has(wire.AttrURL) || c != nil && c.URL != "")
	case wire.AttrConnectionID:
		switch {
		case c == nil:
			w.known(a, wire.StringValue(w.texts.clone(ev.Str(a))))
		case !scoped:
			w.known(a, wire.StringValue(c.ID))
		}
	case wire.AttrMessageType, wire.AttrRole, wire.AttrProtocol, wire.AttrCloseInitiator, wire.AttrUpgrade, wire.AttrHTTPMethod:
		w.known(a, wire.StringValue(w.intern(ev.Str(a))))
	default:
		w.known(a, w.texts.cloneValue(ev.Value(a)))
	}
}

// inherited notes what the connection states and the event does not; nil is an
// event that states nothing.
func (w *attributeWriter) inherited(ev *wire.Event, c *observed.Conn) {
	inherit := func(a wire.Attr, s string) {
		if s != "" && (ev == nil || !ev.Has(a)) {
			w.known(a, wire.StringValue(s))
		}
	}
	inherit(wire.AttrURL, c.URL)
	inherit(wire.AttrProtocol, c.Protocol)
	inherit(wire.AttrRole, c.RoleText)
	inherit(wire.AttrPeerIP, c.PeerIP)
	if c.HasPort && (ev == nil || !ev.Has(wire.AttrPeerPort)) {
		w.known(wire.AttrPeerPort, wire.IntValue(c.PeerPort))
	}
	for _, kv := range c.User {
		if !w.names.written(kv.Key) && (ev == nil || !has(ev.User, kv.Key)) {
			w.note(kv.Key, kv.Value)
		}
	}
}

// connection writes what all events of a connection have, for its scope.
func (w *attributeWriter) connection(c *observed.Conn, dst pcommon.Map) {
	w.known(wire.AttrConnectionID, wire.StringValue(c.ID))
	w.inherited(nil, c)
	if w.names.protocol {
		w.noteStr(protocolName, "websocket")
	}
	w.write(dst)
}

func has(kvs []wire.KeyValue, key string) bool {
	for i := range kvs {
		if kvs[i].Key == key {
			return true
		}
	}
	return false
}

// httpURL notes http.url, whose twin url.full is ws.url's where there is one.
func (w *attributeWriter) httpURL(url string, hasWSURL bool) {
	twin := w.names.twin[wire.AttrHTTPURL]
	if hasWSURL {
		twin = ""
	}
	if own := w.names.own[wire.AttrHTTPURL]; own != "" || twin == "" {
		w.noteStr(wire.AttrHTTPURL.String(), url)
	}
	if twin != "" {
		w.noteStr(twin, url)
	}
}

// known notes an attribute of the conventions under its names.
func (w *attributeWriter) known(a wire.Attr, v wire.Value) {
	if own := w.names.own[a]; own != "" {
		w.note(own, v)
	}
	if twin := w.names.twin[a]; twin != "" {
		w.note(twin, v)
	}
}

func (w *attributeWriter) noteStr(key, s string) { w.note(key, wire.StringValue(s)) }

// note notes an attribute whose strings are owned, and whose key is no other's.
func (w *attributeWriter) note(key string, v wire.Value) {
	w.noted = append(w.noted, wire.KeyValue{Key: key, Value: v})
}

// write makes the map of what was noted.
func (w *attributeWriter) write(dst pcommon.Map) {
	w.pairs.EnsureCapacity(len(w.noted))
	for i := range w.noted {
		observed.SetValue(w.pairs.AppendEmpty(w.noted[i].Key), &w.noted[i].Value)
	}
	w.pairs.UnsafeIntoMap(dst)
	w.noted = w.noted[:0]
}

// intern returns an owned string, without a copy for the values that nearly
// every event has.
func (w *attributeWriter) intern(s string) string {
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
	return w.texts.clone(s)
}
