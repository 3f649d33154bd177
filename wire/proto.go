package wire

import (
	"unicode/utf8"
)

// The fields of the schema, protocol/wsstats.proto, by their numbers. What they
// mean is written down there.

const (
	messageHello         = 1
	messageBatch         = 2
	messageEvents        = 3
	messageStringHandles = 4
	messageStrings       = 5
)

var messageFields = []protoField{
	messageHello:         {name: "hello", oneof: 1<<messageBatch | 1<<messageEvents},
	messageBatch:         {name: "batch", oneof: 1<<messageHello | 1<<messageEvents},
	messageEvents:        {name: "events", oneof: 1<<messageHello | 1<<messageBatch},
	messageStringHandles: {name: "string_handles", typ: fieldPacked},
	messageStrings:       {name: "strings", repeated: true},
}

// protoState is what decoding the binary form keeps.
type protoState struct {
	single handleTable // of the message in hand, where it has no number
	table  *handleTable
	events protoEvents

	ambiguous bool // the message has several forms, and no number
}

// DecodeProto decodes one message of the binary form into m, as DecodeJSON does
// with one of the JSON form. What numbered messages define is kept in
// d.Definitions for those that follow; an error with CodeUndefined says that a
// definition was missing.
func (d *Decoder) DecodeProto(data []byte, m *Message) error {
	d.limits = d.Limits.withDefaults()
	d.m = m
	d.m.Reset()
	d.path, d.names, d.row = d.path[:0], d.names[:0], row{}
	if d.Definitions == nil {
		d.Definitions = new(Definitions)
	}
	d.Definitions.message++
	d.proto.ambiguous = false
	defer d.release()

	err := d.protoMessage(data)
	if err == nil {
		return nil
	}
	if err.Place != "seq" && !d.proto.ambiguous {
		err.Seq = PeekSeqProto(data)
	}
	return err
}

func (d *Decoder) protoMessage(data []byte) *MessageError {
	var form int
	var body, handles []byte
	it := fieldIter{rest: data, spec: messageFields}
	for it.next() {
		switch it.num {
		case messageStringHandles:
			handles = it.b
		case messageStrings: // see define
		default:
			form, body = it.num, it.b
		}
	}
	if err := d.endFields(&it); err != nil {
		d.proto.ambiguous = form != 0 && it.num >= messageHello && it.num <= messageEvents
		return err
	}
	if form == 0 {
		return d.fail("", "expected a hello, a batch or events")
	}
	d.proto.table = &d.proto.single
	if form == messageBatch && batchSeqOf(body) != 0 {
		d.proto.table = &d.Definitions.table
	} else {
		defer d.proto.single.undefine(handles)
	}
	if err := d.define(handles, data); err != nil {
		return err
	}
	switch form {
	case messageHello:
		d.m.Form = FormHello
		return d.protoHello(body)
	case messageBatch:
		d.m.Form = FormBatch
		return d.protoBatch(body)
	default:
		return d.protoEvents("", body)
	}
}

// PeekSeqProto does for the binary form what PeekSeq does for JSON: the number
// of a batch, 0 where it has none or none can be read before the first mistake.
// Encoders put it first, where this costs little.
func PeekSeqProto(data []byte) uint64 {
	it := fieldIter{rest: data}
	for it.step() || it.why == whyCut {
		if it.num == messageBatch && it.typ == wireBytes { // what is there of it, if it is cut off
			return batchSeqOf(it.b)
		}
		if it.why != "" {
			break
		}
	}
	return 0
}

// batchSeqOf is the first number of a batch.
func batchSeqOf(batch []byte) uint64 {
	it := fieldIter{rest: batch, spec: batchFields}
	for it.next() {
		if it.num == batchSeqField {
			if it.n > maxSeq {
				return 0
			}
			return it.n
		}
	}
	return 0
}

// text is a string of the field, "" with an error where it is not UTF-8.
func (d *Decoder) text8(it *fieldIter) (string, *MessageError) {
	if !utf8.Valid(it.b) {
		return "", d.badUTF8(it.spec[it.num].name)
	}
	return view(it.b), nil
}
