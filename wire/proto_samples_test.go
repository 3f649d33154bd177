package wire

import (
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of protobuf, written by hand: the library would not write what is wrong.

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func pbVarint(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func pbInt(num protowire.Number, v int64) []byte { return pbVarint(num, protowire.EncodeZigZag(v)) }

func pbDouble(num protowire.Number, f float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, num, protowire.Fixed64Type), math.Float64bits(f))
}

// pbBytes is a field of bytes, a string or a message.
func pbBytes(num protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), join(parts...))
}

func pbText(num protowire.Number, s string) []byte { return pbBytes(num, []byte(s)) }

func pbList(num protowire.Number, list ...uint64) []byte {
	var b []byte
	for _, v := range list {
		b = protowire.AppendVarint(b, v)
	}
	return pbBytes(num, b)
}

func pbInts(num protowire.Number, list ...int64) []byte {
	var b []byte
	for _, v := range list {
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(v))
	}
	return pbBytes(num, b)
}

func pbDoubles(num protowire.Number, list ...float64) []byte {
	var b []byte
	for _, f := range list {
		b = protowire.AppendFixed64(b, math.Float64bits(f))
	}
	return pbBytes(num, b)
}

// define defines the handles from 1 on.
func define(texts ...string) []byte {
	var handles []uint64
	var b []byte
	for i, s := range texts {
		handles = append(handles, uint64(i+1))
		b = append(b, pbText(messageStrings, s)...)
	}
	return append(pbList(messageStringHandles, handles...), b...)
}

// batchOf is batch 7 with these fields, eventsOf one with these fields of its events.
func batchOf(parts ...[]byte) []byte {
	return pbBytes(messageBatch, append([][]byte{pbVarint(batchSeqField, 7)}, parts...)...)
}

func eventsOf(parts ...[]byte) []byte { return batchOf(pbBytes(batchEventsField, parts...)) }

// sends are the kinds of so many events.
func sends(n int) []byte {
	return pbBytes(eventsKinds, []byte(strings.Repeat(string(rune(KindSend)), n)))
}

func columnOf(parts ...[]byte) []byte { return pbBytes(eventsColumns, parts...) }

// known is a column's attribute.
func known(a Attr) []byte { return pbVarint(columnAttribute, uint64(attributeNumber(a))) }

func attributeOf(key string, value ...[]byte) []byte {
	return join(pbText(attributeKey, key), pbBytes(attributeValue, value...))
}

// manyKeys has more keys than are remembered, and then one twice in an event.
func manyKeys() []byte {
	var texts []string
	var columns []byte
	for i := range 18 {
		texts = append(texts, string(rune('A'+i)))
		columns = append(columns, columnOf(pbVarint(columnKey, uint64(i+1)), pbList(columnRows, uint64(i/10)), pbInts(columnInts, 1))...)
	}
	texts = append(texts, "k")
	for range 2 {
		columns = append(columns, columnOf(pbVarint(columnKey, 19), pbList(columnRows, 1), pbInts(columnInts, 1))...)
	}
	return join(eventsOf(sends(2), columns), define(texts...))
}

// protoSample is a message of the binary form, and what is wrong with it.
type protoSample struct {
	name string
	data []byte
	err  string // of the message
	code string // of err; "": CodeMalformed
	row  string // why a row is rejected
	none bool   // err, and no number is known
}

func protoSamples() []protoSample {
	id16, id8 := []byte(strings.Repeat("\x01", 16)), []byte(strings.Repeat("\x02", 8))
	whole := make([]byte, 24)
	context := join(id16, id8, []byte{1})
	const over64 = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"
	return []protoSample{
		// The message.
		{name: "empty", err: "expected a hello, a batch or events", none: true},
		{name: "only definitions", data: define("a"), err: "expected a hello, a batch or events", none: true},
		{name: "empty batch", data: pbBytes(messageBatch)},
		{name: "given up", data: batchOf()},
		{name: "no events", data: pbBytes(messageEvents)},
		{name: "unknown fields", data: join(pbVarint(15, 1), pbBytes(16, []byte("x")), batchOf(pbVarint(100, 1), pbDouble(101, 1), []byte("\x95\x01abcd")))},
		{name: "two forms", data: join(batchOf(), pbBytes(messageEvents)), err: "events: stands beside another one of its oneof", none: true},
		{name: "two batches", data: join(batchOf(), batchOf()), err: "batch: is stated twice", none: true},
		{name: "field number 0", data: join(batchOf(), []byte("\x00\x01")), err: "invalid protobuf: no field has the number 0 or one over 29 bits"},
		{name: "field number over 29 bits", data: join(batchOf(), protowire.AppendVarint(nil, 1<<32), []byte{1}), err: "invalid protobuf: no field has the number 0 or one over 29 bits"},
		{name: "group", data: join(batchOf(), []byte("\x7b\x7c")), err: "invalid protobuf: a group, or an unknown wire type"},
		{name: "wire type 7", data: join(batchOf(), []byte("\x7f")), err: "invalid protobuf: a group, or an unknown wire type"},
		{name: "length over the end", data: []byte("\x12\x05\x08\x07"), err: "batch: invalid protobuf: unexpected end"},
		{name: "length of 64 bits", data: []byte("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x07"), err: "batch: invalid protobuf: unexpected end"},
		{name: "length over 64 bits", data: []byte("\x12" + over64), err: "batch: invalid protobuf: a varint over 64 bits", none: true},
		{name: "inner length over the end", data: batchOf([]byte("\x22\x05\x0a")), err: "events: invalid protobuf: unexpected end"},
		{name: "varint over 64 bits", data: batchOf([]byte("\x38" + over64)), err: "threshold: invalid protobuf: a varint over 64 bits"},
		{name: "varint without end", data: batchOf([]byte("\x38\xff")), err: "threshold: invalid protobuf: unexpected end"},
		{name: "seq twice", data: batchOf(pbVarint(batchSeqField, 7)), err: "seq: is stated twice", none: true},
		{name: "seq over 2^53", data: pbBytes(messageBatch, pbVarint(batchSeqField, 1<<53+1)), err: "seq: expected an integer from 1 to 2^53, got 9007199254740993", none: true},
		{name: "seq of another type", data: pbBytes(messageBatch, pbDouble(batchSeqField, 7)), err: "seq: invalid protobuf: expected the wire type 0, got 1", none: true},
		{name: "seq not first", data: pbBytes(messageBatch, pbBytes(batchEventsField, sends(1)), pbVarint(batchSeqField, 7))},
		{name: "threshold", data: batchOf(pbVarint(batchThresholdField, NeverSampled))},
		{name: "threshold over 2^56", data: batchOf(pbVarint(batchThresholdField, NeverSampled+1)), err: "threshold: expected an integer of at most 2^56, got 72057594037927937"},
		{name: "dropped twice", data: batchOf(pbBytes(batchDroppedField, pbText(1, "a")), pbBytes(batchDroppedField, pbText(1, "a"))), err: "dropped.a: duplicate key"},
		{name: "dropped without reason", data: batchOf(pbBytes(batchDroppedField)), err: "dropped: a key is empty"},
		{name: "dropped over 63 bits", data: batchOf(pbBytes(batchDroppedField, pbText(1, "a"), pbVarint(2, 1<<63))), err: "dropped.count: expected an integer of at most 2^63 - 1, got 9223372036854775808"},
		{name: "not UTF-8", data: batchOf(pbBytes(batchDroppedField, pbText(1, "\xff"))), err: "dropped.reason: invalid UTF-8"},

		// Hello.
		{name: "hello", data: pbBytes(messageHello, pbText(1, "i"), pbBytes(2, pbText(1, "a"), pbText(2, "1")), pbBytes(3, pbBytes(1, attributeOf("k", pbInt(valueInt, 1)))), pbVarint(4, 1))},
		{name: "hello without instance", data: pbBytes(messageHello), err: "hello.instance: is required", none: true},
		{name: "instance not printable", data: pbBytes(messageHello, pbText(1, "\x01")), err: `hello.instance: expected a string of 1 to 128 printable characters, got "\x01"`, none: true},
		{name: "resource key twice", data: pbBytes(messageHello, pbText(1, "i"), pbBytes(3, pbBytes(1, attributeOf("k")), pbBytes(1, attributeOf("k")))), err: "hello.resource.k: duplicate key", none: true},
		{name: "resource not finite", data: batchOf(pbBytes(batchResourceField, pbBytes(1, attributeOf("k", pbDouble(valueDouble, math.NaN()))))), err: "resource.k: expected a finite number, got NaN"},
		{name: "agent not UTF-8", data: pbBytes(messageHello, pbText(1, "i"), pbBytes(2, pbText(1, "\xff"))), err: "hello.agent.name: invalid UTF-8", none: true},

		// Definitions.
		{name: "handle 0 defined", data: join(batchOf(), pbList(4, 0), pbText(5, "a")), err: "string_handles: handles begin at 1"},
		{name: "handle over the limit", data: join(batchOf(), pbList(4, 65537), pbText(5, "a")), err: "string_handles: a handle is over 65536", code: CodeTooLarge},
		{name: "highest handle", data: join(eventsOf(sends(1), pbList(eventsConnections, 65536)), pbList(4, 65536), pbText(5, "a"))},
		{name: "more handles than strings", data: join(batchOf(), pbList(4, 1, 2), pbText(5, "a")), err: "string_handles: there are more of them than strings"},
		{name: "fewer handles than strings", data: join(batchOf(), pbList(4, 1), pbText(5, "a"), pbText(5, "b")), err: "string_handles: there are fewer of them than strings"},
		{name: "handles not packed", data: join(batchOf(), pbVarint(4, 1), pbText(5, "a")), err: "string_handles: expected a packed list, in one piece"},
		{name: "handles in two pieces", data: join(batchOf(), pbList(4, 1), pbList(4, 2), pbText(5, "a"), pbText(5, "b")), err: "string_handles: expected a packed list, in one piece"},
		{name: "definition not UTF-8", data: join(batchOf(), define("\xff")), err: "strings: invalid UTF-8"},
		{name: "defined twice", data: join(eventsOf(sends(1), pbList(eventsConnections, 1)), pbList(4, 1, 1), pbText(5, "a"), pbText(5, "b"))},
		{name: "bad handle list", data: join(batchOf(), pbBytes(4, []byte(over64)), pbText(5, "a")), err: "string_handles: invalid protobuf: a varint over 64 bits"},

		// Events: what each has a place for.
		{name: "kind 0", data: eventsOf(pbBytes(eventsKinds, []byte{0})), row: "events[0].event: is required"},
		{name: "unknown kind", data: eventsOf(pbBytes(eventsKinds, []byte{2, 13})), row: "events[1].event: unknown kind 13"},
		{name: "unknown kind of a bare event", data: pbBytes(messageEvents, pbBytes(eventsKinds, []byte{2, 14})), row: "[1].event: unknown kind 14"},
		{name: "unknown message type", data: eventsOf(pbBytes(eventsKinds, []byte{0x62})), row: "events[0].event: unknown message type 6"},
		{name: "too many events", data: eventsOf(sends(65)), err: "events.kinds: more than 64", code: CodeTooLarge},
		{name: "times", data: eventsOf(sends(3), pbInt(eventsBaseTime, 100), pbInts(eventsTimes, 1, -2), pbList(eventsUntimed, 1))},
		{name: "no times but untimed", data: eventsOf(sends(1), pbList(eventsUntimed, 0)), err: "events.untimed: there are no times"},
		{name: "fewer times", data: eventsOf(sends(2), pbInts(eventsTimes, 1)), err: "events.times: there are fewer of them than events"},
		{name: "more times", data: eventsOf(sends(1), pbInts(eventsTimes, 1, 1)), err: "events.times: there are more of them than events"},
		{name: "untimed out of range", data: eventsOf(sends(2), pbInts(eventsTimes, 1, 1), pbList(eventsUntimed, 2)), err: "events.untimed: a row is not below the 2 events of the message"},
		{name: "untimed twice", data: eventsOf(sends(3), pbInts(eventsTimes, 1, 1), pbList(eventsUntimed, 1, 0)), err: "events.untimed: a row comes twice"},
		{name: "time below 0", data: eventsOf(sends(2), pbInts(eventsTimes, -1, 2)), row: "events[0].time: expected Unix nanoseconds, from 1970 to 2262, got -1"},
		{name: "times overflow", data: eventsOf(sends(2), pbInt(eventsBaseTime, math.MaxInt64), pbInts(eventsTimes, 0, 1)), err: "events.times: the distances add up to more than 64 bits"},
		{name: "times underflow", data: eventsOf(sends(1), pbInt(eventsBaseTime, math.MinInt64), pbInts(eventsTimes, -1)), err: "events.times: the distances add up to more than 64 bits"},
		{name: "times not packed", data: eventsOf(sends(1), pbInt(eventsTimes, 1)), err: "events.times: expected a packed list, in one piece"},
		{name: "times cut off", data: eventsOf(sends(1), pbBytes(eventsTimes, []byte{0xff})), err: "events.times: invalid protobuf: unexpected end"},
		{name: "no connection", data: join(eventsOf(sends(2), pbList(eventsConnections, 0, 1)), define("c"))},
		{name: "undefined connection", data: join(eventsOf(sends(1), pbList(eventsConnections, 2)), define("c")), err: "events.connections: the handle 2 is not defined", code: CodeUndefined},
		{name: "undefined, far away", data: eventsOf(sends(1), pbList(eventsConnections, math.MaxUint64)), err: "events.connections: the handle 18446744073709551615 is not defined", code: CodeUndefined},
		{name: "fewer connections", data: join(eventsOf(sends(2), pbList(eventsConnections, 1)), define("c")), err: "events.connections: there are fewer of them than events"},
		{name: "more connections", data: join(eventsOf(sends(1), pbList(eventsConnections, 1, 1)), define("c")), err: "events.connections: there are more of them than events"},
		{name: "no connection id", data: join(eventsOf(sends(2), pbList(eventsConnections, 1, 1)), define("a\x00")), row: `events[0].ws.connection.id: expected a string of 1 to 128 printable characters, got "a\x00"`},
		{name: "unsampled", data: eventsOf(sends(9), pbBytes(eventsUnsampled, []byte{2, 255}))},
		{name: "too few bits", data: eventsOf(sends(9), pbBytes(eventsUnsampled, []byte{2})), err: "events.unsampled: expected a bit for each event"},
		{name: "too many bits", data: eventsOf(sends(8), pbBytes(eventsUnsampled, []byte{2, 0})), err: "events.unsampled: expected a bit for each event"},

		// Events: their spans.
		{name: "ids", data: eventsOf(sends(2), pbBytes(eventsTraceIDs, pbBytes(2, id16, whole[:16])), pbBytes(eventsSpanIDs, pbList(1, 1), pbBytes(2, id8)), pbBytes(eventsParentSpanIDs, pbBytes(2, whole[:8], id8)))},
		{name: "half an id", data: eventsOf(sends(1), pbBytes(eventsTraceIDs, pbBytes(2, id8))), err: "events.trace_ids: there are fewer values than rows"},
		{name: "an id and a half", data: eventsOf(sends(1), pbBytes(eventsTraceIDs, pbBytes(2, whole))), err: "events.trace_ids: there are more values than rows"},
		{name: "ids of other rows", data: eventsOf(sends(1), pbBytes(eventsSpanIDs, pbList(1, 1), pbBytes(2, id8))), err: "events.span_ids.rows: a row is not below the 1 events of the message"},
		{name: "durations", data: eventsOf(sends(2), pbInts(eventsTimes, math.MaxInt64, 0), pbBytes(eventsDurations, pbInts(2, 0, 1))), row: "events[1].duration_ns: the end is after the year 2262"},
		{name: "duration below 0", data: eventsOf(sends(1), pbBytes(eventsDurations, pbInts(2, -1))), row: "events[0].duration_ns: expected an integer of at least 0, got -1"},
		{name: "fewer durations", data: eventsOf(sends(2), pbBytes(eventsDurations, pbInts(2, 1))), err: "events.durations: there are fewer values than rows"},
		{name: "durations twice", data: eventsOf(sends(1), pbBytes(eventsDurations, pbInts(2, 1)), pbBytes(eventsDurations, pbInts(2, 1))), err: "events.durations: is stated twice"},
		{name: "traceparents", data: eventsOf(sends(2), pbBytes(eventsTraceparents, pbList(1, 1), pbBytes(2, context)), pbBytes(eventsTracestates, pbText(2, "a=b"), pbText(2, "c=d")))},
		{name: "traceparent of zeros", data: eventsOf(sends(1), pbBytes(eventsTraceparents, pbBytes(2, whole, []byte{1})), pbBytes(eventsTracestates, pbText(2, "a=b")))},
		{name: "traceparent beside an id", data: eventsOf(sends(1), pbBytes(eventsTraceparents, pbBytes(2, context)), pbBytes(eventsParentSpanIDs, pbBytes(2, id8))), row: "events[0].traceparent: stands beside trace_id, span_id or parent_span_id: state one form"},
		{name: "traceparent ignored and rejected", data: eventsOf(pbBytes(eventsKinds, []byte{2, 0}), pbBytes(eventsTraceparents, pbBytes(2, whole, []byte{1}, whole, []byte{1}))), row: "events[1].event: is required"},
		{name: "half a traceparent", data: eventsOf(sends(1), pbBytes(eventsTraceparents, pbBytes(2, id16))), err: "events.traceparents: there are fewer values than rows"},
		{name: "tracestate cut", data: eventsOf(sends(1), pbBytes(eventsTracestates, pbText(2, "a="+strings.Repeat("a", 40)+",b="+strings.Repeat("b", 40))))},
		{name: "tracestate not UTF-8", data: eventsOf(sends(1), pbBytes(eventsTracestates, pbText(2, "\xff"))), err: "events.tracestates.values: invalid UTF-8"},
		{name: "more tracestates", data: eventsOf(sends(1), pbBytes(eventsTracestates, pbText(2, "a"), pbText(2, "b"))), err: "events.tracestates: there are more values than rows"},
		{name: "links", data: eventsOf(sends(2), pbBytes(eventsLinks, pbVarint(1, 1), pbBytes(2, pbBytes(1, id16), pbBytes(2, id8), pbBytes(3, attributeOf("k", pbBytes(valueArray, pbText(1, "x")))))))},
		{name: "link without span", data: eventsOf(sends(1), pbBytes(eventsLinks, pbBytes(2, pbBytes(1, id16)))), row: "events[0].links[0].span_id: is required"},
		{name: "link with a short id", data: eventsOf(sends(1), pbBytes(eventsLinks, pbBytes(2, pbBytes(1, id8), pbBytes(2, id8)))), row: "events[0].links[0].trace_id: expected 16 bytes, not all zero"},
		{name: "link attribute twice", data: eventsOf(sends(1), pbBytes(eventsLinks, pbBytes(2, pbBytes(3, attributeOf("k")), pbBytes(3, attributeOf("k"))))), err: "events[0].links[0].k: duplicate key"},
		{name: "links of no event", data: eventsOf(sends(1), pbBytes(eventsLinks, pbVarint(1, 1))), err: "events.links.row: expected the index of an event"},
		{name: "links not in order", data: eventsOf(sends(2), pbBytes(eventsLinks, pbVarint(1, 1)), pbBytes(eventsLinks)), err: "events.links.row: expected links in ascending order of rows"},
		{name: "row over 32 bits", data: eventsOf(sends(1), pbBytes(eventsLinks, pbVarint(1, 1<<32))), err: "events.links.row: expected at most 32 bits"},
		{name: "too many links", data: eventsOf(sends(1), pbBytes(eventsLinks, []byte(strings.Repeat(string(pbBytes(2, pbBytes(1, id16), pbBytes(2, id8))), 129)))), row: "events[0].links[128]: more than 128 links"},

		// Columns.
		{name: "column of no attribute", data: eventsOf(sends(1), columnOf(pbInts(columnInts, 1))), err: "events.columns[0]: expected either attribute or key"},
		{name: "column of both", data: join(eventsOf(sends(1), columnOf(known(AttrQueueSize), pbVarint(columnKey, 1), pbInts(columnInts, 1))), define("k")), err: "events.columns[0]: expected either attribute or key"},
		{name: "unknown attribute", data: eventsOf(sends(1), columnOf(pbVarint(columnAttribute, 63), pbInts(columnInts, 1))), err: "events.columns[0].attribute: unknown number 63: send its key"},
		{name: "attribute far away", data: eventsOf(sends(1), columnOf(pbVarint(columnAttribute, math.MaxUint64), pbInts(columnInts, 1))), err: "events.columns[0].attribute: unknown number 18446744073709551615: send its key"},
		{name: "undefined key", data: eventsOf(sends(1), columnOf(pbVarint(columnKey, 9), pbInts(columnInts, 1))), err: "events.columns[0].key: the handle 9 is not defined", code: CodeUndefined},
		{name: "undefined value", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbList(columnHandles, 9))), define("k")), err: "events.columns[0].handles: the handle 9 is not defined", code: CodeUndefined},
		{name: "no values", data: eventsOf(sends(1), columnOf(known(AttrQueueSize), pbInts(columnInts))), err: "events.columns[0]: has no values"},
		{name: "two lists", data: eventsOf(sends(1), columnOf(known(AttrQueueSize), pbInts(columnInts, 1), pbList(columnBools, 1))), err: "events.columns[0].bools: stands beside ints: a column has one list of values"},
		{name: "fewer values", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbInts(columnInts, 1))), err: "events.columns[0]: there are fewer values than rows"},
		{name: "more values", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbList(columnRows, 1), pbInts(columnInts, 1, 2))), err: "events.columns[0]: there are more values than rows"},
		{name: "fewer values of the user", data: join(eventsOf(sends(2), columnOf(pbVarint(columnKey, 1), pbDoubles(columnDoubles, 1))), define("k")), err: "events.columns[0]: there are fewer values than rows"},
		{name: "fewer texts of the user", data: join(eventsOf(sends(2), columnOf(pbVarint(columnKey, 1), pbText(columnTexts, "a"))), define("k")), err: "events.columns[0]: there are fewer values than rows"},
		{name: "more texts", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbText(columnTexts, "a"), pbText(columnTexts, "b"))), define("k")), err: "events.columns[0]: there are more values than rows"},
		{name: "half a double", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbList(columnRows, 0), pbBytes(columnDoubles, whole[:12]))), define("k")), err: "events.columns[0]: there are more values than rows"},
		{name: "row out of range", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbList(columnRows, 1, 1), pbInts(columnInts, 1, 2))), err: "events.columns[0].rows: a row is not below the 2 events of the message"},
		{name: "row far away", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbList(columnRows, 1, math.MaxUint64), pbInts(columnInts, 1, 2))), err: "events.columns[0].rows: a row is not below the 2 events of the message"},
		{name: "row twice", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbList(columnRows, 1, 0), pbInts(columnInts, 1, 2))), err: "events.columns[0].rows: a row comes twice"},
		{name: "size below 0", data: eventsOf(sends(3), columnOf(known(AttrMessageSize), pbInts(columnInts, 1, -1, -2))), row: "events[1].ws.message.size: expected an integer of at least 0, got -1"},
		{name: "size of another type", data: join(eventsOf(sends(1), columnOf(known(AttrMessageSize), pbList(columnHandles, 1))), define("big")), row: `events[0].ws.message.size: expected an integer, got "big"`},
		{name: "size as a double", data: eventsOf(sends(2), columnOf(known(AttrMessageSize), pbDoubles(columnDoubles, 128, 1.5))), row: "events[1].ws.message.size: expected an integer, got 1.5"},
		{name: "double as an integer", data: eventsOf(sends(2), columnOf(known(AttrPongLatency), pbInts(columnInts, 5, -5))), row: "events[1].ws.pong.latency: expected a number of at least 0, got -5"},
		{name: "boolean as an integer", data: eventsOf(sends(1), columnOf(known(AttrShared), pbInts(columnInts, 1))), row: "events[0].ws.connection.shared: expected true or false, got 1"},
		{name: "string as a boolean", data: eventsOf(sends(1), columnOf(known(AttrRole), pbList(columnBools, 1))), row: "events[0].ws.role: expected a string, got true"},
		{name: "string as an array", data: eventsOf(sends(1), columnOf(known(AttrRole), pbBytes(columnArrays))), row: "events[0].ws.role: expected a string, got an array"},
		{name: "message id as an integer", data: eventsOf(sends(1), columnOf(known(AttrMessageID), pbInts(columnInts, -42)))},
		{name: "message id as a double", data: eventsOf(sends(1), columnOf(known(AttrMessageID), pbDoubles(columnDoubles, 1))), row: "events[0].ws.message.id: expected a string or an integer, got 1"},
		{name: "connection id in a column", data: eventsOf(sends(2), columnOf(known(AttrConnectionID), pbText(columnTexts, "c"), pbText(columnTexts, ""))), row: `events[1].ws.connection.id: expected a string of 1 to 128 printable characters, got ""`},
		{name: "connection id twice", data: join(eventsOf(sends(1), pbList(eventsConnections, 1), columnOf(known(AttrConnectionID), pbText(columnTexts, "c"))), define("c")), err: "events[0].ws.connection.id: duplicate key"},
		{name: "connection id twice, sparse", data: join(eventsOf(sends(1), pbList(eventsConnections, 1), columnOf(known(AttrConnectionID), pbList(columnRows, 0), pbText(columnTexts, "c"))), define("c")), err: "events[0].ws.connection.id: duplicate key"},
		{name: "message type twice", data: eventsOf(pbBytes(eventsKinds, []byte{0x12}), columnOf(known(AttrMessageType), pbText(columnTexts, "c"))), err: "events[0].ws.message.type: duplicate key"},
		{name: "attribute twice", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbInts(columnInts, 1, 1)), columnOf(known(AttrQueueSize), pbDoubles(columnDoubles, 1, 1))), err: "events[0].ws.queue.size: duplicate key"},
		{name: "attribute twice, sparse", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbList(columnRows, 1), pbInts(columnInts, 1)), columnOf(known(AttrQueueSize), pbList(columnRows, 1), pbInts(columnInts, 1))), err: "events[1].ws.queue.size: duplicate key"},
		{name: "attribute of several types", data: eventsOf(sends(2), columnOf(known(AttrQueueSize), pbList(columnRows, 1), pbInts(columnInts, 1)), columnOf(known(AttrQueueSize), pbList(columnRows, 0), pbDoubles(columnDoubles, 2)))},
		{name: "attribute by its key", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbInts(columnInts, 5))), define("ws.queue.size"))},
		{name: "ordinals", data: join(eventsOf(pbBytes(eventsKinds, []byte{2, 3, 2, 2, 2}), pbList(eventsConnections, 1, 1, 2, 1, 0), columnOf(known(AttrMessageSeq), pbInts(columnInts, 5, 6, 7, 1, 1))), define("a", "b"))},
		{name: "ordinal below 1", data: eventsOf(sends(2), columnOf(known(AttrMessageSeq), pbInts(columnInts, 1, -1))), row: "events[1].ws.message.seq: expected an integer of at least 1, got 0"},
		{name: "ordinals overflow", data: eventsOf(sends(2), columnOf(known(AttrMessageSeq), pbInts(columnInts, math.MaxInt64, 1))), err: "events.columns[0].ints: the distances add up to more than 64 bits"},
		{name: "ordinals go on in the next column", data: eventsOf(sends(2), columnOf(known(AttrMessageSeq), pbList(columnRows, 0), pbInts(columnInts, 5)), columnOf(known(AttrMessageSeq), pbList(columnRows, 1), pbInts(columnInts, 1)))},
		{name: "user", data: join(eventsOf(sends(2), columnOf(pbVarint(columnKey, 1), pbList(columnHandles, 2, 1)), columnOf(pbVarint(columnKey, 2), pbList(columnRows, 1), pbList(columnBools, 2))), define("k", "v"))},
		{name: "user of several types", data: join(eventsOf(sends(2), columnOf(pbVarint(columnKey, 1), pbList(columnRows, 1), pbInts(columnInts, 1)), columnOf(pbVarint(columnKey, 1), pbList(columnRows, 0), pbText(columnTexts, "x"))), define("k"))},
		{name: "user twice", data: join(eventsOf(sends(2), columnOf(pbVarint(columnKey, 1), pbInts(columnInts, 1, 1)), columnOf(pbVarint(columnKey, 2), pbList(columnRows, 1), pbText(columnTexts, "x"))), define("k", "k")), err: "events[1].k: duplicate key"},
		{name: "user twice, after many keys", data: manyKeys(), err: "events[1].k: duplicate key"},
		{name: "user not finite", data: join(eventsOf(sends(2), columnOf(pbVarint(columnKey, 1), pbDoubles(columnDoubles, 1, math.Inf(1)))), define("k")), row: "events[1].k: expected a finite number, got an infinite one"},
		{name: "user without key", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbInts(columnInts, 1))), define("")), row: "events[0]: a key is empty"},
		{name: "user with a long key", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbInts(columnInts, 1))), define(strings.Repeat("k", 65))), row: `events[0]."` + strings.Repeat("k", 32) + `"...: the key is longer than 64 bytes`},
		{name: "user with a key of the protocol", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbInts(columnInts, 1))), define("time")), row: "events[0].time: is a key of the protocol, and no attribute"},
		{name: "value cut", data: join(eventsOf(sends(2), columnOf(pbVarint(columnKey, 1), pbList(columnHandles, 2, 1)), columnOf(known(AttrCloseReason), pbText(columnTexts, strings.Repeat("é", 40)), pbText(columnTexts, ""))), define("k", strings.Repeat("v", 65)))},
		{name: "value cut and rejected", data: join(eventsOf(pbBytes(eventsKinds, []byte{0, 2}), columnOf(pbVarint(columnKey, 1), pbList(columnHandles, 2, 2))), define("k", strings.Repeat("v", 65))), row: "events[0].event: is required"},
		{name: "text not UTF-8", data: eventsOf(sends(1), columnOf(known(AttrRole), pbText(columnTexts, "\xff"))), err: "events.columns[0].texts: invalid UTF-8"},
		{name: "arrays", data: join(eventsOf(sends(5), columnOf(pbVarint(columnKey, 1), pbBytes(columnArrays), pbBytes(columnArrays, pbInts(arrayInts, 1, -2)), pbBytes(columnArrays, pbDoubles(arrayDoubles, 1)), pbBytes(columnArrays, pbList(arrayBools, 1, 0)), pbBytes(columnArrays, pbText(arrayStrings, "a"), pbText(arrayStrings, "")))), define("k"))},
		{name: "array cut", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbBytes(columnArrays, pbInts(arrayInts, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)))), define("k"))},
		{name: "array of several types", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbBytes(columnArrays, pbInts(arrayInts, 1), pbText(arrayStrings, "a")))), define("k")), row: "events[0].k: expected a flat array of one type, got several types"},
		{name: "array not finite", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbBytes(columnArrays, pbDoubles(arrayDoubles, 1, math.Inf(-1))))), define("k")), row: "events[0].k: expected a finite number, got an infinite one"},
		{name: "array not UTF-8", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbBytes(columnArrays, pbText(arrayStrings, "\xff")))), define("k")), err: "events.columns[0].strings: invalid UTF-8"},
		{name: "array of half a double", data: join(eventsOf(sends(1), columnOf(pbVarint(columnKey, 1), pbBytes(columnArrays, pbBytes(arrayDoubles, id8, []byte{1})))), define("k")), err: "events.columns[0].doubles: expected eight bytes for each double"},
		{name: "too many attributes", data: join(eventsOf(sends(2), []byte(strings.Repeat(string(columnOf(pbVarint(columnKey, 1), pbList(columnRows, 1), pbInts(columnInts, 1))), 17))), define("k")), row: "events[1]: more than 16 attributes of the user"},
		{name: "earlier row rejected later", data: eventsOf(pbBytes(eventsKinds, []byte{2, 0}), columnOf(known(AttrQueueSize), pbInts(columnInts, -1, 0))), row: "events[0].ws.queue.size: expected an integer of at least 0, got -1"},
		{name: "columns before kinds", data: join(define("k", "c"), eventsOf(columnOf(pbInts(columnInts, 3), pbVarint(columnKey, 1)), pbList(eventsConnections, 2), sends(1)))},

		// Connections and stats.
		{name: "connection", data: batchOf(pbBytes(batchConnectionsField, pbBytes(1, attributeOf("ws.connection.id", pbText(1, "c"))), pbBytes(1, attributeOf("k", pbVarint(valueBool, 1))), pbInt(2, 5), pbVarint(3, 1), pbBytes(4, id16), pbBytes(5, id8)))},
		{name: "connection without id", data: batchOf(pbBytes(batchConnectionsField)), row: "connections[0].ws.connection.id: is required"},
		{name: "connection opened before 1970", data: batchOf(pbBytes(batchConnectionsField, pbBytes(1, attributeOf("ws.connection.id", pbText(1, "c"))), pbInt(2, -1))), row: "connections[0].opened_at: expected Unix nanoseconds, from 1970 to 2262, got -1"},
		{name: "connection with a zero id", data: batchOf(pbBytes(batchConnectionsField, pbBytes(1, attributeOf("ws.connection.id", pbText(1, "c"))), pbBytes(5, whole[:8]))), row: "connections[0].span_id: expected 8 bytes, not all zero"},
		{name: "connection attribute twice", data: batchOf(pbBytes(batchConnectionsField, pbBytes(1, attributeOf("ws.role")), pbBytes(1, attributeOf("ws.role")))), err: "connections[0].ws.role: duplicate key"},
		{name: "connection with a key of the protocol", data: batchOf(pbBytes(batchConnectionsField, pbBytes(1, attributeOf("open", pbVarint(valueBool, 1))))), row: "connections[0].open: is a key of the protocol, and no attribute"},
		{name: "connection attribute of another type", data: batchOf(pbBytes(batchConnectionsField, pbBytes(1, attributeOf("net.peer.port", pbText(1, "80"))))), row: `connections[0].net.peer.port: expected an integer, got "80"`},
		{name: "value of two types", data: batchOf(pbBytes(batchConnectionsField, pbBytes(1, attributeOf("k", pbText(1, "80"), pbInt(3, 80))))), err: "connections[0].int_value: stands beside another one of its oneof"},
		{name: "too many connections", data: batchOf([]byte(strings.Repeat(string(pbBytes(batchConnectionsField)), 65))), err: "connections[64]: more than 64", code: CodeTooLarge},
		{name: "connections and events rejected", data: batchOf(pbBytes(batchConnectionsField), pbBytes(batchEventsField, pbBytes(eventsKinds, []byte{0}))), row: "connections[0].ws.connection.id: is required"},
		{name: "stat", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.message.size"), pbInt(2, 1), pbInt(3, 2), pbBytes(4, attributeOf("ws.role", pbText(1, "server"))), pbVarint(5, 6), pbDouble(6, 7), pbDouble(7, 1), pbDouble(8, 2), pbInt(9, -1), pbVarint(10, 1), pbInt(11, 2), pbList(12, 2, 3)))},
		{name: "stat of messages without a size", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.message.size"), pbVarint(5, 6), pbVarint(10, 6), pbVarint(13, 5)))},
		{name: "stat with more of them than zeros", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.message.size"), pbVarint(5, 1), pbVarint(10, 1), pbVarint(13, 2))), row: "stats[0].unsized: is greater than zero_count"},
		{name: "stat unsized over 63 bits", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.message.size"), pbVarint(13, 1<<63))), row: "stats[0].unsized: expected an integer of at most 2^63 - 1, got 9223372036854775808"},
		{name: "stat without metric", data: batchOf(pbBytes(batchStatsField)), row: "stats[0].metric: is required"},
		{name: "stat of another metric", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.messages.sent"))), row: `stats[0].metric: "ws.messages.sent" follows from ws.message.size: send that`},
		{name: "stat that does not add up", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbVarint(5, 6), pbList(12, 5))), row: "stats[0].bucket_counts: with zero_count they do not add up to count"},
		{name: "stat count over 63 bits", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbList(12, 1<<63))), row: "stats[0].bucket_counts: expected an integer of at most 2^63 - 1, got 9223372036854775808"},
		{name: "stat sum below 0", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbDouble(6, -1))), row: "stats[0].sum: expected a number of at least 0, got -1"},
		{name: "stat min not finite", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbDouble(7, math.NaN()))), row: "stats[0].min: expected a finite number, got NaN"},
		{name: "stat scale", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbInt(9, 21))), row: "stats[0].scale: expected an integer from -10 to 20"},
		{name: "stat scale over 32 bits", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbVarint(9, 1<<32))), err: "stats[0].scale: expected at most 32 bits"},
		{name: "stat with too many buckets", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbBytes(12, make([]byte, 321)))), row: "stats[0].bucket_counts: more than 320 buckets"},
		{name: "stat with a broken list", data: batchOf(pbBytes(batchStatsField, pbText(1, "ws.queue.size"), pbBytes(12, []byte{0x80}))), err: "stats[0].bucket_counts: invalid protobuf: unexpected end"},
		{name: "stat attribute twice", data: batchOf(pbBytes(batchStatsField, pbBytes(4, attributeOf("k")), pbBytes(4, attributeOf("k")))), err: "stats[0].attributes.k: duplicate key"},
	}
}
