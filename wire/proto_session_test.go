package wire

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbered is a batch with events that name these connections.
func numbered(seq uint64, connections ...uint64) []byte {
	return pbBytes(messageBatch, pbVarint(batchSeqField, seq), pbBytes(batchEventsField, sends(len(connections)), pbList(eventsConnections, connections...)))
}

func unnumbered(connections ...uint64) []byte {
	return pbBytes(messageBatch, pbBytes(batchEventsField, sends(len(connections)), pbList(eventsConnections, connections...)))
}

func definitions(handle uint64, text string) []byte {
	return join(pbList(messageStringHandles, handle), pbText(messageStrings, text))
}

func codeOf(t *testing.T, err error) string {
	t.Helper()
	var me *MessageError
	require.ErrorAs(t, err, &me)
	return me.Code
}

func TestHandlesOfASession(t *testing.T) {
	var d Decoder
	first, m := new(Message), new(Message)
	data := join(numbered(1, 3, 3), definitions(3, "a"))
	require.NoError(t, d.DecodeProto(data, first))
	clear(data) // what was defined is the decoder's own
	a := first.Batch.Events[0].Str(AttrConnectionID)
	assert.Equal(t, "a", a)
	assert.EqualValues(t, 3, first.Batch.Events[0].ConnHandle)

	// What was defined holds for the next number, and is the same string.
	require.NoError(t, d.DecodeProto(join(numbered(2, 3, 4), definitions(4, "b")), m))
	assert.Equal(t, "b", m.Batch.Events[1].Str(AttrConnectionID))
	assert.Same(t, unsafe.StringData(a), unsafe.StringData(m.Batch.Events[0].Str(AttrConnectionID)))

	// The same definition again changes nothing.
	require.NoError(t, d.DecodeProto(join(numbered(3, 3), definitions(3, "a")), m))
	assert.Same(t, unsafe.StringData(a), unsafe.StringData(m.Batch.Events[0].Str(AttrConnectionID)))

	// Another one replaces it; rows that were decoded keep the old string.
	require.NoError(t, d.DecodeProto(join(numbered(4, 3), definitions(3, "c")), m))
	assert.Equal(t, "c", m.Batch.Events[0].Str(AttrConnectionID))
	assert.Equal(t, "a", first.Batch.Events[1].Str(AttrConnectionID))

	// What is no connection id any more rejects its events, and the reverse.
	require.NoError(t, d.DecodeProto(join(numbered(5, 3), definitions(3, "\x00")), m))
	assert.Equal(t, 1, m.Batch.Rejected.Count)
	require.NoError(t, d.DecodeProto(join(numbered(6, 3), definitions(3, "c")), m))
	assert.Zero(t, m.Batch.Rejected)

	assert.Equal(t, CodeUndefined, codeOf(t, d.DecodeProto(numbered(7, 5), m)))
	require.NoError(t, d.DecodeProto(numbered(7, 3), m), "a message that is refused changes nothing for the next one")

	d.Definitions = nil
	assert.Equal(t, CodeUndefined, codeOf(t, d.DecodeProto(numbered(8, 3), m)))
}

// A message without a number defines for itself alone, and sees nothing else.
func TestHandlesOfAnUnnumberedMessage(t *testing.T) {
	var d Decoder
	m := new(Message)
	require.NoError(t, d.DecodeProto(join(numbered(1, 1), definitions(1, "a")), m))
	for _, message := range [][]byte{
		unnumbered(1),
		pbBytes(messageEvents, sends(1), pbList(eventsConnections, 1)),
	} {
		assert.Equal(t, CodeUndefined, codeOf(t, d.DecodeProto(message, m)))
		require.NoError(t, d.DecodeProto(join(message, definitions(1, "b")), m))
		assert.Equal(t, "b", m.Batch.Events[0].Str(AttrConnectionID))
		assert.Zero(t, m.Batch.Events[0].ConnHandle)
		assert.Equal(t, CodeUndefined, codeOf(t, d.DecodeProto(message, m)))
	}
	// Nothing is left of one that is refused, or of a hello.
	require.Error(t, d.DecodeProto(join(unnumbered(2), definitions(1, "c")), m))
	require.NoError(t, d.DecodeProto(join(pbBytes(messageHello, pbText(helloInstance, "i")), definitions(1, "c")), m))
	assert.Equal(t, CodeUndefined, codeOf(t, d.DecodeProto(unnumbered(1), m)))

	require.NoError(t, d.DecodeProto(numbered(2, 1), m))
	assert.Equal(t, "a", m.Batch.Events[0].Str(AttrConnectionID))
}

func TestDefinitionsAreBounded(t *testing.T) {
	d := Decoder{Limits: Limits{Definitions: 300, DefinitionBytes: 2*pageBytes + 11_240}}
	m := new(Message)
	require.NoError(t, d.DecodeProto(join(numbered(1), definitions(300, "a")), m))
	assert.Equal(t, CodeTooLarge, codeOf(t, d.DecodeProto(join(numbered(1), definitions(301, "a")), m)))

	// Texts count as long as they are defined.
	long := strings.Repeat("x", 600)
	for range 5 {
		require.NoError(t, d.DecodeProto(join(numbered(2), definitions(1, long)), m))
		require.NoError(t, d.DecodeProto(join(numbered(2), definitions(1, long+"y")), m))
	}
	for handle := uint64(2); handle < 4; handle++ { // two pages are there
		require.NoError(t, d.DecodeProto(join(numbered(3), definitions(handle, strings.Repeat("y", 5100))), m))
	}
	assert.Equal(t, CodeTooLarge, codeOf(t, d.DecodeProto(join(numbered(4), definitions(9, long)), m)))
	require.NoError(t, d.DecodeProto(join(numbered(4), definitions(2, "")), m))
	require.NoError(t, d.DecodeProto(join(numbered(4), definitions(9, long)), m))
	assert.LessOrEqual(t, d.Definitions.table.bytes, 2*pageBytes+11_240)

	d = Decoder{Limits: Limits{DefinitionBytes: pageBytes + 10}}
	require.NoError(t, d.DecodeProto(join(unnumbered(), definitions(1, long)), m), "texts of an unnumbered message are not kept")
	assert.Equal(t, CodeTooLarge, codeOf(t, d.DecodeProto(join(unnumbered(), definitions(300, "a")), m)))
}

// eventOn is an event of a connection, with attributes of the user.
func eventOn(connection string, user ...KeyValue) Event {
	e := Event{Kind: KindSend}
	e.SetStr(AttrConnectionID, connection)
	e.User = user
	return e
}

func batchWith(seq uint64, events ...Event) *Message {
	return &Message{Form: FormBatch, Batch: Batch{Seq: seq, Events: events}}
}

func appendWith(t *testing.T, e *ProtoEncoder, m *Message) []byte {
	t.Helper()
	data, err := e.Append(nil, m)
	require.NoError(t, err)
	return data
}

func TestProtoEncoderDefinesOnce(t *testing.T) {
	var e ProtoEncoder
	var d Decoder
	m := new(Message)
	one := func(seq uint64) *Message {
		return batchWith(seq, eventOn("c-1", KeyValue{"room.id", StringValue("lobby")}, KeyValue{"note", StringValue(strings.Repeat("long ", 13))}))
	}
	defining := appendWith(t, &e, one(1))
	using := appendWith(t, &e, one(2))
	for _, text := range []string{"c-1", "room.id", "lobby", "note"} {
		assert.Contains(t, string(defining), text)
		assert.NotContains(t, string(using), text)
	}
	assert.Contains(t, string(using), "long long", "what is long has no handle")
	require.NoError(t, d.DecodeProto(defining, m))
	require.NoError(t, d.DecodeProto(using, m))
	assert.Equal(t, rowsOf(one(2)), rowsOf(m))

	// A message without a number takes nothing from the session, and leaves nothing.
	alone := appendWith(t, &e, one(0))
	assert.Contains(t, string(alone), "c-1")
	assert.Len(t, appendWith(t, &e, one(3)), len(using))

	e.Reset()
	assert.Equal(t, defining, appendWith(t, &e, one(1)))
}

// An encoder that had many strings begins anew, and a decoder follows.
func TestProtoEncoderIsBounded(t *testing.T) {
	var e ProtoEncoder
	var d Decoder
	m, most, anew := new(Message), 0, 0
	for seq := range uint64(60) {
		var events []Event
		for i := range 300 {
			events = append(events, eventOn(fmt.Sprintf("c-%d", i%10), KeyValue{"user.id", StringValue(fmt.Sprintf("user-%d-%d", seq, i))}))
		}
		message, before := batchWith(seq+1, events...), len(e.session.of)
		require.NoError(t, d.DecodeProto(appendWith(t, &e, message), m))
		for i := range events {
			events[i].Index = i
		}
		require.Equal(t, rowsOf(message), rowsOf(m), "%d", seq)
		most = max(most, len(e.session.of))
		if len(e.session.of) < before {
			anew++
		}
	}
	assert.Equal(t, 2, anew) // 60 messages with 300 new strings each
	assert.Less(t, most, handlesKept+400)
	assert.Greater(t, most, handlesKept-400)

	// Where one message alone has more, its values go inline, and what needs a handle still has one.
	var events []Event
	for i := range 8192 {
		events = append(events, eventOn(fmt.Sprintf("c-%d", i), KeyValue{"user.id", StringValue(fmt.Sprintf("user-%d", i))}))
		events[i].Index = i
	}
	message := batchWith(61, events...)
	require.NoError(t, d.DecodeProto(appendWith(t, &e, message), m))
	require.Equal(t, rowsOf(message), rowsOf(m))

	e.Reset()
	require.NoError(t, d.DecodeProto(appendWith(t, &e, message), m))
	assert.Len(t, e.session.of, 8192+1)

	events = events[:1024]
	for i := range events {
		for k := range 64 {
			events[i].User = append(events[i].User, KeyValue{fmt.Sprintf("key-%d-%d", i, k), IntValue(1)})
		}
	}
	_, err := e.Append(nil, batchWith(62, events...))
	require.ErrorIs(t, err, ErrTooManyHandles)
	assert.Empty(t, e.session.of, "nothing of what was not sent is remembered")
}

// The binary form says what the JSON form says, and leaves out the same.
func TestProtoEncoderLeavesOutWhatJSONDoes(t *testing.T) {
	for _, m := range awkwardMessages() {
		var want, got Message
		require.NoError(t, new(Decoder).DecodeJSON(AppendJSON(nil, m), &want))
		require.NoError(t, new(Decoder).DecodeProto(appendProto(nil, m), &got))
		require.Zero(t, want.Batch.Rejected)
		require.Equal(t, rowsOf(&want), rowsOf(&got))
	}
}

// awkwardMessages have values that the protocol cannot say, and bytes that are no UTF-8.
func awkwardMessages() []*Message {
	trace, span := TraceID{1}, SpanID{2}
	user := []KeyValue{
		{"room.id", StringValue("a\"\\\n\x01\xff\xfe\u2028é")},
		{"bad\xff", StringValue("x")},
		{"n", DoubleValue(3)},
		{"list", ArrayValue([]Value{IntValue(1), DoubleValue(2.5)})},
		{"empty", ArrayValue(nil)},
		{"texts", ArrayValue([]Value{StringValue("\xff"), StringValue("")})},
		{"flags", ArrayValue([]Value{BoolValue(true), BoolValue(false)})},
		{"", IntValue(1)},
		{"room.id", IntValue(1)},
		{"ws.role", IntValue(1)},
		{"nan", DoubleValue(math.NaN())},
		{"inf", ArrayValue([]Value{DoubleValue(math.Inf(1))})},
		{"nested", ArrayValue([]Value{ArrayValue(nil)})},
		{"none", Value{}},
	}
	event := Event{
		Kind: KindReceive, Time: 5, HasTime: true, Duration: 7, HasDuration: true, Unsampled: true, TraceID: trace, SpanID: span, ParentSpanID: span,
		Tracestate: "a=b\xff", Links: []Link{{trace, span, nil}, {trace, span, user}},
	}
	event.SetStr(AttrMessageType, "te\xffxt")
	event.SetStr(AttrErrorMessage, strings.Repeat("long", 100)+"\xff")
	event.SetDouble(AttrProcessingTime, 2)
	event.SetBool(AttrShared, false)
	event.User = append([]KeyValue{{"time", IntValue(1)}}, user...)
	other := Event{Kind: KindSend, Index: 1, Parent: TraceContext{trace, span, 1}}
	other.User = []KeyValue{{"n", StringValue("x")}}
	connection := Connection{OpenedAt: 3, HasOpenedAt: true, Closed: true, TraceID: trace, SpanID: span}
	connection.SetStr(AttrConnectionID, "c")
	connection.SetInt(AttrPeerPort, 80)
	connection.User = append([]KeyValue{{"open", IntValue(1)}}, user...)
	stat := Stat{Metric: MetricQueueSize, Start: 1, Time: 2, Count: 6, Sum: 7, Min: 1, HasMin: true, Max: 2.5, HasMax: true, Scale: -1, ZeroCount: 1, Offset: -2, Buckets: []uint64{2, 3}}
	stat.SetStr(AttrRole, "server")
	stat.User = user
	return []*Message{
		{Form: FormHello, Hello: Hello{Instance: "i\xff", AgentName: "a\xff", AgentVersion: "1", Resource: user, Aggregates: true}},
		{Form: FormHello, Hello: Hello{Instance: "i"}},
		{Batch: Batch{Events: []Event{event, other}}},
		{},
		{Form: FormBatch},
		{Form: FormBatch, Batch: Batch{Seq: 5}},
		{Form: FormBatch, Batch: Batch{
			Seq: 1 << 53, Aggregates: true, HasThreshold: true, Threshold: 0, HasResource: true, Resource: user,
			Connections: []Connection{connection}, Events: []Event{event, other}, Stats: []Stat{stat, {Metric: MetricMessageSize, Index: 1, Count: 3, ZeroCount: 3, Unsized: 2}}, Dropped: []Dropped{{"a\xff", 1}, {"b", 2}},
		}},
	}
}
