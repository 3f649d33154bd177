package frame

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	fin  = 0x80
	rsv1 = 0x40
)

// fr is a frame without a mask whose length is in its shortest form.
func fr(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// masked is the same frame as a client sends it.
func masked(f []byte) []byte {
	key := [4]byte{0xde, 0xad, 0xbe, 0xef}
	size := headerSize(f[1])
	out := append(bytes.Clone(f[:size]), key[:]...)
	out[1] |= 0x80
	for i, b := range f[size:] {
		out = append(out, b^key[i%4])
	}
	return out
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func parse(p *Parser, stream []byte) (l log) {
	p.Feed(stream, &l)
	return l
}

func TestParser(t *testing.T) {
	long, longer := strings.Repeat("a", 126), strings.Repeat("b", 65536)
	tests := []struct {
		name   string
		parser Parser
		stream []byte
		want   log
	}{
		{"nothing", Parser{}, nil, nil},
		{"text", Parser{}, fr(fin|1, "hello"), log{
			"frame {Opcode:1 Fin:true RSV1:false Masked:false Length:5}",
			"message {Opcode:1 Compressed:false Size:5 Frames:1}",
		}},
		{"empty binary", Parser{}, fr(fin|2, ""), log{
			"frame {Opcode:2 Fin:true RSV1:false Masked:false Length:0}",
			"message {Opcode:2 Compressed:false Size:0 Frames:1}",
		}},
		{"16 bits of length", Parser{}, fr(fin|1, long), log{
			"frame {Opcode:1 Fin:true RSV1:false Masked:false Length:126}",
			"message {Opcode:1 Compressed:false Size:126 Frames:1}",
		}},
		{"64 bits of length", Parser{}, fr(fin|1, longer), log{
			"frame {Opcode:1 Fin:true RSV1:false Masked:false Length:65536}",
			"message {Opcode:1 Compressed:false Size:65536 Frames:1}",
		}},
		{"control between fragments", Parser{Masking: MaskRequired}, join(masked(fr(1, "ab")), masked(fr(fin|9, "hi")), masked(fr(fin|0, "c"))), log{
			"frame {Opcode:1 Fin:false RSV1:false Masked:true Length:2}",
			"frame {Opcode:9 Fin:true RSV1:false Masked:true Length:2}",
			"control 9 6869",
			"frame {Opcode:0 Fin:true RSV1:false Masked:true Length:1}",
			"message {Opcode:1 Compressed:false Size:3 Frames:2}",
		}},
		{"compressed", Parser{Compression: true}, join(fr(rsv1|2, "abc"), fr(fin|0, "d")), log{
			"frame {Opcode:2 Fin:false RSV1:true Masked:false Length:3}",
			"frame {Opcode:0 Fin:true RSV1:false Masked:false Length:1}",
			"message {Opcode:2 Compressed:true Size:4 Frames:2}",
		}},
		{"close is the last", Parser{Masking: MaskForbidden}, join(fr(fin|8, "\x03\xe8bye"), fr(fin|1, "late")), log{
			"frame {Opcode:8 Fin:true RSV1:false Masked:false Length:5}",
			"control 8 03e8627965",
		}},
		{"close without a code", Parser{}, fr(fin|8, ""), log{
			"frame {Opcode:8 Fin:true RSV1:false Masked:false Length:0}",
			"control 8 ",
		}},
		{"message that never ends", Parser{}, []byte{2, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2}, log{
			"frame {Opcode:2 Fin:false RSV1:false Masked:false Length:9223372036854775807}",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sameAsReference(t, tt.stream, tt.parser, tt.want)
			assert.Equal(t, tt.want, parse(&tt.parser, tt.stream))
		})
	}
}

var breaches = []struct {
	name   string
	parser Parser
	stream []byte
	want   Violation
}{
	{"rsv1", Parser{}, fr(fin|rsv1|1, ""), ReservedBits},
	{"rsv2", Parser{Compression: true}, fr(fin|0x20|1, ""), ReservedBits},
	{"rsv3", Parser{Compression: true}, fr(fin|0x10|1, ""), ReservedBits},
	{"rsv1 on a control frame", Parser{Compression: true}, fr(fin|rsv1|9, ""), ReservedBits},
	{"rsv1 on a continuation", Parser{Compression: true}, join(fr(rsv1|1, ""), fr(fin|rsv1|0, "")), ReservedBits},
	{"opcode 3", Parser{}, fr(fin|3, ""), ReservedOpcode},
	{"opcode 7", Parser{}, fr(fin|7, ""), ReservedOpcode},
	{"opcode 11", Parser{}, fr(fin|11, ""), ReservedOpcode},
	{"opcode 15", Parser{}, fr(fin|15, ""), ReservedOpcode},
	{"client without mask", Parser{Masking: MaskRequired}, fr(fin|1, ""), MaskMissing},
	{"server with mask", Parser{Masking: MaskForbidden}, masked(fr(fin|1, "")), MaskUnexpected},
	{"125 in 16 bits", Parser{}, []byte{fin | 1, 126, 0, 125}, LengthNotMinimal},
	{"65535 in 64 bits", Parser{}, []byte{fin | 1, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, LengthNotMinimal},
	{"64 bits of length", Parser{}, []byte{fin | 1, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, LengthTooLarge},
	{"long ping", Parser{}, fr(fin|9, strings.Repeat("a", 126)), ControlTooLong},
	{"fragmented ping", Parser{}, fr(9, ""), ControlFragment},
	{"continuation first", Parser{}, fr(fin|0, ""), NothingToGoOn},
	{"continuation after a whole message", Parser{}, join(fr(fin|1, ""), fr(fin|0, "")), NothingToGoOn},
	{"message in a message", Parser{}, join(fr(1, ""), fr(fin|2, "")), MessageUnfinished},
	{"close of one byte", Parser{}, fr(fin|8, "\x03"), CloseTooShort},
	{"close 999", Parser{}, fr(fin|8, "\x03\xe7"), CloseCode},
	{"close 1004", Parser{}, fr(fin|8, "\x03\xec"), CloseCode},
	{"close 1005", Parser{}, fr(fin|8, "\x03\xed"), CloseCode},
	{"close 1006", Parser{}, fr(fin|8, "\x03\xee"), CloseCode},
	{"close 1015", Parser{}, fr(fin|8, "\x03\xf7"), CloseCode},
	{"close 2999", Parser{}, fr(fin|8, "\x0b\xb7"), CloseCode},
	{"close 5000", Parser{}, fr(fin|8, "\x13\x88"), CloseCode},
	{"close reason", Parser{}, fr(fin|8, "\x03\xe8\xff"), CloseReason},
}

func TestViolations(t *testing.T) {
	seen := map[Violation]bool{}
	for _, tt := range breaches {
		t.Run(tt.name, func(t *testing.T) {
			stream := join(tt.stream, fr(fin|1, "late"), []byte{fin | 3, 0})
			l := parse(&tt.parser, stream)
			require.NotEmpty(t, l)
			assert.Equal(t, "violation "+tt.want.Code(), l[len(l)-1])
			assert.Equal(t, 1, strings.Count(strings.Join(l, "\n"), "violation"), "once")
			assert.True(t, tt.parser.Stopped())
			assert.Empty(t, parse(&tt.parser, stream), "for good")
			sameAsReference(t, stream, tt.parser, l)
			seen[tt.want] = true
		})
	}
	for v := ReservedBits; v < numViolations; v++ {
		assert.True(t, seen[v], "no case for %s", v.Code())
		assert.Regexp(t, `^[a-z_]{1,64}$`, v.Code())
		assert.NotEmpty(t, v.Error())
	}
	assert.Empty(t, numViolations.Code())
	assert.Empty(t, numViolations.Error())
}

// Sizes of endless fragments stay at the maximum.
func TestSizeDoesNotOverflow(t *testing.T) {
	p := Parser{}
	p.msg = Message{Opcode: Binary, Size: math.MaxInt64 - 1, Frames: 3}
	assert.Equal(t, log{
		"frame {Opcode:0 Fin:true RSV1:false Masked:false Length:2}",
		"message {Opcode:2 Compressed:false Size:9223372036854775807 Frames:4}",
	}, parse(&p, fr(fin|0, "ab")))
}

// stream makes up a stream of mostly good frames.
func stream(r *rand.Rand) []byte {
	var b []byte
	firsts := []byte{fin | 1, fin | 2, 1, 2, 0, 0, fin | 0, fin | 9, fin | 10, fin | rsv1 | 1}
	inside := false
	for range r.IntN(20) {
		first := firsts[r.IntN(len(firsts))]
		if op := Opcode(first & 15); !op.Control() && r.IntN(50) > 0 {
			if inside != (op == Continuation) {
				continue
			}
			inside = first&fin == 0
		}
		size := []int{0, 1, 5, 125, 126, 300, 65535, 65536}[r.IntN(8)]
		if Opcode(first & 15).Control() {
			size = min(size, 125)
		}
		f := fr(first, strings.Repeat("x", size))
		if r.IntN(3) > 0 {
			f = masked(f)
		}
		b = append(b, f...)
	}
	return append(b, [][]byte{nil, fr(fin|8, ""), masked(fr(fin|8, "\x03\xe9away")), fr(fin|8, "\x00"), {fin}}[r.IntN(5)]...)
}

// A stream says the same in whatever pieces it comes.
func TestPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := stream(r)
		whole := parse(&Parser{Compression: true}, b)
		sameAsReference(t, b, Parser{Compression: true}, whole)
		p := Parser{Compression: true}
		var pieces log
		for rest := b; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 1<<r.IntN(17)))
			p.Feed(rest[:n], &pieces)
			rest = rest[n:]
		}
		require.Equal(t, whole, pieces)
	}
	short := join(masked(fr(1, "ab")), masked(fr(fin|9, "hi")), fr(fin|0, strings.Repeat("c", 126)), masked(fr(fin|8, "\x03\xe8bye")))
	p := Parser{}
	var bytewise log
	for i := range short {
		p.Feed(short[i:i+1], &bytewise)
	}
	sameAsReference(t, short, Parser{}, bytewise)
}

// FuzzParser holds the parser to an independent one, in whatever pieces the
// stream comes: pieces[i] is the size of the i-th, all over again.
func FuzzParser(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		if b := stream(r); len(b) < 4096 {
			f.Add(b, uint8(MaskAny), true, []byte{3, 0, 200})
		}
	}
	for _, b := range breaches {
		f.Add(b.stream, uint8(b.parser.Masking), b.parser.Compression, []byte{0})
	}
	f.Add(masked(fr(fin|8, "\x03\xe8bye")), uint8(MaskRequired), false, []byte{1})
	f.Add(join(fr(rsv1|1, "ab"), fr(fin|9, "hi"), fr(fin|0, "c"), fr(fin|10, "")), uint8(MaskForbidden), true, []byte{2, 7})
	f.Fuzz(func(t *testing.T, b []byte, masking uint8, compression bool, pieces []byte) {
		as := Parser{Masking: Masking(masking % 3), Compression: compression}
		whole, piecewise := as, as
		want := parse(&whole, b)
		sameAsReference(t, b, as, want)
		var got log
		for i, rest := 0, b; len(rest) > 0; i++ {
			n := 1
			if len(pieces) > 0 {
				n = min(len(rest), 1+int(pieces[i%len(pieces)]))
			}
			piecewise.Feed(rest[:n], &got)
			rest = rest[n:]
		}
		require.Equal(t, want, got)
		require.Equal(t, whole.Stopped(), piecewise.Stopped())
	})
}

// count is a Handler that costs nothing.
type count struct{ frames, messages, controls, violations int }

func (c *count) Frame(Header)           { c.frames++ }
func (c *count) Message(Message)        { c.messages++ }
func (c *count) Control(Opcode, []byte) { c.controls++ }
func (c *count) Violation(Violation)    { c.violations++ }

func TestNoAllocations(t *testing.T) {
	b := join(masked(fr(fin|1, "hello")), masked(fr(fin|9, "hi")), masked(fr(fin|2, strings.Repeat("c", 70000))))
	p, c := Parser{Masking: MaskRequired}, &count{}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		p.Feed(b[:5], c)
		p.Feed(b[5:], c)
	}))
	assert.Equal(t, count{frames: 303, messages: 202, controls: 101}, *c)
}

// BenchmarkParser reports the time of one frame.
func BenchmarkParser(b *testing.B) {
	for _, bb := range []struct {
		name  string
		frame []byte
	}{
		{"text of 32 bytes", fr(fin|1, strings.Repeat("a", 32))},
		{"masked text of 32 bytes", masked(fr(fin|1, strings.Repeat("a", 32)))},
		{"masked binary of 4 KiB", masked(fr(fin|2, strings.Repeat("a", 4096)))},
		{"masked ping of 8 bytes", masked(fr(fin|9, "12345678"))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p, c := Parser{}, &count{}
			b.ReportAllocs()
			for b.Loop() {
				p.Feed(bb.frame, c)
			}
		})
	}
}
