package wsstatsreceiver

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The cases of the Autobahn test suite for WebSockets, by their numbers there.
// That suite expects an echo. This receiver answers messages of its protocol, so
// a message that would be echoed is here a numbered one that is acknowledged,
// filled up with blanks to its size.

// autobahnCase is what a client sends and all that it gets.
type autobahnCase struct {
	id    string
	sends [][]byte
	gets  []string
	// octets sends one byte at a time.
	octets bool
	header []string
}

// wait stands among what is sent for waiting until a message is answered: a
// close or a violation overtakes what is still in the queue.
var wait []byte

var answers = regexp.MustCompile("^(ack|nack|error|duplicate|end)")

// numbered is a message of so many bytes that is acknowledged.
func numbered(seq, size int) string {
	message := fmt.Sprintf(`{"seq":%d}`, seq)
	return message + strings.Repeat(" ", max(0, size-len(message)))
}

func text(message string) []byte { return rawFrame(fin|opText, message) }

func runAutobahn(t *testing.T, cases []autobahnCase) {
	t.Helper()
	r := startReceiver(t, testOptions{config: func(cfg *Config) {
		cfg.Limits.ControlFrames = 1000
		cfg.Limits.Fragments = 70_000
		cfg.Compression = true // for those who ask for it
	}})
	for _, tt := range cases {
		t.Run(tt.id, func(t *testing.T) {
			c := r.rawDial(t, tt.header...)
			heard := []string{}
			for _, b := range tt.sends {
				switch {
				case b == nil:
					for answered := false; !answered; {
						word := c.next()
						heard = append(heard, word)
						answered = answers.MatchString(word)
					}
				case tt.octets:
					for i := range b {
						c.write(b[i : i+1])
					}
				default:
					c.write(b)
				}
			}
			assert.Equal(t, tt.gets, append(heard, c.conversation()...))
		})
	}
	require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, pollEvery)
	assert.Zero(t, r.budget.Used())
}

var bye = closeFrame(1000, "")

func TestAutobahnFraming(t *testing.T) {
	var cases []autobahnCase
	// 1.1 and 1.2: lengths of each form.
	for i, size := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		gets := []string{"ack 1", "close 1000"}
		message := numbered(1, size)
		if size == 0 {
			gets, message = []string{"error malformed", "close 1000"}, ""
		}
		cases = append(cases,
			autobahnCase{id: fmt.Sprintf("1.1.%d", i+1), sends: [][]byte{text(message), wait, bye}, gets: gets},
			autobahnCase{id: fmt.Sprintf("1.2.%d", i+1), sends: [][]byte{rawFrame(fin|opBinary, message), bye}, gets: []string{"close 1003"}})
	}
	cases = append(cases,
		autobahnCase{id: "1.1.8", sends: [][]byte{fragments(opText, numbered(1, 65536), 997), wait, bye}, gets: []string{"ack 1", "close 1000"}},
		autobahnCase{id: "1.2.8", sends: [][]byte{fragments(opBinary, numbered(1, 65536), 997), bye}, gets: []string{"close 1003"}},
		// 3: reserved bits.
		autobahnCase{id: "3.1", sends: [][]byte{rawFrame(fin|rsv3|opText, numbered(1, 0))}, gets: []string{"close 1002"}},
		autobahnCase{id: "3.2", sends: [][]byte{text(numbered(1, 0)), wait, rawFrame(fin|rsv2|opText, numbered(2, 0)), rawFrame(fin|opPing, "")}, gets: []string{"ack 1", "close 1002"}},
		autobahnCase{id: "3.3", sends: [][]byte{text(numbered(1, 0)), wait, rawFrame(fin|rsv2|rsv3|opText, numbered(2, 0))}, gets: []string{"ack 1", "close 1002"}},
		autobahnCase{id: "3.4", sends: [][]byte{text(numbered(1, 0)), wait, rawFrame(fin|rsv1|opText, numbered(2, 0))}, gets: []string{"ack 1", "close 1002"}, octets: true},
		autobahnCase{id: "3.5", sends: [][]byte{rawFrame(fin|rsv1|rsv3|opBinary, "x")}, gets: []string{"close 1002"}},
		autobahnCase{id: "3.6", sends: [][]byte{rawFrame(fin|rsv1|rsv2|opPing, "x")}, gets: []string{"close 1002"}},
		autobahnCase{id: "3.7", sends: [][]byte{rawFrame(fin|rsv1|rsv2|rsv3|opClose, "\x03\xe8")}, gets: []string{"close 1002"}},
	)
	// 4: reserved opcodes, those of data and those of control frames.
	for i, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		cases = append(cases,
			autobahnCase{id: fmt.Sprintf("4.%d.%d", 1+i/5, 1+i%5), sends: [][]byte{rawFrame(fin|op, "x")}, gets: []string{"close 1002"}},
			autobahnCase{
				id:    fmt.Sprintf("4.%d.%d after a message", 1+i/5, 1+i%5),
				sends: [][]byte{text(numbered(1, 0)), wait, rawFrame(fin|op, ""), rawFrame(fin|opPing, "")}, gets: []string{"ack 1", "close 1002"},
			})
	}
	runAutobahn(t, cases)
}

func TestAutobahnPings(t *testing.T) {
	ping := func(payload string) []byte { return rawFrame(fin|opPing, payload) }
	longest := strings.Repeat("\xfe", 125)
	ten := make([][]byte, 0, 11)
	var pongs []string
	for i := range 10 {
		payload := fmt.Sprintf("payload %d", i)
		ten = append(ten, ping(payload))
		pongs = append(pongs, "pong "+payload)
	}
	ten, pongs = append(ten, bye), append(pongs, "close 1000")
	runAutobahn(t, []autobahnCase{
		{id: "2.1", sends: [][]byte{ping(""), bye}, gets: []string{"pong ", "close 1000"}},
		{id: "2.2", sends: [][]byte{ping("hello"), bye}, gets: []string{"pong hello", "close 1000"}},
		{id: "2.3", sends: [][]byte{ping("\x00\xff\xfe\xfd"), bye}, gets: []string{"pong \x00\xff\xfe\xfd", "close 1000"}},
		{id: "2.4", sends: [][]byte{ping(longest), bye}, gets: []string{"pong " + longest, "close 1000"}},
		{id: "2.5", sends: [][]byte{ping(longest + "\xfe"), bye}, gets: []string{"close 1002"}},
		{id: "2.6", sends: [][]byte{ping(longest), bye}, gets: []string{"pong " + longest, "close 1000"}, octets: true},
		{id: "2.7", sends: [][]byte{rawFrame(fin|opPong, ""), bye}, gets: []string{"close 1000"}},
		{id: "2.8", sends: [][]byte{rawFrame(fin|opPong, "unasked"), bye}, gets: []string{"close 1000"}},
		{id: "2.9", sends: [][]byte{rawFrame(fin|opPong, "unasked"), ping("asked"), bye}, gets: []string{"pong asked", "close 1000"}},
		{id: "2.10", sends: ten, gets: pongs},
		{id: "2.11", sends: ten, gets: pongs, octets: true},
	})
}

func TestAutobahnFragments(t *testing.T) {
	start, end := rawFrame(opText, `{"seq"`), rawFrame(fin|opMore, `:1}`)
	middle := rawFrame(opMore, `:1`)
	last := rawFrame(fin|opMore, `}`)
	empty := rawFrame(opMore, "")
	ping := rawFrame(fin|opPing, "p")
	done, violation := []string{"ack 1", "close 1000"}, []string{"close 1002"}
	pinged := []string{"pong p", "ack 1", "close 1000"}
	runAutobahn(t, []autobahnCase{
		{id: "5.1", sends: [][]byte{rawFrame(opPing, "frag"), rawFrame(fin|opMore, "ment")}, gets: violation},
		{id: "5.2", sends: [][]byte{rawFrame(opPong, "frag"), rawFrame(fin|opMore, "ment")}, gets: violation},
		{id: "5.3", sends: [][]byte{start, end, wait, bye}, gets: done},
		{id: "5.4", sends: [][]byte{start, middle, last, wait, bye}, gets: done},
		{id: "5.5", sends: [][]byte{start, end, wait, bye}, gets: done, octets: true},
		{id: "5.6", sends: [][]byte{start, ping, end, wait, bye}, gets: pinged},
		{id: "5.7", sends: [][]byte{start, ping, middle, last, wait, bye}, gets: pinged},
		{id: "5.8", sends: [][]byte{start, ping, end, wait, bye}, gets: pinged, octets: true},
		{id: "5.9", sends: [][]byte{rawFrame(fin|opMore, "nothing"), text(numbered(1, 0)), bye}, gets: violation},
		{id: "5.10", sends: [][]byte{rawFrame(fin|opMore, "nothing"), text(numbered(1, 0)), bye}, gets: violation},
		{id: "5.11", sends: [][]byte{rawFrame(fin|opMore, "nothing"), bye}, gets: violation, octets: true},
		{id: "5.12", sends: [][]byte{rawFrame(opMore, "nothing"), text(numbered(1, 0)), bye}, gets: violation},
		{id: "5.13", sends: [][]byte{rawFrame(opMore, "nothing"), bye}, gets: violation},
		{id: "5.14", sends: [][]byte{rawFrame(opMore, "nothing"), bye}, gets: violation, octets: true},
		{id: "5.15", sends: [][]byte{start, end, wait, rawFrame(opMore, "again"), bye}, gets: []string{"ack 1", "close 1002"}},
		{id: "5.16", sends: [][]byte{rawFrame(opMore, "x"), start, end, bye}, gets: violation},
		{id: "5.17", sends: [][]byte{rawFrame(fin|opMore, "x"), start, end, bye}, gets: violation},
		{id: "5.18", sends: [][]byte{start, rawFrame(fin|opText, ":1}"), bye}, gets: violation},
		{id: "5.19", sends: [][]byte{start, ping, empty, ping, middle, empty, last, wait, bye}, gets: []string{"pong p", "pong p", "ack 1", "close 1000"}},
		{id: "5.20", sends: [][]byte{start, ping, empty, ping, middle, empty, last, wait, bye}, gets: []string{"pong p", "pong p", "ack 1", "close 1000"}, octets: true},
	})
}
