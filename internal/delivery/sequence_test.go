package delivery

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSequence(t *testing.T) {
	type step struct {
		do      func(*Sequence, uint64) // after the verdict
		seq     uint64
		verdict Verdict
		gap     uint64
		last    uint64
	}
	taken, half := (*Sequence).Taken, (*Sequence).HalfTaken
	refused := func(*Sequence, uint64) {}
	tests := map[string][]step{
		"in order":                {{taken, 1, Take, 0, 1}, {taken, 2, Take, 0, 2}},
		"after a restart":         {{taken, 100, Take, 0, 100}, {taken, 101, Take, 0, 101}},
		"duplicates":              {{taken, 5, Take, 0, 5}, {refused, 5, Duplicate, 0, 5}, {refused, 1, Duplicate, 0, 5}, {taken, 6, Take, 0, 6}},
		"a gap":                   {{taken, 1, Take, 0, 1}, {taken, 4, Take, 2, 4}, {taken, 5, Take, 0, 5}, {refused, 3, Duplicate, 0, 5}},
		"a refused gap is one":    {{taken, 1, Take, 0, 1}, {refused, 4, Take, 2, 1}, {taken, 4, Take, 2, 4}},
		"refused for now":         {{taken, 1, Take, 0, 1}, {refused, 2, Take, 0, 1}, {taken, 2, Take, 0, 2}},
		"half taken":              {{half, 1, Take, 0, 0}, {refused, 1, Finish, 0, 0}, {half, 1, Finish, 0, 0}, {taken, 1, Finish, 0, 1}, {refused, 1, Duplicate, 0, 1}},
		"half taken after a gap":  {{taken, 1, Take, 0, 1}, {half, 3, Take, 1, 1}, {taken, 3, Finish, 1, 3}},
		"another after a half":    {{half, 2, Take, 0, 0}, {taken, 3, Take, 0, 3}, {refused, 2, Duplicate, 0, 3}},
		"one before the half":     {{half, 2, Take, 0, 0}, {taken, 1, Take, 0, 1}, {taken, 2, Take, 0, 2}},
		"the half is another now": {{half, 2, Take, 0, 0}, {half, 3, Take, 0, 0}, {taken, 3, Finish, 0, 3}},
		"the largest number":      {{taken, 1, Take, 0, 1}, {taken, math.MaxUint64, Take, math.MaxUint64 - 2, math.MaxUint64}, {refused, math.MaxUint64, Duplicate, 0, math.MaxUint64}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var s Sequence
			for i, st := range steps {
				v, gap := s.Judge(st.seq)
				assert.Equal(t, st.verdict, v, "step %d", i)
				assert.Equal(t, st.gap, gap, "step %d", i)
				st.do(&s, st.seq)
				assert.Equal(t, st.last, s.Last(), "step %d", i)
			}
		})
	}
	var s Sequence
	s.Taken(5)
	s.Taken(3)
	assert.EqualValues(t, 5, s.Last(), "it never goes back")
}

// Red when: what was refused is forgotten before the agent has heard of it, or
// never is.
func TestRefused(t *testing.T) {
	var s Sequence
	s.Taken(1)
	s.Refuse(2)
	s.Taken(3)
	s.Refuse(4)
	assert.Equal(t, []uint64{2, 4}, s.Refused())
	assert.EqualValues(t, 4, s.Last())
	v, _ := s.Judge(2)
	assert.Equal(t, Duplicate, v)
	s.Heard(1)
	assert.Equal(t, []uint64{2, 4}, s.Refused())
	s.Heard(3)
	assert.Equal(t, []uint64{4}, s.Refused())
	s.Heard(4)
	assert.Empty(t, s.Refused())
	for seq := uint64(5); seq < 5+2*maxRefused; seq++ {
		s.Refuse(seq)
	}
	assert.Len(t, s.Refused(), maxRefused)
	assert.EqualValues(t, 5+2*maxRefused-1, s.Refused()[maxRefused-1], "the last ones")
}
