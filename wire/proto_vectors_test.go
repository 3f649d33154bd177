package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

var update = flag.Bool("update", false, "write the binary twins of protocol/vectors")

// Each case of protocol/vectors/messages has a twin in the binary form, which
// decodes to the same rows: its messages one after the other, each after its
// length. A length of 0 stands for a message without a twin.
func TestBinaryVectors(t *testing.T) {
	paths, err := filepath.Glob("../protocol/vectors/messages/*/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	twins := 0
	for _, path := range paths {
		twin := strings.TrimSuffix(path, ".json") + ".binpb"
		steps := vectorSteps(t, path)
		if *update {
			require.NoError(t, os.WriteFile(twin, encodeSteps(t, steps), 0o600))
		}
		data, err := os.ReadFile(twin)
		require.NoError(t, err, "go test -run TestBinaryVectors ./wire -update writes it")
		require.Equal(t, encodeSteps(t, steps), data, "%s is not what the encoder writes", twin)
		twins += compareTwin(t, path, steps, data)
	}
	assert.Greater(t, twins, 300)
	found, err := filepath.Glob("../protocol/vectors/messages/*/*.binpb")
	require.NoError(t, err)
	assert.Len(t, found, len(paths), "twins without a case")
}

// vectorStep is a message of a case, or the end of a session.
type vectorStep struct {
	text      string
	reconnect bool
}

func vectorSteps(t testing.TB, path string) (steps []vectorStep) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var v struct{ Messages []json.RawMessage }
	require.NoError(t, json.Unmarshal(data, &v))
	for _, m := range v.Messages {
		var step struct {
			Raw       *string
			Reconnect bool
		}
		_ = json.Unmarshal(m, &step) // an array is none of them
		switch {
		case step.Reconnect:
			steps = append(steps, vectorStep{reconnect: true})
		case step.Raw != nil:
			steps = append(steps, vectorStep{text: *step.Raw})
		default:
			steps = append(steps, vectorStep{text: string(m)})
		}
	}
	return steps
}

// whole is what a step says, nil where it is not taken whole: a row that is
// rejected has its index, and with it a place in ids, that a twin without it
// would not have.
func (s vectorStep) whole() *Message {
	m := new(Message)
	if s.reconnect || new(Decoder).DecodeJSON([]byte(s.text), m) != nil || m.Batch.Rejected.Count > 0 {
		return nil
	}
	return m
}

func (s vectorStep) hello() bool {
	m := s.whole()
	return m != nil && m.Form == FormHello
}

func encodeSteps(t *testing.T, steps []vectorStep) []byte {
	t.Helper()
	var e ProtoEncoder
	var b []byte
	for _, s := range steps {
		var data []byte
		if m := s.whole(); m != nil {
			data = appendWith(t, &e, m)
		}
		b = append(binary.AppendUvarint(b, uint64(len(data))), data...)
		if s.reconnect || s.hello() { // a welcome follows
			e.Reset()
		}
	}
	return b
}

// compareTwin compares the rows of the messages of a case, and returns how many have a twin.
func compareTwin(t *testing.T, path string, steps []vectorStep, data []byte) (twins int) {
	t.Helper()
	var d Decoder
	r, got := bytes.NewReader(data), new(Message)
	for i, s := range steps {
		size, err := binary.ReadUvarint(r)
		require.NoError(t, err, "%s: messages[%d]", path, i)
		message := make([]byte, size)
		_, err = r.Read(message)
		require.True(t, err == nil || size == 0, "%s: messages[%d]", path, i)
		if s.reconnect {
			d.Definitions = nil
		}
		want := s.whole()
		require.Equal(t, want == nil, size == 0, "%s: messages[%d]", path, i)
		if want == nil {
			continue
		}
		twins++
		require.NoError(t, d.DecodeProto(message, got), "%s: messages[%d]", path, i)
		require.NoError(t, proto.Unmarshal(message, new(wsstatspb.Message)), "%s: messages[%d]", path, i)
		a, b := rowsOf(want), rowsOf(got)
		a.Batch.TraceparentsIgnored = 0 // the binary form has none that is not 25 bytes
		sortUsers(a)
		sortUsers(b)
		require.Equal(t, a, b, "%s: messages[%d]", path, i)
	}
	assert.Zero(t, r.Len(), path)
	return twins
}
