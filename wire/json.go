package wire

import (
	"errors"
	"unicode/utf8"
)

// Limits bound what a decoder takes. The zero value of a field means its default.
type Limits struct {
	Events      int // events a message, and stats a message, default 8192
	Connections int // connections declared a message, default 8192
	Attributes  int // attributes of the user a row, default 64
	KeyBytes    int // bytes of a key, default 256
	ValueBytes  int // bytes of a string value, default 4096; longer ones are cut
	Elements    int // elements of an array value, default 256; longer ones are cut
	Depth       int // nesting of a message in JSON, default 16

	// Of the binary form: the largest handle, default 65536, and the memory of a
	// session's definitions, default 4 MiB.
	Definitions     int
	DefinitionBytes int
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.Events, 8192},
		{&l.Connections, 8192},
		{&l.Attributes, 64},
		{&l.KeyBytes, 256},
		{&l.ValueBytes, 4096},
		{&l.Elements, 256},
		{&l.Depth, 16},
		{&l.Definitions, 65536},
		{&l.DefinitionBytes, 4 << 20},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return l
}

// ErrInvalidUTF8 is wrapped by the MessageError of a message that is not UTF-8:
// a session that has to close over it does so with 1007 in place of 1008.
var ErrInvalidUTF8 = errors.New("invalid UTF-8")

// MessageError says why a whole message was refused.
type MessageError struct {
	Code  string // CodeMalformed, CodeTooLarge or CodeUndefined
	Place string // where: "events[3]", "seq", or "" for the message itself
	Text  string // what was expected
	Seq   uint64 // the message's number where it was readable, else 0

	cause error
}

// Error returns the place and what was expected there.
func (e *MessageError) Error() string {
	if e.Place == "" {
		return e.Text
	}
	return e.Place + ": " + e.Text
}

// Unwrap returns ErrInvalidUTF8 where that is what was wrong.
func (e *MessageError) Unwrap() error { return e.cause }

// Decoder decodes messages. It is not safe for concurrent use, and its memory is
// reused. One may decode messages of many sessions in turn.
type Decoder struct {
	Limits Limits
	// Definitions are those of the session that the next message of the binary form
	// is of. Nil: those of a session that begins.
	Definitions *Definitions

	limits Limits // Limits with the defaults filled in
	json   scanner
	typ    jsonType // of the value that comes next
	m      *Message
	depth  int
	path   []step   // where in the message we are
	names  []string // keys without a field, of all objects that are open
	keys   eventKeys
	row    row
	proto  protoState
}

// DecodeJSON decodes one message of the JSON form into m, which it resets
// first. Rows that are wrong on their own are left out and counted in
// m.Batch.Rejected; an error that concerns the whole message is a *MessageError,
// and m is then not to be used.
func (d *Decoder) DecodeJSON(data []byte, m *Message) error {
	d.limits = d.Limits.withDefaults()
	d.m = m
	defer d.release()

	d.start(data)
	err := d.message(data)
	// A pass over what is ASCII, as most of it is, would cost a twentieth of all.
	if (err != nil || !d.json.ascii()) && !utf8.Valid(data) {
		d.start(data)
		err = d.fail("", ErrInvalidUTF8.Error())
		err.cause = ErrInvalidUTF8
		err.Seq = d.scan(data).seq
	}
	return asError(err)
}

func (d *Decoder) message(data []byte) *MessageError {
	switch d.typ {
	case jsonArray:
		return d.bareEvents()
	case jsonObject:
		return d.topObject(data)
	case jsonNone:
		return d.skip()
	default:
		return d.fail("", "expected an array of events or an object, got "+typeName(d.typ))
	}
}

// asError keeps a nil *MessageError from becoming an error that is not nil.
func asError(err *MessageError) error {
	if err == nil {
		return nil
	}
	return err
}

// start goes to the beginning of the message and forgets what was decoded of it.
func (d *Decoder) start(data []byte) {
	d.m.Reset()
	d.json = scanner{data: data}
	d.typ = d.json.next()
	d.depth = 0
	d.path = d.path[:0]
	d.names = d.names[:0]
	d.keys.forget()
	d.row = row{}
}

// release lets go of the input, which is the caller's.
func (d *Decoder) release() {
	d.m = nil
	d.json = scanner{}
	clear(d.names[:cap(d.names)])
	d.keys.forget()
}

// topObject decodes a message that is one object. It takes it for a batch, the
// frequent case, until a key says otherwise: keys come in any order.
func (d *Decoder) topObject(data []byte) *MessageError {
	err := d.batch()
	if err == nil {
		return nil
	}
	keys := d.scan(data)
	switch {
	case keys.event && keys.hello:
		d.start(data)
		err = d.fail("", `both "event" and "hello": send them as two messages`)
	case keys.hello && keys.batch != "":
		d.start(data)
		err = d.fail("hello", "stands beside "+quote(keys.batch)+": send them as two messages")
	case keys.hello:
		d.start(data)
		err = d.helloMessage()
	case keys.event:
		d.start(data)
		if err = d.bareEvent(); err != nil {
			return err
		}
	}
	if err != nil {
		err.Seq = keys.seq
	}
	return err
}

// topKeys are the keys of a message that say what it is.
type topKeys struct {
	event, hello bool
	batch        string // one of a batch's keys
	seq          uint64 // if it is readable, and there once
}

// scan reads the keys of an object up to its end or its first syntax error.
func (d *Decoder) scan(data []byte) (keys topKeys) {
	d.json = scanner{data: data}
	d.typ = d.json.next()
	d.depth = 0
	d.path = d.path[:0]
	if d.typ != jsonObject {
		return keys
	}
	var it list
	err := d.enter()
	seqs := 0
	for err == nil && d.nextKey(&it) {
		if d.typ == jsonNull {
			err = d.skip()
			continue
		}
		switch key := it.key; batchField(key) {
		case batchSeq:
			keys.batch = key
			seqs++
			keys.seq, err = d.scanSeq()
			if seqs > 1 {
				keys.seq = 0
			}
			continue
		case batchEvent:
			keys.event = true
		case batchHello:
			keys.hello = true
		case batchUnknown:
		default:
			keys.batch = key
		}
		err = d.skip()
	}
	return keys
}

// scanSeq reads a seq and answers 0 for what is none.
func (d *Decoder) scanSeq() (uint64, *MessageError) {
	if d.typ != jsonNumber {
		return 0, d.skip()
	}
	raw, numeric := d.json.number()
	if !numeric {
		return 0, d.syntax()
	}
	seq, _ := parseSeq(raw)
	return seq, nil
}

// bareEvents decodes a message that is an array of events.
func (d *Decoder) bareEvents() *MessageError {
	if err := d.events(""); err != nil {
		return err
	}
	return d.end()
}

// bareEvent decodes a message that is one event.
func (d *Decoder) bareEvent() *MessageError {
	d.m.single = true
	if err := d.event(0); err != nil {
		return err
	}
	return d.end()
}
