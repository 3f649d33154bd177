package wire

// A scanner goes over JSON that is whole in memory. It stands in the place of a
// library because decoding is what the receiver does most: one pass, no
// interface, and what is read stays where it is.
type scanner struct {
	data []byte
	pos  int
	bad  int    // one beyond the place of the first mistake; 0: none so far
	seen uint64 // what strings are made of, eight bytes at a time, or-ed together
}

// ascii tells whether what was read is ASCII, and needs no look at its UTF-8:
// anything else than strings is. It is false too where a byte is near a string.
func (s *scanner) ascii() bool { return s.seen&highBits == 0 }

// jsonType is what a value is, which its first byte tells.
type jsonType uint8

const (
	jsonNone jsonType = iota // the end, or what no value begins with
	jsonString
	jsonNumber
	jsonBool
	jsonNull
	jsonArray
	jsonObject
)

var jsonTypes = [256]jsonType{
	'"': jsonString, '-': jsonNumber, '0': jsonNumber, '1': jsonNumber, '2': jsonNumber, '3': jsonNumber, '4': jsonNumber,
	'5': jsonNumber, '6': jsonNumber, '7': jsonNumber, '8': jsonNumber, '9': jsonNumber,
	't': jsonBool, 'f': jsonBool, 'n': jsonNull, '[': jsonArray, '{': jsonObject,
}

// maxNesting bounds how deep skip calls itself.
const maxNesting = 10_000

// list is where a scanner is in an object or an array.
type list struct {
	some    bool   // something came before: a comma comes before what is next
	raw     []byte // the key of the member as it stands, in its quotes
	escaped bool   // there are escapes in it
	key     string // the key itself, where the decoder has set it
}

// fail notes the first mistake. Nothing is read behind it.
func (s *scanner) fail(at int) bool {
	if s.bad == 0 {
		s.bad = at + 1
	}
	return false
}

// byte goes to the next byte that is no space, and returns it: 0 at the end.
func (s *scanner) byte() byte {
	if s.pos < len(s.data) && s.data[s.pos] > ' ' { // what is not written for people has no spaces
		return s.data[s.pos]
	}
	return s.spaces()
}

func (s *scanner) spaces() byte {
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// next goes to a value and tells its type.
func (s *scanner) next() jsonType { return jsonTypes[s.byte()] }

// open goes into an object or an array.
func (s *scanner) open() bool {
	s.pos++
	if s.byte(); s.pos == len(s.data) {
		return s.fail(s.pos)
	}
	return true
}

// member goes to the value of the next member of an object. It is false behind
// the last one, and where something is wrong.
func (s *scanner) member(l *list) (ok bool) {
	if !s.another(l, '}') {
		return false
	}
	if s.byte() != '"' {
		return s.fail(s.pos)
	}
	if l.raw, l.escaped, ok = s.str(); !ok {
		return false
	}
	if s.byte() != ':' {
		return s.fail(s.pos)
	}
	s.pos++
	s.byte()
	return s.pos < len(s.data) || s.fail(s.pos)
}

// another goes to the next element of an array, or key of an object.
func (s *scanner) another(l *list, end byte) bool {
	c := s.byte()
	switch {
	case c == end:
		s.pos++
		return false
	case !l.some:
		l.some = true
		return s.pos < len(s.data) || s.fail(s.pos)
	case c != ',':
		return s.fail(s.pos)
	}
	s.pos++
	return true
}

// skip goes past any value. It is false, with no mistake, where one nests deeper than that.
func (s *scanner) skip(depth int) (ok bool) {
	var l list
	switch s.next() {
	case jsonString:
		_, _, ok = s.str()
		return ok
	case jsonNumber:
		_, ok = s.number()
		return ok
	case jsonBool:
		_, ok = s.boolean()
		return ok
	case jsonNull:
		return s.null()
	case jsonArray:
		if depth <= 0 || !s.open() {
			return false
		}
		for s.another(&l, ']') {
			if !s.skip(depth - 1) {
				return false
			}
		}
	case jsonObject:
		if depth <= 0 || !s.open() {
			return false
		}
		for s.member(&l) {
			if !s.skip(depth - 1) {
				return false
			}
		}
	default:
		return s.fail(s.pos)
	}
	return s.bad == 0
}

// scalar goes past a value that is neither array nor object and returns it as it stands.
func (s *scanner) scalar() (raw []byte, ok bool) {
	start := s.pos
	ok = s.skip(0)
	return s.data[start:s.pos], ok
}

func (s *scanner) null() bool { return s.word("null") }

// boolean reads true or false.
func (s *scanner) boolean() (b, ok bool) {
	if s.data[s.pos] == 't' {
		return true, s.word("true")
	}
	return false, s.word("false")
}

func (s *scanner) word(word string) bool {
	rest := s.data[s.pos:]
	if len(rest) >= len(word) && string(rest[:len(word)]) == word {
		s.pos += len(word)
		return true
	}
	if len(rest) < 4 {
		return s.fail(len(s.data))
	}
	i := 0
	for i < len(rest) && rest[i] == word[i] {
		i++
	}
	return s.fail(s.pos + i)
}
