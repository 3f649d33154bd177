package wsstats

import "time"

// wallInterval is how long a connection's clock goes without a look at the
// system's, which may be set meanwhile.
const wallInterval = time.Minute

// clock tells the time since a connection was opened. It reads the monotonic
// clock alone, which costs half of time.Now, on every read and write.
type clock struct {
	opened time.Time
	wall   int64         // Unix ns of opened, by the latest look
	looked time.Duration // when that was
}

func newClock(opened time.Time) clock { return clock{opened: opened, wall: opened.UnixNano()} }

// now is the time since the opening.
func (c *clock) now() time.Duration {
	d := time.Since(c.opened)
	if d-c.looked > wallInterval {
		c.looked, c.wall = d, time.Now().UnixNano()-int64(d)
	}
	return d
}

// unix is a time since the opening as Unix ns.
func (c *clock) unix(d time.Duration) int64 { return c.wall + int64(d) }
