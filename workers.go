package wsstatsreceiver

import (
	"runtime"
	"sync/atomic"
)

// workers work for the sessions that have messages, one goroutine a session. A
// few that are done wait for the next session: their stacks have grown by then,
// which costs a new goroutine as much as a twentieth of a message.
type workers struct {
	hand    chan *session
	waiting atomic.Int32
	most    int32 // that wait
	stop    <-chan struct{}
}

func newWorkers(stop <-chan struct{}) *workers {
	return &workers{hand: make(chan *session), most: int32(runtime.GOMAXPROCS(0)), stop: stop}
}

// begin has a session's messages answered. It does not wait.
func (w *workers) begin(s *session) {
	select {
	case w.hand <- s:
	default:
		go w.run(s)
	}
}

func (w *workers) run(s *session) {
	for {
		s.work()
		if w.waiting.Add(1) > w.most {
			w.waiting.Add(-1)
			return
		}
		select {
		case s = <-w.hand:
			w.waiting.Add(-1)
		case <-w.stop:
			return
		}
	}
}
