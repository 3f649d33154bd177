package wire

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSeedsAllocateNothing(t *testing.T) {
	var sink SpanID
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		s := MessageSeed("5f0cc1d27f1e4c0e8b7a3f0d3c0a9e11", "m-1")
		s.TraceID(1, SlotClientData)
		sink = s.SpanID(1, SlotClientData, KindSend, RoleClient)
	}))
	assert.NotZero(t, sink)
}

func TestSeedsDiffer(t *testing.T) {
	seeds := []Seed{ConnectionSeed("a"), ConnectionSeed(""), MessageSeed("a", ""), MessageSeed("a", "b"), InstanceSeed("a"), InstanceSeed("")}
	seen := map[Seed]bool{}
	for _, s := range seeds {
		assert.False(t, seen[s])
		seen[s] = true
	}
}

func TestThresholdBounds(t *testing.T) {
	assert.Equal(t, NeverSampled, ThresholdFromRatio(math.NaN()))
	assert.Equal(t, NeverSampled-1, ThresholdFromRatio(math.SmallestNonzeroFloat64))
	assert.Equal(t, NeverSampled-1, ThresholdFromRatio(0x1p-56))
	for ratio := 1.0; ratio > 1e-18; ratio *= 0.83 {
		th := ThresholdFromRatio(ratio)
		assert.Less(t, th, NeverSampled, ratio)
		back, ok := ParseThreshold(FormatThreshold(th))
		assert.True(t, ok)
		assert.Equal(t, th, back)
		if ratio > 1e-12 {
			assert.InEpsilon(t, ratio, 1-float64(th)/(1<<56), 1e-3)
		}
	}
	for _, s := range []string{"", "g", "E", "0x1", "100000000000001", "123456789abcdef"} {
		_, ok := ParseThreshold(s)
		assert.False(t, ok, s)
	}
	for _, s := range []string{"", "1", "123456789abcd", "123456789abcdef", "123456789abcdG"} {
		_, ok := ParseRandomness(s)
		assert.False(t, ok, s)
	}
	id, _ := ParseTraceID("4bf92f3577b34da6a3ce929d0e0e4736")
	assert.EqualValues(t, 0xce929d0e0e4736, TraceRandomness(id))
}
