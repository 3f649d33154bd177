package wire

import (
	"strconv"
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

const (
	columnAttribute = 1
	columnKey       = 2
	columnRows      = 3
	columnInts      = 4
	columnDoubles   = 5
	columnHandles   = 6
	columnTexts     = 7
	columnBools     = 8
	columnArrays    = 9
)

var columnFields = []protoField{
	columnAttribute: {name: "attribute", typ: fieldVarint},
	columnKey:       {name: "key", typ: fieldVarint32},
	columnRows:      {name: "rows", typ: fieldPacked},
	columnInts:      {name: "ints", typ: fieldPacked},
	columnDoubles:   {name: "doubles", typ: fieldPacked},
	columnHandles:   {name: "handles", typ: fieldPacked},
	columnTexts:     {name: "texts", repeated: true},
	columnBools:     {name: "bools", typ: fieldPacked},
	columnArrays:    {name: "arrays", repeated: true},
}

// attributeNumber is the number of an attribute in the schema.
func attributeNumber(a Attr) wsstatspb.AttributeName {
	name := strings.ToUpper(strings.ReplaceAll(a.String(), ".", "_"))
	return wsstatspb.AttributeName(wsstatspb.AttributeName_value["ATTRIBUTE_NAME_"+name])
}

// attributesByNumber are the attributes by their numbers in the schema, NumAttrs where there is none.
var attributesByNumber = func() (attrs [64]Attr) {
	for i := range attrs {
		attrs[i] = NumAttrs
	}
	for a := range NumAttrs {
		attrs[attributeNumber(a)] = a
	}
	return attrs
}()

// column is a column of an attribute.
type column struct {
	key  string // of the user, or the name of attr
	attr Attr   // NumAttrs: the user's
	why  string // what is wrong with the key, which rejects each row

	rows rowIter
	list int       // the field with the values
	b    packed    // of a packed list
	all  fieldIter // the column's fields, for texts and arrays
	left bool      // of all: is at a value that was not read

	short bool // the list came to its end before its rows
}

// nextColumn goes to the next column of the message; index counts them.
func (d *Decoder) nextColumn(it *fieldIter, c *column, index *int) (bool, *MessageError) {
	if !it.nextOf(eventsColumns) {
		return false, nil
	}
	d.push("columns", *index)
	*index++
	return true, d.column(it.b, c)
}

// column finds the parts of a column.
func (d *Decoder) column(b []byte, c *column) *MessageError {
	// Field by field, as a column is large and there are two for each one of a message.
	c.attr, c.why, c.list, c.b, c.left, c.short = NumAttrs, "", 0, packed{}, false, false
	var rows []byte
	var number, key uint64
	it := fieldIter{rest: b, spec: columnFields}
	for it.next() {
		switch it.num {
		case columnAttribute:
			number = it.n
		case columnKey:
			key = it.n
		case columnRows:
			rows = it.b
		default:
			if len(it.b) == 0 && it.num != columnTexts && it.num != columnArrays || it.num == c.list {
				continue // an empty list is the same as none
			}
			if c.list != 0 {
				return d.fail(columnFields[it.num].name, "stands beside "+columnFields[c.list].name+": a column has one list of values")
			}
			c.list, c.b = it.num, packed{b: it.b}
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	switch {
	case c.list == 0:
		return d.fail("", "has no values")
	case (number == 0) == (key == 0):
		return d.fail("", "expected either attribute or key")
	case number >= uint64(len(attributesByNumber)) || number > 0 && attributesByNumber[number] == NumAttrs:
		return d.fail("attribute", "unknown number "+strconv.FormatUint(number, 10)+": send its key")
	case number > 0:
		c.attr = attributesByNumber[number]
		c.key = c.attr.String()
	default:
		def := d.proto.table.get(key)
		if def == nil {
			return d.undefined("key", key)
		}
		c.key = def.text
		if a, ok := ParseAttr(c.key); ok {
			c.attr = a
		} else {
			c.why = d.whyKey(c.key)
		}
	}
	c.rows = newRowIter(rows, len(d.proto.events.rows))
	if c.inFields() {
		c.all = fieldIter{rest: b, spec: columnFields}
		c.left = c.all.nextOf(c.list)
	}
	return nil
}

// inFields tells whether the values are fields of their own, and no packed list.
func (c *column) inFields() bool { return c.list == columnTexts || c.list == columnArrays }

// covers tells whether there can be so many values.
func (c *column) covers(n int) bool {
	have := len(c.b.b)
	switch c.list {
	case columnDoubles:
		have /= 8
	case columnTexts, columnArrays:
		have = 0
		for it := (fieldIter{rest: c.all.rest}); have < n && c.left; have++ {
			if have > 0 && !it.nextOf(c.list) {
				break
			}
		}
	}
	return have >= n
}

// whyKey is what is wrong with a key of the user, "" for nothing.
func (d *Decoder) whyKey(key string) string {
	switch {
	case key == "":
		return "a key is empty"
	case len(key) > d.limits.KeyBytes:
		return "the key is longer than " + strconv.Itoa(d.limits.KeyBytes) + " bytes"
	case eventField(key) != eventUnknown:
		return whyReserved
	}
	return ""
}

// eventColumnIndex finds out what the columns say in all, so that the rows can
// be laid out: an event's attributes of the user stand side by side, though their
// columns come one by one.
func (d *Decoder) eventColumnIndex() *MessageError {
	x := &d.proto.events
	x.every, x.stride, x.filled, x.uneven = 0, 0, 0, false
	index := 0
	it := fieldIter{rest: x.lists}
	var c column
	for {
		more, err := d.nextColumn(&it, &c, &index)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		switch {
		case c.attr == NumAttrs && c.rows.all:
			if !c.covers(len(x.rows)) { // before there is memory for what is not there
				return d.fail("", whyFewValues)
			}
			x.stride++
		case c.attr == NumAttrs:
			x.countUsers()
			for c.rows.next() {
				x.users[c.rows.row]++
			}
		case c.rows.all && x.every&(1<<c.attr) != 0 && len(x.rows) > 0:
			return d.duplicateInEvent(0, c.key)
		case c.rows.all:
			x.every |= 1 << c.attr
		}
		d.pop()
	}
	if x.stride > d.limits.Attributes {
		x.countUsers() // to reject each row
	}
	if x.uneven {
		for i := range x.users {
			x.users[i] += uint32(x.stride)
		}
	}
	return nil
}

// countUsers begins to count the user's attributes row by row. Where each row has
// the same ones, which is frequent, it is not necessary.
func (x *protoEvents) countUsers() {
	if !x.uneven {
		x.uneven = true
		x.users, x.begin = zeroed(x.users, len(x.rows)), resized(x.begin, len(x.rows))
	}
}

// eventUsers is memory for the user's attributes of all rows, but of those that have too many.
func (d *Decoder) eventUsers() []KeyValue {
	x := &d.proto.events
	total := x.stride * len(x.rows)
	if x.uneven {
		total = 0
		for _, n := range x.users {
			if int(n) <= d.limits.Attributes {
				total += int(n)
			}
		}
	}
	x.space = total
	start := len(d.m.users)
	if cap(d.m.users)-start < total { // rows that are there keep theirs
		d.m.users, start = make([]KeyValue, 0, total), 0
	}
	d.m.users = d.m.users[:start+total]
	return d.m.users[start:]
}
