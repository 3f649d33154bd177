package wire

import (
	"math"
	"strconv"
)

const (
	wantFinite      = "a finite number"
	wantNanoseconds = "Unix nanoseconds, from 1970 to 2262"
)

var resourceFields = []protoField{1: {name: "attributes", repeated: true}}

// protoResource decodes attributes that are all kept as they are.
func (d *Decoder) protoResource(b []byte) ([]KeyValue, *MessageError) {
	d.push("resource", -1)
	kvs, err := d.protoKeyValues(fieldIter{rest: b, spec: resourceFields}, 1, &d.m.users)
	if err == nil {
		d.pop()
	}
	return kvs, err
}

// protoKeyValues decodes the attributes that are fields of that number, and appends them to kvs.
func (d *Decoder) protoKeyValues(it fieldIter, num int, kvs *[]KeyValue) ([]KeyValue, *MessageError) {
	start := len(*kvs)
	attrs := rowAttrs{base: len(d.names), kvs: kvs, start: &start}
	for it.next() {
		if it.num != num {
			continue
		}
		if err := d.protoAttribute(&attrs, it.b); err != nil {
			return nil, err
		}
	}
	if err := d.endFields(&it); err != nil {
		return nil, err
	}
	d.names = d.names[:attrs.base]
	return (*kvs)[start:len(*kvs):len(*kvs)], nil
}

// rowAttrs is where the attributes of one object go.
type rowAttrs struct {
	as       *Attrs                // nil: all of them are the user's
	seen     uint64                // of the conventions
	base     int                   // where the user's keys begin in d.names
	kvs      *[]KeyValue           // nil: those of the row in hand
	start    *int                  // in kvs
	reserved func(key string) bool // tells keys that no attribute can have; may be nil
}

const (
	attributeKey   = 1
	attributeValue = 2
)

var attributeFields = []protoField{attributeKey: {name: "key"}, attributeValue: {name: "value"}}

// protoAttribute decodes an attribute that is a message of its own.
func (d *Decoder) protoAttribute(attrs *rowAttrs, b []byte) *MessageError {
	var key string
	var v Value
	var why string
	it := fieldIter{rest: b, spec: attributeFields}
	for it.next() {
		var err *MessageError
		if it.num == attributeKey {
			key, err = d.text8(&it)
		} else {
			v, why, err = d.protoValue(it.b)
		}
		if err != nil {
			return err
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	if attrs.as != nil {
		if a, ok := ParseAttr(key); ok {
			if attrs.seen&(1<<a) != 0 {
				return d.duplicate(key)
			}
			attrs.seen |= 1 << a
			return d.protoKnown(attrs.as, a, v, why)
		}
	}
	if err := d.userKey(attrs.base, key); err != nil {
		return err
	}
	switch {
	case attrs.reserved != nil && attrs.reserved(key):
		return d.reject(key, whyReserved)
	case why != "":
		return d.reject(key, why)
	}
	if v.Type != TypeEmpty && !d.row.bad {
		kvs, start := attrs.kvs, attrs.start
		if kvs == nil {
			kvs, start = &d.m.users, &d.row.users
		}
		v.Str = d.cut(v.Str)
		*kvs = push(*kvs, start, KeyValue{key, v})
	}
	return nil
}

const whyReserved = "is a key of the protocol, and no attribute"

// protoKnown sets an attribute of the conventions; why is what is wrong with
// its value whatever the attribute is.
func (d *Decoder) protoKnown(as *Attrs, a Attr, v Value, why string) *MessageError {
	switch {
	case why != "":
		return d.reject(a.String(), why)
	case v.Type == TypeEmpty:
		return nil
	}
	if want := d.setKnown(as, a, v); want != "" {
		return d.rejectValue(a.String(), want, v)
	}
	return nil
}

// setKnown sets an attribute of the conventions, and returns what was expected
// where the value is something else.
func (d *Decoder) setKnown(as *Attrs, a Attr, v Value) (want string) {
	switch info := &attrInfos[a]; info.Type {
	case TypeString:
		switch {
		case a == AttrMessageID && v.Type == TypeInt:
			start := len(d.m.arena)
			d.m.arena = strconv.AppendInt(d.m.arena, v.Int(), 10)
			as.SetStr(a, d.cut(view(d.m.arena[start:])))
		case a == AttrMessageID && v.Type == TypeDouble:
			return "a string or an integer"
		case a == AttrConnectionID && (v.Type != TypeString || !isName128(v.Str)):
			return wantName128
		case v.Type != TypeString:
			return "a string"
		case a == AttrConnectionID:
			as.SetStr(a, v.Str)
		default:
			as.SetStr(a, d.cut(v.Str))
		}
	case TypeInt:
		i, ok := v.Int(), v.Type == TypeInt
		if v.Type == TypeDouble {
			f := v.Double()
			i, ok = int64(f), f == math.Trunc(f) && math.Abs(f) < 1<<63
		}
		switch {
		case !ok:
			return "an integer"
		case float64(i) < info.Min:
			return "an integer of at least " + strconv.Itoa(int(info.Min))
		}
		as.SetInt(a, i)
	case TypeDouble:
		f, ok := v.Double(), v.Type == TypeDouble
		if v.Type == TypeInt {
			f, ok = float64(v.Int()), true
		}
		switch {
		case !ok:
			return "a number"
		case f < info.Min:
			return "a number of at least " + strconv.Itoa(int(info.Min))
		}
		as.SetDouble(a, f)
	default:
		if v.Type != TypeBool {
			return "true or false"
		}
		as.SetBool(a, v.Bool())
	}
	return ""
}

// rejectValue rejects the row for a value.
func (d *Decoder) rejectValue(key, want string, got Value) *MessageError {
	if d.mute() {
		return d.reject("", "")
	}
	return d.reject(key, unexpectedText(want, got))
}

func unexpectedText(want string, got Value) string {
	text := "an array"
	switch got.Type {
	case TypeString:
		text = quote(got.Str)
	case TypeBool:
		text = strconv.FormatBool(got.Bool())
	case TypeInt:
		text = strconv.FormatInt(got.Int(), 10)
	case TypeDouble:
		text = strconv.FormatFloat(got.Double(), 'g', -1, 64)
	}
	return "expected " + want + ", got " + text
}

const (
	valueString = 1
	valueBool   = 2
	valueInt    = 3
	valueDouble = 4
	valueArray  = 5

	oneValue = 1<<valueString | 1<<valueBool | 1<<valueInt | 1<<valueDouble | 1<<valueArray
)

var valueFields = []protoField{
	valueString: {name: "string_value", oneof: oneValue},
	valueBool:   {name: "bool_value", typ: fieldVarint, oneof: oneValue},
	valueInt:    {name: "int_value", typ: fieldVarint, oneof: oneValue},
	valueDouble: {name: "double_value", typ: fieldDouble, oneof: oneValue},
	valueArray:  {name: "array_value", oneof: oneValue},
}

// protoValue decodes a value, a string as long as it is; why says what is wrong
// with it alone.
func (d *Decoder) protoValue(b []byte) (v Value, why string, err *MessageError) {
	it := fieldIter{rest: b, spec: valueFields}
	for it.next() {
		switch it.num {
		case valueString:
			var s string
			s, err = d.text8(&it)
			v = StringValue(s)
		case valueBool:
			v = BoolValue(it.bool())
		case valueInt:
			v = IntValue(it.int())
		case valueDouble:
			v = DoubleValue(it.double())
			why = whyNotFinite(it.double())
		case valueArray:
			v, why, err = d.protoArray(it.b)
		}
		if err != nil {
			return Value{}, "", err
		}
	}
	return v, why, d.endFields(&it)
}

// whyNotFinite is what is wrong with a double, "" for a finite one.
func whyNotFinite(f float64) string {
	switch {
	case math.IsNaN(f):
		return "expected " + wantFinite + ", got NaN"
	case math.IsInf(f, 0):
		return "expected " + wantFinite + ", got an infinite one"
	}
	return ""
}

const (
	arrayStrings = 1
	arrayBools   = 2
	arrayInts    = 3
	arrayDoubles = 4
)

var arrayFields = []protoField{
	arrayStrings: {name: "strings", repeated: true},
	arrayBools:   {name: "bools", typ: fieldPacked},
	arrayInts:    {name: "ints", typ: fieldPacked},
	arrayDoubles: {name: "doubles", typ: fieldPacked},
}

// protoArray decodes a flat array; why says what is wrong with it alone.
func (d *Decoder) protoArray(b []byte) (_ Value, why string, _ *MessageError) {
	start, n, typ := len(d.m.elems), 0, TypeEmpty
	add := func(v Value) {
		if n++; n <= d.limits.Elements {
			d.m.elems = push(d.m.elems, &start, v)
		}
		if typ != TypeEmpty && typ != v.Type {
			why = "expected a flat array of one type, got several types"
		}
		typ = v.Type
	}
	it := fieldIter{rest: b, spec: arrayFields}
	for it.next() {
		switch it.num {
		case arrayStrings:
			s, err := d.text8(&it)
			if err != nil {
				return Value{}, "", err
			}
			if n < d.limits.Elements {
				s = d.cut(s)
			}
			add(StringValue(s))
		case arrayDoubles:
			if len(it.b)%8 != 0 {
				return Value{}, "", d.fail("doubles", whyEights)
			}
			for ; len(it.b) > 0; it.b = it.b[8:] {
				f := doubleAt(it.b)
				if wrong := whyNotFinite(f); wrong != "" && n < d.limits.Elements {
					why = wrong
				}
				add(DoubleValue(f))
			}
		default:
			list := packed{b: it.b}
			for list.more() {
				switch v := list.next(); {
				case list.i < 0:
					return Value{}, "", d.fail(arrayFields[it.num].name, varintError(list.i))
				case it.num == arrayBools:
					add(BoolValue(v != 0))
				default:
					add(IntValue(zigzag(v)))
				}
			}
		}
	}
	if err := d.endFields(&it); err != nil {
		return Value{}, "", err
	}
	if n > d.limits.Elements {
		d.m.Batch.ValuesCut++
	}
	return ArrayValue(d.m.elems[start:len(d.m.elems):len(d.m.elems)]), why, nil
}

const whyEights = "expected eight bytes for each double"
