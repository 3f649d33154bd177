package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// oracle is a second decoder, which takes its time: it builds a tree with the
// standard library and reads the rows from that. The differences between a
// message and what encoding/json takes are all here:
//
//   - a message is UTF-8, and no more than Limits.Depth deep;
//   - a key comes once in an object, as far as the object is looked into: not in
//     a value that is skipped, and Limits.Attributes of the keys are remembered;
//   - there are limits to rows, attributes, keys, and values.
type oracle struct {
	limits Limits
	m      *Message

	row     bool // in a row: what is wrong rejects it and not the message
	bad     bool // the row is rejected
	refused bool // the message is
}

// oracleDecode returns what a message says, and whether it can be taken.
func oracleDecode(data []byte, limits Limits) (*Message, bool) {
	o := &oracle{limits: limits.withDefaults(), m: new(Message)}
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	o.message(o.tree(dec, 0))
	return o.m, !o.refused
}

// member is a member of a list: an object that keeps the order and repetitions of keys.
type member struct {
	key   string
	value any
}

// tree reads a value: nil, string, bool, json.Number, []any or []member.
func (o *oracle) tree(dec *json.Decoder, depth int) any {
	token, _ := dec.Token() // which is there: the message is valid
	delim, ok := token.(json.Delim)
	if !ok {
		return token
	}
	o.refuse(depth >= o.limits.Depth)
	var list any
	if delim == '[' {
		elements := []any{}
		for dec.More() {
			elements = append(elements, o.tree(dec, depth+1))
		}
		list = elements
	} else {
		members := []member{}
		for dec.More() {
			key, _ := dec.Token()
			members = append(members, member{key.(string), o.tree(dec, depth+1)})
		}
		list = members
	}
	_, _ = dec.Token()
	return list
}

func (o *oracle) refuse(wrong bool) { o.refused = o.refused || wrong }

func (o *oracle) reject(wrong bool) {
	if o.row {
		o.bad = o.bad || wrong
	} else {
		o.refuse(wrong)
	}
}

// object returns the members of an object, of which the keys that known does not know count.
func (o *oracle) object(v any, known ...string) []member {
	members, ok := v.([]member)
	o.reject(!ok)
	seen, others := map[string]bool{}, 0
	for _, m := range members {
		o.refuse(seen[m.key])
		if slices.Contains(known, m.key) {
			seen[m.key] = true
		} else if others < o.limits.Attributes {
			seen[m.key] = true
			others++
		}
	}
	return members
}

// stated are the members that are not null.
func stated(members []member) map[string]any {
	values := make(map[string]any)
	for _, m := range members {
		if m.value != nil {
			values[m.key] = m.value
		}
	}
	return values
}

func (o *oracle) message(v any) {
	if _, ok := v.([]any); ok {
		o.events(v)
		return
	}
	members, ok := v.([]member)
	o.refuse(!ok)
	top := stated(members)
	var batch []string
	for _, key := range []string{"seq", "resource", "connections", "events", "stats", "dropped", "threshold", "aggregates"} {
		if top[key] != nil {
			batch = append(batch, key)
		}
	}
	switch {
	case top["hello"] != nil:
		o.m.Form = FormHello
		o.refuse(top["event"] != nil || len(batch) > 0)
		o.object(v, "hello")
		o.hello(top["hello"])
	case top["event"] != nil:
		o.events([]any{v})
	default:
		o.m.Form = FormBatch
		o.refuse(len(batch) == 0)
		o.object(v, "seq", "resource", "connections", "events", "stats", "dropped", "threshold", "aggregates", "event", "hello")
		o.batch(top)
	}
}

func (o *oracle) hello(v any) {
	hello, h := stated(o.object(v, "instance", "agent", "resource", "aggregates")), &o.m.Hello
	h.Instance = o.name128(hello["instance"])
	h.Aggregates = o.boolean(hello["aggregates"], false)
	if v := hello["resource"]; v != nil {
		h.Resource = o.attributes(o.object(v), nil, nil)
	}
	if v := hello["agent"]; v != nil {
		agent := stated(o.object(v, "name", "version"))
		h.AgentName, h.AgentVersion = o.text(agent["name"]), o.text(agent["version"])
	}
}

func (o *oracle) batch(top map[string]any) {
	b := &o.m.Batch
	if v := top["seq"]; v != nil {
		seq := o.integer(v, 1)
		o.refuse(seq > 1<<53)
		b.Seq = uint64(seq)
	}
	if v := top["resource"]; v != nil {
		b.HasResource = true
		b.Resource = o.attributes(o.object(v), nil, nil)
	}
	if v := top["threshold"]; v != nil {
		s, _ := v.(string)
		never := s == "1"+strings.Repeat("0", 14)
		o.refuse(!never && !thresholdText.MatchString(s))
		b.Threshold, _ = strconv.ParseUint((s + strings.Repeat("0", 14))[:14], 16, 64)
		if b.HasThreshold = true; never {
			b.Threshold = 1 << 56
		}
	}
	b.Aggregates = o.boolean(top["aggregates"], false)
	if v := top["dropped"]; v != nil {
		members := o.object(v)
		o.refuse(len(members) > o.limits.Attributes)
		for _, m := range members {
			o.refuse(m.key == "" || len(m.key) > o.limits.KeyBytes)
			if m.value != nil {
				b.Dropped = append(b.Dropped, Dropped{m.key, uint64(o.integer(m.value, 0))})
			}
		}
	}
	o.rows(top["connections"], o.limits.Connections, o.connection)
	o.events(top["events"])
	o.rows(top["stats"], o.limits.Events, o.stat)
}

// rows reads rows one by one; what a rejected one counted does not count.
func (o *oracle) rows(v any, limit int, one func(v any, index int) (keep func())) {
	if v == nil {
		return
	}
	rows, ok := v.([]any)
	o.refuse(!ok || len(rows) > limit)
	for i, row := range rows {
		b := &o.m.Batch
		cut, ignored := b.ValuesCut, b.TraceparentsIgnored
		o.row, o.bad = true, false
		keep := one(row, i)
		if o.row = false; !o.bad {
			keep()
			continue
		}
		b.ValuesCut, b.TraceparentsIgnored = cut, ignored
		b.Rejected.Count++
	}
}

func (o *oracle) connection(v any, index int) func() {
	c := Connection{Index: index}
	own := []string{"opened_at", "open", "trace_id", "span_id"}
	members := o.object(v, append(own, attrNames...)...)
	c.User = o.attributes(members, &c.Attrs, own)
	has := stated(members)
	o.reject(has["ws.connection.id"] == nil)
	if c.HasOpenedAt = has["opened_at"] != nil; c.HasOpenedAt {
		c.OpenedAt = o.instant(has["opened_at"])
	}
	c.Closed = !o.boolean(has["open"], true)
	o.id(has["trace_id"], c.TraceID[:])
	o.id(has["span_id"], c.SpanID[:])
	return func() { o.m.Batch.Connections = append(o.m.Batch.Connections, c) }
}

func (o *oracle) events(v any) { o.rows(v, o.limits.Events, o.event) }

func (o *oracle) event(v any, index int) func() {
	e := Event{Index: index}
	own := []string{"event", "time", "duration_ns", "trace_id", "span_id", "parent_span_id", "traceparent", "tracestate", "links", "sampled"}
	members := o.object(v, append(own, attrNames...)...)
	e.User = o.attributes(members, &e.Attrs, own)
	has := stated(members)

	name, _ := has["event"].(string)
	if name == "upgrade" || name == "request" {
		name = "handshake"
	}
	e.Kind = Kind(max(0, slices.Index(kindNames[:], name)))
	o.reject(e.Kind == KindUnknown)
	if e.HasTime = has["time"] != nil; e.HasTime {
		e.Time = o.instant(has["time"])
	}
	if e.HasDuration = has["duration_ns"] != nil; e.HasDuration {
		e.Duration = o.integer(has["duration_ns"], 0)
	}
	end := big.NewInt(e.Time)
	if !e.HasTime {
		end.SetInt64(1 << 62)
	}
	o.reject(!end.Add(end, big.NewInt(e.Duration)).IsInt64())

	o.id(has["trace_id"], e.TraceID[:])
	o.id(has["span_id"], e.SpanID[:])
	o.id(has["parent_span_id"], e.ParentSpanID[:])
	if v := has["tracestate"]; v != nil {
		whole, _ := v.(string)
		if e.Tracestate = o.text(v); len(e.Tracestate) < len(whole) {
			e.Tracestate = e.Tracestate[:max(0, strings.LastIndex(e.Tracestate, ","))]
		}
	}
	if v := has["traceparent"]; v != nil {
		o.reject(has["trace_id"] != nil || has["span_id"] != nil || has["parent_span_id"] != nil)
		if e.Parent = o.traceparent(v); e.Parent == (TraceContext{}) {
			o.m.Batch.TraceparentsIgnored++
			e.Tracestate = ""
		}
	}
	e.Unsampled = !o.boolean(has["sampled"], true)
	if v := has["links"]; v != nil {
		links, ok := v.([]any)
		o.reject(!ok || len(links) > maxLinks)
		for _, v := range links[:min(len(links), maxLinks)] {
			e.Links = append(e.Links, o.link(v))
		}
	}
	return func() { o.m.Batch.Events = append(o.m.Batch.Events, e) }
}

func (o *oracle) link(v any) (l Link) {
	has := stated(o.object(v, "trace_id", "span_id", "attributes"))
	o.reject(has["trace_id"] == nil || has["span_id"] == nil)
	o.id(has["trace_id"], l.TraceID[:])
	o.id(has["span_id"], l.SpanID[:])
	if v := has["attributes"]; v != nil {
		l.Attributes = o.attributes(o.object(v), nil, nil)
	}
	return l
}

func (o *oracle) stat(v any, index int) func() {
	s := Stat{Index: index}
	has := stated(o.object(v, "metric", "start", "time", "attributes", "count", "sum", "min", "max", "scale", "zero_count", "offset", "bucket_counts", "unsized"))
	for _, key := range []string{"metric", "start", "time", "count", "sum"} {
		o.reject(has[key] == nil)
	}
	name, _ := has["metric"].(string)
	metric := slices.Index(metricNames[:], name)
	o.reject(metric < 0)
	s.Metric = Metric(max(0, metric))
	if v := has["attributes"]; v != nil {
		s.User = o.attributes(o.object(v, attrNames...), &s.Attrs, nil)
	}
	s.Start, s.Time = o.instant(has["start"]), o.instant(has["time"])
	s.Count, s.ZeroCount = uint64(o.integer(has["count"], 0)), uint64(o.integer(has["zero_count"], 0))
	s.Sum, s.Min, s.Max = o.double(has["sum"], 0), o.double(has["min"], 0), o.double(has["max"], 0)
	s.HasMin, s.HasMax = has["min"] != nil, has["max"] != nil
	scale, offset := o.integer(has["scale"], math.MinInt64), o.integer(has["offset"], math.MinInt64)
	o.reject(scale < -10 || scale > 20 || offset < math.MinInt32 || offset > math.MaxInt32-maxBuckets)
	s.Scale, s.Offset = int32(scale), int32(offset)

	total := new(big.Int).SetUint64(s.ZeroCount)
	if v := has["bucket_counts"]; v != nil {
		buckets, ok := v.([]any)
		o.reject(!ok || len(buckets) > maxBuckets)
		for _, v := range buckets {
			o.reject(v == nil)
			n := uint64(o.integer(v, 0))
			total.Add(total, new(big.Int).SetUint64(n))
			s.Buckets = append(s.Buckets, n)
		}
	}
	o.reject(s.Start > s.Time || s.HasMin && s.HasMax && s.Min > s.Max || total.Cmp(new(big.Int).SetUint64(s.Count)) != 0)
	s.Unsized = uint64(o.integer(has["unsized"], 0))
	o.reject(s.Unsized > s.ZeroCount || s.Unsized > 0 && name != "ws.message.size")
	return func() { o.m.Batch.Stats = append(o.m.Batch.Stats, s) }
}
