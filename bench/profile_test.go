package main

import (
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
)

func TestShares(t *testing.T) {
	sample := func(cpu int64, stack ...string) *profile.Sample {
		s := &profile.Sample{Value: []int64{1, cpu}}
		for _, name := range stack { // the innermost first
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}})
		}
		return s
	}
	const receiver = "github.com/wsstats/wsstatsreceiver"
	work := receiver + ".(*session).work"
	got := shares(&profile.Profile{Sample: []*profile.Sample{
		sample(30, "memmove", receiver+"/wire.(*Decoder).DecodeProto", work),
		sample(20, "runtime.nextFreeFast", "runtime.mallocgc", receiver+".(*translator).traces", work),
		sample(10, "runtime.scanObject", "runtime.gcAssistAlloc", "runtime.mallocgc", receiver+".(*translator).traces", work),
		sample(15, receiver+".(*translator).traces", work),
		sample(25, work),
	}})
	assert.Equal(t, map[string]float64{"decoding": 0.3, "allocation": 0.2, "garbage": 0.1, "spans": 0.15}, got)
}
