package wsstatsreceiver

import (
	"math/bits"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/xpdata"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// attributeNames are the names under which attributes are written.
type attributeNames struct {
	// own is the name of the conventions, "" where the twin replaces it.
	own [wire.NumAttrs]string
	// twin is the name of the stable semantic conventions, "" where there is none or it is not asked for.
	twin [wire.NumAttrs]string
	// twice are the attributes that are written under both names, as Attrs.Mask has them.
	twice uint64
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
		} else {
			n.twice |= 1 << a
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

// attributeWriter writes attributes of spans and scopes. Their maps are made in
// their size, and once: growing them, and looking for each key in them, costs as
// much as the attributes do.
type attributeWriter struct {
	names         *attributeNames
	allowURLQuery bool
	pairs         xpdata.MapBuilder
	texts         texts
}

// size is how many attributes a span gets, or a few more: what an event states
// though it could inherit it counts twice.
func (w *attributeWriter) size(row *observed.Row, scoped bool) int {
	ev := row.Event
	n := ev.Len() + bits.OnesCount64(ev.Mask()&w.names.twice) + len(ev.User)
	if row.Direction != wire.DirectionUnknown && !ev.Has(wire.AttrDirection) {
		n++
	}
	if row.CloseClass != "" && !ev.Has(wire.AttrCloseClass) {
		n++
	}
	if scoped {
		return n
	}
	return n + w.shared(row.Conn)
}

// shared is how many attributes the spans of a connection have in common, beside
// its id.
func (w *attributeWriter) shared(c *observed.Conn) (n int) {
	if w.names.protocol {
		n++
	}
	if c == nil {
		return n
	}
	for _, stated := range [...]bool{c.URL != "", c.Protocol != "", c.RoleText != "", c.PeerIP != "", c.HasPort} {
		if stated {
			n++
		}
	}
	if w.names.twice != 0 {
		n += 3 // the URL, the address and the port
	}
	return n + len(c.User)
}

// event writes what the event states, then what it inherits from its connection
// unless the scope says that, and then what follows from both.
func (w *attributeWriter) event(row *observed.Row, scoped bool, dst pcommon.Map) {
	ev, c := row.Event, row.Conn
	w.pairs.EnsureCapacity(w.size(row, scoped))
	for left := ev.Mask(); left != 0; left &= left - 1 {
		w.stated(row, wire.Attr(bits.TrailingZeros64(left)), scoped)
	}
	if c != nil && !scoped {
		w.inherited(ev, c)
	}
	switch row.Direction {
	case wire.DirectionSent:
		w.putStr("ws.direction", "sent")
	case wire.DirectionReceived:
		w.putStr("ws.direction", "received")
	case wire.DirectionOther:
		w.putStr("ws.direction", w.texts.clone(ev.Str(wire.AttrDirection)))
	case wire.DirectionUnknown:
	}
	if row.CloseClass != "" {
		w.putStr("ws.close.class", row.CloseClass)
	}
	if w.names.protocol && !scoped {
		w.putStr(protocolName, "websocket")
	}
	for i := range ev.User {
		if kv := &ev.User[i]; !w.names.written(kv.Key) {
			w.user(kv)
		}
	}
	w.pairs.UnsafeIntoMap(dst)
}

// stated writes one attribute of the event.
func (w *attributeWriter) stated(row *observed.Row, a wire.Attr, scoped bool) {
	ev, c := row.Event, row.Conn
	switch a {
	case wire.AttrDirection, wire.AttrCloseClass:
		// The receiver's own word stands below.
	case wire.AttrURL:
		w.knownStr(a, w.texts.clone(conventions.RedactURL(ev.Str(a), w.allowURLQuery)))
	case wire.AttrHTTPURL:
		w.httpURL(w.texts.clone(conventions.RedactURL(ev.Str(a), w.allowURLQuery)), ev.Has(wire.AttrURL) || c != nil && c.URL != "")
	case wire.AttrConnectionID:
		switch {
		case c == nil:
			w.knownStr(a, w.texts.clone(ev.Str(a)))
		case !scoped:
			w.knownStr(a, c.ID)
		}
	case wire.AttrMessageType, wire.AttrRole, wire.AttrProtocol, wire.AttrCloseInitiator, wire.AttrUpgrade, wire.AttrHTTPMethod:
		w.knownStr(a, w.intern(ev.Str(a)))
	default:
		if v := ev.Value(a); v.Type == wire.TypeString {
			w.knownStr(a, w.texts.clone(v.Str))
		} else {
			w.known(a, &v)
		}
	}
}

// inherited writes what the connection states and the event does not; nil is an
// event that states nothing.
func (w *attributeWriter) inherited(ev *wire.Event, c *observed.Conn) {
	inherit := func(a wire.Attr, s string) {
		if s != "" && (ev == nil || !ev.Has(a)) {
			w.knownStr(a, s)
		}
	}
	inherit(wire.AttrURL, c.URL)
	inherit(wire.AttrProtocol, c.Protocol)
	inherit(wire.AttrRole, c.RoleText)
	inherit(wire.AttrPeerIP, c.PeerIP)
	if c.HasPort && (ev == nil || !ev.Has(wire.AttrPeerPort)) {
		port := wire.IntValue(c.PeerPort)
		w.known(wire.AttrPeerPort, &port)
	}
	for i := range c.User {
		kv := &c.User[i]
		if !w.names.written(kv.Key) && (ev == nil || !has(ev.User, kv.Key)) {
			w.put(kv.Key, &kv.Value)
		}
	}
}

// connection writes what all events of a connection have, for its scope.
func (w *attributeWriter) connection(c *observed.Conn, dst pcommon.Map) {
	w.pairs.EnsureCapacity(1 + w.shared(c))
	w.knownStr(wire.AttrConnectionID, c.ID)
	w.inherited(nil, c)
	if w.names.protocol {
		w.putStr(protocolName, "websocket")
	}
	w.pairs.UnsafeIntoMap(dst)
}

func has(kvs []wire.KeyValue, key string) bool {
	for i := range kvs {
		if kvs[i].Key == key {
			return true
		}
	}
	return false
}

// httpURL writes http.url, whose twin url.full is ws.url's where there is one.
func (w *attributeWriter) httpURL(url string, hasWSURL bool) {
	twin := w.names.twin[wire.AttrHTTPURL]
	if hasWSURL {
		twin = ""
	}
	if own := w.names.own[wire.AttrHTTPURL]; own != "" || twin == "" {
		w.putStr(wire.AttrHTTPURL.String(), url)
	}
	if twin != "" {
		w.putStr(twin, url)
	}
}

// knownStr writes a string of the conventions, which is owned, under its names.
// Most attributes are strings, and a wire.Value is four words more to pass on.
func (w *attributeWriter) knownStr(a wire.Attr, s string) {
	if own := w.names.own[a]; own != "" {
		w.putStr(own, s)
	}
	if twin := w.names.twin[a]; twin != "" {
		w.putStr(twin, s)
	}
}

// known writes another attribute of the conventions under its names.
func (w *attributeWriter) known(a wire.Attr, v *wire.Value) {
	if own := w.names.own[a]; own != "" {
		w.put(own, v)
	}
	if twin := w.names.twin[a]; twin != "" {
		w.put(twin, v)
	}
}

// user copies an attribute of the user.
func (w *attributeWriter) user(kv *wire.KeyValue) {
	key := w.texts.clone(kv.Key)
	if kv.Value.Type == wire.TypeString {
		w.putStr(key, w.texts.clone(kv.Value.Str))
		return
	}
	v := w.texts.cloneValue(kv.Value)
	w.put(key, &v)
}

// put writes an attribute whose strings are owned, and whose key is no other's.
func (w *attributeWriter) put(key string, v *wire.Value) {
	observed.SetValue(w.pairs.AppendEmpty(key), v)
}

func (w *attributeWriter) putStr(key, s string) { w.pairs.AppendEmpty(key).SetStr(s) }

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
