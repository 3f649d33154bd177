package observed

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestKindsAndDirections(t *testing.T) {
	const sent, received, unknown, other = wire.DirectionSent, wire.DirectionReceived, wire.DirectionUnknown, wire.DirectionOther
	tests := []struct {
		event string
		kind  wire.Kind
		dir   wire.Direction
	}{
		{`'event':'send'`, wire.KindSend, sent},
		{`'event':'send','ws.direction':'received'`, wire.KindSend, sent},
		{`'event':'receive','ws.direction':'sent'`, wire.KindReceive, received},
		{`'event':'process'`, wire.KindProcess, received},
		{`'event':'broadcast'`, wire.KindBroadcast, sent},
		{`'event':'batch_send'`, wire.KindBatchSend, sent},
		{`'event':'message'`, wire.KindMessage, unknown},
		{`'event':'message','ws.direction':'sent'`, wire.KindMessage, sent},
		{`'event':'message','ws.direction':'sideways'`, wire.KindMessage, other},
		{`'event':'ping','ws.direction':'received'`, wire.KindPing, received},
		{`'event':'send','ws.message.type':'ping'`, wire.KindPing, sent},
		{`'event':'receive','ws.message.type':'pong'`, wire.KindPong, received},
		{`'event':'receive','ws.message.type':'close'`, wire.KindClose, received},
		{`'event':'process','ws.message.type':'ping'`, wire.KindProcess, received},
		{`'event':'message','ws.message.type':'close'`, wire.KindMessage, unknown},
	}
	for _, tt := range tests {
		got := row(t, NewTable(defaults(), ""), `[{`+tt.event+`}]`)
		assert.Equal(t, tt.kind, got.Kind, tt.event)
		assert.Equal(t, tt.dir, got.Direction, tt.event)
		assert.Nil(t, got.Conn, tt.event)
	}
}

func TestTimes(t *testing.T) {
	hour := int64(time.Hour)
	tests := []struct {
		name, event string
		start, end  int64
		adjusted    int
	}{
		{"none", `'event':'send'`, arrival, arrival, 0},
		{"none, with a duration", `'event':'send','duration_ns':7`, arrival, arrival + 7, 0},
		{"long ago", `'event':'send','time':0,'duration_ns':7`, 0, 7, 0},
		{"soon", fmt.Sprintf(`'event':'send','time':%d`, arrival+hour), arrival + hour, arrival + hour, 0},
		{"too far ahead", fmt.Sprintf(`'event':'send','time':%d,'duration_ns':7`, arrival+hour+1), arrival, arrival + 7, 1},
		{"the last moment", fmt.Sprintf(`'event':'send','time':1,'duration_ns':%d`, int64(1<<63-2)), 1, 1<<63 - 1, 0},
	}
	for _, tt := range tests {
		out := take(t, NewTable(defaults(), ""), `[{`+tt.event+`}]`)
		assert.Equal(t, tt.start, out.Rows[0].Start, tt.name)
		assert.Equal(t, tt.end, out.Rows[0].End, tt.name)
		assert.Equal(t, tt.adjusted, out.TimesAdjusted, tt.name)
	}
}

func TestHandshakesThatFail(t *testing.T) {
	tests := []struct {
		fields          string
		refused, failed bool
	}{
		{``, false, false},
		{`,'ws.handshake.success':true,'http.status_code':500`, false, false},
		{`,'ws.handshake.success':true,'error.type':'x'`, false, true},
		{`,'ws.handshake.success':false,'http.status_code':101`, true, true},
		{`,'http.status_code':101`, false, false},
		{`,'http.status_code':200`, false, false},
		{`,'http.status_code':204`, true, true},
		{`,'http.status_code':101,'error.type':'x'`, false, true},
		{`,'error.type':'x'`, true, true},
	}
	for _, tt := range tests {
		table := NewTable(defaults(), "")
		got := row(t, table, `{'event':'handshake','ws.connection.id':'c'`+tt.fields+`}`)
		assert.Equal(t, tt.refused, got.Refused, tt.fields)
		assert.Equal(t, tt.failed, got.Failed, tt.fields)
		assert.Equal(t, !tt.refused, got.Conn.Opened, tt.fields)
		assert.Len(t, table.Abandon(arrival), map[bool]int{true: 0, false: 1}[tt.refused], tt.fields)
	}
	assert.True(t, row(t, NewTable(defaults(), ""), `{'event':'error'}`).Failed)
	assert.True(t, row(t, NewTable(defaults(), ""), `{'event':'protocol_error'}`).Failed)
}

func TestCloseClasses(t *testing.T) {
	const failed = true
	tests := map[string][]struct {
		code   int
		failed bool
	}{
		"normal": {{1000, false}}, "going_away": {{1001, false}}, "no_status": {{1005, false}}, "restart": {{1012, false}},
		"abnormal": {{1006, failed}}, "policy": {{1008, failed}}, "too_big": {{1009, failed}}, "server_error": {{1011, failed}},
		"try_later": {{1013, failed}}, "bad_gateway": {{1014, failed}}, "tls": {{1015, failed}},
		"protocol": {
			{1002, failed},
			{1003, failed},
			{1007, failed},
			{1010, failed},
			{0, failed},
			{999, failed},
			{1004, failed},
			{1016, failed},
			{2999, failed},
			{5000, failed},
		},
		"registered":  {{3000, false}, {3001, failed}, {3999, false}},
		"application": {{4000, false}, {4001, failed}, {4999, false}},
	}
	opts := defaults()
	opts.ErrorCloseCodes = map[int64]struct{}{3001: {}, 4001: {}}
	for class, codes := range tests {
		for _, tt := range codes {
			got := row(t, NewTable(opts, ""), fmt.Sprintf(`{'event':'close','ws.close.code':%d}`, tt.code))
			assert.Equal(t, class, got.CloseClass, tt.code)
			assert.Equal(t, tt.failed, got.Failed, tt.code)
		}
	}
	got := row(t, NewTable(opts, ""), `{'event':'close','error.type':'x'}`)
	assert.Equal(t, "no_status", got.CloseClass)
	assert.True(t, got.Failed)
	assert.Empty(t, row(t, NewTable(opts, ""), `{'event':'send','ws.close.code':1006}`).CloseClass)
}

func TestRolesAreInherited(t *testing.T) {
	table := NewTable(defaults(), "")
	take(t, table, `{'connections':[{'ws.connection.id':'c','ws.role':'client'}]}`)
	assert.Equal(t, wire.RoleClient, row(t, table, `{'event':'send','ws.connection.id':'c'}`).Role)
	assert.Equal(t, wire.RoleServer, row(t, table, `{'event':'send','ws.connection.id':'c','ws.role':'server'}`).Role)
	assert.Equal(t, wire.RoleUnknown, row(t, table, `{'event':'send','ws.connection.id':'d'}`).Role)
}

func TestOneCloseAConnection(t *testing.T) {
	const closing = `{'event':'close','ws.connection.id':'c'}`
	table := NewTable(defaults(), "")
	out := take(t, table, `{'event':'handshake','ws.connection.id':'c'}`)
	c := out.Rows[0].Conn

	// A second one in the same message, with its place.
	out = resolve(t, table, `{'events':[`+closing+`,{'event':'receive','ws.message.type':'close','ws.connection.id':'c'},`+closing+`,{'event':'close'}]}`)
	assert.Len(t, out.Rows, 2)
	assert.Equal(t, wire.Rejected{Count: 2, First: "events[1]: the connection was closed by an earlier event"}, out.Rejected)
	assert.True(t, c.Closing)
	assert.False(t, c.Closed)

	// The message was refused; it comes again, and is resolved again.
	assert.Empty(t, resolve(t, table, `[`+closing+`]`).Rejected)
	// Another one comes in its place.
	assert.Empty(t, resolve(t, table, `{'event':'send','ws.connection.id':'c'}`).Rejected)
	assert.False(t, c.Closing)
	table.Commit(arrival)
	assert.False(t, c.Closed)

	assert.Empty(t, resolve(t, table, closing).Rejected)
	table.Commit(arrival)
	assert.True(t, c.Closed)
	assert.False(t, c.Closing)
	out = resolve(t, table, closing)
	assert.Equal(t, wire.Rejected{Count: 1, First: "event: the connection was closed by an earlier event"}, out.Rejected)
	assert.Empty(t, out.Rows)
	assert.False(t, c.Closing)

	// Other events of a closed connection are taken; nothing opens it again.
	take(t, table, `[{'event':'receive','ws.connection.id':'c'},{'event':'handshake','ws.connection.id':'c'}]`)
	assert.Empty(t, take(t, table, `{'connections':[{'ws.connection.id':'c'}]}`).Opened)
	assert.Empty(t, table.Abandon(arrival))
}

// What is resolved into again holds nothing of the message before.
func TestResolvedIsUsedAgain(t *testing.T) {
	table := NewTable(defaults(), "")
	out := new(Resolved)
	table.Resolve(decode(t, `{'connections':[{'ws.connection.id':'c'}],'events':[{'event':'send'},{'event':'close','ws.connection.id':'c'},{'event':'close','ws.connection.id':'c'}]}`), arrival, out)
	require.Equal(t, [4]int{1, 2, 2, 1}, [4]int{len(out.Opened), len(out.Rows), out.Spans, out.Rejected.Count})
	table.Resolve(decode(t, `[{'event':'pong'}]`), arrival, out)
	assert.Equal(t, [4]int{0, 1, 1, 0}, [4]int{len(out.Opened), len(out.Rows), out.Spans, out.Rejected.Count})
	assert.Equal(t, wire.KindPong, out.Rows[0].Kind)
}

func TestResources(t *testing.T) {
	stated := func(kvs ...wire.KeyValue) []wire.KeyValue { return kvs }
	name := wire.KeyValue{Key: "service.name", Value: wire.StringValue("chat")}
	id := wire.KeyValue{Key: "service.instance.id", Value: wire.StringValue("chat-1")}
	x := func(v wire.Value) wire.KeyValue { return wire.KeyValue{Key: "x", Value: v} }
	array := func(vs ...wire.Value) wire.Value { return wire.Value{Type: wire.TypeArray, Array: vs} }
	raw := func(r *Resource) map[string]any {
		res := pcommon.NewResource()
		r.CopyTo(res)
		return res.Attributes().AsRaw()
	}
	assert.Equal(t, map[string]any{"service.name": "unknown_service"}, raw(NewResource(nil, "")))
	assert.Equal(t, map[string]any{"service.name": "unknown_service", "service.instance.id": "me"}, raw(NewResource(nil, "me")))
	assert.Equal(t, map[string]any{"service.name": "chat", "service.instance.id": "chat-1"}, raw(NewResource(stated(id, name), "me")))
	assert.Equal(t, map[string]any{
		"service.name": "chat", "a": []any{int64(1), true}, "b": 1.5, "c": false, "d": int64(-1), "e": nil,
	}, raw(NewResource(stated(name,
		wire.KeyValue{Key: "a", Value: array(wire.IntValue(1), wire.BoolValue(true))},
		wire.KeyValue{Key: "b", Value: wire.DoubleValue(1.5)}, wire.KeyValue{Key: "c", Value: wire.BoolValue(false)},
		wire.KeyValue{Key: "d", Value: wire.IntValue(-1)}, wire.KeyValue{Key: "e"}), "")))

	assert.Equal(t, NewResource(stated(id, name), "").Key, NewResource(stated(name, id), "other").Key, "the order does not matter")
	keys := map[string]int{}
	different := [][]wire.KeyValue{
		nil, stated(name), stated(id), stated(id, name),
		stated(x(wire.StringValue("1"))), stated(x(wire.IntValue(1))), stated(x(wire.DoubleValue(1))), stated(x(wire.BoolValue(true))),
		stated(x(wire.StringValue("true"))), stated(x(wire.StringValue(""))), stated(x(wire.Value{})),
		stated(x(array())), stated(x(array(wire.StringValue("a"), wire.StringValue("b")))), stated(x(array(wire.StringValue(`a","b`)))),
		stated(x(array(wire.IntValue(1), wire.IntValue(2)))), stated(x(array(wire.DoubleValue(1), wire.DoubleValue(2)))),
		stated(x(wire.StringValue(`a""y""b`))), stated(x(wire.StringValue("a")), wire.KeyValue{Key: "y", Value: wire.StringValue("b")}),
		stated(x(wire.Value{}), wire.KeyValue{Key: "y"}), stated(x(wire.StringValue("y"))),
		stated(x(wire.StringValue("\xff"))), stated(x(wire.StringValue(`\xff`))), stated(x(wire.StringValue("\ufffd"))),
	}
	for i, attributes := range different {
		key := NewResource(attributes, "").Key
		before, ok := keys[key]
		assert.False(t, ok, "%d has the key of %d", i, before)
		keys[key] = i
	}
}

func TestResourcesOwnTheirMemory(t *testing.T) {
	text := []byte(`{"hello":{"instance":"me","resource":{"service.name":"chat","tags":["a"]}}}`)
	m := new(wire.Message)
	require.NoError(t, new(wire.Decoder).DecodeJSON(text, m))
	r := NewResource(m.Hello.Resource, m.Hello.Instance)
	for i := range text {
		text[i] = 'x'
	}
	m.Reset()
	assert.Equal(t, NewResource([]wire.KeyValue{
		{Key: "service.name", Value: wire.StringValue("chat")},
		{Key: "tags", Value: wire.Value{Type: wire.TypeArray, Array: []wire.Value{wire.StringValue("a")}}},
	}, "me"), r)
	assert.Nil(t, CloneUser(nil))
}
