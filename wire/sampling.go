package wire

import (
	"encoding/binary"
	"math"
	"strconv"
)

// NeverSampled is the threshold that no randomness reaches: ratio 0.
const NeverSampled uint64 = 1 << 56

// ThresholdFromRatio returns the rejection threshold T = (1 - ratio) * 2^56 of
// OpenTelemetry's consistent probability sampling, rounded to nearest at 4 hex
// digits after the leading f's. Ratio is between 0 and 1; 0 is NeverSampled.
func ThresholdFromRatio(ratio float64) uint64 {
	switch {
	case !(ratio > 0): // NaN too
		return NeverSampled
	case ratio >= 1:
		return 0
	}
	// The precision follows the leading f's of T: ratio < 2^-4 has one, < 2^-8 two, and so on.
	digits := 4
	if _, exp := math.Frexp(ratio); exp < 0 {
		digits += -exp / 4
	}
	t := NeverSampled - uint64(math.Round(ratio*(1<<56))) // exact, which 1 - ratio is not
	if digits >= 14 {
		return min(t, NeverSampled-1)
	}
	step := uint64(1) << (4 * (14 - digits))
	t = (t + step/2) / step * step
	return min(t, NeverSampled-step)
}

// FormatThreshold writes a threshold as the value of th: hex digits without
// trailing zeros, "0" for 0. NeverSampled, which th cannot say, is a one and 14 zeros.
func FormatThreshold(t uint64) string { return string(AppendThreshold(nil, t)) }

// AppendThreshold appends what FormatThreshold returns.
func AppendThreshold(dst []byte, t uint64) []byte {
	switch {
	case t == 0:
		return append(dst, '0')
	case t >= NeverSampled:
		return append(dst, neverText...)
	}
	for t <<= 8; t != 0; t <<= 4 { // the 14 digits stand at the top
		dst = append(dst, hexDigits[t>>60])
	}
	return dst
}

const neverText = "100000000000000"

// ParseThreshold reads what FormatThreshold writes: 1 to 14 hex digits, or the form of NeverSampled.
func ParseThreshold(s string) (uint64, bool) {
	if s == neverText {
		return NeverSampled, true
	}
	return parseHex56(s, 1)
}

// ParseRandomness reads the value of rv: exactly 14 hex digits.
func ParseRandomness(s string) (uint64, bool) { return parseHex56(s, 14) }

func parseHex56(s string, minDigits int) (uint64, bool) {
	if len(s) < minDigits || len(s) > 14 {
		return 0, false
	}
	var v uint64
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v << (4 * (14 - len(s))), true
}

// TraceRandomness is the randomness of a trace id: its low 56 bits.
func TraceRandomness(id TraceID) uint64 {
	return binary.BigEndian.Uint64(id[8:]) & (1<<56 - 1)
}

// FormatRandomness writes 56 bits of randomness as the value of rv: 14 hex digits.
func FormatRandomness(r uint64) string { return strconv.FormatUint(1<<56|r&(1<<56-1), 16)[1:] }
