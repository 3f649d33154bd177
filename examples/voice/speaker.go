package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

const (
	stepTimeout = 20 * time.Second
	byeTimeout  = 2 * time.Second
	inboxSize   = 256 // events of a session are fewer
	singChunks  = 10  // of a note
)

// A session is three turns; the second one's response is interrupted by the third turn.
var melodies = [3][]note{{60, 64, 67}, {69, 71}, {72, 67, 64, 60}}

// choir is speakers, each of which has one session after the other.
type choir struct {
	out      io.Writer // what people are to see
	dialer   *websocket.Dialer
	url      string
	pace     time.Duration // between two chunks
	speakers int
	sessions int // of each speaker, 0: until interrupted

	mu     sync.Mutex
	counts counts
}

// run has all speakers speak.
func (c *choir) run(ctx context.Context) error {
	errs := make([]error, c.speakers)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			for n := 1; ctx.Err() == nil && (c.sessions == 0 || n <= c.sessions); n++ {
				err := c.session(ctx, i+1)
				if err != nil && ctx.Err() == nil {
					errs[i] = fmt.Errorf("speaker %d: %w", i+1, err)
					return
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// session is one connection from its opening to its close with 1000.
func (c *choir) session(ctx context.Context, number int) (err error) {
	s, err := c.dial(ctx, fmt.Sprintf("voice: speaker %d", number))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.leave(ctx, s)) }()
	if _, err := s.await(ctx, 0, typeCreated); err != nil {
		return err
	}
	for i, melody := range melodies {
		turn := i + 1
		if err := s.sing(ctx, melody); err != nil {
			return err
		}
		transcript, err := s.await(ctx, turn, typeTranscriptDone)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s sings %s\n", s.name, transcript.Text)
		until := typeResponseDone
		if turn == 2 {
			until = typeResponseDelta // and interrupts
		}
		if _, err := s.await(ctx, turn, until, typeResponseCanceled); err != nil {
			return err
		}
	}
	return nil
}

// dial begins a session. What comes is read by a goroutine of its own.
func (c *choir) dial(ctx context.Context, name string) (*speaker, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	ws, _, err := c.dialer.DialContext(ctx, c.url, nil) //nolint:bodyclose // gorilla has read the body
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", c.url, err)
	}
	s := &speaker{
		out: c.out, name: name, ws: ws, pace: c.pace,
		conn:  wsstats.ConnectionOf(ws.NetConn()),
		inbox: make(chan event, inboxSize), ended: make(chan struct{}),
	}
	s.counts.Sessions = 1
	go s.read(context.WithoutCancel(ctx))
	return s, nil
}

// leave closes the session with 1000, also when the program is being stopped.
func (c *choir) leave(ctx context.Context, s *speaker) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
	defer cancel()
	err := s.close(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.add(s.counts)
	return err
}

// speaker is one session of the clients.
type speaker struct {
	out  io.Writer
	name string
	ws   *websocket.Conn
	conn *wsstats.Connection // what the application tells of ws
	pace time.Duration

	inbox    chan event
	ended    chan struct{} // closed when reading has ended; err is set before
	err      error
	response []string // words of the response that is being streamed
	counts   counts   // Events, Turns and Interrupted are the reader's
}

// sing streams a melody, and the silence after it, as a microphone would.
func (s *speaker) sing(ctx context.Context, melody []note) error {
	var pcm []byte
	for _, n := range melody {
		pcm = append(pcm, tone(n, singChunks)...)
	}
	pcm = append(pcm, silence(silenceChunks)...)
	for chunk := range slices.Chunk(pcm, chunkBytes) {
		select {
		case <-time.After(s.pace):
		case <-s.ended:
			return s.err
		case <-ctx.Done():
			return ctx.Err()
		}
		err := s.ws.SetWriteDeadline(time.Now().Add(writeWait))
		if err == nil {
			err = s.ws.WriteMessage(websocket.BinaryMessage, chunk)
		}
		if err != nil {
			return fmt.Errorf("sing: %w", err)
		}
		s.counts.Chunks++
	}
	return nil
}

// read handles events until the connection ends.
func (s *speaker) read(ctx context.Context) {
	defer close(s.ended)
	s.ws.SetReadLimit(maxMessageBytes)
	for {
		kind, data, err := s.ws.ReadMessage()
		if err != nil {
			s.err = err
			return
		}
		message := s.conn.Received(wsstats.MessageType(kind), len(data))
		s.counts.Events++
		var e event
		if err := json.Unmarshal(data, &e); err != nil {
			s.conn.Failed("bad_event", "application")
			continue
		}
		// The span of the handling is in the trace that the event names.
		_, end := s.conn.Process(wsstats.Extract(ctx, e.TraceFields), message, wsstats.String("voice.event", e.Type))
		s.handle(e)
		end(nil)
	}
}

func (s *speaker) handle(e event) {
	switch e.Type {
	case typeSpeechStarted:
		s.counts.Turns++
	case typeResponseDelta:
		s.response = append(s.response, e.Text)
	case typeResponseDone, typeResponseCanceled:
		said := strings.Join(s.response, " ")
		if e.Type == typeResponseCanceled {
			s.counts.Interrupted++
			said += " ... (interrupted)"
		}
		fmt.Fprintf(s.out, "%s is told: %s\n", s.name, said)
		s.response = nil
	}
	select {
	case s.inbox <- e:
	default: // nobody waits for so many
	}
}

// await waits for an event of the turn, of one of these types.
func (s *speaker) await(ctx context.Context, turn int, types ...string) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for {
		select {
		case e := <-s.inbox:
			if e.Type == typeError {
				return e, fmt.Errorf("the server says: %s", e.Text)
			}
			if e.Turn == turn && slices.Contains(types, e.Type) {
				return e, nil
			}
		case <-s.ended:
			return event{}, s.err
		case <-ctx.Done():
			return event{}, fmt.Errorf("wait for %s of turn %d: %w", types[0], turn, ctx.Err())
		}
	}
}

// close closes with 1000 and waits for the server's answer until ctx ends.
func (s *speaker) close(ctx context.Context) error {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
	err := s.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(byeTimeout))
	if err == nil {
		select {
		case <-s.ended:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.ws.Close()
	<-s.ended
	if err != nil && !websocket.IsCloseError(s.err, websocket.CloseGoingAway) {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
