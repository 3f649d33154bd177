package wsstatsreceiver

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// binaryMessage is what a refusal says in the binary form where it says
// something else than in JSON; "": it is none.
var binaryMessage = map[string]string{
	"limits/events": "events.kinds: more than 1", // the column has them all
	"limits/depth":  "",                          // nothing nests
}

// What a case says in the binary form leads to the same replies, spans and
// points. Cases with a message that has no twin are about JSON alone.
func TestVectorsInTheBinaryForm(t *testing.T) {
	names := vectorNames(t)
	run := 0
	for _, name := range names {
		v, twins := readVector(t, name), readTwins(t, vectorDir, name)
		require.Len(t, twins, len(v.Messages), name)
		message, differs := binaryMessage[name]
		if !v.hasTwins(t, twins) || differs && message == "" {
			continue
		}
		if differs {
			v.Expected.sayInstead(t, message)
		}
		run++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v.Expected.compare(t, v.run(t, twins))
		})
	}
	assert.Greater(t, run, len(names)*3/4)
	t.Logf("%d of %d cases", run, len(names))
}

// sayInstead sets the message of the reply that has one.
func (e *expectation) sayInstead(t *testing.T, message string) {
	t.Helper()
	for i := range e.Replies {
		var reply map[string]any
		require.NoError(t, json.Unmarshal(e.Replies[i], &reply))
		if _, ok := reply["message"]; ok {
			reply["message"] = message
			text, err := json.Marshal(reply)
			require.NoError(t, err)
			e.Replies[i] = text
		}
	}
}

// readTwins are the messages of a case in the binary form, each after its
// length, of a directory like that of the vectors. The length is 0 where there is none.
func readTwins(t *testing.T, dir, name string) (twins [][]byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)+".binpb"))
	require.NoError(t, err)
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		require.Positive(t, n, name)
		require.LessOrEqual(t, size, uint64(len(data)-n), name)
		end := n + int(size)
		twins = append(twins, data[n:end])
		data = data[end:]
	}
	return twins
}

// hasTwins tells whether there is one of each message.
func (v *vector) hasTwins(t *testing.T, twins [][]byte) bool {
	t.Helper()
	for i, m := range v.Messages {
		if _, reconnect := messageText(t, m); len(twins[i]) == 0 && !reconnect {
			return false
		}
	}
	return true
}
