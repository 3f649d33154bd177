package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

// number reads a number and returns it as it stands.
func (s *scanner) number() (raw []byte, ok bool) {
	start := s.pos
	if s.data[s.pos] == '-' {
		s.pos++
	}
	zero := s.pos < len(s.data) && s.data[s.pos] == '0'
	if zero {
		s.pos++
	} else if !s.digits() {
		return nil, false
	}
	if s.at('.') {
		s.pos++
		if !s.digits() {
			return nil, false
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if !s.digits() {
			return nil, false
		}
	}
	if s.pos < len(s.data) && !endsNumber[s.data[s.pos]] {
		return nil, s.fail(s.pos)
	}
	return s.data[start:s.pos], true
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

// digits goes past at least one digit.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start || s.fail(s.pos)
}

var endsNumber = [256]bool{',': true, ']': true, '}': true, ' ': true, '\t': true, '\n': true, '\r': true}

// plainInt reads an integer as they all are: up to 19 digits and no sign, within
// int64. Where it is not so it stays where it is, and number has to read it.
// It takes eight digits at a time: a loop over them would cost twice as much, and
// a wrong guess of the processor about how many there are.
func (s *scanner) plainInt() (int64, bool) {
	data, start := s.data, s.pos
	var n uint64
	for i := start; i+8 <= len(data) && i < start+24; {
		w := binary.LittleEndian.Uint64(data[i:]) ^ '0'*everyByte // the values of digits
		others := ((w + 0x76*everyByte) | w) & highBits           // a high bit for what is above 9
		if others == 0 {
			n, i = n*1e8+eightDigits(w), i+8
			continue
		}
		k := bits.TrailingZeros64(others) / 8
		// The shift puts zeros in front, which are the first digits then.
		n = n*powersOf10[k] + eightDigits(w<<(64-8*k))
		i += k
		if size := i - start; size == 0 || size > 19 || size > 1 && data[start] == '0' || n > math.MaxInt64 || !endsNumber[data[i]] {
			return 0, false
		}
		s.pos = i
		return int64(n), true
	}
	return 0, false
}

var powersOf10 = [8]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7}

// eightDigits adds up eight digits, of which the lowest byte is the first:
// neighbours make pairs, pairs fours, and fours the number.
func eightDigits(w uint64) uint64 {
	const pairs = 0x000000FF000000FF
	w = w*10 + w>>8
	return (w&pairs*(100+1_000_000<<32) + w>>16&pairs*(1+10_000<<32)) >> 32
}

// isInteger tells whether a JSON number has neither fraction nor exponent.
func isInteger(raw []byte) bool {
	for _, c := range raw {
		if c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}

// parseInt reads a JSON number that is a whole one, if it is written as 128.0
// or 1.28e2 too.
func parseInt(raw []byte) (int64, bool) {
	digits, negative := raw, false
	if len(raw) > 0 && raw[0] == '-' {
		digits, negative = raw[1:], true
	}
	var n uint64
	for i, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			if n > (math.MaxUint64-9)/10 {
				return parseWhole(raw)
			}
			n = n*10 + uint64(c-'0')
		case c == '.' && onlyZeros(digits[i+1:]):
			return signed(n, negative)
		default:
			return parseWhole(raw)
		}
	}
	return signed(n, negative)
}

func onlyZeros(b []byte) bool { return len(bytes.Trim(b, "0")) == 0 }

func signed(n uint64, negative bool) (int64, bool) {
	switch {
	case !negative:
		return int64(n), n <= math.MaxInt64
	default:
		return -int64(n), n <= math.MaxInt64+1
	}
}

// parseWhole reads a number by way of a double, which is exact up to 2^53.
func parseWhole(raw []byte) (int64, bool) {
	f, ok := parseDouble(raw)
	if !ok || f != math.Trunc(f) || math.Abs(f) >= 1<<63 || isInteger(raw) {
		return 0, false
	}
	return int64(f), true
}

// parseDouble reads a JSON number; false where it is beyond what a double holds.
func parseDouble(raw []byte) (float64, bool) {
	f, err := strconv.ParseFloat(view(raw), 64)
	return f, err == nil
}
