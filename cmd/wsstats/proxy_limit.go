package main

import (
	"net/http"
	"sync/atomic"
)

// limiter turns away WebSockets where there are enough. It stands behind the tap,
// which reports them as handshakes that failed with 503.
type limiter struct {
	next       http.Handler
	most       int // 0: any number
	open       inFlight
	turnedAway atomic.Uint64
}

// ServeHTTP implements http.Handler.
func (l *limiter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.most == 0 || r.Header.Get("Upgrade") == "" {
		l.next.ServeHTTP(w, r)
		return
	}
	if !l.open.beginBelow(l.most) {
		l.turnedAway.Add(1)
		w.Header().Set("Retry-After", "5")
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	}
	defer l.open.end()
	l.next.ServeHTTP(w, r)
}
