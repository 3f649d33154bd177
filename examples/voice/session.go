package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// session is one speaker, and what the assistant says to it. What is not
// guarded belongs to the goroutine that reads.
type session struct {
	assistant *assistant
	ws        *websocket.Conn
	conn      *wsstats.Connection // what the application tells of ws

	recogniser recogniser
	turn       int
	ctx        context.Context // of the turn: its span is the one under which the turn is recognised
	recognised func(error)     // ends that span

	interrupt context.CancelFunc // ends the response that is being streamed
	streaming sync.WaitGroup     // it is

	mu     sync.Mutex // of what is written
	counts counts
}

// serve reads until the connection ends.
func (s *session) serve(ctx context.Context) {
	s.ctx, s.recognised, s.interrupt = ctx, func(error) {}, func() {}
	s.ws.SetReadLimit(maxMessageBytes)
	s.send(ctx, event{Type: typeCreated})
	for {
		_ = s.ws.SetReadDeadline(time.Now().Add(idleTimeout))
		kind, data, err := s.ws.ReadMessage()
		if err != nil {
			break
		}
		// The tap has seen the message; this says which one it is that is handled.
		message := s.conn.Received(wsstats.MessageType(kind), len(data))
		if kind != websocket.BinaryMessage || len(data)%2 != 0 {
			s.conn.Failed("bad_audio", "application")
			s.send(ctx, event{Type: typeError, Text: "expected binary messages of 16-bit samples"})
			continue
		}
		s.counts.Chunks++
		s.hear(ctx, message, data)
	}
	s.interrupt()
	s.streaming.Wait()
	s.recognised(context.Canceled) // a turn that the speaker did not end
}

// hear acts on one chunk of audio.
func (s *session) hear(ctx context.Context, message wsstats.Message, pcm []byte) {
	switch s.recogniser.hear(pcm) {
	case turnBegan:
		// Whoever speaks while the assistant does is listened to (barge-in).
		s.interrupt()
		s.streaming.Wait()
		s.turn++
		s.counts.Turns++
		// One span lasts from the first chunk of the turn to its last one; one
		// for each of the 50 chunks a second would tell nothing more.
		s.ctx, s.recognised = s.conn.Process(ctx, message, wsstats.Int("voice.turn", s.turn))
		s.send(s.ctx, event{Type: typeSpeechStarted, Turn: s.turn})
	case noteHeard:
		notes := s.recogniser.notes
		s.send(s.ctx, event{Type: typeTranscriptDelta, Turn: s.turn, Text: notes[len(notes)-1].String()})
	case turnEnded:
		words := make([]string, len(s.recogniser.notes))
		for i, n := range s.recogniser.notes {
			words[i] = n.String()
		}
		s.recognised(nil)
		s.send(s.ctx, event{Type: typeTranscriptDone, Turn: s.turn, Text: strings.Join(words, " ")})
		s.respond(s.ctx, s.turn, response(words))
	case nothing:
	}
}

// response is what the assistant has to say about a melody.
func response(words []string) []string {
	text := fmt.Sprintf("That was a melody of %d notes, and a fine one: %s. Sing on whenever you like.", len(words), strings.Join(words, ", "))
	return strings.Fields(text)
}

// respond streams a response, word by word, until it is interrupted.
func (s *session) respond(ctx context.Context, turn int, words []string) {
	interrupted, interrupt := context.WithCancel(ctx)
	s.interrupt = interrupt
	s.streaming.Go(func() {
		defer interrupt()
		next := time.NewTicker(s.assistant.wordEvery)
		defer next.Stop()
		for _, word := range words {
			s.send(ctx, event{Type: typeResponseDelta, Turn: turn, Text: word})
			select {
			case <-next.C:
			case <-interrupted.Done():
				s.send(ctx, event{Type: typeResponseCanceled, Turn: turn})
				s.mu.Lock()
				s.counts.Interrupted++
				s.mu.Unlock()
				return
			}
		}
		s.send(ctx, event{Type: typeResponseDone, Turn: turn})
	})
}

// send sends an event. The span that is active in ctx is named in it, and the
// send links to it. A connection that fails is noticed where it is read.
func (s *session) send(ctx context.Context, e event) {
	if e.Turn > 0 {
		wsstats.Inject(ctx, &e.TraceFields)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return // it is of strings and integers alone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.Sending(ctx, wsstats.String("voice.event", e.Type))
	_ = s.ws.SetWriteDeadline(time.Now().Add(writeWait))
	if s.ws.WriteMessage(websocket.TextMessage, data) == nil {
		s.counts.Events++
	}
}

// goAway asks the speaker to close. It is cut where that cannot be said.
func (s *session) goAway() {
	if s.ws == nil {
		return // its handshake is still to be answered
	}
	bye := websocket.FormatCloseMessage(websocket.CloseGoingAway, "assistant is closing")
	if s.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(writeWait)) != nil {
		s.ws.Close()
	}
}
