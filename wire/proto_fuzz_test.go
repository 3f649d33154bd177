package wire

import (
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzDecodeProto holds the decoder of the binary form to the oracle, which is
// made of the protobuf library: they take the same messages and find the same rows.
func FuzzDecodeProto(f *testing.F) {
	seedProto(f)
	d, m := Decoder{Limits: small}, new(Message) // one for all, so that memory is used again
	f.Fuzz(func(t *testing.T, data []byte) {
		d.Definitions = nil
		seq := PeekSeqProto(data)
		rows, values := ProtoSize(data)
		want, ok := oracleDecodeProto(data, small)
		err := d.DecodeProto(data, m)
		require.Equal(t, ok, err == nil, "the decoder says %v", err)
		if err != nil {
			checkProtoError(t, err, seq)
			return
		}
		checkProtoRows(t, want, m)
		assert.Equal(t, m.Batch.Seq, seq)
		b := &m.Batch
		assert.GreaterOrEqual(t, rows, len(b.Connections)+len(b.Events)+len(b.Stats))
		assert.GreaterOrEqual(t, values, len(m.users)+len(m.elems)+len(m.links)+len(m.linkUsers)+len(m.nums))

		// What a numbered message defined changes nothing where it comes again.
		require.NoError(t, d.DecodeProto(data, m))
		checkProtoRows(t, want, m)
	})
}

func checkProtoRows(t *testing.T, want, m *Message) {
	t.Helper()
	got := rowsOf(m)
	r := m.Batch.Rejected
	assert.Equal(t, r.Count > 0, r.First != "")
	assert.Less(t, len(r.First), 1000)
	got.Batch.Rejected.First = ""
	require.Equal(t, rowsOf(want), got)
}

func checkProtoError(t *testing.T, err error, seq uint64) {
	t.Helper()
	var me *MessageError
	require.ErrorAs(t, err, &me)
	assert.NotEmpty(t, me.Text)
	assert.Contains(t, []string{CodeMalformed, CodeTooLarge, CodeUndefined}, me.Code)
	assert.Less(t, len(err.Error()), 1000)
	assert.True(t, utf8.ValidString(err.Error()))
	assert.Equal(t, me.Text == ErrInvalidUTF8.Error(), errors.Is(err, ErrInvalidUTF8))
	assert.Contains(t, []uint64{0, seq}, me.Seq)
}

// seedProto adds the seeds of the JSON form, in the binary one, and what only that one can say.
func seedProto(f *testing.F) {
	f.Helper()
	for _, text := range seedTexts(f) {
		d, m := Decoder{}, new(Message)
		if d.DecodeJSON([]byte(text), m) == nil {
			f.Add(appendProto(nil, m))
		}
	}
	for _, s := range protoSamples() {
		f.Add(s.data)
	}
}
