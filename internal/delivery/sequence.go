// Package delivery keeps what makes a message count once: the numbers of agent
// instances, who holds them, and the bytes that all sessions have in hand.
package delivery

import "slices"

// Verdict says what to do with a numbered message.
type Verdict uint8

// The verdicts.
const (
	Take      Verdict = iota
	Finish            // traces were taken before, the rest was refused
	Duplicate         // taken before: acknowledge, do not consume
)

// Sequence remembers which numbers of an instance were taken. The zero value
// knows of none.
type Sequence struct {
	last    uint64
	half    uint64   // its traces were taken, its metrics were refused; 0: none
	refused []uint64 // up to last, refused for good, and perhaps not heard of; ascending
}

// maxRefused bounds what an agent is told again.
const maxRefused = 64

// Last is the highest number that was taken, 0 where none is known.
func (s *Sequence) Last() uint64 { return s.last }

// Judge says what to do with a number, and how many numbers were left out
// between it and the last one. After a restart no last number is known, and
// the first one is no gap.
func (s *Sequence) Judge(seq uint64) (v Verdict, gap uint64) {
	switch {
	case seq <= s.last:
		return Duplicate, 0
	case seq == s.half:
		v = Finish
	}
	if s.last != 0 {
		gap = seq - s.last - 1
	}
	return v, gap
}

// Taken says that the number was taken.
func (s *Sequence) Taken(seq uint64) {
	s.last = max(s.last, seq)
	s.half = 0
}

// Refuse says that the number was refused for good, and is done with like one
// that was taken. As Last covers it, an agent that did not hear of it would
// believe that it was taken.
func (s *Sequence) Refuse(seq uint64) {
	s.Taken(seq)
	s.refused = append(s.refused, seq)
	if len(s.refused) > maxRefused {
		s.refused = slices.Delete(s.refused, 0, 1)
	}
}

// Refused returns the numbers up to Last that were refused for good and that
// the agent may not have heard of, the last 64 of them.
func (s *Sequence) Refused() []uint64 { return slices.Clone(s.refused) }

// Heard says that the agent knows of all that was refused up to a number.
func (s *Sequence) Heard(seq uint64) {
	if len(s.refused) > 0 && s.refused[0] <= seq {
		s.refused = slices.DeleteFunc(s.refused, func(refused uint64) bool { return refused <= seq })
	}
}

// HalfTaken says that the traces of a number were taken and its metrics were refused.
func (s *Sequence) HalfTaken(seq uint64) { s.half = seq }
