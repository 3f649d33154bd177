package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSpreadOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{3}, spread{3, 3, 3}},
		{"odd", []float64{9, 1, 5}, spread{5, 1, 9}},
		{"even", []float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, spreadOf(tt.values)) })
	}
	assert.True(t, math.IsNaN(spreadOf(nil).Median))
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tt := range []struct {
		name   string
		values []float64
		p      float64
		want   float64
	}{
		{"the middle of 100", hundred, 0.5, 50},
		{"99 of 100", hundred, 0.99, 99},
		{"all of 100", hundred, 1, 100},
		{"next to nothing", hundred, 0.0001, 1},
		{"one", []float64{7}, 0.99, 7},
		{"two", []float64{7, 3}, 0.5, 3},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, percentile(tt.values, tt.p)) })
	}
	assert.True(t, math.IsNaN(percentile(nil, 0.5)))
}
