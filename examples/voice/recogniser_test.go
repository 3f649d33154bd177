package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every note of four octaves is heard as what it is, whatever the loudness.
//
// Red when: pitch counts from the beginning of the chunk, and not between crossings.
func TestPitch(t *testing.T) {
	for n := note(48); n <= 96; n++ {
		for chunk := range slices.Chunk(tone(n, 5), chunkBytes) {
			got, ok := pitch(chunk)
			assert.True(t, ok)
			assert.Equal(t, n, got, "%s", n)
		}
	}
	_, ok := pitch(silence(1))
	assert.False(t, ok)
	_, ok = pitch(nil)
	assert.False(t, ok)
	assert.Equal(t, "A4", note(69).String())
	assert.Equal(t, "C4", note(60).String())
}

func TestRecogniser(t *testing.T) {
	for _, tc := range []struct {
		name  string
		pcm   []byte
		want  []heard // without nothing
		notes []note
	}{
		{"silence", silence(100), nil, nil},
		{"a turn", slices.Concat(tone(60, 10), tone(64, 10), silence(silenceChunks)), []heard{turnBegan, noteHeard, noteHeard, turnEnded}, []note{60, 64}},
		{"a pause in a turn", slices.Concat(tone(60, 10), silence(silenceChunks-1), tone(60, 10)), []heard{turnBegan, noteHeard, noteHeard}, []note{60, 60}},
		{"too short for a note", slices.Concat(tone(60, noteChunks-1), tone(64, noteChunks-1), silence(silenceChunks)), []heard{turnBegan, turnEnded}, nil},
		{
			"two turns", slices.Concat(tone(60, 10), silence(silenceChunks), tone(72, 10), silence(silenceChunks)),
			[]heard{turnBegan, noteHeard, turnEnded, turnBegan, noteHeard, turnEnded},
			[]note{72},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r recogniser
			var got []heard
			for chunk := range slices.Chunk(tc.pcm, chunkBytes) {
				if h := r.hear(chunk); h != nothing {
					got = append(got, h)
				}
			}
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.notes, r.notes)
		})
	}
}
