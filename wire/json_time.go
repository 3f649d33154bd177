package wire

import (
	"math"
	"time"
)

const wantTime = "Unix nanoseconds or RFC 3339, from 1970 to 2262"

// instant reads a time: integer Unix nanoseconds, the same as a decimal string,
// or RFC 3339. ok is false for null and for what is none.
func (d *Decoder) instant(key string) (ns int64, ok bool, _ *MessageError) {
	if null, err := d.null(); null || err != nil {
		return 0, false, err
	}
	var raw []byte
	switch d.typ {
	case jsonNumber:
		if ns, ok = d.json.plainInt(); ok {
			return ns, true, nil
		}
		if raw, ok = d.json.number(); !ok {
			return 0, false, d.syntax()
		}
		ns, ok = parseInt(raw)
	case jsonString:
		var s string
		var err *MessageError
		if raw, s, err = d.str(); err != nil {
			return 0, false, err
		}
		ns, ok = parseTime(s)
	default:
		return 0, false, d.unexpectedNext(key, wantTime)
	}
	if !ok || ns < 0 {
		return 0, false, d.unexpected(key, wantTime, raw)
	}
	return ns, true, nil
}

// parseTime reads a decimal number of nanoseconds or RFC 3339.
func parseTime(s string) (int64, bool) {
	if ns, ok := parseDecimal(s); ok {
		return ns, true
	}
	var t time.Time
	if len(s) > 64 || t.UnmarshalText([]byte(s)) != nil {
		return 0, false
	}
	// UnixNano is not defined beyond these.
	if sec := t.Unix(); sec < 0 || sec >= math.MaxInt64/int64(time.Second) {
		return 0, false
	}
	return t.UnixNano(), true
}

func parseDecimal(s string) (int64, bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return int64(n), n <= math.MaxInt64
}
