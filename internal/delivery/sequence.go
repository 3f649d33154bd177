// Package delivery keeps what makes a message count once: the numbers of agent
// instances, who holds them, and the bytes that all sessions have in hand.
package delivery

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
	last uint64
	half uint64 // its traces were taken, its metrics were refused; 0: none
}

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

// Taken says that the number was taken, or refused for good.
func (s *Sequence) Taken(seq uint64) {
	s.last = max(s.last, seq)
	s.half = 0
}

// HalfTaken says that the traces of a number were taken and its metrics were refused.
func (s *Sequence) HalfTaken(seq uint64) { s.half = seq }
