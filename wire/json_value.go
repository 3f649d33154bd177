package wire

import (
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// view makes a string of bytes that live as long as the message.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// attribute decodes an attribute of a row into as. users is where the row's
// own attributes begin in m.users, base where its keys begin in d.names.
func (d *Decoder) attribute(as *Attrs, seen *uint64, base int, key string) *MessageError {
	a, ok := ParseAttr(key)
	if !ok {
		return d.userAttribute(&d.m.users, &d.row.users, base, key)
	}
	if *seen&(1<<a) != 0 {
		return d.duplicate(key)
	}
	*seen |= 1 << a
	return d.knownAttribute(as, a)
}

func (d *Decoder) knownAttribute(as *Attrs, a Attr) *MessageError {
	info := &attrInfos[a]
	if d.typ == jsonNull {
		_, err := d.null()
		return err
	}
	switch info.Type {
	case TypeString:
		if d.typ != jsonString || a == AttrConnectionID {
			return d.specialString(as, a)
		}
		_, s, err := d.str()
		if err == nil {
			as.SetStr(a, d.cut(s))
		}
		return err
	case TypeInt:
		i, ok, err := d.integer(info.Name, info.Min)
		if ok {
			as.SetInt(a, i)
		}
		return err
	case TypeDouble:
		f, ok, err := d.double(info.Name, info.Min)
		if ok {
			as.SetDouble(a, f)
		}
		return err
	default:
		b, ok, err := d.boolean(info.Name)
		if ok {
			as.SetBool(a, b)
		}
		return err
	}
}

// specialString decodes a connection id, and a value that is no string.
func (d *Decoder) specialString(as *Attrs, a Attr) *MessageError {
	name := attrInfos[a].Name
	switch {
	case a == AttrConnectionID:
		id, err := d.name128(name)
		if id != "" {
			as.SetStr(a, id)
		}
		return err
	case a == AttrMessageID && d.typ == jsonNumber:
		raw, numeric := d.json.number()
		if !numeric {
			return d.syntax()
		}
		if !isInteger(raw) {
			return d.unexpected(name, "a string or an integer", raw)
		}
		if string(raw) == "-0" {
			raw = raw[1:]
		}
		as.SetStr(a, d.cut(view(raw)))
		return nil
	default:
		return d.unexpectedNext(name, "a string")
	}
}

// userKey checks a key that is the user's.
func (d *Decoder) userKey(base int, key string) *MessageError {
	over, err := d.name(base, key)
	if err != nil {
		return err
	}
	switch {
	case key == "":
		return d.reject("", "a key is empty")
	case len(key) > d.limits.KeyBytes:
		return d.reject(key, "the key is longer than "+strconv.Itoa(d.limits.KeyBytes)+" bytes")
	case over:
		return d.reject("", whyManyUsers(d.limits.Attributes))
	}
	return nil
}

func whyManyUsers(limit int) string {
	return "more than " + strconv.Itoa(limit) + " attributes of the user"
}

// userAttribute decodes an attribute that is the user's and appends it to kvs,
// where its object has them from start on.
func (d *Decoder) userAttribute(kvs *[]KeyValue, start *int, base int, key string) *MessageError {
	if err := d.userKey(base, key); err != nil {
		return err
	}
	// It is decoded where it stays: to hand it around costs as much as to read it.
	*kvs = room(*kvs, start)
	kv := &(*kvs)[len(*kvs)-1]
	kv.Key = key
	err := d.value(&kv.Value, key)
	if err != nil || kv.Value.Type == TypeEmpty || d.row.bad {
		*kvs = (*kvs)[:len(*kvs)-1]
	}
	return err
}

// keyValues decodes an object of attributes that are all kept as they are.
func (d *Decoder) keyValues(name string, kvs *[]KeyValue) ([]KeyValue, *MessageError) {
	if d.typ != jsonObject {
		return nil, d.unexpectedNext(name, "an object")
	}
	d.push(name, -1)
	if err := d.enter(); err != nil {
		return nil, err
	}
	var it list
	base, start := len(d.names), len(*kvs)
	for d.nextKey(&it) {
		if err := d.userAttribute(kvs, &start, base, it.key); err != nil {
			return nil, err
		}
	}
	d.names = d.names[:base]
	d.pop()
	return (*kvs)[start:len(*kvs):len(*kvs)], d.endList()
}

// value decodes any value that an attribute may have; null is TypeEmpty, and
// so is one that rejected the row.
func (d *Decoder) value(v *Value, key string) (err *MessageError) {
	switch d.typ {
	case jsonArray:
		*v, err = d.arrayValue(key)
		return err
	case jsonObject:
		*v = Value{}
		return d.unexpectedNext(key, "a string, boolean, number or flat array")
	default:
		return d.scalar(v, key)
	}
}

// scalar decodes a value that is no array and no object.
func (d *Decoder) scalar(v *Value, key string) *MessageError {
	switch d.typ {
	case jsonString:
		_, s, err := d.str()
		*v = StringValue(d.cut(s))
		return err
	case jsonNumber:
		if i, ok := d.json.plainInt(); ok {
			*v = IntValue(i)
			return nil
		}
		return d.number(v, key)
	case jsonBool:
		b, ok := d.json.boolean()
		if !ok {
			return d.syntax()
		}
		*v = BoolValue(b)
		return nil
	default: // null, or a syntax error
		*v = Value{}
		return d.skip()
	}
}

// number decodes a number that is an integer or a double.
func (d *Decoder) number(v *Value, key string) *MessageError {
	*v = Value{}
	raw, ok := d.json.number()
	if !ok {
		return d.syntax()
	}
	if isInteger(raw) {
		if i, ok := parseInt(raw); ok {
			*v = IntValue(i)
			return nil
		}
	}
	f, ok := parseDouble(raw)
	if !ok {
		return d.unexpected(key, "a number that a double can hold", raw)
	}
	*v = DoubleValue(f)
	return nil
}

// arrayValue decodes a flat array of values of one type; integers among
// doubles become doubles.
func (d *Decoder) arrayValue(key string) (Value, *MessageError) {
	const want = "a flat array of one type"
	if err := d.enter(); err != nil {
		return Value{}, err
	}
	var it list
	start, typ, ok := len(d.m.elems), TypeEmpty, true
	for n := 0; d.nextElem(&it); n++ {
		switch next := d.typ; {
		case next == jsonArray || next == jsonObject || next == jsonNull:
			var err *MessageError
			if ok {
				ok = false
				err = d.reject(key, "expected "+want+", got "+typeName(next)+" in it")
			}
			if err == nil {
				err = d.skip()
			}
			if err != nil {
				return Value{}, err
			}
			continue
		case n >= d.limits.Elements || !ok:
			if n == d.limits.Elements {
				d.m.Batch.ValuesCut++
			}
			if err := d.skip(); err != nil {
				return Value{}, err
			}
			continue
		}
		var v Value
		if err := d.scalar(&v, key); err != nil {
			return Value{}, err
		}
		switch {
		case v.Type == TypeEmpty:
			ok = false
			continue
		case typ == TypeEmpty:
			typ = v.Type
		case typ == TypeInt && v.Type == TypeDouble:
			for i, e := range d.m.elems[start:] {
				d.m.elems[start+i] = DoubleValue(float64(e.Int()))
			}
			typ = TypeDouble
		case typ == TypeDouble && v.Type == TypeInt:
			v = DoubleValue(float64(v.Int()))
		case typ != v.Type:
			ok = false
			if err := d.reject(key, "expected "+want+", got several types"); err != nil {
				return Value{}, err
			}
			continue
		}
		d.m.elems = push(d.m.elems, &start, v)
	}
	if err := d.endList(); err != nil || !ok {
		return Value{}, err
	}
	return ArrayValue(d.m.elems[start:len(d.m.elems):len(d.m.elems)]), nil
}

// str reads a string: its text, and as it stands in the message.
func (d *Decoder) str() ([]byte, string, *MessageError) {
	raw, escaped, ok := d.json.str()
	if !ok {
		return nil, "", d.syntax()
	}
	return raw, d.text(raw, escaped), nil
}

// text is what a string stands for. It aliases the message, or the arena where it had escapes.
func (d *Decoder) text(raw []byte, escaped bool) string {
	if !escaped {
		return view(raw[1 : len(raw)-1])
	}
	start := len(d.m.arena)
	d.m.arena = appendUnescaped(d.m.arena, raw)
	return view(d.m.arena[start:])
}

// optionalText reads a string that is no attribute; null is "".
func (d *Decoder) optionalText(key string) (string, *MessageError) {
	if null, err := d.null(); null || err != nil {
		return "", err
	}
	if d.typ != jsonString {
		return "", d.unexpectedNext(key, "a string")
	}
	_, s, err := d.str()
	return d.cut(s), err
}

// cut shortens a value to the limit, at the beginning of a character.
func (d *Decoder) cut(s string) string {
	n := d.limits.ValueBytes
	if len(s) <= n {
		return s
	}
	d.m.Batch.ValuesCut++
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// name128 reads a connection id or an instance.
func (d *Decoder) name128(key string) (string, *MessageError) {
	if d.typ != jsonString {
		return "", d.unexpectedNext(key, wantName128)
	}
	raw, s, err := d.str()
	if err != nil {
		return "", err
	}
	if !isName128(s) {
		return "", d.unexpected(key, wantName128, raw)
	}
	return s, nil
}

const wantName128 = "a string of 1 to 128 printable characters"

func isName128(s string) bool {
	return s != "" && (len(s) <= 128 || utf8.RuneCountInString(s) <= 128) && isPrintable(s)
}

// boolean reads a boolean; ok is false for null and for what is none.
func (d *Decoder) boolean(key string) (b, ok bool, _ *MessageError) {
	if null, err := d.null(); null || err != nil {
		return false, false, err
	}
	if d.typ != jsonBool {
		return false, false, d.unexpectedNext(key, "true or false")
	}
	if b, ok = d.json.boolean(); !ok {
		return false, false, d.syntax()
	}
	return b, true, nil
}

// integer reads an integer of at least min; ok is false for null and for what is none.
func (d *Decoder) integer(key string, least float64) (i int64, ok bool, _ *MessageError) {
	if null, err := d.null(); null || err != nil {
		return 0, false, err
	}
	if d.typ != jsonNumber {
		return 0, false, d.unexpectedNext(key, "an integer")
	}
	start := d.json.pos
	if i, ok = d.json.plainInt(); !ok {
		raw, numeric := d.json.number()
		if !numeric {
			return 0, false, d.syntax()
		}
		if i, ok = parseInt(raw); !ok {
			return 0, false, d.unexpected(key, "an integer", raw)
		}
	}
	if float64(i) < least {
		raw := d.json.data[start:d.json.pos]
		return 0, false, d.unexpected(key, "an integer of at least "+strconv.Itoa(int(least)), raw)
	}
	return i, true, nil
}

// double reads a number of at least min; ok is false for null and for what is none.
func (d *Decoder) double(key string, least float64) (f float64, ok bool, _ *MessageError) {
	if null, err := d.null(); null || err != nil {
		return 0, false, err
	}
	if d.typ != jsonNumber {
		return 0, false, d.unexpectedNext(key, "a number")
	}
	raw, numeric := d.json.number()
	if !numeric {
		return 0, false, d.syntax()
	}
	f, ok = parseDouble(raw)
	switch {
	case !ok:
		return 0, false, d.unexpected(key, "a number that a double can hold", raw)
	case f < least:
		return 0, false, d.unexpected(key, "a number of at least "+strconv.Itoa(int(least)), raw)
	}
	return f, true, nil
}
