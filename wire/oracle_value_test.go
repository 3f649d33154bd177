package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// attrNames are the attributes of the conventions.
var attrNames = func() (names []string) {
	for a := range NumAttrs {
		names = append(names, a.Info().Name)
	}
	return names
}()

// attributes reads the attributes that are not own: those of the conventions
// into as, unless there is none, and returns the user's.
func (o *oracle) attributes(members []member, as *Attrs, own []string) (user []KeyValue) {
	keys := 0
	for _, m := range members {
		if slices.Contains(own, m.key) {
			continue
		}
		if a := slices.Index(attrNames, m.key); as != nil && a >= 0 {
			if m.value != nil {
				as.SetValue(Attr(a), o.known(Attr(a), m.value))
			}
			continue
		}
		keys++
		o.reject(m.key == "" || len(m.key) > o.limits.KeyBytes || keys > o.limits.Attributes)
		if m.value != nil {
			user = append(user, KeyValue{m.key, o.value(m.value)})
		}
	}
	return user
}

func (o *oracle) known(a Attr, v any) Value {
	info := a.Info()
	number, isNumber := v.(json.Number)
	switch {
	case a == AttrConnectionID:
		return StringValue(o.name128(v))
	case a == AttrMessageID && isNumber:
		o.reject(strings.ContainsAny(number.String(), ".eE"))
		if number == "-0" {
			number = "0"
		}
		return StringValue(o.text(number.String()))
	case info.Type == TypeString:
		return StringValue(o.text(v))
	case info.Type == TypeInt:
		return IntValue(o.integer(v, int64(max(info.Min, math.MinInt64))))
	case info.Type == TypeDouble:
		return DoubleValue(o.double(v, info.Min))
	default:
		return BoolValue(o.boolean(v, false))
	}
}

// value reads a value of the user's.
func (o *oracle) value(v any) Value {
	switch v := v.(type) {
	case string:
		return StringValue(o.text(v))
	case bool:
		return BoolValue(v)
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return IntValue(i)
		}
		return DoubleValue(o.double(v, math.Inf(-1)))
	case []any:
		return o.array(v)
	default:
		o.reject(true)
		return Value{}
	}
}

func (o *oracle) array(elements []any) Value {
	for _, v := range elements { // those that are cut, too
		switch v.(type) {
		case nil, []any, []member:
			o.reject(true)
			return Value{}
		}
	}
	if len(elements) > o.limits.Elements {
		o.m.Batch.ValuesCut++
		elements = elements[:o.limits.Elements]
	}
	values, types := make([]Value, 0, len(elements)), map[Type]bool{}
	for _, v := range elements {
		values = append(values, o.value(v))
		types[values[len(values)-1].Type] = true
	}
	if len(types) == 2 && types[TypeInt] && types[TypeDouble] {
		for i, v := range values {
			if v.Type == TypeInt {
				values[i] = DoubleValue(float64(v.Int()))
			}
		}
		types = map[Type]bool{TypeDouble: true}
	}
	o.reject(len(types) > 1)
	return ArrayValue(values)
}

// text reads a string, cut to the limit; null is "".
func (o *oracle) text(v any) string {
	s, ok := v.(string)
	o.reject(v != nil && !ok)
	cut := ""
	for _, r := range s {
		if len(cut)+utf8.RuneLen(r) > o.limits.ValueBytes {
			o.m.Batch.ValuesCut++
			break
		}
		cut += string(r)
	}
	return cut
}

func (o *oracle) name128(v any) string {
	s, _ := v.(string)
	runes := []rune(s)
	o.reject(len(runes) < 1 || len(runes) > 128 || slices.ContainsFunc(runes, func(r rune) bool { return !strconv.IsPrint(r) }))
	return s
}

func (o *oracle) boolean(v any, absent bool) bool {
	if v == nil {
		return absent
	}
	b, ok := v.(bool)
	o.reject(!ok)
	return b
}

func (o *oracle) double(v any, least float64) float64 {
	if v == nil {
		return 0
	}
	n, _ := v.(json.Number)
	f, err := n.Float64()
	o.reject(err != nil || f < least)
	return f
}

// integer reads a number that is whole: as it stands, with a fraction of zeros, or as a double.
func (o *oracle) integer(v any, least int64) int64 {
	if v == nil {
		return 0
	}
	n, _ := v.(json.Number)
	digits := fractionOfZeros.ReplaceAllString(n.String(), "")
	i, err := strconv.ParseInt(digits, 10, 64)
	if err != nil && strings.ContainsAny(digits, ".eE") {
		var f float64
		f, err = n.Float64()
		o.reject(f != math.Trunc(f) || math.Abs(f) >= 1<<63)
		i = int64(f)
	}
	o.reject(err != nil || i < least)
	return i
}

// instant reads a time between 1970 and the last whole second of 63 bits of nanoseconds.
func (o *oracle) instant(v any) int64 {
	s, isString := v.(string)
	switch {
	case !isString:
		return o.integer(v, 0)
	case decimalText.MatchString(s):
		return o.integer(json.Number(s), 0)
	}
	var t time.Time
	err := t.UnmarshalText([]byte(s))
	first, last := time.Unix(0, 0), time.Unix(math.MaxInt64/int64(time.Second), 0)
	o.reject(err != nil || len(s) > 64 || t.Before(first) || !t.Before(last))
	return t.UnixNano()
}

func (o *oracle) id(v any, dst []byte) {
	if v == nil {
		return
	}
	s, _ := v.(string)
	id, err := hex.DecodeString(s)
	o.reject(err != nil || len(id) != len(dst) || allZero(id))
	copy(dst, id)
}

func allZero(id []byte) bool { return len(bytes.Trim(id, "\x00")) == 0 }

var (
	thresholdText   = regexp.MustCompile(`^[0-9a-f]{1,14}$`)
	decimalText     = regexp.MustCompile(`^[0-9]{1,19}$`)
	fractionOfZeros = regexp.MustCompile(`\.0+$`)

	traceparent   = regexp.MustCompile(`(?s)^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)
	noTraceparent = regexp.MustCompile(`(?s)^(ff|00-.{52}-|00-0{32}|.{3}0{32}|.{36}0{16})`)
)

func (o *oracle) traceparent(v any) (tc TraceContext) {
	s, ok := v.(string)
	o.reject(!ok)
	fields := traceparent.FindStringSubmatch(s)
	if fields == nil || noTraceparent.MatchString(s) {
		return tc
	}
	_, _ = hex.Decode(tc.TraceID[:], []byte(fields[2]))
	_, _ = hex.Decode(tc.SpanID[:], []byte(fields[3]))
	flags, _ := hex.DecodeString(fields[4])
	tc.Flags = flags[0]
	return tc
}
