package wsstatsreceiver

import (
	"bytes"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// form is one of the forms that the protocol's messages have.
type form struct {
	subprotocol string
	kind        int    // of the WebSocket messages
	takes       string // the same in words
	decode      func(*wire.Decoder, []byte, *wire.Message) error
	// peekSeq is wire.PeekSeq or its like.
	peekSeq func([]byte) uint64
	// isHello tells a hello by how it usually begins.
	isHello func([]byte) bool
	// unnumbered tells whether what begins like this may be a message without a number.
	unnumbered func(head []byte) bool
	// size is how many rows, attributes and elements of arrays a message becomes,
	// told without decoding it.
	size func([]byte) (objects, members int)
}

var jsonForm = form{
	subprotocol: wire.SubprotocolJSON,
	kind:        websocket.TextMessage,
	takes:       "text messages",
	decode:      (*wire.Decoder).DecodeJSON,
	peekSeq:     wire.PeekSeq,
	isHello:     func(data []byte) bool { return bytes.HasPrefix(data, []byte(`{"hello"`)) },
	unnumbered: func(head []byte) bool {
		return wire.PeekSeq(head) == 0 && bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{"))
	},
	// What stands in strings counts too. Nearly each member and element comes after
	// a comma; but so does an event, and it has a member "event".
	size: func(data []byte) (objects, members int) {
		objects = bytes.Count(data, []byte("{"))
		return objects, max(0, bytes.Count(data, []byte(","))-objects)
	},
}

var protoForm = form{
	subprotocol: wire.SubprotocolProto,
	kind:        websocket.BinaryMessage,
	takes:       "binary messages",
	decode:      (*wire.Decoder).DecodeProto,
	peekSeq:     wire.PeekSeqProto,
	isHello:     func(data []byte) bool { return len(data) > 0 && data[0] == helloTag },
	unnumbered:  func(head []byte) bool { return wire.PeekSeqProto(head) == 0 },
	size: func(data []byte) (objects, members int) {
		rows, values := wire.ProtoSize(data)
		// And those of the conventions, a byte each at the least. They have a place in
		// their row, and cost a third of others.
		return rows, values + min(len(data), rows*int(wire.NumAttrs))/3
	},
}

// helloTag is how the field hello of a binary message begins.
const helloTag = 1<<3 | 2

// forms are those that agents may ask for; the first one is that of those who do not.
var forms = []*form{&jsonForm, &protoForm}

// formOf is the form of a subprotocol, nil where it is not known.
func formOf(subprotocol string) *form {
	for _, f := range forms {
		if f.subprotocol == subprotocol {
			return f
		}
	}
	return nil
}
