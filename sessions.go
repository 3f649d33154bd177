package wsstatsreceiver

import (
	"context"
	"net"
	"sync"
)

// sessionSet knows all sessions, which an http.Server forgets once their
// connections are hijacked.
type sessionSet struct {
	addr net.Addr // where the server listens

	mu         sync.Mutex
	sessions   map[*session]struct{}
	reserved   int            // sessions and upgrades under way
	perAddress map[string]int // of reserved
	isDraining bool
	idle       chan struct{} // closed when draining and none is left
}

// reserve takes a place for a session. It returns why there is none, or "".
func (s *sessionSet) reserve(address string, limits LimitsConfig) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isDraining:
		return refusedShutdown
	case s.reserved >= limits.Sessions:
		return refusedSessions
	case s.perAddress[address] >= limits.SessionsPerAddress:
		return refusedPerAddress
	}
	if s.sessions == nil {
		s.sessions = make(map[*session]struct{})
		s.perAddress = make(map[string]int)
	}
	s.reserved++
	s.perAddress[address]++
	return ""
}

// release gives a place back.
func (s *sessionSet) release(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved--
	if s.perAddress[address]--; s.perAddress[address] == 0 {
		delete(s.perAddress, address)
	}
	if s.isDraining && s.reserved == 0 {
		close(s.idle)
	}
}

// add makes a session known. It tells whether sessions are draining by now.
func (s *sessionSet) add(session *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[session] = struct{}{}
	return s.isDraining
}

// remove forgets a session and gives its place back.
func (s *sessionSet) remove(session *session) {
	s.mu.Lock()
	delete(s.sessions, session)
	s.mu.Unlock()
	s.release(session.address)
}

func (s *sessionSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

func (s *sessionSet) draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isDraining
}

func (s *sessionSet) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*session, 0, len(s.sessions))
	for session := range s.sessions {
		all = append(all, session)
	}
	return all
}

// drain refuses new sessions and sends all agents away.
func (s *sessionSet) drain() {
	s.mu.Lock()
	s.isDraining = true
	s.idle = make(chan struct{})
	if s.reserved == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	for _, session := range s.all() {
		go session.goAway("shutdown") // which may wait for an agent that does not read
	}
}

// wait returns true when no session is left, false where the context ends before.
func (s *sessionSet) wait(ctx context.Context) bool {
	select {
	case <-s.idle:
		return true
	case <-ctx.Done():
		return false
	}
}

// abort cuts all connections and cancels what they have in hand.
func (s *sessionSet) abort() {
	for _, session := range s.all() {
		session.abort()
	}
}
