package main

const (
	noteChunks    = 3  // of one pitch, from which on it is a note
	silenceChunks = 10 // after which a turn has ended
)

// heard is what one more chunk of audio has brought.
type heard int

// The values of heard.
const (
	nothing heard = iota
	turnBegan
	noteHeard // the last of recogniser.notes
	turnEnded // recogniser.notes are the turn's
)

// recogniser finds speech and silence by loudness, and the notes of what is
// sung by their pitch. The zero value hears silence.
type recogniser struct {
	notes   []note // of the turn, or of the last one
	talking bool
	quiet   int // chunks of silence in a row

	pitch note // of the last chunk
	run   int  // chunks of that pitch in a row
}

// hear takes a chunk of audio.
func (r *recogniser) hear(pcm []byte) heard {
	if !isSpeech(pcm) {
		r.run = 0
		if !r.talking {
			return nothing
		}
		if r.quiet++; r.quiet < silenceChunks {
			return nothing
		}
		r.talking = false
		return turnEnded
	}
	r.quiet = 0
	n, ok := pitch(pcm)
	if !ok || n != r.pitch {
		r.run = 0
	}
	r.pitch = n
	r.run++
	if !r.talking {
		r.talking, r.notes = true, nil
		return turnBegan
	}
	if r.run != noteChunks {
		return nothing
	}
	r.notes = append(r.notes, n)
	return noteHeard
}
