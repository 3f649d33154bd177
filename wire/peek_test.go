package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPeekSeq(t *testing.T) {
	deep := strings.Repeat("[", 100_000)
	for message, want := range map[string]uint64{
		`{"seq":7}`:                             7,
		" \t\r\n{ \"seq\" : 7 }":                7,
		`{"events":[{"event":"send"}],"seq":7}`: 7,
		`{"seq":7,"events":[{"event":"send"}]}`: 7,
		`{"seq":7,"dropped":{"event":1}}`:       7,
		`{"seq":1,"seq":2}`:                     1,

		// Rows that follow the number are not read, as they may be megabytes. An
		// event cannot have such a value.
		`{"seq":7,"events":[{"event":"send"}],"event":"send"}`: 7,
		`{"seq":7,"events":[[` + deep:                          7,
		`{"events":[{"event":"send"}],"seq":7,"event":"send"}`: 7,

		// What is cut off or broken behind the number has that number.
		`{"seq":7`:                           7,
		`{"seq":7,`:                          7,
		`{"seq":7,"threshold":"fd7`:          7,
		`{"seq":7,"events":[{"event":"send"`: 7,
		`{"seq":7,"x":` + deep:               7,
		`{"seq":7 "event":1`:                 7,

		// Only a batch has a number: in a bare event this is an attribute.
		`{"event":"send","seq":7}`:                             0,
		`{"seq":7,"event":"send"}`:                             0,
		`{"seq":7,"\u0065vent":"send"}`:                        0,
		`{"seq":7,"n":1,"b":true,"s":"x","z":null,"event":""}`: 0,
		`{"seq":7,"tags":["a","b"],"none":[],"event":"send"}`:  0,
		`{"seq":7,"links":[{"trace_id":"x"}],"event":"send"}`:  0,
		`{"links":[{"trace_id":"x"}],"seq":7,"event":"send"}`:  0,
		`{"seq":7,"event":"se`:                                 0,

		``:                       0,
		`[{"seq":7}]`:            0,
		`{"events":[{"seq":7}]}`: 0,
		`{"seq":"7"}`:            0,
		`{"seq":7.5}`:            0,
		`{"seq":0}`:              0,
		`{"hello":{"seq":7}}`:    0,
		`{"events":[`:            0,
		deep:                     0,
	} {
		assert.Equal(t, want, PeekSeq([]byte(message)), "%.80s", message)
	}
}
