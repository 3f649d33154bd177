package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// session is a connection to the receiver.
type session struct {
	ws      *websocket.Conn
	replies chan *wire.Reply // closed at its end, code is valid then
	stop    chan struct{}    // closed: replies are not read any more
	code    int              // of the close frame, 0: none
	welcome wire.Welcome
	window  int64
	sentAt  time.Time // when the batch at hand was sent in it; zero: not yet
	silent  bool      // it ends because the receiver says nothing
}

// tooLarge tells whether a batch, of that many bytes, is over the receiver's limits.
func (s *session) tooLarge(b *wire.Batch, size int) bool {
	w := &s.welcome
	return w.MaxMessageBytes > 0 && int64(size) > w.MaxMessageBytes || w.MaxEvents > 0 && len(b.Events) > w.MaxEvents
}

// brokeOnIt tells whether the end of the session speaks against the batch that was
// sent in it (docs/protocol.md, "Poison").
func (s *session) brokeOnIt() bool {
	if s.sentAt.IsZero() || s.silent {
		return false
	}
	if s.code == 0 {
		return time.Since(s.sentAt) <= poisonTime
	}
	return slices.Contains([]int{1002, 1003, 1007, 1008, 1009, 1011}, s.code)
}

// dial opens a session up to its welcome.
func (l *link) dial(ctx context.Context) (*session, error) {
	header := http.Header{}
	if l.o.token != "" {
		header.Set("Authorization", "Bearer "+l.o.token)
	}
	dialer := websocket.Dialer{HandshakeTimeout: l.o.drain, Subprotocols: []string{wire.SubprotocolJSON}, Proxy: http.ProxyFromEnvironment}
	ws, resp, err := dialer.DialContext(ctx, l.o.url.String(), header)
	switch {
	case err != nil && resp != nil:
		_ = resp.Body.Close()
		return nil, fmt.Errorf("receiver refuses: status %s", resp.Status)
	case err != nil:
		return nil, errors.New("receiver not reached")
	}
	ws.SetReadLimit(64 << 10)
	s := &session{ws: ws, replies: make(chan *wire.Reply), stop: make(chan struct{})}
	go s.read()
	hello := wire.AppendJSON(nil, &wire.Message{Form: wire.FormHello, Hello: l.hello})
	if err := ws.WriteMessage(websocket.TextMessage, hello); err != nil {
		s.end()
		return nil, errors.New("receiver not reached")
	}
	timer := time.NewTimer(min(unknownSilence, l.o.drain))
	defer timer.Stop()
	for {
		select {
		case reply, ok := <-s.replies:
			if !ok {
				s.end()
				return nil, fmt.Errorf("receiver ended the session with %d", s.code)
			}
			if reply.Welcome != nil {
				s.welcome, s.window = *reply.Welcome, reply.Welcome.WindowBytes
				return s, nil
			}
		case <-timer.C:
			s.end()
			return nil, errors.New("receiver does not answer")
		case <-ctx.Done():
			s.end()
			return nil, ctx.Err()
		}
	}
}

// read hands on what the receiver says, and answers its pings.
func (s *session) read() {
	defer close(s.replies)
	for {
		_, data, err := s.ws.ReadMessage()
		if err != nil {
			var closed *websocket.CloseError
			if errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure { // which no frame says
				s.code = closed.Code
			}
			return
		}
		reply, err := wire.DecodeReply(data)
		if err != nil {
			continue // not of version 1: what it waits for does not come
		}
		select {
		case s.replies <- &reply:
		case <-s.stop:
			return
		}
	}
}

// end closes the session and waits for its reader.
func (s *session) end() {
	close(s.stop)
	_ = s.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	_ = s.ws.Close()
	for range s.replies {
	}
}
