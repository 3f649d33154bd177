package wire

import "bytes"

// PeekSeq returns the number of an encoded batch without decoding it, 0 where
// it has none or none can be read before the first mistake or the end of what
// is there. A bare event has no number: any key may be an attribute of it.
//
// Encoders put the number first, where this costs little: the search ends at
// the first value behind it that no event can have, which the rows of a batch
// are. The decoder has the last word.
func PeekSeq(data []byte) uint64 {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return 0
	}
	s := scanner{data: data}
	if !s.open() {
		return 0
	}
	var it list
	var seq uint64
	isBatch := false // for certain
	for s.member(&it) {
		key := it.raw
		if it.escaped {
			key = appendUnescaped([]byte{'"'}, key)
			key = append(key, '"')
		}
		switch string(key) {
		case `"event"`:
			return 0
		case `"seq"`:
			if seq != 0 || s.next() != jsonNumber {
				return seq
			}
			raw, ok := s.number()
			if !ok {
				return 0
			}
			if seq, _ = parseSeq(raw); seq == 0 || isBatch {
				return seq
			}
		case `"links"`: // the one attribute that is not flat
			if !s.skip(maxNesting) {
				return seq
			}
		default:
			flat, ok := s.skipFlat(seq != 0)
			isBatch = isBatch || !flat
			if !ok || isBatch && seq != 0 {
				return seq
			}
		}
	}
	return seq
}

// skipFlat goes past a value and tells whether an attribute may have it. Where
// it may not, and early is set, it stays there.
func (s *scanner) skipFlat(early bool) (flat, ok bool) {
	switch s.next() {
	case jsonArray:
	case jsonObject:
		return false, !early && s.skip(maxNesting)
	default:
		return true, s.skip(maxNesting)
	}
	flat = true
	var it list
	for ok = s.open(); ok && s.another(&it, ']'); ok = s.skip(maxNesting) {
		if t := s.next(); t == jsonObject || t == jsonArray {
			if flat = false; early {
				return false, false
			}
		}
	}
	return flat, ok && s.bad == 0
}
