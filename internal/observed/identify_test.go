package observed

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	statedTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	statedSpan  = "00f067aa0ba902b7"
	otherSpan   = "b7ad6b7169203331"
)

// at names the ids of a place, as the conventions have them.
func at(seed wire.Seed, n uint64, slot wire.Slot, kind wire.Kind, role wire.Role) (wire.TraceID, wire.SpanID) {
	return seed.TraceID(n, slot), seed.SpanID(n, slot, kind, role)
}

func TestDerivedIDs(t *testing.T) {
	c, i, m := wire.ConnectionSeed("c"), wire.InstanceSeed("me"), wire.MessageSeed("c", "m1")
	type place struct {
		seed wire.Seed
		n    uint64
		slot wire.Slot
	}
	other := place{i, 7 << 16, wire.SlotOther}
	tests := []struct {
		event string // without its connection, which is c
		want  place
		kind  wire.Kind
		role  wire.Role
	}{
		{`'event':'handshake'`, place{c, 0, 0}, wire.KindHandshake, wire.RoleUnknown},
		{`'event':'handshake','ws.role':'server'`, place{c, 0, 0}, wire.KindHandshake, wire.RoleServer},
		{`'event':'close','ws.message.seq':9`, place{c, 0, wire.SlotClose}, wire.KindClose, wire.RoleUnknown},
		{`'event':'send','ws.message.type':'close'`, place{c, 0, wire.SlotClose}, wire.KindClose, wire.RoleUnknown},
		{`'event':'send','ws.role':'client','ws.message.seq':5`, place{c, 5, wire.SlotClientData}, wire.KindSend, wire.RoleClient},
		{`'event':'send','ws.role':'server','ws.message.seq':5`, place{c, 5, wire.SlotServerData}, wire.KindSend, wire.RoleServer},
		{`'event':'receive','ws.role':'client','ws.message.seq':5`, place{c, 5, wire.SlotServerData}, wire.KindReceive, wire.RoleClient},
		{`'event':'receive','ws.role':'server','ws.message.seq':5`, place{c, 5, wire.SlotClientData}, wire.KindReceive, wire.RoleServer},
		{`'event':'process','ws.role':'server','ws.message.seq':5`, place{c, 5, wire.SlotClientData}, wire.KindProcess, wire.RoleServer},
		{`'event':'process','ws.role':'server','ws.direction':'sent','ws.message.seq':5`, place{c, 5, wire.SlotClientData}, wire.KindProcess, wire.RoleServer},
		{`'event':'message','ws.role':'server','ws.direction':'sent','ws.message.seq':5`, place{c, 5, wire.SlotServerData}, wire.KindMessage, wire.RoleServer},
		{`'event':'message','ws.role':'server','ws.message.seq':5`, other, wire.KindMessage, wire.RoleServer},
		{`'event':'send','ws.message.seq':5`, place{c, 5, wire.SlotSent}, wire.KindSend, wire.RoleUnknown},
		{`'event':'receive','ws.role':'proxy','ws.message.seq':5`, place{c, 5, wire.SlotReceived}, wire.KindReceive, wire.RoleOther},
		{`'event':'send','ws.role':'client','ws.message.seq':9223372036854775807`, place{c, 1<<63 - 1, wire.SlotClientData}, wire.KindSend, wire.RoleClient},
		{`'event':'send','ws.role':'client','ws.message.id':'m1'`, place{m, 0, wire.SlotClientData}, wire.KindSend, wire.RoleClient},
		{`'event':'receive','ws.message.id':'m1'`, place{m, 0, wire.SlotReceived}, wire.KindReceive, wire.RoleUnknown},
		{`'event':'process','ws.role':'client','ws.message.id':'m1'`, place{m, 0, wire.SlotServerData}, wire.KindProcess, wire.RoleClient},
		{`'event':'message','ws.role':'client','ws.direction':'sent','ws.message.id':'m1'`, other, wire.KindMessage, wire.RoleClient},
		{`'event':'send','ws.role':'client','ws.message.id':'m1','ws.message.seq':5`, place{c, 5, wire.SlotClientData}, wire.KindSend, wire.RoleClient},
		{`'event':'send','ws.role':'client'`, other, wire.KindSend, wire.RoleClient},
		{`'event':'ping','ws.role':'client','ws.direction':'sent','ws.message.seq':5`, place{c, 5, wire.SlotClientPing}, wire.KindPing, wire.RoleClient},
		{`'event':'ping','ws.role':'client','ws.direction':'received','ws.message.seq':5`, place{c, 5, wire.SlotServerPing}, wire.KindPing, wire.RoleClient},
		{`'event':'pong','ws.role':'client','ws.direction':'sent','ws.message.seq':5`, place{c, 5, wire.SlotClientPong}, wire.KindPong, wire.RoleClient},
		{`'event':'receive','ws.message.type':'pong','ws.role':'client','ws.message.seq':5`, place{c, 5, wire.SlotServerPong}, wire.KindPong, wire.RoleClient},
		{`'event':'ping','ws.role':'client','ws.direction':'sent'`, other, wire.KindPing, wire.RoleClient},
		{`'event':'ping','ws.direction':'sent','ws.message.seq':5`, other, wire.KindPing, wire.RoleUnknown},
		{`'event':'pong','ws.role':'client','ws.message.seq':5`, other, wire.KindPong, wire.RoleClient},
		{`'event':'error','ws.role':'client'`, other, wire.KindError, wire.RoleClient},
		{`'event':'broadcast','ws.message.seq':5,'ws.role':'client'`, other, wire.KindBroadcast, wire.RoleClient},
	}
	for _, tt := range tests {
		message := fmt.Sprintf(`{'seq':7,'events':[{%s,'ws.connection.id':'c'}]}`, tt.event)
		got := row(t, NewTable(defaults(), "me"), message)
		trace, span := at(tt.want.seed, tt.want.n, tt.want.slot, tt.kind, tt.role)
		assert.Equal(t, trace, got.Span.TraceID, tt.event)
		assert.Equal(t, span, got.Span.SpanID, tt.event)
		assert.Equal(t, tt.kind, got.Kind, tt.event)
		assert.Equal(t, tt.role, got.Role, tt.event)

		// The same again is the same; in an anonymous session nothing follows from the number.
		anonymous := row(t, NewTable(defaults(), ""), message)
		if tt.want == other {
			assert.Equal(t, []byte{0xee, 0xee}, anonymous.Span.TraceID[:2], tt.event)
			assert.Equal(t, []byte{0xee, 0xee}, anonymous.Span.SpanID[:2], tt.event)
		} else {
			assert.Equal(t, trace, anonymous.Span.TraceID, tt.event)
		}
	}
}

// The place among the events counts rejected ones; without a number or a
// connection ids are random.
func TestIDsOfTheInstance(t *testing.T) {
	var m wire.Message
	d := new(wire.Decoder)
	if err := d.DecodeJSON([]byte(`{"seq":3,"events":[{"event":"nonsense"},{"event":"error"}]}`), &m); err != nil {
		t.Fatal(err)
	}
	out := new(Resolved)
	NewTable(defaults(), "me").Resolve(&m, arrival, out)
	trace, span := at(wire.InstanceSeed("me"), 3<<16|1, wire.SlotOther, wire.KindError, wire.RoleUnknown)
	assert.Equal(t, trace, out.Rows[0].Span.TraceID)
	assert.Equal(t, span, out.Rows[0].Span.SpanID)

	got := row(t, NewTable(defaults(), "me"), `{'event':'error'}`)
	assert.Equal(t, byte(0xee), got.Span.TraceID[0])
	assert.Equal(t, byte(0xee), got.Span.SpanID[0])
	assert.NotEqual(t, got.Span.TraceID[8:], got.Span.SpanID[:])
}

func TestStatedIDsAndParents(t *testing.T) {
	c := wire.ConnectionSeed("c")
	receiveTrace, receive := at(c, 5, wire.SlotClientData, wire.KindReceive, wire.RoleServer)
	_, process := at(c, 5, wire.SlotClientData, wire.KindProcess, wire.RoleServer)
	_, send := at(c, 5, wire.SlotClientData, wire.KindSend, wire.RoleClient)
	_, opening := at(c, 0, wire.SlotHandshake, wire.KindHandshake, wire.RoleServer)
	_, clientOpening := at(c, 0, wire.SlotHandshake, wire.KindHandshake, wire.RoleClient)
	handshakeTrace := c.TraceID(0, wire.SlotHandshake)
	none := wire.SpanID{}
	stated := func(s string) wire.SpanID { return spanID(t, s) }
	const (
		own     = `'trace_id':'` + statedTrace + `'`
		theirs  = `'traceparent':'00-` + statedTrace + `-` + statedSpan + `-01'`
		message = `'ws.role':'server','ws.message.seq':5`
	)
	derivedText := fmt.Sprintf("%x", receiveTrace)
	tests := []struct {
		name, event  string
		trace        wire.TraceID
		span, parent wire.SpanID
	}{
		{"a receive is a root", `'event':'receive',` + message, receiveTrace, receive, none},
		{"or the child of the peer's send", `'event':'receive','ws.connection.shared':true,` + message, receiveTrace, receive, send},
		{
			"not where the role is unknown", `'event':'receive','ws.connection.shared':true,'ws.message.seq':5`,
			c.TraceID(5, wire.SlotReceived), c.SpanID(5, wire.SlotReceived, wire.KindReceive, 0), none,
		},
		{"a process is the child of the receive", `'event':'process',` + message, receiveTrace, process, receive},
		{"a send is a root", `'event':'send','ws.connection.shared':true,'ws.role':'client','ws.message.seq':5`, receiveTrace, send, none},
		{"a server's handshake", `'event':'handshake','ws.role':'server'`, handshakeTrace, opening, none},
		{"of a shared connection", `'event':'handshake','ws.role':'server','ws.connection.shared':true`, handshakeTrace, opening, clientOpening},
		{"a client's", `'event':'handshake','ws.role':'client','ws.connection.shared':true`, handshakeTrace, clientOpening, none},
		{"stated trace", `'event':'process',` + own + `,` + message, traceID(t, statedTrace), process, none},
		{"stated trace that is the derived one", `'event':'process','trace_id':'` + derivedText + `',` + message, receiveTrace, process, receive},
		{"stated span", `'event':'process','span_id':'` + statedSpan + `',` + message, receiveTrace, stated(statedSpan), receive},
		{"stated parent", `'event':'process','parent_span_id':'` + statedSpan + `',` + message, receiveTrace, process, stated(statedSpan)},
		{
			"all stated", `'event':'process',` + own + `,'span_id':'` + statedSpan + `','parent_span_id':'` + otherSpan + `',` + message,
			traceID(t, statedTrace), stated(statedSpan), stated(otherSpan),
		},
		{"traceparent", `'event':'process',` + theirs + `,` + message, traceID(t, statedTrace), process, stated(statedSpan)},
		{
			"traceparent of the derived trace", `'event':'process','traceparent':'00-` + derivedText + `-` + statedSpan + `-00',` + message,
			receiveTrace, process, stated(statedSpan),
		},
		{"invalid traceparent", `'event':'process','traceparent':'00-xyz',` + message, receiveTrace, process, receive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := row(t, NewTable(defaults(), ""), `[{'ws.connection.id':'c',`+tt.event+`}]`)
			assert.Equal(t, tt.trace, got.Span.TraceID)
			assert.Equal(t, tt.span, got.Span.SpanID)
			assert.Equal(t, tt.parent, got.Span.ParentID)
			assert.False(t, got.Span.LinkHandshake)
		})
	}
}

const opened = `{'ws.connection.id':'c','ws.role':'server','opened_at':5}`

func TestLinksToTheHandshake(t *testing.T) {
	send := `{'event':'send','ws.connection.id':'c'}`
	tests := []struct {
		name, before string
		want         bool
	}{
		{"unknown", ``, false},
		{"declared", `{'connections':[{'ws.connection.id':'c'}]}`, false},
		{"declared with its opening", `{'connections':[` + opened + `]}`, true},
		{"closed by now", `{'connections':[{'ws.connection.id':'c','opened_at':5,'open':false}]}`, true},
		{"handshake", `{'event':'handshake','ws.connection.id':'c'}`, true},
		{"failed handshake", `{'event':'handshake','ws.connection.id':'c','ws.handshake.success':false}`, false},
		{"handshake without a span", `{'threshold':'8','events':[{'event':'handshake','ws.connection.id':'c','sampled':false}]}`, false},
	}
	for _, tt := range tests {
		table := NewTable(defaults(), "")
		if tt.before != "" {
			take(t, table, tt.before)
		}
		got := row(t, table, send)
		assert.Equal(t, tt.want, got.Span.LinkHandshake, tt.name)
		if tt.want {
			assert.NotZero(t, got.Conn.HandshakeTrace, tt.name)
			assert.NotZero(t, got.Conn.HandshakeSpan, tt.name)
		}
	}
	table := NewTable(defaults(), "")
	take(t, table, `{'connections':[`+opened+`]}`)
	assert.False(t, row(t, table, `{'event':'handshake','ws.connection.id':'c','ws.handshake.success':false}`).Span.LinkHandshake, "not to itself")
}

func TestAnEntryStatesOrDerivesTheHandshake(t *testing.T) {
	table := NewTable(defaults(), "")
	take(t, table, `{'connections':[`+opened+`,{'ws.connection.id':'d','opened_at':5,'trace_id':'`+statedTrace+`','span_id':'`+statedSpan+`'}]}`)
	c, d := table.conns["c"], table.conns["d"]
	trace, span := at(wire.ConnectionSeed("c"), 0, wire.SlotHandshake, wire.KindHandshake, wire.RoleServer)
	assert.Equal(t, trace, c.HandshakeTrace)
	assert.Equal(t, span, c.HandshakeSpan)
	assert.EqualValues(t, 5, c.OpenedAt)
	assert.Equal(t, traceID(t, statedTrace), d.HandshakeTrace)
	assert.Equal(t, spanID(t, statedSpan), d.HandshakeSpan)
}

// With a trace for each connection its spans are children of the handshake.
func TestConnectionTraces(t *testing.T) {
	c := wire.ConnectionSeed("c")
	own := `'trace_id':'` + statedTrace + `','span_id':'` + statedSpan + `'`
	derivedTrace, derivedSpan := at(c, 0, wire.SlotHandshake, wire.KindHandshake, wire.RoleServer)
	process := `{'event':'process','ws.role':'server','ws.connection.id':'c','ws.message.seq':5}`
	tests := []struct {
		name, before, event string
		trace               wire.TraceID
		parent              wire.SpanID
	}{
		{"opening not seen", ``, process, derivedTrace, wire.SpanID{}},
		{"opening seen", `{'connections':[` + opened + `]}`, process, derivedTrace, derivedSpan},
		{"its trace was stated", `{'event':'handshake','ws.connection.id':'c',` + own + `}`, process, traceID(t, statedTrace), spanID(t, statedSpan)},
		{
			"another trace is stated", `{'connections':[` + opened + `]}`,
			strings.Replace(process, "{", `{'trace_id':'`+statedTrace+`',`, 1), traceID(t, statedTrace),
			wire.SpanID{},
		},
		{"without an ordinal", `{'connections':[` + opened + `]}`, `{'event':'error','ws.connection.id':'c'}`, derivedTrace, derivedSpan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := defaults()
			opts.ConnectionTraces = true
			table := NewTable(opts, "")
			if tt.before != "" {
				take(t, table, tt.before)
			}
			got := row(t, table, tt.event)
			assert.Equal(t, tt.trace, got.Span.TraceID)
			assert.Equal(t, tt.parent, got.Span.ParentID)
			assert.False(t, got.Span.LinkHandshake)
			if got.Kind == wire.KindProcess {
				assert.Equal(t, c.SpanID(5, wire.SlotClientData, wire.KindProcess, wire.RoleServer), got.Span.SpanID, "span ids stay the derived ones")
			}
		})
	}
}
