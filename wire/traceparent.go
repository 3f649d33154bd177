package wire

import "encoding/hex"

// ParseTraceparent reads a W3C traceparent (Trace Context, section 3.2). A
// later version may be longer, and is read by its first four fields.
func ParseTraceparent(s string) (TraceContext, bool) {
	var tc TraceContext
	const v0 = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(s) < v0 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return tc, false
	}
	var version, flags [1]byte
	ok := !hasUpper(s[:v0]) && decodeHex(version[:], s[:2]) && decodeHex(flags[:], s[53:v0]) &&
		parseID(tc.TraceID[:], s[3:35]) && parseID(tc.SpanID[:], s[36:52])
	if !ok || version[0] == 0xff || len(s) > v0 && (version[0] == 0 || s[v0] != '-') {
		return TraceContext{}, false
	}
	tc.Flags = flags[0]
	return tc, true
}

// AppendTraceparent appends a W3C traceparent of version 00.
func AppendTraceparent(dst []byte, tc TraceContext) []byte {
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, tc.TraceID[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, tc.SpanID[:])
	return append(dst, '-', hexDigits[tc.Flags>>4], hexDigits[tc.Flags&15])
}

const hexDigits = "0123456789abcdef"

// hexValues are the values of hex digits in either case, above 15 for what is none.
var hexValues = func() (values [256]byte) {
	for c := range values {
		values[c] = 0xff
	}
	for v, c := range []byte(hexDigits) {
		values[c] = byte(v)
	}
	for v, c := range []byte("ABCDEF") {
		values[c] = byte(10 + v)
	}
	return values
}()

// ParseTraceID reads 32 hex digits in either case, not all zero.
func ParseTraceID(s string) (id TraceID, ok bool) {
	ok = parseID(id[:], s)
	return id, ok
}

// ParseSpanID reads 16 hex digits in either case, not all zero.
func ParseSpanID(s string) (id SpanID, ok bool) {
	ok = parseID(id[:], s)
	return id, ok
}

func parseID(dst []byte, s string) bool {
	if len(s) != 2*len(dst) || !decodeHex(dst, s) {
		return false
	}
	for _, b := range dst {
		if b != 0 {
			return true
		}
	}
	return false
}

// decodeHex reads two digits for each byte of dst.
func decodeHex(dst []byte, s string) bool {
	var bad byte
	for i := range dst {
		h, l := hexValues[s[2*i]], hexValues[s[2*i+1]]
		bad |= h | l
		dst[i] = h<<4 | l&15
	}
	return bad < 16
}

func hasUpper(s string) bool {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'F' {
			return true
		}
	}
	return false
}
