package wire

import (
	"encoding/binary"
	"math"
	"strconv"
)

// fieldType is how a field is written: its wire type, and what binds it besides.
type fieldType uint8

const (
	fieldBytes fieldType = iota // strings and messages too
	fieldPacked
	fieldVarint
	fieldVarint32
	fieldDouble
)

// The wire types of protobuf.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

func (t fieldType) wire() int {
	switch t {
	case fieldVarint, fieldVarint32:
		return wireVarint
	case fieldDouble:
		return wire64
	default:
		return wireBytes
	}
}

// protoField is a field of a message of the schema.
type protoField struct {
	name     string
	typ      fieldType
	repeated bool   // and not packed
	oneof    uint32 // the other members of its oneof, a bit for each number
}

// fieldIter goes over the fields that spec knows, in the order in which they
// come. What spec does not know is skipped.
type fieldIter struct {
	rest []byte
	spec []protoField // by number
	seen uint32       // a bit for each number
	why  string       // what is wrong, where next returned false before the end
	key  string       // the field in which it is

	num int
	typ int    // its wire type
	n   uint64 // of a varint, or the bits of a double
	b   []byte // of bytes, as they stand in the message
}

const (
	whyCut    = "invalid protobuf: unexpected end"
	whyVarint = "invalid protobuf: a varint over 64 bits"
	whyOver32 = "expected at most 32 bits"
)

// next goes to the next field that spec knows.
func (it *fieldIter) next() bool {
	for it.step() {
		if it.num < len(it.spec) && it.spec[it.num].name != "" {
			return it.check()
		}
	}
	return false
}

// step goes to the next field, whatever it is.
func (it *fieldIter) step() bool {
	if len(it.rest) == 0 {
		return false
	}
	it.b = nil
	tag, i := varint(it.rest, 0)
	if i < 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		it.num = 0
		return it.stop(i, "invalid protobuf: no field has the number 0 or one over 29 bits")
	}
	it.num, it.typ = int(tag>>3), int(tag&7)
	switch it.typ {
	case wireVarint:
		if it.n, i = varint(it.rest, i); i < 0 {
			return it.stop(i, "")
		}
	case wireBytes:
		n, start := varint(it.rest, i)
		if start < 0 {
			it.b = nil
			return it.stop(start, "")
		}
		if n > uint64(len(it.rest)-start) {
			it.b = it.rest[start:] // what is there of it
			return it.stop(varintCut, "")
		}
		i = start + int(n)
		it.b = it.rest[start:i:i]
	case wire64:
		if len(it.rest)-i < 8 {
			return it.stop(varintCut, "")
		}
		it.n = binary.LittleEndian.Uint64(it.rest[i:])
		i += 8
	case wire32: // the schema has none
		if len(it.rest)-i < 4 {
			return it.stop(varintCut, "")
		}
		i += 4
	default:
		return it.stop(i, "invalid protobuf: a group, or an unknown wire type")
	}
	it.rest = it.rest[i:]
	return true
}

// check holds a field to what the schema says of it.
func (it *fieldIter) check() bool {
	f, bit := &it.spec[it.num], uint32(1)<<it.num
	switch {
	case it.typ != f.typ.wire() && f.typ == fieldPacked, it.seen&bit != 0 && f.typ == fieldPacked:
		return it.stop(0, "expected a packed list, in one piece")
	case it.typ != f.typ.wire():
		return it.stop(0, "invalid protobuf: expected the wire type "+strconv.Itoa(f.typ.wire())+", got "+strconv.Itoa(it.typ))
	case f.typ == fieldVarint32 && it.n > math.MaxUint32:
		return it.stop(0, whyOver32)
	case f.repeated:
		return true
	case it.seen&bit != 0:
		return it.stop(0, "is stated twice")
	case it.seen&f.oneof != 0:
		return it.stop(0, "stands beside another one of its oneof")
	}
	it.seen |= bit
	return true
}

// stop ends the fields at a mistake: of a varint, where at is one of those, else why.
func (it *fieldIter) stop(at int, why string) bool {
	it.why = why
	if at < 0 {
		it.why = varintError(at)
	}
	if it.num < len(it.spec) {
		it.key = it.spec[it.num].name
	}
	it.rest = nil
	return false
}

func (it *fieldIter) int() int64      { return zigzag(it.n) }
func (it *fieldIter) bool() bool      { return it.n != 0 }
func (it *fieldIter) double() float64 { return math.Float64frombits(it.n) }

// endFields tells why the fields came to an end.
func (d *Decoder) endFields(it *fieldIter) *MessageError {
	if it.why == "" {
		return nil
	}
	return d.fail(it.key, it.why)
}

const (
	varintCut  = -1
	varintOver = -2
)

// varint reads the varint at b[i:] and returns where the next byte is, or one of
// the above.
func varint(b []byte, i int) (uint64, int) {
	var v uint64
	for shift := 0; i < len(b); shift += 7 {
		c := b[i]
		i++
		if shift == 63 && c > 1 {
			return 0, varintOver
		}
		if v |= uint64(c&0x7f) << shift; c < 0x80 {
			return v, i
		}
	}
	return 0, varintCut
}

func varintError(i int) string {
	if i == varintOver {
		return whyVarint
	}
	return whyCut
}

// zigzag reads a number with its sign in the lowest bit.
func zigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// doubleAt reads the double at the beginning of a packed list.
func doubleAt(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }
