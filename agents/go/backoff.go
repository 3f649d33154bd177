package wsstats

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// timing are the times of the link. Tests shorten them.
type timing struct {
	firstJitter  time.Duration // the first connect waits up to this
	minBackoff   time.Duration // of the first retry, doubled by each
	maxBackoff   time.Duration
	stable       time.Duration // a session this long begins the backoff anew
	maxRetry     time.Duration // no receiver may ask for a longer pause
	minNackRetry time.Duration // the least pause after a retryable nack
	handshake    time.Duration // from dial to the 101
	silence      time.Duration // the longest silence where the heartbeat is not known
	goaway       time.Duration // from a goaway to the close
	poison       time.Duration // an end so soon after a send may be that message's doing
	closing      time.Duration // for the peer's close frame, or after a failed write
	shutdown     time.Duration // of a Shutdown without a deadline
}

var defaultTiming = timing{
	firstJitter:  100 * time.Millisecond,
	minBackoff:   500 * time.Millisecond,
	maxBackoff:   30 * time.Second,
	stable:       30 * time.Second,
	maxRetry:     5 * time.Minute,
	minNackRetry: 100 * time.Millisecond,
	handshake:    10 * time.Second,
	silence:      30 * time.Second,
	goaway:       10 * time.Second,
	poison:       5 * time.Second,
	closing:      time.Second,
	shutdown:     5 * time.Second,
}

// backoff is exponential with full jitter: many agents that lost the same
// receiver at once do not come back at once.
type backoff struct {
	min, max time.Duration
	attempt  int
}

// next returns the next pause, between 0 and a ceiling that doubles.
func (b *backoff) next() time.Duration {
	ceiling := b.max
	if b.attempt < 20 {
		ceiling = min(b.max, b.min<<b.attempt)
		b.attempt++
	}
	return jitter(ceiling)
}

func (b *backoff) reset() { b.attempt = 0 }

// jitter returns a random duration in [0, d].
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d + 1)
}

// retryAfter reads the header Retry-After (RFC 9110 section 10.2.3), 0 where it
// is absent or cannot be read.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// milliseconds reads a pause that a receiver asks for, at least least and at most most.
func milliseconds(ms int64, least, most time.Duration) time.Duration {
	return min(max(time.Duration(min(max(ms, 0), int64(most/time.Millisecond)))*time.Millisecond, least), most)
}
