package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// mistake is a message that is against the protocol. In a numbered one,
// SEQ stands for the number that comes next.
type mistake struct {
	text   string
	binary bool
}

var mistakes = []mistake{
	{text: `not JSON`},
	{text: `42`},
	{text: `{}`},
	{text: `{"event":"send"`},
	{text: `{"event":"send"} trailing`},
	{text: `{"event":"sned","ws.message.type":"text"}`},
	{text: `{"event":"send","ws.message.size":-1}`},
	{text: `{"event":"send","ws.message.size":"big"}`},
	{text: `{"event":"send","ws.message.size":1,"ws.message.size":2}`},
	{text: `{"event":"send","room":{"id":"lobby"}}`},
	{text: `{"event":"send","trace_id":"00000000000000000000000000000000"}`},
	{text: `{"event":"send","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`},
	{text: `{"event":"send","hello":{"instance":"a"}}`},
	{text: `[{"event":"send","time":"yesterday"}]`},
	{text: `{"event":"send","a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`},
	{text: `{"seq":SEQ,"events":[{"event":"send","duration_ns":-5}]}`},
	{text: `{"seq":SEQ,"events":[{"event":"send"},{"event":"nothing"}]}`},
	{text: `{"seq":SEQ,"events":{"event":"send"}}`},
	{text: `{"seq":SEQ,"stats":[{"metric":"ws.message.size","start":2,"time":1,"count":1,"sum":1}]}`},
	{text: `{"seq":SEQ,"events":[{"event":"send","ws.role":"server","ws.role":"client"}]}`},
	{text: "{\"event\":\"send\",\"room.id\":\"\xff\xfe\"}"},
	{text: `{"hello":{"instance":"again"}}`},
	{text: "\x08\x01", binary: true},
}

// malformed is a run of gen with a client that makes mistakes.
type malformed struct {
	o     *genOptions
	sent  atomic.Uint64
	start time.Time

	mu       sync.Mutex
	answers  map[string]uint64
	sessions uint64
	refused  map[string]uint64 // upgrades, by status or error
	silent   uint64            // messages without an answer
}

func runMalformed(ctx context.Context, o *genOptions, out io.Writer, p *progress) error {
	r := &malformed{o: o, start: time.Now(), answers: map[string]uint64{}, refused: map[string]uint64{}}
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() { p.run(done, r.line) })

	until, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	var wg sync.WaitGroup
	for i := range o.agents {
		wg.Go(func() { r.client(until, i) })
	}
	wg.Wait()
	close(done)
	shown.Wait()
	p.end()

	s := r.summary()
	s.print(out)
	if len(s.faults) > 0 {
		return errFailed
	}
	return nil
}

// client opens session after session until the context ends.
func (r *malformed) client(ctx context.Context, i int) {
	pause := time.Duration(float64(time.Second) * float64(r.o.agents) / r.o.rate)
	turn := i
	for ctx.Err() == nil {
		ws, err := r.dial(ctx)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
			turn = r.session(ctx, ws, pause, turn)
			stop()
			_ = ws.Close()
			continue
		}
		r.count(r.refused, err.Error())
		sleep(ctx, max(pause, 100*time.Millisecond))
	}
}

func (r *malformed) dial(ctx context.Context) (*websocket.Conn, error) {
	header := http.Header{}
	if r.o.token != "" {
		header.Set("Authorization", "Bearer "+r.o.token)
	}
	dialer := websocket.Dialer{HandshakeTimeout: r.o.drain, Subprotocols: []string{wire.SubprotocolJSON}, Proxy: http.ProxyFromEnvironment}
	ws, resp, err := dialer.DialContext(ctx, r.o.url.String(), header)
	switch {
	case err == nil:
		ws.SetReadLimit(64 << 10)
		r.mu.Lock()
		r.sessions++
		r.mu.Unlock()
		return ws, nil
	case resp != nil:
		_ = resp.Body.Close()
		return nil, errors.New("status " + resp.Status)
	case ctx.Err() != nil:
		return nil, errors.New("the end of the run")
	}
	return nil, errors.New("not reached")
}

// session makes one mistake after the other until the receiver closes it, and
// returns whose turn it is then.
func (r *malformed) session(ctx context.Context, ws *websocket.Conn, pause time.Duration, turn int) int {
	hello := fmt.Sprintf(`{"hello":{"instance":"%d-%d","resource":{"service.name":%q}}}`, time.Now().UnixNano(), turn, r.o.service)
	if ws.WriteMessage(websocket.TextMessage, []byte(hello)) != nil {
		return turn
	}
	if _, open := r.awaitAnswer(ws, false); !open {
		return turn
	}
	seq := 1
	for ; ctx.Err() == nil; turn++ {
		m := mistakes[turn%len(mistakes)]
		kind, text := websocket.TextMessage, strings.Replace(m.text, "SEQ", strconv.Itoa(seq), 1)
		if m.binary {
			kind = websocket.BinaryMessage
		}
		if ws.WriteMessage(kind, []byte(text)) != nil {
			return turn
		}
		r.sent.Add(1)
		answer, open := r.awaitAnswer(ws, text != m.text)
		switch {
		case ctx.Err() != nil && !open: // the end of the run came first
			r.count(r.answers, "not awaited: the run ended")
		case answer == "":
			r.mu.Lock()
			r.silent++
			r.mu.Unlock()
		default:
			r.count(r.answers, answer)
		}
		if !open {
			return turn + 1
		}
		if text != m.text {
			seq++
		}
		sleep(ctx, pause)
	}
	return turn
}

// awaitAnswer reads on until the message is answered, for the time of --drain at most. "" is none; open tells
// whether the session goes on.
func (r *malformed) awaitAnswer(ws *websocket.Conn, numbered bool) (answer string, open bool) {
	_ = ws.SetReadDeadline(time.Now().Add(r.o.drain))
	for {
		_, data, err := ws.ReadMessage()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
			return fmt.Sprintf("close %d", closed.Code), false
		case err != nil:
			return "", false
		}
		reply, err := wire.DecodeReply(data)
		switch {
		case err != nil:
			return "not of the protocol", false
		case reply.Welcome != nil:
			return "welcome", true
		case reply.Error != nil:
			return "error " + reply.Error.Code, true
		case reply.Nack > 0 && reply.Retryable:
			return "nack for now " + reply.Code, true
		case reply.Nack > 0:
			return "nack " + reply.Code, true
		case reply.Ack > 0 && reply.Rejected != nil:
			return "ack with rejected", true
		case reply.Ack > 0 && numbered:
			return "ack", true
		}
	}
}

func (r *malformed) count(of map[string]uint64, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of[what]++
}

func (r *malformed) line(elapsed, since time.Duration, before *uint64) string {
	sent := r.sent.Load()
	rate := float64(sent-*before) / since.Seconds()
	*before = sent
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%4.0fs  sent %s (%s/s)  unanswered %d  sessions %d%s", elapsed.Seconds(), grouped(sent), grouped(uint64(rate)), r.silent, r.sessions, reasons(r.refused))
}

func (r *malformed) summary() *summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &summary{right: "every mistake was answered"}
	s.add("scenario", "%s: %g messages/s, %d clients, %s", r.o.scenario.name, r.o.rate, r.o.agents, time.Since(r.start).Round(time.Millisecond))
	s.add("sent", "%s", grouped(r.sent.Load()))
	for _, answer := range slices.Sorted(maps.Keys(r.answers)) {
		s.add("answered", "%s with %s", grouped(r.answers[answer]), answer)
	}
	s.add("sessions", "%s", grouped(r.sessions))
	for _, why := range slices.Sorted(maps.Keys(r.refused)) {
		s.add("not opened", "%s: %s", grouped(r.refused[why]), why)
	}
	if r.silent > 0 {
		s.faults = append(s.faults, grouped(r.silent)+" messages had no answer")
	}
	if taken := r.answers["ack"] + r.answers["welcome"]; taken > 0 {
		s.faults = append(s.faults, grouped(taken)+" messages were taken as if they were right")
	}
	if r.sessions == 0 {
		s.faults = append(s.faults, "no session was opened")
	}
	return s
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
