package wsstatsreceiver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestAutobahnUTF8(t *testing.T) {
	valid := []string{
		"Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "a", "\u0080", "\u0800", "\U00010000",
		"\u007f", "\u07ff", "\uffff", "\U0010ffff", "\ud7ff", "\ue000", "\ufffd",
		"\ufffe", "\U0001fffe", "\U0008ffff", "\U0010fffe", // noncharacters are characters to UTF-8
	}
	invalid := []string{
		"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", // a surrogate in a text
		"\xce", "\xe1\xbd", "\xf0\x9f\x98", // cut
		"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", // five and six bytes
		"\xf7\xbf\xbf\xbf", "\xf4\x90\x80\x80", // beyond U+10FFFF
		"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80\xbf\x80\xbf\x80", // continuations of nothing
		"\xc0 \xc1 \xdf ", "\xe0 \xef ", "\xf0 \xf7 ", // beginnings of nothing
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xdf", "\xef\xbf", // last byte missing
		"\xfe", "\xff", "\xfe\xfe\xff\xff", // never in UTF-8
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xc0\x80", // too long
		"\xed\xa0\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", // surrogates, single and paired
	}
	message := func(value string) string { return `{"seq":2,"events":[{"event":"send","x":"` + value + `"}]}` }
	pieces := func(m string) []byte { return fragments(opText, m, 1) }
	var cases []autobahnCase
	for name, send := range map[string]func(string) []byte{"whole": text, "in fragments of a byte": pieces} {
		for i, value := range valid {
			cases = append(cases, autobahnCase{
				id: fmt.Sprintf("6 valid %d%s", i, name), sends: [][]byte{send(message(value)), wait, bye}, gets: []string{"ack 2", "close 1000"},
			})
		}
		for i, value := range invalid {
			cases = append(cases, autobahnCase{
				id: fmt.Sprintf("6 invalid %d%s", i, name), gets: []string{"nack 2 malformed", "close 1000"},
				sends: [][]byte{send(message(value)), wait, bye},
			}, autobahnCase{ // a message whose number cannot be known
				id: fmt.Sprintf("6 invalid %d%s, unnumbered", i, name), gets: []string{"ack 1", "close 1007"},
				sends: [][]byte{text(numbered(1, 0)), wait, send(value)},
			})
		}
	}
	cases = append(cases,
		autobahnCase{id: "6.1.1", sends: [][]byte{text(""), wait, bye}, gets: []string{"error malformed", "close 1000"}},
		autobahnCase{id: "6.1.2", sends: [][]byte{fragments(opText, "", 1), wait, bye}, gets: []string{"error malformed", "close 1000"}},
		// A message is judged when it is whole: no ping is lost before.
		autobahnCase{
			id: "6.4", gets: []string{"ack 1", "pong p", "close 1007"},
			sends: [][]byte{text(numbered(1, 0)), wait, rawFrame(opText, "\xff"), rawFrame(fin|opPing, "p"), rawFrame(fin|opMore, "")},
		})
	runAutobahn(t, cases)
}

func TestAutobahnClose(t *testing.T) {
	ping := rawFrame(fin|opPing, "p")
	cases := []autobahnCase{
		{id: "7.1.1", sends: [][]byte{text(numbered(1, 0)), wait, bye}, gets: []string{"ack 1", "close 1000"}},
		{id: "7.1.2", sends: [][]byte{slices.Concat(bye, bye)}, gets: []string{"close 1000"}},
		{id: "7.1.3", sends: [][]byte{slices.Concat(bye, ping)}, gets: []string{"close 1000"}},
		{id: "7.1.4", sends: [][]byte{slices.Concat(bye, text(numbered(1, 0)))}, gets: []string{"close 1000"}},
		{id: "7.1.5", sends: [][]byte{rawFrame(opText, `{"seq"`), slices.Concat(bye, rawFrame(fin|opMore, ":1}"))}, gets: []string{"close 1000"}},
		{id: "7.1.6", sends: [][]byte{text(numbered(1, 256<<10)), wait, slices.Concat(bye, ping)}, gets: []string{"ack 1", "close 1000"}},
		{id: "7.3.1", sends: [][]byte{rawFrame(fin|opClose, "")}, gets: []string{"close 1005"}},
		{id: "7.3.2", sends: [][]byte{rawFrame(fin|opClose, "\x03")}, gets: []string{"close 1002"}},
		{id: "7.3.3", sends: [][]byte{closeFrame(1000, "")}, gets: []string{"close 1000"}},
		{id: "7.3.4", sends: [][]byte{closeFrame(1000, "Hello World!")}, gets: []string{"close 1000"}},
		{id: "7.3.5", sends: [][]byte{closeFrame(1000, strings.Repeat("*", 123))}, gets: []string{"close 1000"}},
		{id: "7.3.6", sends: [][]byte{closeFrame(1000, strings.Repeat("*", 124))}, gets: []string{"close 1002"}},
		{id: "7.5.1", sends: [][]byte{closeFrame(1000, "\xce\xba\xed\xa0\x80")}, gets: []string{"close 1007"}},
		{id: "7.13.1", sends: [][]byte{closeFrame(5000, "")}, gets: []string{"close 1002"}},
		{id: "7.13.2", sends: [][]byte{closeFrame(65535, "")}, gets: []string{"close 1002"}},
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		cases = append(cases, autobahnCase{id: fmt.Sprintf("7.7 code %d", code), sends: [][]byte{closeFrame(code, "")}, gets: []string{fmt.Sprintf("close %d", code)}})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999} {
		cases = append(cases, autobahnCase{id: fmt.Sprintf("7.9 code %d", code), sends: [][]byte{closeFrame(code, "")}, gets: []string{"close 1002"}})
	}
	runAutobahn(t, cases)
}

func TestAutobahnLimits(t *testing.T) {
	done := []string{"ack 1", "close 1000"}
	var cases []autobahnCase
	for i, size := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20} {
		message := numbered(1, size)
		cases = append(cases,
			autobahnCase{id: fmt.Sprintf("9.1.%d", i+1), sends: [][]byte{text(message), wait, bye}, gets: done},
			autobahnCase{id: fmt.Sprintf("9.2.%d", i+1), sends: [][]byte{rawFrame(fin|opBinary, message)}, gets: []string{"close 1003"}})
	}
	for i, size := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		cases = append(cases, autobahnCase{id: fmt.Sprintf("9.3.%d", i+1), sends: [][]byte{fragments(opText, numbered(1, 1<<20), size), wait, bye}, gets: done})
	}
	cases = append(cases,
		autobahnCase{id: "9.5", sends: [][]byte{text(numbered(1, 4<<10)), wait, bye}, gets: done, octets: true},
		autobahnCase{id: "9.0 over the limit", sends: [][]byte{text(numbered(1, 4<<20+1))}, gets: []string{"close 1009"}})
	for i, size := range []int{0, 16, 64, 256, 1 << 10, 4 << 10} {
		const messages = 200
		tt := autobahnCase{id: fmt.Sprintf("9.7.%d", i+1)}
		for seq := 1; seq <= messages; seq++ { // each waits for the last one's answer
			tt.sends = append(tt.sends, text(numbered(seq, size)), wait)
			tt.gets = append(tt.gets, fmt.Sprintf("ack %d", seq))
		}
		tt.sends, tt.gets = append(tt.sends, bye), append(tt.gets, "close 1000")
		cases = append(cases, tt)
	}
	runAutobahn(t, cases)
}

func TestAutobahnCompression(t *testing.T) {
	const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	compressed := func(message string) []byte { return rawFrame(fin|rsv1|opText, deflated(t, message)) }
	var cases []autobahnCase
	for i, size := range []int{16, 64, 256, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10} {
		one := autobahnCase{id: fmt.Sprintf("12.1.%d", i+1)}
		cut := autobahnCase{id: fmt.Sprintf("12.2.%d", i+1)}
		for seq := 1; seq <= 20; seq++ {
			message := numbered(seq, size)
			one.sends = append(one.sends, compressed(message), wait)
			wire := deflated(t, message)
			half := len(wire) / 2
			cut.sends = append(cut.sends, slices.Concat(rawFrame(rsv1|opText, wire[:half]), rawFrame(fin|opMore, wire[half:])), wait)
			one.gets = append(one.gets, fmt.Sprintf("ack %d", seq))
		}
		one.sends, one.gets = append(one.sends, bye), append(one.gets, "close 1000")
		cut.sends, cut.gets = append(cut.sends, bye), one.gets
		cases = append(cases, one, cut)
	}
	cases = append(cases,
		autobahnCase{id: "13 not compressed", sends: [][]byte{text(numbered(1, 0)), wait, bye}, gets: []string{"ack 1", "close 1000"}},
		autobahnCase{id: "13 a compressed continuation", sends: [][]byte{rawFrame(opText, "{"), rawFrame(fin|rsv1|opMore, "}")}, gets: []string{"close 1002"}},
		autobahnCase{id: "13 a compressed ping", sends: [][]byte{rawFrame(fin|rsv1|opPing, "")}, gets: []string{"close 1002"}},
		autobahnCase{id: "13 broken", sends: [][]byte{rawFrame(fin|rsv1|opText, "\xff\xff\xff\xff")}, gets: []string{"close 1007"}},
		autobahnCase{id: "13 over the limit", sends: [][]byte{compressed(numbered(1, 4<<20+1))}, gets: []string{"close 1009"}},
	)
	for i := range cases {
		cases[i].header = []string{offer}
	}
	runAutobahn(t, cases)
}
