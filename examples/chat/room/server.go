package room

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	maxMessageBytes = 4096
	outboxSize      = 64
	writeWait       = 5 * time.Second
)

// Server is the chat's http.Handler: each request is upgraded to a WebSocket
// and becomes a member. Use NewServer.
type Server struct {
	pingEvery time.Duration
	upgrader  websocket.Upgrader

	mu      sync.Mutex
	rooms   map[string]map[*member]struct{}
	members map[*member]struct{}
	closing bool
	serving sync.WaitGroup

	connections, sent, received atomic.Int64
}

// NewServer returns a server that pings each member every pingEvery and gives
// up on one that has not answered for three times as long.
func NewServer(pingEvery time.Duration) *Server {
	return &Server{
		pingEvery: pingEvery,
		upgrader:  websocket.Upgrader{HandshakeTimeout: writeWait},
		rooms:     map[string]map[*member]struct{}{},
		members:   map[*member]struct{}{},
	}
}

// Counts returns what the server has seen so far.
func (s *Server) Counts() Counts {
	return Counts{Connections: s.connections.Load(), Sent: s.sent.Load(), Received: s.received.Load()}
}

// ServeHTTP upgrades the request and serves the member until it is gone.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		http.Error(w, "the chat is closing", http.StatusServiceUnavailable)
		return
	}
	defer s.serving.Done()

	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()

	m := &member{server: s, conn: conn, outbox: make(chan Message, outboxSize)}
	s.connections.Add(1)
	if s.add(m) {
		m.serve()
	} else {
		m.goAway()
	}
}

// Shutdown tells every member that the server goes away (code 1001), waits
// until they are gone, and cuts those that are left when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for m := range s.members {
		m.goAway()
	}
	s.mu.Unlock()

	gone := make(chan struct{})
	go func() { s.serving.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	left := len(s.members)
	for m := range s.members {
		m.conn.Close()
	}
	s.mu.Unlock()
	<-gone
	return fmt.Errorf("%d members did not leave in time: %w", left, ctx.Err())
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.serving.Add(1)
	return true
}

func (s *Server) add(m *member) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.members[m] = struct{}{}
	return true
}

func (s *Server) remove(m *member) {
	s.leave(m)
	s.mu.Lock()
	delete(s.members, m)
	s.mu.Unlock()
}

// handle acts on one message of a member.
func (s *Server) handle(m *member, data []byte) {
	s.received.Add(1)
	var msg Message
	if err := json.Unmarshal(data, &msg); err != nil {
		m.post(Message{Type: TypeError, Text: "expected a JSON object"})
		return
	}
	switch {
	case msg.Type == TypeJoin && (msg.Room == "" || msg.User == ""):
		m.post(Message{Type: TypeError, Text: "join needs a room and a user"})
	case msg.Type == TypeJoin:
		s.leave(m)
		s.join(m, msg.Room, msg.User)
	case msg.Type == TypeTalk && m.room == "":
		m.post(Message{Type: TypeError, Text: "join a room first"})
	case msg.Type == TypeTalk:
		s.broadcast(Message{Type: TypeTalk, Room: m.room, User: m.user, Text: msg.Text})
	case msg.Type == TypeLeave:
		m.post(Message{Type: TypeLeft, Room: m.room, User: m.user})
		s.leave(m)
	default:
		m.post(Message{Type: TypeError, Text: "type must be join, talk or leave"})
	}
}

func (s *Server) join(m *member, room, user string) {
	m.room, m.user = room, user
	s.mu.Lock()
	if s.rooms[room] == nil {
		s.rooms[room] = map[*member]struct{}{}
	}
	s.rooms[room][m] = struct{}{}
	s.mu.Unlock()
	s.broadcast(Message{Type: TypeJoined, Room: room, User: user})
}

// leave takes m out of its room, if it is in one, and tells those who stay.
func (s *Server) leave(m *member) {
	if m.room == "" {
		return
	}
	room := m.room
	m.room = ""
	s.mu.Lock()
	delete(s.rooms[room], m)
	if len(s.rooms[room]) == 0 {
		delete(s.rooms, room)
	}
	s.mu.Unlock()
	s.broadcast(Message{Type: TypeLeft, Room: room, User: m.user})
}

// broadcast posts msg to everybody in its room.
func (s *Server) broadcast(msg Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.rooms[msg.Room] {
		m.post(msg)
	}
}
