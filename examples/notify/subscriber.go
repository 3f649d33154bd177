package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	wsstatscoder "github.com/wsstats/wsstatsreceiver/agents/go/coder"
)

// subscriber is one connection of the service. What is for it waits in a queue
// of its own; where that is full, it is too slow and is closed with 1008, so that
// nobody else waits for it and it knows that it has missed something.
type subscriber struct {
	hub   *hub
	ws    *wsstatscoder.Conn
	user  string
	queue chan queued
	end   chan ending // gets how the service closes the connection
	ended atomic.Bool // it does

	mu     sync.Mutex
	topics map[string]struct{}
}

// queued is a message on its way to a subscriber.
type queued struct {
	ctx       context.Context // with the span that it was posted under
	data      []byte
	id        string // ws.message.id, "": it has none
	broadcast bool   // its span is made already
}

// ending is how the service closes a connection.
type ending struct {
	code   websocket.StatusCode
	reason string
}

// serve reads until the connection ends. Two goroutines beside it write, and
// close where the service wants to.
func (s *subscriber) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.write(ctx) })
	group.Go(func() {
		select {
		case end := <-s.end:
			_ = s.ws.Close(end.code, end.reason) // reading ends with it
		case <-ctx.Done():
		}
	})
	for {
		_, data, err := s.ws.Read(ctx)
		if err != nil {
			break
		}
		s.hub.received.Add(1)
		ctx, end := s.ws.Observed().Process(ctx, s.ws.Message())
		end(s.handle(ctx, data))
	}
	cancel()
	group.Wait()
	_ = s.ws.CloseNow()
}

// badMessage is the error.type of a message that the service does not understand.
type badMessage struct{ text string }

func (e badMessage) Error() string     { return e.text }
func (e badMessage) ErrorType() string { return "bad_message" }

// handle acts on one message of the subscriber.
func (s *subscriber) handle(ctx context.Context, data []byte) error {
	var msg message
	err := json.Unmarshal(data, &msg)
	switch {
	case err != nil:
		err = badMessage{"expected a JSON object"}
	case msg.Type == typeSubscribe && len(msg.Topics) > maxTopics:
		err = badMessage{"too many topics"}
	case msg.Type == typeSubscribe:
		s.mu.Lock()
		clear(s.topics)
		for _, topic := range msg.Topics {
			s.topics[topic] = struct{}{}
		}
		s.mu.Unlock()
		s.reply(ctx, message{Type: typeSubscribed, Topics: msg.Topics})
	case msg.Type == typeRead:
		// A service would keep that, with ctx: the query is in the message's trace.
	default:
		err = badMessage{"type must be subscribe or read"}
	}
	if err != nil {
		s.reply(ctx, message{Type: typeError, Text: err.Error()})
	}
	return err
}

func (s *subscriber) wants(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, wanted := s.topics[topic]
	return wanted
}

// reply posts an answer to the message that is being handled.
func (s *subscriber) reply(ctx context.Context, msg message) {
	s.post(queued{ctx: context.WithoutCancel(ctx), data: encode(msg)})
}

// post puts a message into the queue, and tells whether it will be sent. It never blocks.
func (s *subscriber) post(q queued) bool {
	if s.ended.Load() {
		return false
	}
	select {
	case s.queue <- q:
		return true
	default:
	}
	if s.close(tooSlow) {
		s.hub.tooSlow.Add(1)
		s.ws.Observed().Failed("queue_full", "application")
	}
	return false
}

// close has the connection closed. It tells whether this is the first reason to.
func (s *subscriber) close(how ending) bool {
	if !s.ended.CompareAndSwap(false, true) {
		return false
	}
	s.end <- how
	return true
}

// write writes what is queued, and pings, until ctx ends. It is the only writer
// of messages. The first ping comes before all else: from then on the latency is known.
func (s *subscriber) write(ctx context.Context) {
	ping := time.NewTicker(s.hub.pingEvery)
	defer ping.Stop()
	err := s.ping(ctx)
	for err == nil {
		select {
		case <-ctx.Done():
			return
		case q := <-s.queue:
			err = s.send(q)
		case <-ping.C:
			err = s.ping(ctx)
		}
	}
	var netErr net.Error
	if ctx.Err() == nil && errors.As(err, &netErr) && netErr.Timeout() {
		_ = s.ws.CloseNow() // it is not there any more; reading ends with it
	}
}

func (s *subscriber) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pongWait)
	defer cancel()
	return s.ws.Ping(ctx)
}

func (s *subscriber) send(q queued) error {
	ctx, cancel := context.WithTimeout(q.ctx, writeWait)
	defer cancel()
	if q.broadcast {
		s.ws.Observed().SendingBroadcast()
	} else {
		attributes := []wsstats.Attribute{wsstats.QueueSize(len(s.queue))}
		if q.id != "" {
			attributes = append(attributes, wsstats.MessageID(q.id))
		}
		s.ws.Observed().Sending(q.ctx, attributes...)
	}
	if err := s.ws.Write(ctx, websocket.MessageText, q.data); err != nil {
		return err
	}
	s.hub.sent.Add(1)
	return nil
}
