package wire

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

// oracleDecodeProto returns what a message of the binary form says, and whether
// it can be taken. It reads it with the protobuf library, turns it into the tree
// of the equal JSON message, and leaves that to the oracle of the JSON form.
func oracleDecodeProto(data []byte, limits Limits) (*Message, bool) {
	pb := new(wsstatspb.Message)
	if !strictProto(data, pb.ProtoReflect().Descriptor()) || proto.Unmarshal(data, pb) != nil {
		return nil, false
	}
	o := &protoOracle{oracle: oracle{limits: limits.withDefaults(), m: new(Message)}, strings: map[uint32]string{}}
	o.refuse(len(pb.StringHandles) != len(pb.Strings))
	for i, h := range pb.StringHandles[:min(len(pb.StringHandles), len(pb.Strings))] {
		o.refuse(h == 0 || int(h) > o.limits.Definitions)
		o.strings[h] = pb.Strings[i]
	}
	switch form := pb.Form.(type) {
	case *wsstatspb.Message_Hello:
		o.m.Form = FormHello
		o.pbHello(form.Hello)
	case *wsstatspb.Message_Batch:
		o.m.Form = FormBatch
		o.pbBatch(form.Batch)
	case *wsstatspb.Message_Events:
		o.oracle.events(o.pbEvents(form.Events))
	default:
		o.refuse(true)
	}
	return o.m, !o.refused
}

// strictProto tells whether a message keeps the rules of the schema that the
// library does not know: no field or oneof twice, packed lists packed and in one
// piece, no number over 32 bits in a field of 32, no groups.
func strictProto(b []byte, md protoreflect.MessageDescriptor) bool {
	seen := map[any]bool{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber || typ == protowire.StartGroupType {
			return false
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return false
		}
		value := b[:n]
		b = b[n:]
		fd := md.Fields().ByNumber(num)
		if fd == nil {
			continue
		}
		var key any = num
		if of := fd.ContainingOneof(); of != nil && !of.IsSynthetic() {
			key = of.Name()
		}
		if !fd.IsList() || fd.IsPacked() {
			if seen[key] {
				return false
			}
			seen[key] = true
		}
		if typ != wireTypeOf(fd) {
			return false
		}
		switch fd.Kind() {
		case protoreflect.MessageKind:
			inner, _ := protowire.ConsumeBytes(value)
			if !strictProto(inner, fd.Message()) {
				return false
			}
		case protoreflect.Uint32Kind, protoreflect.Sint32Kind, protoreflect.EnumKind:
			if fd.IsPacked() {
				value, _ = protowire.ConsumeBytes(value)
			}
			for len(value) > 0 {
				v, n := protowire.ConsumeVarint(value)
				if n < 0 || v > math.MaxUint32 {
					return false
				}
				value = value[n:]
			}
		}
	}
	return true
}

func wireTypeOf(fd protoreflect.FieldDescriptor) protowire.Type {
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	}
	switch {
	case fd.IsPacked():
		return protowire.BytesType
	case fd.Kind() == protoreflect.DoubleKind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

type protoOracle struct {
	oracle
	strings map[uint32]string
}

func jsonInt(i int64) json.Number { return json.Number(strconv.FormatInt(i, 10)) }

// jsonDouble is a number that is read as a double; one that is not finite is too large.
func jsonDouble(f float64) json.Number {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "1e999"
	}
	return json.Number(appendDouble(nil, f))
}

func jsonID(id []byte) any {
	if len(id) == 0 {
		return nil
	}
	return hex.EncodeToString(id)
}

func (o *protoOracle) text(handle uint32) string {
	s, ok := o.strings[handle]
	o.refuse(!ok)
	return s
}

func (o *protoOracle) pbHello(pb *wsstatspb.Hello) {
	hello := []member{{"instance", pb.Instance}, {"aggregates", pb.Aggregates}}
	if pb.Agent != nil {
		hello = append(hello, member{"agent", []member{{"name", pb.Agent.Name}, {"version", pb.Agent.Version}}})
	}
	if pb.Resource != nil {
		hello = append(hello, member{"resource", pbAttributes(pb.Resource.Attributes)})
	}
	o.hello(hello)
}

func (o *protoOracle) pbBatch(pb *wsstatspb.Batch) {
	top := map[string]any{"aggregates": pb.Aggregates}
	if pb.Seq != 0 {
		top["seq"] = json.Number(strconv.FormatUint(pb.Seq, 10))
	}
	if pb.Resource != nil {
		top["resource"] = pbAttributes(pb.Resource.Attributes)
	}
	if pb.Threshold != nil {
		o.refuse(*pb.Threshold > 1<<56)
		o.m.Batch.Threshold, o.m.Batch.HasThreshold = *pb.Threshold, true
	}
	dropped := []member{}
	for _, r := range pb.Dropped {
		dropped = append(dropped, member{r.Reason, json.Number(strconv.FormatUint(r.Count, 10))})
	}
	top["dropped"] = dropped
	connections, stats := []any{}, []any{}
	for _, c := range pb.Connections {
		connections = append(connections, o.pbConnection(c))
	}
	for _, s := range pb.Stats {
		stats = append(stats, o.pbStat(s))
	}
	top["connections"], top["stats"] = connections, stats
	if pb.Events != nil {
		top["events"] = o.pbEvents(pb.Events)
	}
	o.batch(top)
}

// pbAttributes are the members of an object, but for those keys that it has itself.
func pbAttributes(attributes []*wsstatspb.Attribute, own ...string) []member {
	members := []member{}
	for _, a := range attributes {
		if slices.Contains(own, a.Key) {
			members = append(members, member{reserved(a.Key), []member{}})
			continue
		}
		members = append(members, member{a.Key, pbValue(a.Value)})
	}
	return members
}

// reserved stands for a key that no attribute can have. Its value is an object,
// which rejects the row.
func reserved(key string) string { return "\x00" + key }

func pbValue(v *wsstatspb.Value) any {
	switch kind := v.GetKind().(type) {
	case *wsstatspb.Value_StringValue:
		return kind.StringValue
	case *wsstatspb.Value_BoolValue:
		return kind.BoolValue
	case *wsstatspb.Value_IntValue:
		return jsonInt(kind.IntValue)
	case *wsstatspb.Value_DoubleValue:
		return jsonDouble(kind.DoubleValue)
	case *wsstatspb.Value_ArrayValue:
		return pbArray(kind.ArrayValue)
	}
	return nil
}

func pbArray(pb *wsstatspb.Array) []any {
	list, lists := []any{}, 0
	for _, n := range []int{len(pb.Strings), len(pb.Bools), len(pb.Ints), len(pb.Doubles)} {
		if n > 0 {
			lists++
		}
	}
	if lists > 1 {
		return []any{nil} // which no array may have
	}
	for _, v := range pb.Strings {
		list = append(list, v)
	}
	for _, v := range pb.Bools {
		list = append(list, v)
	}
	for _, v := range pb.Ints {
		list = append(list, jsonInt(v))
	}
	for _, v := range pb.Doubles {
		list = append(list, jsonDouble(v))
	}
	return list
}

func (o *protoOracle) pbConnection(c *wsstatspb.Connection) any {
	members := pbAttributes(c.Attributes, "opened_at", "open", "trace_id", "span_id")
	if c.OpenedAt != nil {
		members = append(members, member{"opened_at", jsonInt(*c.OpenedAt)})
	}
	return append(members, member{"open", !c.Closed}, member{"trace_id", jsonID(c.TraceId)}, member{"span_id", jsonID(c.SpanId)})
}

func (o *protoOracle) pbStat(s *wsstatspb.Stat) any {
	members := []member{
		{"attributes", pbAttributes(s.Attributes)},
		{"start", jsonInt(s.Start)},
		{"time", jsonInt(s.Time)},
		{"count", json.Number(strconv.FormatUint(s.Count, 10))},
		{"zero_count", json.Number(strconv.FormatUint(s.ZeroCount, 10))},
		{"unsized", json.Number(strconv.FormatUint(s.Unsized, 10))},
		{"sum", jsonDouble(s.Sum)},
		{"scale", jsonInt(int64(s.Scale))},
		{"offset", jsonInt(int64(s.Offset))},
	}
	if s.Metric != "" {
		members = append(members, member{"metric", s.Metric})
	}
	if s.Min != nil {
		members = append(members, member{"min", jsonDouble(*s.Min)})
	}
	if s.Max != nil {
		members = append(members, member{"max", jsonDouble(*s.Max)})
	}
	buckets := []any{}
	for _, n := range s.BucketCounts {
		buckets = append(buckets, json.Number(strconv.FormatUint(n, 10)))
	}
	return append(members, member{"bucket_counts", buckets})
}

// rowsOf are the rows that a sparse column speaks of, one for each value.
func (o *protoOracle) rowsOf(gaps []uint32, n, values int) (rows []int) {
	row := 0
	for i, gap := range gaps {
		row += int(gap)
		o.refuse(i > 0 && gap == 0 || row >= n)
		rows = append(rows, row)
	}
	for i := range n {
		if len(gaps) == 0 {
			rows = append(rows, i)
		}
	}
	o.refuse(len(rows) != values)
	if o.refused {
		return nil
	}
	return rows
}

func (o *protoOracle) pbEvents(pb *wsstatspb.Events) any {
	n := len(pb.Kinds)
	events, users := make([][]member, n), make([]int, n)
	set := func(i int, key string, value any) { events[i] = append(events[i], member{key, value}) }
	o.heads(pb, set)
	if o.refused {
		return []any{}
	}
	for _, ids := range []struct {
		key    string
		column *wsstatspb.IDs
		size   int
	}{{"trace_id", pb.TraceIds, 16}, {"span_id", pb.SpanIds, 8}, {"parent_span_id", pb.ParentSpanIds, 8}} {
		if ids.column == nil {
			continue
		}
		o.refuse(len(ids.column.Ids)%ids.size != 0)
		for k, i := range o.rowsOf(ids.column.Rows, n, len(ids.column.Ids)/ids.size) {
			if id := ids.column.Ids[k*ids.size:][:ids.size]; !allZero(id) {
				set(i, ids.key, jsonID(id))
			}
		}
	}
	if c := pb.Durations; c != nil {
		for k, i := range o.rowsOf(c.Rows, n, len(c.Values)) {
			set(i, "duration_ns", jsonInt(c.Values[k]))
		}
	}
	if c := pb.Traceparents; c != nil {
		o.refuse(len(c.Contexts)%25 != 0)
		for k, i := range o.rowsOf(c.Rows, n, len(c.Contexts)/25) {
			tc := c.Contexts[k*25:]
			set(i, "traceparent", fmt.Sprintf("00-%x-%x-%02x", tc[:16], tc[16:24], tc[24]))
		}
	}
	if c := pb.Tracestates; c != nil {
		for k, i := range o.rowsOf(c.Rows, n, len(c.Values)) {
			set(i, "tracestate", c.Values[k])
		}
	}
	last := -1
	for _, l := range pb.Links {
		o.refuse(int(l.Row) <= last || int(l.Row) >= n)
		if last = int(l.Row); o.refused {
			return []any{}
		}
		links := []any{}
		for _, link := range l.Links {
			links = append(links, []member{
				{"trace_id", jsonID(link.TraceId)}, {"span_id", jsonID(link.SpanId)}, {"attributes", pbAttributes(link.Attributes)},
			})
		}
		set(last, "links", links)
	}
	ordinals := map[string]*big.Int{}
	for _, c := range pb.Columns {
		key, values := o.column(c)
		known := slices.Contains(attrNames, key)
		for k, i := range o.rowsOf(c.Rows, n, len(values)) {
			name, value := key, values[k]
			if c.Attribute == wsstatspb.AttributeName_ATTRIBUTE_NAME_WS_MESSAGE_SEQ || key == "ws.message.seq" {
				value = o.ordinal(pb, c, i, value, ordinals)
			}
			if !known {
				users[i]++
			}
			if eventField(key) != eventUnknown {
				name, value = reserved(key), []member{}
			}
			set(i, name, value)
		}
	}
	list := make([]any, n)
	for i := range list {
		list[i] = o.withoutUsers(events[i], users[i])
	}
	return list
}

// withoutUsers leaves the user's attributes out where there are too many of them:
// duplicates among those are not found. What is left is rejected.
func (o *protoOracle) withoutUsers(members []member, users int) any {
	if users <= o.limits.Attributes {
		return members
	}
	members = slices.DeleteFunc(members, func(m member) bool {
		return !slices.Contains(attrNames, m.key) && eventField(m.key) == eventUnknown
	})
	return append(members, member{"x", []member{}})
}

func (o *protoOracle) heads(pb *wsstatspb.Events, set func(i int, key string, value any)) {
	n := len(pb.Kinds)
	timed := make([]bool, n)
	for i := range timed {
		timed[i] = len(pb.Times) > 0
	}
	o.refuse(len(pb.Times) == 0 && len(pb.Untimed) > 0)
	if len(pb.Untimed) > 0 {
		for _, i := range o.rowsOf(pb.Untimed, n, len(pb.Untimed)) {
			timed[i] = false
		}
	}
	o.refuse(len(pb.Connections) > 0 && len(pb.Connections) != n)
	o.refuse(len(pb.Unsampled) > 0 && len(pb.Unsampled) != (n+7)/8)
	if o.refused {
		return
	}
	now, times := big.NewInt(pb.BaseTime), pb.Times
	for i, kind := range pb.Kinds {
		switch k := Kind(kind & 15); {
		case k >= numKinds:
			set(i, "event", "?")
		case k != KindUnknown:
			set(i, "event", k.String())
		}
		switch kind >> 4 {
		case 0:
		case 1, 2, 3, 4, 5:
			set(i, "ws.message.type", []string{"text", "binary", "ping", "pong", "close"}[kind>>4-1])
		default:
			set(i, "ws.message.type", json.Number("0")) // which is no string
		}
		if timed[i] {
			if len(times) == 0 {
				o.refuse(true)
				return
			}
			now.Add(now, big.NewInt(times[0]))
			times = times[1:]
			o.refuse(!now.IsInt64())
			set(i, "time", jsonInt(now.Int64()))
		}
		if len(pb.Connections) > 0 && pb.Connections[i] != 0 {
			set(i, "ws.connection.id", o.text(pb.Connections[i]))
		}
		if len(pb.Unsampled) > 0 && pb.Unsampled[i/8]&(1<<(i%8)) != 0 {
			set(i, "sampled", false)
		}
	}
	o.refuse(len(times) > 0)
}

// column is the key of a column and its values.
func (o *protoOracle) column(c *wsstatspb.Column) (key string, values []any) {
	o.refuse((c.Attribute == 0) == (c.Key == 0))
	if c.Key != 0 {
		key = o.text(c.Key)
	} else {
		o.refuse(int(c.Attribute) < 0 || int(c.Attribute) > len(attrNames))
		if o.refused {
			return "", nil
		}
		key = attrNames[c.Attribute-1]
	}
	lists := 0
	list := func(n int, value func(i int) any) {
		if n > 0 {
			lists++
		}
		for i := range n {
			values = append(values, value(i))
		}
	}
	list(len(c.Ints), func(i int) any { return jsonInt(c.Ints[i]) })
	list(len(c.Doubles), func(i int) any { return jsonDouble(c.Doubles[i]) })
	list(len(c.Handles), func(i int) any { return o.text(c.Handles[i]) })
	list(len(c.Texts), func(i int) any { return c.Texts[i] })
	list(len(c.Bools), func(i int) any { return c.Bools[i] })
	list(len(c.Arrays), func(i int) any { return pbArray(c.Arrays[i]) })
	o.refuse(lists != 1)
	return key, values
}

// ordinal adds up what stands for a ws.message.seq.
func (o *protoOracle) ordinal(pb *wsstatspb.Events, c *wsstatspb.Column, i int, value any, ordinals map[string]*big.Int) any {
	if len(c.Ints) == 0 {
		return value
	}
	of := fmt.Sprint(pb.Kinds[i] & 15)
	if len(pb.Connections) > 0 {
		of += fmt.Sprint(" ", pb.Connections[i])
	}
	sum := ordinals[of]
	if sum == nil {
		sum = new(big.Int)
		ordinals[of] = sum
	}
	delta, _ := new(big.Int).SetString(value.(json.Number).String(), 10)
	o.refuse(!sum.Add(sum, delta).IsInt64())
	return jsonInt(sum.Int64())
}
