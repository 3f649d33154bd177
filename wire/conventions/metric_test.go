package conventions

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Red when: the bounds are not those of docs/conventions.md.
func TestBounds(t *testing.T) {
	ends := func(m Metric) [2]float64 { return [2]float64{m.Bounds[0], m.Bounds[len(m.Bounds)-1]} }
	assert.Equal(t, [2]float64{16, 16 << 20}, ends(MessageSize))
	assert.Equal(t, [2]float64{1, 65536}, ends(QueueSize))
	assert.Equal(t, [2]float64{0.0001, 10}, ends(PingRTT))
	assert.Equal(t, [2]float64{1, 24 * 3600}, ends(ConnectionDuration))
	for i := 1; i < len(MessageSize.Bounds); i++ {
		assert.InDelta(t, 4, MessageSize.Bounds[i]/MessageSize.Bounds[i-1], 0)
	}
	for _, m := range []Metric{MessageSize, QueueSize, PingRTT, ConnectionDuration} {
		assert.True(t, slices.IsSorted(m.Bounds), m.Name)
	}
}

// Red when: a value that is no short name becomes the attribute of a metric.
func TestToken(t *testing.T) {
	for _, s := range []string{"timeout", "EOF", "net.OpError", "a:b_c-9", strings.Repeat("x", 64)} {
		assert.Equal(t, s, Token(s))
	}
	for _, s := range []string{"", "no spaces", "é", "a/b", strings.Repeat("x", 65)} {
		assert.Equal(t, Other, Token(s), s)
	}
}
