package wire

import (
	"encoding/binary"
	"math/bits"
	"strconv"
)

// packed reads a packed list one by one. At a mistake i is negative.
type packed struct {
	b []byte
	i int
}

// more tells whether there is another number.
func (p *packed) more() bool { return p.i >= 0 && p.i < len(p.b) }

// next reads a number, which must be there; 0 at a mistake. Most are of one
// byte: that case is inlined.
func (p *packed) next() uint64 {
	if c := p.b[p.i]; c < 0x80 {
		p.i++
		return uint64(c)
	}
	return p.long()
}

func (p *packed) long() (v uint64) {
	v, p.i = varint(p.b, p.i)
	return v
}

// why is what is wrong with a list that is shorter than it has to be: few, or a
// mistake in it.
func (p *packed) why(few string) string {
	if p.i < 0 {
		return varintError(p.i)
	}
	return few
}

// pairedBytes are the highBits of four varints of two bytes: a varint goes on
// where its high bit is set.
const pairedBytes = 0x0080008000800080

// read reads numbers into dst, and returns those that it filled: fewer than there
// is room for at the end, and before a mistake.
//
// To read a whole list and then to use it is what makes the columns fast: the
// place in the list stays in a register, and nothing that is done with one number
// delays the next one.
func (p *packed) read(dst []uint64) []uint64 {
	n := 0
	b, i := p.b, p.i
	for n < len(dst) && uint(i) < uint(len(b)) {
		// Eight bytes are looked at together. Those of one column are alike: most
		// often they are eight numbers of one byte, or four of two.
		w := uint64(highBits)
		if len(b)-i >= 8 {
			w = binary.LittleEndian.Uint64(b[i:])
		}
		switch goesOn, rest := w&highBits, dst[n:]; {
		case goesOn == 0 && len(rest) >= 8:
			*(*[8]uint64)(rest) = [8]uint64{
				w & 0x7f, w >> 8 & 0x7f, w >> 16 & 0x7f, w >> 24 & 0x7f, w >> 32 & 0x7f, w >> 40 & 0x7f, w >> 48 & 0x7f, w >> 56,
			}
			n, i = n+8, i+8
		case goesOn == pairedBytes && len(rest) >= 4:
			low, high := w&0x007f007f007f007f, w&0x7f007f007f007f00>>1
			w = low | high
			*(*[4]uint64)(rest) = [4]uint64{w & 0x3fff, w >> 16 & 0x3fff, w >> 32 & 0x3fff, w >> 48}
			n, i = n+4, i+8
		case goesOn != highBits: // one of any length, without a branch that depends on it
			end := bits.TrailingZeros64(goesOn ^ highBits) // the high bit of its last byte
			w &= 1<<end - 1
			w = w&0x007f007f007f007f | w&0x7f007f007f007f00>>1
			w = w&0x00003fff00003fff | w&0x3fff00003fff0000>>2
			rest[0] = w&0x0fffffff | w&0x0fffffff00000000>>4
			n, i = n+1, i+end/8+1
		default: // over eight bytes, or near the end of the list
			if rest[0], i = varint(b, i); i >= 0 {
				n++
			}
		}
	}
	p.i = i
	return dst[:n]
}

// rowIter goes over the rows of a sparse column: those of the list, or all
// where it is empty.
type rowIter struct {
	n    int // events of the message
	row  int // -1: none yet
	gaps packed
	all  bool
	why  string
}

func newRowIter(rows []byte, n int) rowIter {
	return rowIter{n: n, row: -1, gaps: packed{b: rows}, all: len(rows) == 0}
}

// next goes to the next row. Columns of all events are what most are: that
// case is inlined.
func (r *rowIter) next() bool {
	if r.all {
		r.row++
		return r.row < r.n
	}
	return r.nextListed()
}

func (r *rowIter) nextListed() bool {
	if !r.gaps.more() {
		return false
	}
	gap := r.gaps.next()
	switch {
	case r.gaps.i < 0:
		r.why = varintError(r.gaps.i)
	case r.row < 0 && gap >= uint64(r.n), r.row >= 0 && gap >= uint64(r.n-r.row):
		r.why = "a row is not below the " + strconv.Itoa(r.n) + " events of the message"
	case r.row >= 0 && gap == 0:
		r.why = "a row comes twice"
	default:
		r.row = max(r.row, 0) + int(gap)
		return true
	}
	return false
}
