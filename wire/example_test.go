package wire_test

import (
	"errors"
	"fmt"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func ExampleDecoder_DecodeJSON() {
	var d wire.Decoder
	var m wire.Message // used again for each message
	err := d.DecodeJSON([]byte(`{"seq": 1, "events": [
		{"event": "receive", "time": 1767225600123456789, "ws.message.size": 128, "room.id": "lobby"},
		{"event": "receive", "ws.message.size": "big"}]}`), &m)
	if err != nil {
		fmt.Println(err)
		return
	}
	e := &m.Batch.Events[0]
	fmt.Println(m.Batch.Seq, e.Kind, e.Int(wire.AttrMessageSize), e.User[0].Key, e.User[0].Value.Str)
	fmt.Println(m.Batch.Rejected.Count, m.Batch.Rejected.First)
	// Output:
	// 1 receive 128 room.id lobby
	// 1 events[1].ws.message.size: expected an integer, got "big"
}

func ExampleMessageError() {
	var d wire.Decoder
	var m wire.Message
	err := d.DecodeJSON([]byte(`{"seq": 18, "events": {}}`), &m)
	var bad *wire.MessageError
	if errors.As(err, &bad) {
		fmt.Println(bad.Seq, bad.Code, bad)
	}
	// Output: 18 malformed events: expected an array, got an object
}

func ExampleAppendJSON() {
	e := wire.Event{Kind: wire.KindSend, Time: 1767225600123456789, HasTime: true}
	e.SetStr(wire.AttrMessageType, "text")
	e.SetInt(wire.AttrMessageSize, 31)
	m := wire.Message{Form: wire.FormBatch, Batch: wire.Batch{Seq: 1, Events: []wire.Event{e}}}
	fmt.Println(string(wire.AppendJSON(nil, &m)))
	// Output: {"seq":1,"events":[{"event":"send","time":1767225600123456789,"ws.message.type":"text","ws.message.size":31}]}
}

func ExampleAppendReply() {
	fmt.Println(string(wire.AppendReply(nil, &wire.Reply{Ack: 17})))
	fmt.Println(string(wire.AppendReply(nil, &wire.Reply{Nack: 18, Code: wire.CodeRefused, Message: "no"})))
	// Output:
	// {"ack":17}
	// {"nack":18,"retryable":false,"code":"refused","message":"no"}
}

func ExampleConnectionSeed() {
	// Both ends of a connection find the same trace for its third message to the server.
	seed := wire.ConnectionSeed("5f0cc1d27f1e4c0e8b7a3f0d3c0a9e11")
	fmt.Println(seed.TraceID(3, wire.SlotClientData) == wire.ConnectionSeed("5f0cc1d27f1e4c0e8b7a3f0d3c0a9e11").TraceID(3, wire.SlotClientData))
	fmt.Println(seed.SpanID(3, wire.SlotClientData, wire.KindSend, wire.RoleClient) == seed.SpanID(3, wire.SlotClientData, wire.KindReceive, wire.RoleServer))
	// Output:
	// true
	// false
}
