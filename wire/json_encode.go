package wire

import (
	"encoding/hex"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the JSON form of a message, for agents. Times are integer
// Unix nanoseconds; what is not set is left out, and so are attributes of the
// user that the form cannot say: doubles that are not finite, empty keys, keys
// that are the protocol's or the conventions', and repeated keys.
func AppendJSON(dst []byte, m *Message) []byte {
	switch m.Form {
	case FormHello:
		return appendHello(dst, &m.Hello)
	case FormEvents:
		return appendRows(dst, m.Batch.Events, appendEvent)
	default:
		return appendBatch(dst, &m.Batch)
	}
}

func appendHello(dst []byte, h *Hello) []byte {
	o := object{append(dst, `{"hello":{`...), false}
	o.str("instance", h.Instance)
	if h.AgentName != "" || h.AgentVersion != "" {
		o.key("agent")
		agent := object{append(o.b, '{'), false}
		agent.optional("name", h.AgentName)
		agent.optional("version", h.AgentVersion)
		o.b = append(agent.b, '}')
	}
	if len(h.Resource) > 0 {
		o.keyValues("resource", h.Resource)
	}
	if h.Aggregates {
		o.bool("aggregates", true)
	}
	return append(o.b, "}}"...)
}

func appendBatch(dst []byte, b *Batch) []byte {
	o := object{append(dst, '{'), false}
	if b.Seq != 0 {
		o.uint("seq", b.Seq)
	}
	if b.Aggregates {
		o.bool("aggregates", true)
	}
	if b.HasThreshold {
		o.key("threshold")
		o.b = append(AppendThreshold(append(o.b, '"'), b.Threshold), '"')
	}
	if b.HasResource {
		o.keyValues("resource", b.Resource)
	}
	if len(b.Connections) > 0 {
		o.key("connections")
		o.b = appendRows(o.b, b.Connections, appendConnection)
	}
	if len(b.Events) > 0 {
		o.key("events")
		o.b = appendRows(o.b, b.Events, appendEvent)
	}
	if len(b.Stats) > 0 {
		o.key("stats")
		o.b = appendRows(o.b, b.Stats, appendStat)
	}
	if len(b.Dropped) > 0 {
		o.key("dropped")
		dropped := object{append(o.b, '{'), false}
		for _, r := range b.Dropped {
			dropped.uint(r.Reason, r.Count)
		}
		o.b = append(dropped.b, '}')
	}
	if !o.some { // an object with no key at all is no batch
		o.key("events")
		o.b = append(o.b, "[]"...)
	}
	return append(o.b, '}')
}

func appendRows[T any](dst []byte, rows []T, one func([]byte, *T) []byte) []byte {
	dst = append(dst, '[')
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = one(dst, &rows[i])
	}
	return append(dst, ']')
}

func appendEvent(dst []byte, e *Event) []byte {
	o := object{append(dst, '{'), false}
	o.str("event", e.Kind.String())
	if e.HasTime {
		o.int("time", e.Time)
	}
	if e.HasDuration {
		o.int("duration_ns", e.Duration)
	}
	o.traceID(e.TraceID)
	o.spanID("span_id", e.SpanID)
	o.spanID("parent_span_id", e.ParentSpanID)
	if e.Parent.TraceID != (TraceID{}) {
		o.key("traceparent")
		o.b = append(AppendTraceparent(append(o.b, '"'), e.Parent), '"')
	}
	o.optional("tracestate", e.Tracestate)
	if e.Unsampled {
		o.bool("sampled", false)
	}
	if len(e.Links) > 0 {
		o.key("links")
		o.b = appendRows(o.b, e.Links, appendLink)
	}
	o.attrs(&e.Attrs, func(key string) bool { return eventField(key) != eventUnknown })
	return append(o.b, '}')
}

func appendLink(dst []byte, l *Link) []byte {
	o := object{append(dst, '{'), false}
	o.traceID(l.TraceID)
	o.spanID("span_id", l.SpanID)
	if len(l.Attributes) > 0 {
		o.keyValues("attributes", l.Attributes)
	}
	return append(o.b, '}')
}

func appendConnection(dst []byte, c *Connection) []byte {
	o := object{append(dst, '{'), false}
	if c.HasOpenedAt {
		o.int("opened_at", c.OpenedAt)
	}
	if c.Closed {
		o.bool("open", false)
	}
	o.traceID(c.TraceID)
	o.spanID("span_id", c.SpanID)
	o.attrs(&c.Attrs, func(key string) bool { return connectionField(key) != connectionUnknown })
	return append(o.b, '}')
}

func appendStat(dst []byte, s *Stat) []byte {
	o := object{append(dst, '{'), false}
	o.str("metric", s.Metric.String())
	o.int("start", s.Start)
	o.int("time", s.Time)
	if s.set != 0 || len(s.User) > 0 {
		o.key("attributes")
		attributes := object{append(o.b, '{'), false}
		attributes.attrs(&s.Attrs, nil)
		o.b = append(attributes.b, '}')
	}
	o.uint("count", s.Count)
	o.double("sum", s.Sum)
	if s.HasMin {
		o.double("min", s.Min)
	}
	if s.HasMax {
		o.double("max", s.Max)
	}
	if s.Scale != 0 {
		o.int("scale", int64(s.Scale))
	}
	if s.ZeroCount != 0 {
		o.uint("zero_count", s.ZeroCount)
	}
	if s.Offset != 0 {
		o.int("offset", int64(s.Offset))
	}
	if len(s.Buckets) > 0 {
		o.key("bucket_counts")
		o.b = append(o.b, '[')
		for i, n := range s.Buckets {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			o.b = strconv.AppendUint(o.b, n, 10)
		}
		o.b = append(o.b, ']')
	}
	if s.Unsized != 0 {
		o.uint("unsized", s.Unsized)
	}
	return append(o.b, '}')
}

// object appends the members of a JSON object.
type object struct {
	b    []byte
	some bool // has a member
}

func (o *object) key(key string) {
	if o.some {
		o.b = append(o.b, ',')
	}
	o.some = true
	o.b = append(appendString(o.b, key), ':')
}

func (o *object) str(key, s string) {
	o.key(key)
	o.b = appendString(o.b, s)
}

func (o *object) optional(key, s string) {
	if s != "" {
		o.str(key, s)
	}
}

func (o *object) int(key string, i int64) {
	o.key(key)
	o.b = strconv.AppendInt(o.b, i, 10)
}

func (o *object) uint(key string, u uint64) {
	o.key(key)
	o.b = strconv.AppendUint(o.b, u, 10)
}

func (o *object) bool(key string, b bool) {
	o.key(key)
	o.b = strconv.AppendBool(o.b, b)
}

func (o *object) double(key string, f float64) {
	o.key(key)
	o.b = appendDouble(o.b, f)
}

func (o *object) traceID(id TraceID) {
	if id != (TraceID{}) {
		o.key("trace_id")
		o.b = append(hex.AppendEncode(append(o.b, '"'), id[:]), '"')
	}
}

func (o *object) spanID(key string, id SpanID) {
	if id != (SpanID{}) {
		o.key(key)
		o.b = append(hex.AppendEncode(append(o.b, '"'), id[:]), '"')
	}
}

func (o *object) attrs(as *Attrs, reserved func(string) bool) {
	for a := range NumAttrs {
		if as.Has(a) {
			o.value(a.String(), as.Value(a))
		}
	}
	for i, kv := range as.User {
		if _, ok := ParseAttr(kv.Key); ok || reserved != nil && reserved(kv.Key) {
			continue
		}
		o.keyValue(as.User[:i], kv)
	}
}

func (o *object) keyValues(key string, kvs []KeyValue) {
	o.key(key)
	inner := object{append(o.b, '{'), false}
	for i, kv := range kvs {
		inner.keyValue(kvs[:i], kv)
	}
	o.b = append(inner.b, '}')
}

func (o *object) keyValue(before []KeyValue, kv KeyValue) {
	if kv.Key == "" {
		return
	}
	for _, other := range before {
		if other.Key == kv.Key {
			return
		}
	}
	o.value(kv.Key, kv.Value)
}

func (o *object) value(key string, v Value) {
	if !finite(v) {
		return
	}
	o.key(key)
	if v.Type != TypeArray {
		o.b = appendScalar(o.b, v)
		return
	}
	o.b = append(o.b, '[')
	for i, e := range v.Array {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendScalar(o.b, e)
	}
	o.b = append(o.b, ']')
}

// finite tells whether JSON can say a value.
func finite(v Value) bool {
	switch v.Type {
	case TypeEmpty:
		return false
	case TypeDouble:
		return !math.IsNaN(v.Double()) && !math.IsInf(v.Double(), 0)
	case TypeArray:
		for _, e := range v.Array {
			if e.Type == TypeArray || !finite(e) {
				return false
			}
		}
	}
	return true
}

func appendScalar(dst []byte, v Value) []byte {
	switch v.Type {
	case TypeString:
		return appendString(dst, v.Str)
	case TypeBool:
		return strconv.AppendBool(dst, v.Bool())
	case TypeInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	default:
		return appendDouble(dst, v.Double())
	}
}

// appendDouble writes a double so that it is read as one: with a fraction or an exponent.
func appendDouble(dst []byte, f float64) []byte {
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'g', -1, 64)
	if isInteger(dst[n:]) {
		dst = append(dst, ".0"...)
	}
	return dst
}

// appendString writes a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + size
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
