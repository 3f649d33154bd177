package wire

import (
	"math"
	"math/bits"
)

// Attr names an attribute of the ws.* conventions that a row keeps in a field
// of its own. Every other attribute is the user's and is kept in Attrs.User.
type Attr uint8

// The attributes of the conventions: strings, then integers, doubles and booleans.
const (
	AttrURL Attr = iota
	AttrHTTPURL
	AttrProtocol
	AttrSubprotocol
	AttrUpgrade
	AttrHTTPMethod
	AttrRole
	AttrDirection
	AttrConnectionID
	AttrMessageType
	AttrMessageID
	AttrCloseReason
	AttrCloseInitiator
	AttrCloseClass
	AttrPeerIP
	AttrErrorType
	AttrErrorCategory
	AttrErrorMessage
	AttrErrorSeverity

	AttrStatusCode
	AttrMessageSize
	AttrCompressedSize
	AttrMessageFrames
	AttrMessageSeq
	AttrMessageTimestamp
	AttrPingTimestamp
	AttrQueueSize
	AttrBatchSize
	AttrBroadcastRecipients
	AttrCloseCode
	AttrPeerPort
	AttrMessagesSent
	AttrMessagesReceived
	AttrBytesSent
	AttrBytesReceived

	AttrPongLatency
	AttrProcessingTime
	AttrConnectionDuration

	AttrHandshakeSuccess
	AttrShared
	AttrCloseClean

	NumAttrs // how many attributes the conventions have

	firstNumber = AttrStatusCode
)

// Type is the type of an attribute's value.
type Type uint8

// The types of a value. An array holds values of one of the other types.
const (
	TypeEmpty Type = iota
	TypeString
	TypeBool
	TypeInt
	TypeDouble
	TypeArray
)

// AttrInfo is what the conventions say about an attribute.
type AttrInfo struct {
	Name string
	Type Type
	// Min is the smallest value an integer or double may have.
	Min float64
}

var attrInfos = [NumAttrs]AttrInfo{
	AttrURL:            {Name: "ws.url", Type: TypeString},
	AttrHTTPURL:        {Name: "http.url", Type: TypeString},
	AttrProtocol:       {Name: "ws.protocol", Type: TypeString},
	AttrSubprotocol:    {Name: "ws.subprotocol", Type: TypeString},
	AttrUpgrade:        {Name: "ws.upgrade", Type: TypeString},
	AttrHTTPMethod:     {Name: "http.method", Type: TypeString},
	AttrRole:           {Name: "ws.role", Type: TypeString},
	AttrDirection:      {Name: "ws.direction", Type: TypeString},
	AttrConnectionID:   {Name: "ws.connection.id", Type: TypeString},
	AttrMessageType:    {Name: "ws.message.type", Type: TypeString},
	AttrMessageID:      {Name: "ws.message.id", Type: TypeString},
	AttrCloseReason:    {Name: "ws.close.reason", Type: TypeString},
	AttrCloseInitiator: {Name: "ws.close.initiator", Type: TypeString},
	AttrCloseClass:     {Name: "ws.close.class", Type: TypeString},
	AttrPeerIP:         {Name: "net.peer.ip", Type: TypeString},
	AttrErrorType:      {Name: "error.type", Type: TypeString},
	AttrErrorCategory:  {Name: "error.category", Type: TypeString},
	AttrErrorMessage:   {Name: "error.message", Type: TypeString},
	AttrErrorSeverity:  {Name: "error.severity", Type: TypeString},

	AttrStatusCode:          {Name: "http.status_code", Type: TypeInt},
	AttrMessageSize:         {Name: "ws.message.size", Type: TypeInt},
	AttrCompressedSize:      {Name: "ws.message.compressed_size", Type: TypeInt},
	AttrMessageFrames:       {Name: "ws.message.frames", Type: TypeInt},
	AttrMessageSeq:          {Name: "ws.message.seq", Type: TypeInt, Min: 1},
	AttrMessageTimestamp:    {Name: "ws.message.timestamp", Type: TypeInt, Min: math.Inf(-1)},
	AttrPingTimestamp:       {Name: "ws.ping.timestamp", Type: TypeInt, Min: math.Inf(-1)},
	AttrQueueSize:           {Name: "ws.queue.size", Type: TypeInt},
	AttrBatchSize:           {Name: "ws.batch.size", Type: TypeInt},
	AttrBroadcastRecipients: {Name: "ws.broadcast.recipients", Type: TypeInt},
	AttrCloseCode:           {Name: "ws.close.code", Type: TypeInt},
	AttrPeerPort:            {Name: "net.peer.port", Type: TypeInt},
	AttrMessagesSent:        {Name: "ws.connection.messages.sent", Type: TypeInt},
	AttrMessagesReceived:    {Name: "ws.connection.messages.received", Type: TypeInt},
	AttrBytesSent:           {Name: "ws.connection.bytes.sent", Type: TypeInt},
	AttrBytesReceived:       {Name: "ws.connection.bytes.received", Type: TypeInt},

	AttrPongLatency:        {Name: "ws.pong.latency", Type: TypeDouble},
	AttrProcessingTime:     {Name: "ws.processing.time_ms", Type: TypeDouble},
	AttrConnectionDuration: {Name: "ws.connection.duration_ms", Type: TypeDouble},

	AttrHandshakeSuccess: {Name: "ws.handshake.success", Type: TypeBool},
	AttrShared:           {Name: "ws.connection.shared", Type: TypeBool},
	AttrCloseClean:       {Name: "ws.close.clean", Type: TypeBool},
}

// Info returns what the conventions say about the attribute.
func (a Attr) Info() AttrInfo { return attrInfos[a] }

// String returns the name of the attribute.
func (a Attr) String() string { return attrInfos[a].Name }

// Attrs are the attributes of a row. The zero value is empty. Fields that are
// not set hold what an earlier row left there, so read them through Has or the
// getters.
type Attrs struct {
	set  uint64
	strs [firstNumber]string
	nums [NumAttrs - firstNumber]uint64

	// User holds the attributes that are not of the conventions, in the order
	// in which they came.
	User []KeyValue
}

// KeyValue is an attribute that is not of the conventions.
type KeyValue struct {
	Key   string
	Value Value
}

// Value is a value of an attribute: a string, boolean, integer or double, or a
// flat array of one of these.
type Value struct {
	Type  Type
	num   uint64
	Str   string  // of TypeString
	Array []Value // of TypeArray
}

// StringValue returns a value of TypeString.
func StringValue(s string) Value { return Value{Type: TypeString, Str: s} }

// IntValue returns a value of TypeInt.
func IntValue(i int64) Value { return Value{Type: TypeInt, num: uint64(i)} }

// DoubleValue returns a value of TypeDouble.
func DoubleValue(f float64) Value { return Value{Type: TypeDouble, num: math.Float64bits(f)} }

// BoolValue returns a value of TypeBool.
func BoolValue(b bool) Value {
	v := Value{Type: TypeBool}
	if b {
		v.num = 1
	}
	return v
}

// ArrayValue returns a value of TypeArray; its elements are of one type that is not TypeArray.
func ArrayValue(elements []Value) Value { return Value{Type: TypeArray, Array: elements} }

// Int returns a value of TypeInt.
func (v Value) Int() int64 { return int64(v.num) }

// Double returns a value of TypeDouble.
func (v Value) Double() float64 { return math.Float64frombits(v.num) }

// Bool returns a value of TypeBool.
func (v Value) Bool() bool { return v.num != 0 }

// Reset empties the attributes and keeps their memory.
func (as *Attrs) Reset() {
	as.set = 0
	as.User = nil
}

// Has tells whether the attribute is set.
func (as *Attrs) Has(a Attr) bool { return as.set&(1<<a) != 0 }

// Mask has the bit 1<<a for each attribute a that is set.
func (as *Attrs) Mask() uint64 { return as.set }

// Unset removes the attribute.
func (as *Attrs) Unset(a Attr) { as.set &^= 1 << a }

// Str returns a string attribute, "" where it is not set.
func (as *Attrs) Str(a Attr) string {
	if !as.Has(a) {
		return ""
	}
	return as.strs[a]
}

// Int returns an integer attribute, 0 where it is not set.
func (as *Attrs) Int(a Attr) int64 {
	if !as.Has(a) {
		return 0
	}
	return int64(as.nums[a-firstNumber])
}

// Double returns a double attribute, 0 where it is not set.
func (as *Attrs) Double(a Attr) float64 {
	if !as.Has(a) {
		return 0
	}
	return math.Float64frombits(as.nums[a-firstNumber])
}

// Bool returns a boolean attribute, false where it is not set.
func (as *Attrs) Bool(a Attr) bool { return as.Has(a) && as.nums[a-firstNumber] != 0 }

// SetStr sets a string attribute.
func (as *Attrs) SetStr(a Attr, s string) {
	as.set |= 1 << a
	as.strs[a] = s
}

// SetInt sets an integer attribute.
func (as *Attrs) SetInt(a Attr, i int64) {
	as.set |= 1 << a
	as.nums[a-firstNumber] = uint64(i)
}

// SetDouble sets a double attribute.
func (as *Attrs) SetDouble(a Attr, f float64) {
	as.set |= 1 << a
	as.nums[a-firstNumber] = math.Float64bits(f)
}

// SetBool sets a boolean attribute.
func (as *Attrs) SetBool(a Attr, b bool) {
	as.set |= 1 << a
	as.nums[a-firstNumber] = 0
	if b {
		as.nums[a-firstNumber] = 1
	}
}

// Value returns any attribute of the conventions as a value, of TypeEmpty where it is not set.
func (as *Attrs) Value(a Attr) Value {
	if !as.Has(a) {
		return Value{}
	}
	v := Value{Type: attrInfos[a].Type}
	if a < firstNumber {
		v.Str = as.strs[a]
	} else {
		v.num = as.nums[a-firstNumber]
	}
	return v
}

// SetValue sets an attribute from a value of its own type.
func (as *Attrs) SetValue(a Attr, v Value) {
	as.set |= 1 << a
	if a < firstNumber {
		as.strs[a] = v.Str
	} else {
		as.nums[a-firstNumber] = v.num
	}
}

// Len is how many attributes of the conventions are set.
func (as *Attrs) Len() int { return bits.OnesCount64(as.set) }
