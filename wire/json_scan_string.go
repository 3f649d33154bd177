package wire

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string and returns it as it stands, in its quotes, and whether
// there are escapes in it.
func (s *scanner) str() (raw []byte, escaped, ok bool) {
	data, start := s.data, s.pos
	i, seen := start+1, s.seen
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		seen |= w
		if found := notPlain(w); found != 0 {
			i += bits.TrailingZeros64(found) / 8
			if s.seen = seen; data[i] == '"' {
				s.pos = i + 1
				return data[start:s.pos], false, true
			}
			break
		}
	}
	return s.strFrom(start, i)
}

// strFrom reads the string that begins at start, and is plain up to end.
func (s *scanner) strFrom(start, end int) (raw []byte, escaped, ok bool) {
	data := s.data
	for end = plainEnd(data, end); ; end = plainEnd(data, end) {
		if end == len(data) {
			return nil, false, s.fail(end)
		}
		switch data[end] {
		case '"':
			s.pos = end + 1
			raw = data[start:s.pos]
			for _, c := range raw {
				s.seen |= uint64(c)
			}
			return raw, escaped, true
		case '\\':
			escaped = true
			if end = s.escape(end + 1); s.bad != 0 {
				return nil, false, false
			}
		default: // a control character
			return nil, false, s.fail(end)
		}
	}
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

// notPlain looks in eight bytes at a time, which is four times as fast as one by
// one, for what does not stand for itself in a string: a quote, a backslash, a
// control character. The lowest bit that is set is the high bit of the first of
// them; those above it are of no meaning.
func notPlain(w uint64) uint64 {
	quote, backslash := w^'"'*everyByte, w^'\\'*everyByte
	return ((quote-everyByte)&^quote | (backslash-everyByte)&^backslash | (w-' '*everyByte)&^w) & highBits
}

// plainEnd finds the end of what stands for itself in a string.
func plainEnd(data []byte, i int) int {
	for ; i+8 <= len(data); i += 8 {
		if found := notPlain(binary.LittleEndian.Uint64(data[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(data); i++ {
		if c := data[i]; c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return i
}

// escapes are what may follow a backslash, and what it stands for.
var escapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'u': 'u',
}

// escape goes past what follows a backslash.
func (s *scanner) escape(i int) int {
	if i == len(s.data) || escapes[s.data[i]] == 0 {
		s.fail(i)
		return i
	}
	if s.data[i] != 'u' {
		return i + 1
	}
	for range 4 {
		if i++; i == len(s.data) || hexValues[s.data[i]] > 15 {
			s.fail(i)
			return i
		}
	}
	return i + 1
}

// appendUnescaped appends what a string stands for that str has read. A
// surrogate without its other half becomes U+FFFD, as in encoding/json.
func appendUnescaped(dst, raw []byte) []byte {
	text := raw[1 : len(raw)-1]
	for i := 0; i < len(text); {
		end := plainEnd(text, i)
		dst = append(dst, text[i:end]...)
		if end == len(text) {
			break
		}
		c := text[end+1]
		if i = end + 2; c != 'u' {
			dst = append(dst, escapes[c])
			continue
		}
		r := hexRune(text[i:])
		if i += 4; utf16.IsSurrogate(r) {
			low := rune(utf8.RuneError)
			if rest := text[i:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
				low = hexRune(rest[2:])
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				i += 6
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// hexRune reads four hex digits.
func hexRune(b []byte) rune {
	return rune(hexValues[b[0]])<<12 | rune(hexValues[b[1]])<<8 | rune(hexValues[b[2]])<<4 | rune(hexValues[b[3]])
}
