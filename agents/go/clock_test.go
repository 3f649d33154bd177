package wsstats

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A clock that has gone wrong comes right within wallInterval.
func TestClock(t *testing.T) {
	for age, right := range map[time.Duration]bool{0: false, wallInterval / 2: false, 2 * wallInterval: true} {
		now := time.Now()
		c := newClock(now.Add(-age))
		c.wall -= int64(time.Hour)
		assert.InDelta(t, float64(age), float64(c.now()), float64(10*time.Second))
		got := time.Unix(0, c.unix(c.now()))
		assert.Equal(t, right, got.Sub(now).Abs() < 10*time.Second, "age %s", age)
	}
}
