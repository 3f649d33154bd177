package wire

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

// readOneByOne is what read has to return.
func readOneByOne(b []byte, most int) (numbers []uint64, end int) {
	list := packed{b: b}
	for list.more() && len(numbers) < most {
		if v := list.next(); list.i >= 0 {
			numbers = append(numbers, v)
		}
	}
	return numbers, list.i
}

func checkRead(t *testing.T, b []byte, most int) {
	t.Helper()
	want, end := readOneByOne(b, most)
	list := packed{b: b}
	got := list.read(make([]uint64, most))
	assert.Equal(t, want, append([]uint64(nil), got...), "%x", b)
	assert.Equal(t, end, list.i, "%x", b)
}

func TestPackedReadEdges(t *testing.T) {
	numbers := func(vs ...uint64) (b []byte) {
		for _, v := range vs {
			b = binary.AppendUvarint(b, v)
		}
		return b
	}
	nines := numbers(1<<62, 1<<63-1, 1<<63, math.MaxUint64)
	for name, b := range map[string][]byte{
		"empty":                    nil,
		"eight of one byte":        numbers(0, 1, 2, 3, 124, 125, 126, 127),
		"nine of one byte":         numbers(127, 126, 125, 124, 123, 122, 121, 120, 119),
		"four of two bytes":        numbers(128, 16383, 300, 8191),
		"each length":              numbers(1, 1<<7, 1<<14, 1<<21, 1<<28, 1<<35, 1<<42, 1<<49, 1<<56-1, 1<<56, 1<<63),
		"nine and ten bytes":       nines,
		"longer than necessary":    {0x80, 0x00, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 2, 3, 4, 5, 6, 7, 8},
		"cut":                      append(numbers(1, 2, 3), 0x80),
		"cut within eight bytes":   append(numbers(1, 2, 3, 4, 5, 6, 7), 0x80),
		"over 64 bits":             {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 1, 2, 3},
		"over 64 bits at the end":  {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"never ends":               {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"one, two, one, two bytes": numbers(1, 200, 2, 300, 3, 400, 4, 500, 5, 600, 6, 700),
	} {
		t.Run(name, func(t *testing.T) {
			for most := range 20 {
				checkRead(t, b, most)
			}
		})
	}
}

func TestPackedReadRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var b []byte
		most := r.IntN(8) * r.IntN(64)
		same := r.IntN(65)
		for range r.IntN(40) {
			bits := same // columns are alike
			if r.IntN(8) == 0 {
				bits = r.IntN(65)
			}
			b = binary.AppendUvarint(b, r.Uint64()>>(64-bits))
		}
		if len(b) > 0 && r.IntN(4) == 0 {
			b = b[:r.IntN(len(b))]
		}
		if len(b) > 0 && r.IntN(4) == 0 {
			b[r.IntN(len(b))] |= 0x80
		}
		checkRead(t, b, most)
	}
}
