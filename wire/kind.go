package wire

// Kind is the kind of an event: the value of its key "event".
type Kind uint8

// The event kinds of the protocol. KindUnknown is never decoded.
const (
	KindUnknown Kind = iota
	KindHandshake
	KindSend
	KindReceive
	KindProcess
	KindMessage
	KindPing
	KindPong
	KindClose
	KindError
	KindProtocolError
	KindBroadcast
	KindBatchSend
	numKinds
)

var kindNames = [numKinds]string{
	KindHandshake: "handshake", KindSend: "send", KindReceive: "receive", KindProcess: "process",
	KindMessage: "message", KindPing: "ping", KindPong: "pong", KindClose: "close", KindError: "error",
	KindProtocolError: "protocol_error", KindBroadcast: "broadcast", KindBatchSend: "batch_send",
}

// String returns the name of the kind on the wire, empty for KindUnknown.
func (k Kind) String() string {
	if k >= numKinds {
		return ""
	}
	return kindNames[k]
}

// ParseKind returns the kind of that name; "upgrade" and "request" are
// aliases of "handshake".
func ParseKind(name string) (Kind, bool) {
	switch name {
	case "handshake", "upgrade", "request":
		return KindHandshake, true
	case "send":
		return KindSend, true
	case "receive":
		return KindReceive, true
	case "process":
		return KindProcess, true
	case "message":
		return KindMessage, true
	case "ping":
		return KindPing, true
	case "pong":
		return KindPong, true
	case "close":
		return KindClose, true
	case "error":
		return KindError, true
	case "protocol_error":
		return KindProtocolError, true
	case "broadcast":
		return KindBroadcast, true
	case "batch_send":
		return KindBatchSend, true
	}
	return KindUnknown, false
}

// other stands for the values outside a set, as in OpenTelemetry's conventions.
const other = "_OTHER"

// nameOf is the name of a value, "" where it is none of them: an application may
// make one out of any number.
func nameOf[T ~uint8](names []string, value T) string {
	if int(value) >= len(names) {
		return ""
	}
	return names[value]
}

// Role is the side of the observed connection that reports.
type Role uint8

// The roles of the conventions. RoleOther is any value outside the set.
const (
	RoleUnknown Role = iota
	RoleClient
	RoleServer
	RoleOther
)

// ParseRole maps the value of ws.role; the empty string is RoleUnknown.
func ParseRole(s string) Role {
	switch s {
	case "":
		return RoleUnknown
	case "client":
		return RoleClient
	case "server":
		return RoleServer
	}
	return RoleOther
}

var roleNames = [...]string{RoleClient: "client", RoleServer: "server", RoleOther: other}

// String returns the value of ws.role, "" for RoleUnknown and "_OTHER" for RoleOther.
func (r Role) String() string { return nameOf(roleNames[:], r) }

// Peer returns the other side, RoleUnknown where the role is not known.
func (r Role) Peer() Role {
	switch r {
	case RoleClient:
		return RoleServer
	case RoleServer:
		return RoleClient
	}
	return RoleUnknown
}

// Direction is the way a message went, seen from the side that reports.
type Direction uint8

// The directions of the conventions. DirectionOther is any value outside the set.
const (
	DirectionUnknown Direction = iota
	DirectionSent
	DirectionReceived
	DirectionOther
)

// ParseDirection maps the value of ws.direction; the empty string is DirectionUnknown.
func ParseDirection(s string) Direction {
	switch s {
	case "":
		return DirectionUnknown
	case "sent":
		return DirectionSent
	case "received":
		return DirectionReceived
	}
	return DirectionOther
}

var directionNames = [...]string{DirectionSent: "sent", DirectionReceived: "received", DirectionOther: other}

// String returns the value of ws.direction, "" for DirectionUnknown and "_OTHER"
// for DirectionOther.
func (d Direction) String() string { return nameOf(directionNames[:], d) }

// MessageType is the type of a WebSocket message (RFC 6455 section 5.6 and 5.5).
type MessageType uint8

// The message types of the conventions. MessageTypeOther is any value outside the set.
const (
	MessageTypeUnknown MessageType = iota
	MessageText
	MessageBinary
	MessagePing
	MessagePong
	MessageClose
	MessageTypeOther
)

// ParseMessageType maps the value of ws.message.type; the empty string is MessageTypeUnknown.
func ParseMessageType(s string) MessageType {
	switch s {
	case "":
		return MessageTypeUnknown
	case "text":
		return MessageText
	case "binary":
		return MessageBinary
	case "ping":
		return MessagePing
	case "pong":
		return MessagePong
	case "close":
		return MessageClose
	}
	return MessageTypeOther
}

var messageTypeNames = [...]string{
	MessageText: "text", MessageBinary: "binary", MessagePing: "ping", MessagePong: "pong", MessageClose: "close", MessageTypeOther: other,
}

// String returns the value of ws.message.type, "" for MessageTypeUnknown and
// "_OTHER" for MessageTypeOther.
func (t MessageType) String() string { return nameOf(messageTypeNames[:], t) }
