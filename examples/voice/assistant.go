package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

const (
	maxMessageBytes = 64 << 10
	writeWait       = 5 * time.Second
	idleTimeout     = 5 * time.Minute // of a speaker who says nothing
)

// assistant is the server: it listens to speakers, writes down what they sing,
// and tells them what it was.
type assistant struct {
	wordEvery time.Duration // between two words of a response
	upgrader  websocket.Upgrader

	mu       sync.Mutex
	sessions map[*session]struct{}
	closing  bool
	serving  sync.WaitGroup
	total    counts
}

func newAssistant(wordEvery time.Duration) *assistant {
	return &assistant{
		wordEvery: wordEvery,
		upgrader:  websocket.Upgrader{HandshakeTimeout: writeWait},
		sessions:  map[*session]struct{}{},
	}
}

func (a *assistant) counts() counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// ServeHTTP upgrades the request and serves the speaker until it is gone.
func (a *assistant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &session{assistant: a}
	if !a.enter(s) {
		http.Error(w, "the assistant is closing", http.StatusServiceUnavailable)
		return
	}
	defer a.leave(s)
	ws, err := a.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer ws.Close()
	a.mu.Lock()
	s.ws, s.conn = ws, wsstats.ConnectionFromContext(r.Context())
	s.counts.Sessions = 1
	if a.closing {
		s.goAway()
	}
	a.mu.Unlock()
	s.serve(context.WithoutCancel(r.Context()))
}

func (a *assistant) enter(s *session) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing {
		return false
	}
	a.serving.Add(1)
	a.sessions[s] = struct{}{}
	return true
}

func (a *assistant) leave(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, s)
	a.total.add(s.counts)
	a.serving.Done()
}

// shutdown tells every speaker that the server goes away (1001), waits until
// they are gone, and cuts those that are left when ctx ends.
func (a *assistant) shutdown(ctx context.Context) error {
	a.mu.Lock()
	a.closing = true
	for s := range a.sessions {
		s.goAway()
	}
	a.mu.Unlock()

	gone := make(chan struct{})
	go func() { a.serving.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	left := len(a.sessions)
	for s := range a.sessions {
		if s.ws != nil {
			s.ws.Close()
		}
	}
	a.mu.Unlock()
	<-gone
	return fmt.Errorf("%d speakers did not leave in time: %w", left, ctx.Err())
}
