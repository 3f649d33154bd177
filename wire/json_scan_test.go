package wire

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is wrong with a text, and where.
func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct{ data, want string }{
		{`[`, `unexpected end`},
		{`[ `, `unexpected end`},
		{`["a"`, `unexpected end`},
		{`{"a"`, `unexpected end`},
		{`{"a":`, `unexpected end`},
		{`{"a": `, `unexpected end`},
		{`{"a":1`, `unexpected end`},
		{`{"a":1,`, `unexpected end`},
		{`{"a`, `unexpected end`},
		{`{"a\`, `unexpected end`},
		{`{"a":"b\u00e`, `unexpected end`},
		{`{"a":nul`, `unexpected end`},
		{`{"a":fals`, `unexpected end`},
		{`{"a":-`, `unexpected end`},
		{`{"a":1.`, `unexpected end`},
		{`{"a":1e`, `unexpected end`},
		{`{"a":1e+`, `unexpected end`},
		{`{a:1}`, `unexpected byte 97 'a' at 1`},
		{`{,}`, `unexpected byte 44 ',' at 1`},
		{`{1:1}`, `unexpected byte 49 '1' at 1`},
		{`{"a" 1}`, `unexpected byte 49 '1' at 5`},
		{`{"a":}`, `unexpected byte 125 '}' at 5`},
		{`{"a":1 "b":2}`, `unexpected byte 34 '"' at 7`},
		{`{"a":1,}`, `unexpected byte 125 '}' at 7`},
		{`{"a":1]`, `unexpected byte 93 ']' at 6`},
		{"{\"a\":\x001}", `unexpected byte 0 '\x00' at 5`},
		{"{\"a\":\v1}", `unexpected byte 11 '\v' at 5`},
		{`{"a":é}`, `unexpected byte 195 'Ã' at 5`},
		{`{"a":[,1]}`, `unexpected byte 44 ',' at 6`},
		{`{"a":[1 2]}`, `unexpected byte 50 '2' at 8`},
		{`{"a":[1}}`, `unexpected byte 125 '}' at 7`},
		{`{"a":[1,]}`, `unexpected byte 93 ']' at 8`},
		{`{"a":trux}`, `unexpected byte 120 'x' at 8`},
		{`{"a":falsy}`, `unexpected byte 121 'y' at 9`},
		{`{"a":nulL}`, `unexpected byte 76 'L' at 8`},
		{`{"a":nulls}`, `unexpected byte 115 's' at 9`},
		{`{"a":NaN}`, `unexpected byte 78 'N' at 5`},
		{`{"a":+1}`, `unexpected byte 43 '+' at 5`},
		{`{"a":-a}`, `unexpected byte 97 'a' at 6`},
		{`{"a":-01}`, `unexpected byte 49 '1' at 7`},
		{`{"a":.5}`, `unexpected byte 46 '.' at 5`},
		{`{"a":1.}`, `unexpected byte 125 '}' at 7`},
		{`{"a":1.e5}`, `unexpected byte 101 'e' at 7`},
		{`{"a":1.5.5}`, `unexpected byte 46 '.' at 8`},
		{`{"a":1e}`, `unexpected byte 125 '}' at 7`},
		{`{"a":1e+}`, `unexpected byte 125 '}' at 8`},
		{`{"a":1e5e}`, `unexpected byte 101 'e' at 8`},
		{`{"a":12345678x}`, `unexpected byte 120 'x' at 13`},
		{`{"a":0x10}`, `unexpected byte 120 'x' at 6`},
		{"{\"a\":\"\x1f\"}", `unexpected byte 31 '\x1f' at 6`},
		{"{\"a\n\":1}", `unexpected byte 10 '\n' at 3`},
		{`{"a":"\x"}`, `unexpected byte 120 'x' at 7`},
		{`{"a\'":1}`, `unexpected byte 39 '\'' at 4`},
		{`{"a":"\u12G4"}`, `unexpected byte 71 'G' at 10`},
		{`{"a\u":1}`, `unexpected byte 34 '"' at 5`},
	} {
		assert.False(t, json.Valid([]byte(tt.data)), tt.data)
		// Where a value is decoded, and where it is skipped.
		for _, before := range []string{``, `{"x":`, `{"stats":[{"x":`, `{"hello":{"instance":"i","x":`, `[{"x":1},`} {
			want := tt.want
			if text, at, found := strings.Cut(want, " at "); found {
				n, err := strconv.Atoi(at)
				require.NoError(t, err)
				want = text + " at " + strconv.Itoa(n+len(before))
			}
			got := decodeError(t, Limits{}, before+tt.data)
			assert.Equal(t, "invalid JSON: "+want, got.Text, before+tt.data)
		}
	}
}

// A character is printable or not wherever it is among eight.
func TestIsPrintable(t *testing.T) {
	for c := range rune(0x180) {
		for at := range 20 {
			s := strings.Repeat("a", at) + string(c) + strings.Repeat("~ ", 10-at/2)
			assert.Equal(t, strconv.IsPrint(c), isPrintable(s), "%q", s)
		}
	}
}

// A byte that is no UTF-8 is found wherever it is: behind plain text and escapes,
// in keys that are known, guessed or skipped, in front and at the end.
func TestInvalidUTF8IsFoundAnywhere(t *testing.T) {
	const event = `{"event":"send","time":1767225600123456789,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",` +
		`"ws.message.type":"text","ws.message.size":128,"room.id":"lobby and \t more","é":["ö",true,null]}`
	texts := append([]string{"[" + event + "," + event + "]", `{"x":{"y":["z",{}]},"events":[` + event + `],"event":"send"}`}, samples...)
	for _, text := range texts {
		if !utf8.ValidString(text) {
			continue
		}
		for i := range len(text) + 1 {
			for _, bad := range []string{"\xff", "\xc3"} {
				err := decodeError(t, Limits{}, text[:i]+bad+text[i:])
				require.ErrorIs(t, err, ErrInvalidUTF8, "%q at %d of %s", bad, i, text)
				require.EqualError(t, err, "invalid UTF-8")
			}
		}
	}
	var d Decoder
	require.NoError(t, d.DecodeJSON([]byte("["+event+"]"), new(Message)))
}

// plainEnd and plainInt take eight bytes at a time: wherever these begin they find the same.
func TestEightBytesAtATime(t *testing.T) {
	const text = "0123456789abcdefghijklmnopqrstuvwxyz\x7f\u00e9\u20ac\U0001f600"
	for start := range 20 {
		for end := start; end < 32; end++ {
			for _, stop := range []string{`"`, `\`, "\x1f", "\x00", "\n", `""\`, "\x00\"", ""} {
				data := []byte(text[:end] + stop)
				if data = append(data, text[end:]...); stop == "" {
					data = data[:end]
				}
				assert.Equal(t, end, plainEnd(data, start), "%q from %d", data, start)
			}
		}
	}
	for c := range 256 {
		data := []byte{'a', 'b', byte(c), 'd', 'e', 'f', 'g', 'h'}
		want := 2
		if c >= ' ' && c != '"' && c != '\\' {
			want = len(data)
		}
		assert.Equal(t, want, plainEnd(data, 0), "%q", data)
	}
}

func TestPlainInt(t *testing.T) {
	for _, end := range []string{",", "}", "]", " ", "\n"} {
		for _, tail := range []string{end + `"1234567"`, end + "12345678", end + "aaaaaaaaa"} {
			for digits := 1; digits <= 19; digits++ {
				text := "9223372036854775807"[:digits]
				s := scanner{data: []byte("x" + text + tail), pos: 1}
				n, ok := s.plainInt()
				require.True(t, ok, text+tail)
				assert.Equal(t, text, strconv.FormatInt(n, 10))
				assert.Equal(t, 1+digits, s.pos)
			}
		}
	}
	s := scanner{data: []byte("0,      ")}
	n, ok := s.plainInt()
	assert.True(t, ok)
	assert.Zero(t, n)
	// What number has to read, or to refuse.
	for _, text := range []string{
		"-1", "00", "01", "1.5", "1e3", "9223372036854775808", "18446744073709551616", "99999999999999999999",
		"1234567890123456789012345678901234567890", "a", "1a", "1:", "1/", "1", strconv.Itoa(math.MaxInt64) + "x", "12345678e",
	} {
		s := scanner{data: []byte(text)}
		if text != "1" { // which is too near the end
			s.data = append(s.data, ",        "...)
		}
		_, ok := s.plainInt()
		assert.False(t, ok, text)
		assert.Zero(t, s.pos)
	}
}

// Escapes mean what they do in encoding/json.
func TestUnescape(t *testing.T) {
	for _, text := range []string{
		`""`, `"\""`, `"\\\/\b\f\n\r\t"`, `"plain, and \u0061 then plain"`, `"\u0000"`, `"é\u00E9\u20ac"`, `"\ud83d\ude00"`,
		`"\ud83d"`, `"\ude00"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ud83d\u0061"`, `"\ud83d\ud83d\ude00"`, `"\ude00\ud83d\ude00"`, `"\ud83d\\ude00"`, `"\ud83d\"` + `"`,
	} {
		var want string
		require.NoError(t, json.Unmarshal([]byte(text), &want), text)
		s := scanner{data: []byte(text)}
		raw, escaped, ok := s.str()
		require.True(t, ok, text)
		assert.Equal(t, text, string(raw))
		assert.Equal(t, strings.Contains(text, `\`), escaped)
		assert.Equal(t, want, string(appendUnescaped(nil, raw)), text)
	}
}
