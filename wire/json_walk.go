package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// step is a part of a place: a key, an index or both.
type step struct {
	key   string
	index int // -1: none
}

// row is the state of the row that is being decoded. An error in a row rejects
// the row, an error elsewhere the message.
type row struct {
	open bool
	bad  bool   // rejected; what follows is only read for its syntax
	mute bool   // why is of no interest: an earlier row was rejected
	text string // why, and where

	// How much there was when the row began, to go back to.
	users, elems, links, linkUsers, nums int
	valuesCut, traceparentsIgnored       int
}

func (d *Decoder) push(key string, index int) { d.path = append(d.path, step{key, index}) }

func (d *Decoder) pop() { d.path = d.path[:len(d.path)-1] }

// place writes where we are, with the key in which the error is.
func (d *Decoder) place(key string) string {
	var b []byte
	for _, s := range d.path {
		b = appendStep(b, s)
	}
	if key != "" {
		b = appendStep(b, step{key, -1})
	}
	return string(b)
}

func appendStep(b []byte, s step) []byte {
	if s.key != "" {
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = append(b, keyText(s.key)...)
	}
	if s.index >= 0 {
		b = append(b, '[')
		b = strconv.AppendInt(b, int64(s.index), 10)
		b = append(b, ']')
	}
	return b
}

// keyText is a key as a place shows it: keys are the user's, so they are
// quoted where they could be mistaken, and cut.
func keyText(key string) string {
	const longest = 64
	if len(key) > longest || !isPrintable(key) || strings.ContainsAny(key, " \"") {
		return quote(key)
	}
	return key
}

// quote escapes a string for an error and cuts it to 32 characters.
func quote(s string) string {
	cut := cutRunes(s)
	q := strconv.Quote(cut)
	if len(cut) < len(s) {
		q += "..."
	}
	return q
}

func cutRunes(s string) string {
	n := 0
	for i := range s {
		if n == 32 {
			return s[:i]
		}
		n++
	}
	return s
}

func typeName(t jsonType) string {
	switch t {
	case jsonString:
		return "a string"
	case jsonNumber:
		return "a number"
	case jsonBool:
		return "a boolean"
	case jsonNull:
		return "null"
	case jsonArray:
		return "an array"
	case jsonObject:
		return "an object"
	default:
		return "no value"
	}
}

// fail says that the message cannot be taken.
func (d *Decoder) fail(key, text string) *MessageError {
	return &MessageError{Code: CodeMalformed, Place: d.place(key), Text: text}
}

// tooLarge says that the message is over a limit.
func (d *Decoder) tooLarge(key, text string) *MessageError {
	return &MessageError{Code: CodeTooLarge, Place: d.place(key), Text: text}
}

// syntax makes the scanner's mistake an error of the message.
func (d *Decoder) syntax() *MessageError {
	text := "unexpected end"
	if at := d.json.bad - 1; at < len(d.json.data) {
		c := d.json.data[at]
		text = fmt.Sprintf("unexpected byte %d %q at %d", c, c, at)
	}
	return d.fail("", "invalid JSON: "+text)
}

// reject notes that the row is wrong; outside of a row it is the message.
// Nothing is written for rows after the first: their number is the sender's choice.
func (d *Decoder) reject(key, text string) *MessageError {
	if !d.row.open {
		return d.fail(key, text)
	}
	if !d.row.bad {
		d.row.bad = true
		if !d.row.mute {
			d.row.text = text
			if place := d.place(key); place != "" {
				d.row.text = place + ": " + text
			}
		}
	}
	return nil
}

// mute tells whether the text of a rejection would not be read.
func (d *Decoder) mute() bool {
	return d.row.open && (d.row.bad || d.row.mute)
}

// unexpected rejects a value that was read: a scalar as it stands in the message.
func (d *Decoder) unexpected(key, want string, raw []byte) *MessageError {
	if d.mute() {
		return d.reject("", "")
	}
	got := string(raw)
	if len(raw) > 0 && raw[0] == '"' {
		got = quote(string(appendUnescaped(nil, raw)))
	} else if len(got) > 32 {
		got = got[:32] + "..."
	}
	return d.reject(key, "expected "+want+", got "+got)
}

// unexpectedNext rejects the value that comes next, whatever it is, and goes past it.
func (d *Decoder) unexpectedNext(key, want string) *MessageError {
	switch typ := d.typ; typ { // which skip changes
	case jsonString, jsonNumber, jsonBool, jsonNull:
		raw, ok := d.json.scalar()
		if !ok {
			return d.syntax()
		}
		return d.unexpected(key, want, raw)
	default:
		if err := d.skip(); err != nil {
			return err
		}
		if d.mute() {
			return d.reject("", "")
		}
		return d.reject(key, "expected "+want+", got "+typeName(typ))
	}
}

// null goes past a null, which is the same as an absent key.
func (d *Decoder) null() (bool, *MessageError) {
	if d.typ != jsonNull {
		return false, nil
	}
	if !d.json.null() {
		return true, d.syntax()
	}
	return true, nil
}

// enter goes into an object or an array.
func (d *Decoder) enter() *MessageError {
	if d.depth >= d.limits.Depth {
		return d.tooDeep()
	}
	d.depth++
	if !d.json.open() {
		return d.syntax()
	}
	return nil
}

// nextKey goes to the next value of an object. Its key lives as long as the message.
func (d *Decoder) nextKey(l *list) bool {
	if !d.json.member(l) {
		return false
	}
	d.typ = d.json.next()
	l.key = d.text(l.raw, l.escaped)
	return true
}

// nextElem goes to the next value of an array.
func (d *Decoder) nextElem(l *list) bool {
	if !d.json.another(l, ']') {
		return false
	}
	d.typ = d.json.next()
	return true
}

// endList comes behind an object or an array, with what was wrong in it.
func (d *Decoder) endList() *MessageError {
	d.depth--
	if d.json.bad != 0 {
		return d.syntax()
	}
	return nil
}

// skip goes past any value.
func (d *Decoder) skip() *MessageError {
	switch {
	case d.json.skip(d.limits.Depth - d.depth):
		return nil
	case d.json.bad != 0:
		return d.syntax()
	default:
		return d.tooDeep()
	}
}

func (d *Decoder) tooDeep() *MessageError {
	return d.tooLarge("", "nested deeper than "+strconv.Itoa(d.limits.Depth))
}

// end checks that nothing follows the message.
func (d *Decoder) end() *MessageError {
	if d.json.byte(); d.json.pos < len(d.json.data) {
		return d.fail("", "invalid JSON: something follows the message")
	}
	return nil
}

func (d *Decoder) duplicate(key string) *MessageError { return d.fail(key, "duplicate key") }

// name notes a key that has no field, in the object whose keys begin at base,
// and tells whether there are more than Limits.Attributes of them. Those are
// not noted, and duplicates of them not found.
func (d *Decoder) name(base int, key string) (over bool, err *MessageError) {
	for _, other := range d.names[base:] {
		if other == key {
			return false, d.duplicate(key)
		}
	}
	if len(d.names)-base >= d.limits.Attributes {
		return true, nil
	}
	d.names = append(d.names, key)
	return false, nil
}

// unknown goes past a key that this version does not know.
func (d *Decoder) unknown(base int, key string) *MessageError {
	if _, err := d.name(base, key); err != nil {
		return err
	}
	return d.skip()
}

// oneOf tells a few keys apart, by their places from 1.
func oneOf(keys ...string) func(key string) uint8 {
	return func(key string) uint8 { return uint8(slices.Index(keys, key) + 1) }
}

// fields decodes the object that comes next. lookup tells the keys apart that it
// may have, each once; 0 is any other, for which there is other (base is where the
// object's keys begin in d.names). value decodes those that are not null: the bits
// of their fields are returned.
func fields[F ~uint8](
	d *Decoder, lookup func(key string) F,
	other func(base int, key string) *MessageError, value func(field F, key string) *MessageError,
) (stated uint32, err *MessageError) {
	if d.typ != jsonObject {
		return 0, d.unexpectedNext("", "an object")
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	var it list
	var seen uint32
	base := len(d.names)
	for d.nextKey(&it) {
		key := it.key
		field := lookup(key)
		if field == 0 {
			if err := other(base, key); err != nil {
				return 0, err
			}
			continue
		}
		if seen&(1<<field) != 0 {
			return 0, d.duplicate(key)
		}
		seen |= 1 << field
		if null, err := d.null(); err != nil {
			return 0, err
		} else if null {
			continue
		}
		stated |= 1 << field
		if err := value(field, key); err != nil {
			return 0, err
		}
	}
	d.names = d.names[:base]
	return stated, d.endList()
}

// rows walks an array of rows, each decoded by one. A row that was rejected has
// left nothing behind.
func (d *Decoder) rows(key string, limit int, one func(*Decoder, int) *MessageError) *MessageError {
	if d.typ != jsonArray {
		return d.unexpectedNext(key, "an array")
	}
	if err := d.enter(); err != nil {
		return err
	}
	var it list
	for index := 0; d.nextElem(&it); index++ {
		d.push(key, index)
		if index >= limit {
			return d.tooLarge("", "more than "+strconv.Itoa(limit))
		}
		if err := one(d, index); err != nil {
			return err
		}
		d.pop()
	}
	return d.endList()
}

func (d *Decoder) beginRow() {
	m := d.m
	d.row = row{
		open: true, mute: m.Batch.Rejected.Count > 0,
		users: len(m.users), elems: len(m.elems), links: len(m.links), linkUsers: len(m.linkUsers), nums: len(m.nums),
		valuesCut: m.Batch.ValuesCut, traceparentsIgnored: m.Batch.TraceparentsIgnored,
	}
}

// endRow tells whether the row is to be kept.
func (d *Decoder) endRow() bool {
	m, r := d.m, &d.row
	r.open = false
	if !r.bad {
		return true
	}
	m.users, m.elems, m.links = m.users[:r.users], shortened(m.elems, r.elems), shortened(m.links, r.links)
	m.linkUsers, m.nums = shortened(m.linkUsers, r.linkUsers), m.nums[:r.nums]
	m.Batch.ValuesCut, m.Batch.TraceparentsIgnored = r.valuesCut, r.traceparentsIgnored
	if m.Batch.Rejected.Count == 0 {
		m.Batch.Rejected.First = r.text
	}
	m.Batch.Rejected.Count++
	return false
}

// push appends to s, where what is from start on belongs together. Where s is
// full that alone moves to new memory: rows have slices of the rest, and append
// would keep each memory that it grew out of besides its copies.
func push[T any](s []T, start *int, v T) []T {
	s = room(s, start)
	s[len(s)-1] = v
	return s
}

// room is push of an element that is yet to be written.
func room[T any](s []T, start *int) []T {
	if len(s) == cap(s) {
		s = append(make([]T, 0, max(2*cap(s), 8)), s[*start:]...)
		*start = 0
	}
	return s[:len(s)+1]
}

// shortened takes back what a row added, where push has not left it behind.
func shortened[T any](s []T, n int) []T { return s[:min(n, len(s))] }

// grow adds an element to a slice whose memory is used again, and is not zeroed.
func grow[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

// isPrintable tells whether a string is of printable characters only.
func isPrintable(s string) bool {
	// Eight at a time, as long as they are printable ASCII: each term has the high
	// bit of a byte that is not, above 0x7f, at 0x7f, below a space.
	i := 0
	for b := unsafe.Slice(unsafe.StringData(s), len(s)); i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		if (w|(w+everyByte)|(w-' '*everyByte)&^w)&highBits != 0 {
			break
		}
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			return strings.IndexFunc(s[i:], func(r rune) bool { return !strconv.IsPrint(r) }) < 0
		case c < ' ' || c == 0x7f:
			return false
		}
	}
	return true
}
