package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

const (
	maxHandle = 65536 // what a receiver takes by default

	// A session's handles begin anew with the first message after there are so many
	// of them, or so many bytes: what is not used any more goes, and a receiver's
	// memory is far from its bounds.
	handlesKept     = 8192
	handleBytesKept = 1 << 20

	// longestHandled is how long a string value may be that gets a handle. Longer
	// ones rarely come again.
	longestHandled = 64
)

// ErrTooManyHandles says that a message needs more handles than there are.
var ErrTooManyHandles = errors.New("more connection ids and keys than there are handles")

// ProtoEncoder encodes the messages of one session in the binary form. The zero
// value is ready. It is not safe for concurrent use.
//
// It remembers what the receiver was told: messages have to be sent in the order
// in which they were encoded, and each of them. Call Reset at the beginning of a
// session, after each welcome and each nack, and where an encoded message is not
// sent. Memory is bounded: see Append.
type ProtoEncoder struct {
	session handles
	single  handles // of a message that is not numbered
	table   *handles
	pb      wsstatspb.Message
}

// handles gives strings their handles, from 1 in the order of their first use.
type handles struct {
	of    map[string]uint32
	bytes int
}

// Reset forgets what the receiver was told: what is used is defined anew.
func (e *ProtoEncoder) Reset() { e.session = handles{} }

// Append appends the binary form of a message. It leaves out what AppendJSON
// leaves out. A handle is given to connection ids, to keys of the user, and to
// values of up to 64 bytes but those of ws.message.id, which no two messages
// share, as long as there are less than 8192 handles and 1 MiB of them. The error
// is ErrTooManyHandles, for a message with more than 57,000 different keys and
// connections; it was not encoded.
func (e *ProtoEncoder) Append(dst []byte, m *Message) ([]byte, error) {
	e.single = handles{}
	e.table = &e.single
	if m.Form == FormBatch && m.Batch.Seq != 0 {
		e.table = &e.session
		if len(e.session.of) >= handlesKept || e.session.bytes >= handleBytesKept {
			e.Reset()
		}
	}
	e.pb.Reset()
	switch m.Form {
	case FormHello:
		e.pb.Form = &wsstatspb.Message_Hello{Hello: protoHello(&m.Hello)}
	case FormEvents:
		e.pb.Form = &wsstatspb.Message_Events{Events: e.events(m.Batch.Events)}
	default:
		e.pb.Form = &wsstatspb.Message_Batch{Batch: e.batch(&m.Batch)}
	}
	start := len(dst)
	if len(e.table.of) > maxHandle {
		e.Reset()
		return dst, fmt.Errorf("wire: %w", ErrTooManyHandles)
	}
	// Two messages one after the other are one that has the fields of both: the
	// library writes a oneof last, and the number is to come first.
	definitions := wsstatspb.Message{StringHandles: e.pb.StringHandles, Strings: e.pb.Strings}
	e.pb.StringHandles, e.pb.Strings = nil, nil
	for _, part := range [...]*wsstatspb.Message{&e.pb, &definitions} {
		var err error
		if dst, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(dst, part); err != nil {
			e.Reset()
			return dst[:start], fmt.Errorf("wire: %w", err)
		}
	}
	return dst, nil
}

// handle is the handle of a string, which it defines where it has none.
func (e *ProtoEncoder) handle(s string) uint32 {
	if h, ok := e.table.of[s]; ok {
		return h
	}
	if e.table.of == nil {
		e.table.of = make(map[string]uint32)
	}
	s = strings.Clone(s)
	h := uint32(len(e.table.of) + 1)
	e.table.of[s] = h
	e.table.bytes += len(s)
	e.pb.StringHandles = append(e.pb.StringHandles, h)
	e.pb.Strings = append(e.pb.Strings, s)
	return h
}

// worthHandle tells whether a value gets a handle.
func (e *ProtoEncoder) worthHandle(s string) bool {
	if _, ok := e.table.of[s]; ok {
		return true
	}
	return len(s) <= longestHandled && len(e.table.of) < handlesKept && e.table.bytes < handleBytesKept
}

// utf8Of is the string with U+FFFD for each byte that is no UTF-8.
func utf8Of(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

func protoHello(h *Hello) *wsstatspb.Hello {
	pb := &wsstatspb.Hello{Instance: utf8Of(h.Instance), Aggregates: h.Aggregates}
	if h.AgentName != "" || h.AgentVersion != "" {
		pb.Agent = &wsstatspb.Agent{Name: utf8Of(h.AgentName), Version: utf8Of(h.AgentVersion)}
	}
	if len(h.Resource) > 0 {
		pb.Resource = &wsstatspb.Resource{Attributes: protoKeyValues(h.Resource)}
	}
	return pb
}

func (e *ProtoEncoder) batch(b *Batch) *wsstatspb.Batch {
	pb := &wsstatspb.Batch{Seq: b.Seq, Aggregates: b.Aggregates}
	if b.HasResource {
		pb.Resource = &wsstatspb.Resource{Attributes: protoKeyValues(b.Resource)}
	}
	if b.HasThreshold {
		pb.Threshold = &b.Threshold
	}
	for i := range b.Connections {
		pb.Connections = append(pb.Connections, protoConnection(&b.Connections[i]))
	}
	if len(b.Events) > 0 {
		pb.Events = e.events(b.Events)
	}
	for i := range b.Stats {
		pb.Stats = append(pb.Stats, protoStat(&b.Stats[i]))
	}
	for _, r := range b.Dropped {
		pb.Dropped = append(pb.Dropped, &wsstatspb.Dropped{Reason: utf8Of(r.Reason), Count: r.Count})
	}
	return pb
}

func protoConnection(c *Connection) *wsstatspb.Connection {
	pb := &wsstatspb.Connection{Attributes: protoAttrs(&c.Attrs, isConnectionKey), Closed: c.Closed}
	if c.HasOpenedAt {
		pb.OpenedAt = &c.OpenedAt
	}
	if c.TraceID != (TraceID{}) {
		pb.TraceId = c.TraceID[:]
	}
	if c.SpanID != (SpanID{}) {
		pb.SpanId = c.SpanID[:]
	}
	return pb
}

func protoStat(s *Stat) *wsstatspb.Stat {
	pb := &wsstatspb.Stat{
		Metric: s.Metric.String(), Start: s.Start, Time: s.Time, Attributes: protoAttrs(&s.Attrs, nil),
		Count: s.Count, Sum: s.Sum, Scale: s.Scale, ZeroCount: s.ZeroCount, Offset: s.Offset, BucketCounts: s.Buckets, Unsized: s.Unsized,
	}
	if s.HasMin {
		pb.Min = &s.Min
	}
	if s.HasMax {
		pb.Max = &s.Max
	}
	return pb
}

// protoAttrs are the attributes of a row that is a message of its own.
func protoAttrs(as *Attrs, reserved func(string) bool) (pb []*wsstatspb.Attribute) {
	for a := range NumAttrs {
		if v := protoValue(as.Value(a)); v != nil {
			pb = append(pb, &wsstatspb.Attribute{Key: a.String(), Value: v})
		}
	}
	for i, kv := range as.User {
		if isUserKey(as.User[:i], kv.Key, reserved) {
			pb = appendAttribute(pb, kv)
		}
	}
	return pb
}

func protoKeyValues(kvs []KeyValue) (pb []*wsstatspb.Attribute) {
	for i, kv := range kvs {
		if kv.Key != "" && !hasKey(kvs[:i], kv.Key) {
			pb = appendAttribute(pb, kv)
		}
	}
	return pb
}

func appendAttribute(pb []*wsstatspb.Attribute, kv KeyValue) []*wsstatspb.Attribute {
	if v := protoValue(kv.Value); v != nil {
		pb = append(pb, &wsstatspb.Attribute{Key: utf8Of(kv.Key), Value: v})
	}
	return pb
}

// isUserKey tells whether an attribute of the user may have that key, after those before it.
func isUserKey(before []KeyValue, key string, reserved func(string) bool) bool {
	if _, ok := ParseAttr(key); ok || key == "" || reserved != nil && reserved(key) {
		return false
	}
	return !hasKey(before, key)
}

func hasKey(kvs []KeyValue, key string) bool {
	return slices.ContainsFunc(kvs, func(kv KeyValue) bool { return kv.Key == key })
}

// protoValue is a value, nil for what the protocol cannot say.
func protoValue(v Value) *wsstatspb.Value {
	if !sayable(v) {
		return nil
	}
	switch v.Type {
	case TypeString:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_StringValue{StringValue: utf8Of(v.Str)}}
	case TypeBool:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_BoolValue{BoolValue: v.Bool()}}
	case TypeInt:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_IntValue{IntValue: v.Int()}}
	case TypeDouble:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_DoubleValue{DoubleValue: v.Double()}}
	}
	return &wsstatspb.Value{Kind: &wsstatspb.Value_ArrayValue{ArrayValue: protoArray(v.Array)}}
}

// sayable tells whether the protocol can say a value: what is finite, and no
// array of several types. Integers among doubles are doubles.
func sayable(v Value) bool {
	if !finite(v) {
		return false
	}
	for _, e := range v.Array {
		if first := v.Array[0].Type; e.Type != first && !(isNumber(e.Type) && isNumber(first)) {
			return false
		}
	}
	return true
}

func isNumber(t Type) bool { return t == TypeInt || t == TypeDouble }

func protoArray(elements []Value) *wsstatspb.Array {
	pb := new(wsstatspb.Array)
	doubles := slices.ContainsFunc(elements, func(v Value) bool { return v.Type == TypeDouble })
	for _, v := range elements {
		switch {
		case v.Type == TypeString:
			pb.Strings = append(pb.Strings, utf8Of(v.Str))
		case v.Type == TypeBool:
			pb.Bools = append(pb.Bools, v.Bool())
		case v.Type == TypeDouble:
			pb.Doubles = append(pb.Doubles, v.Double())
		case doubles:
			pb.Doubles = append(pb.Doubles, float64(v.Int()))
		default:
			pb.Ints = append(pb.Ints, v.Int())
		}
	}
	return pb
}
