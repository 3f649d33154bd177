package main

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestGoal(t *testing.T) {
	for _, tt := range []struct {
		name            string
		goal            goal
		reached, passed bool
		by              float64
	}{
		{"over the least", goal{want: 25, gated: 12, got: 30}, true, true, 0.2},
		{"just the least", goal{want: 25, gated: 12, got: 25}, true, true, 0},
		{"between gate and goal", goal{want: 25, gated: 12, got: 12.5}, false, true, -0.5},
		{"under the gate", goal{want: 25, gated: 12, got: 11.9}, false, false, -0.524},
		{"under the most", goal{want: 48, gated: 50, most: true, got: 40}, true, true, 0.2},
		{"over the most, within the gate", goal{want: 48, gated: 50, most: true, got: 49}, false, true, -0.0204},
		{"over the gate", goal{want: 48, gated: 50, most: true, got: 96}, false, false, -0.5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.reached, tt.goal.reached())
			assert.Equal(t, tt.passed, tt.goal.passed())
			assert.InDelta(t, tt.by, tt.goal.by(), 0.001)
		})
	}
	missing := goal{want: 1, gated: 1, got: math.NaN()}
	assert.False(t, missing.reached())
	assert.False(t, missing.passed())
}

// measured is a report in which all ratios are what the goals ask for, times more.
func measured(more float64) *report {
	at := func(name string, cpu, bytes, p99 float64) result {
		one := func(v float64) spread { return spread{v, v, v} }
		return result{Peer: name, CPU: one(cpu), Rate: one(1e9 / cpu), Sent: one(bytes), P50: one(p99 / 2), P99: one(p99), Busy: one(1), Received: one(1), Allocated: one(1000), Peak: one(50 << 20)}
	}
	base := at(nameGRPC, 2500, 440, 0.010)
	base.Baseline = true
	duty := at(nameDuty, 3500, 440, 0.010)
	duty.Baseline = true
	return &report{
		Compare: []result{
			base, at(nameGRPCGzip, 4000, 80, 0.020), at(nameHTTPJSON, 5625, 900, 0.020),
			at(named(nameColumns, 0.01, layoutFlat), 100/more, 48/more, 0.001),
			at(named(nameColumns, 1, layoutFlat), 2500/3./more, 48/more, 0.005/more),
			at(named(nameColumns, 1, layoutScope), 2500/4.5/more, 48/more, 0.005/more),
			at(named(nameDerivedIDs, 1, layoutFlat), 800, 15/more, 0.005),
			at(named(nameJSON, 1, layoutFlat), 1250/more, 200, 0.005/more),
			at(named(nameJSON, 0.01, layoutFlat), 500/more, 200, 0.005),
		},
		Duty: []result{duty, at(named(nameColumns, 0.01, layoutFlat), 100/more, 48, 0.001)},
	}
}

func TestGate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		report *report
		want   string // the error
	}{
		{"all reached", measured(1.01), ""},
		{"missed by a third", func() *report {
			r := measured(0.75)
			r.Compare[4].Sent.Median = 48 // bytes have no slack: no noise is in them
			return r
		}(), ""},
		{"one far away", func() *report { r := measured(1.01); r.Compare[3].CPU.Median = 2000; return r }(), "1 gates were not passed"},
		{"nothing measured", &report{}, "6 gates were not passed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := tt.report.gate(&out)
			if tt.want == "" {
				assert.NoError(t, err, out.String())
				assert.NotContains(t, out.String(), "FAILED")
				return
			}
			assert.EqualError(t, err, tt.want)
			assert.Contains(t, out.String(), "FAILED")
		})
	}
}

func TestGoalsToOTLP(t *testing.T) {
	for _, tt := range []struct {
		more    float64
		reached bool
	}{{1.01, true}, {0.99, false}} {
		n := 0
		for _, g := range measured(tt.more).goals() {
			if strings.HasSuffix(g.what, "CPU less than OTLP gRPC") {
				n++
				assert.Equal(t, tt.reached, g.reached(), "%s: %v", g.what, g.got)
			}
		}
		assert.Equal(t, 5, n)
	}
}
