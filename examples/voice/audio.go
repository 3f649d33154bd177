package main

import (
	"encoding/binary"
	"math"
	"strconv"
)

// The audio is raw PCM of 16 bits, little-endian, one channel, 16,000 samples a
// second, in chunks of 20 ms.
const (
	sampleRate   = 16_000
	chunkMillis  = 20
	chunkSamples = sampleRate * chunkMillis / 1000
	chunkBytes   = 2 * chunkSamples

	amplitude = 8000 // of what the speaker says
	loud      = 500  // root mean square from which on a chunk is speech
)

var noteNames = [12]string{"C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"}

// A note is a key of the piano as MIDI counts them, from 0: A4, which has 440 Hz, is 69.
type note int

func (n note) String() string { return noteNames[n%12] + strconv.Itoa(int(n)/12-1) }

func (n note) frequency() float64 { return 440 * math.Pow(2, float64(n-69)/12) }

// tone returns a note as audio, in whole chunks.
func tone(n note, chunks int) []byte {
	pcm := make([]byte, 0, chunks*chunkBytes)
	for i := range chunks * chunkSamples {
		sample := amplitude * math.Sin(2*math.Pi*n.frequency()*float64(i)/sampleRate)
		pcm = binary.LittleEndian.AppendUint16(pcm, uint16(int16(sample)))
	}
	return pcm
}

// silence returns nothing to be heard, in whole chunks.
func silence(chunks int) []byte { return make([]byte, chunks*chunkBytes) }

// isSpeech tells whether the audio is loud enough to be speech.
func isSpeech(pcm []byte) bool {
	sum := 0.0
	for i := 0; i+1 < len(pcm); i += 2 {
		s := sample(pcm, i)
		sum += s * s
	}
	return sum >= loud*loud*float64(len(pcm)/2)
}

// pitch returns the note that is heard: that of the mean time between two
// upward crossings of zero. Without two of them there is none; a chunk has two
// from 100 Hz on.
func pitch(pcm []byte) (note, bool) {
	first, last, periods := 0, 0, -1
	for i := 2; i+1 < len(pcm); i += 2 {
		if sample(pcm, i-2) >= 0 || sample(pcm, i) < 0 {
			continue
		}
		last = i / 2
		if periods++; periods == 0 {
			first = last
		}
	}
	if periods < 1 {
		return 0, false
	}
	frequency := sampleRate * float64(periods) / float64(last-first)
	return note(math.Round(69 + 12*math.Log2(frequency/440))), true
}

func sample(pcm []byte, i int) float64 {
	return float64(int16(binary.LittleEndian.Uint16(pcm[i:])))
}
