package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"go.opentelemetry.io/otel/propagation"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	wsstatscoder "github.com/wsstats/wsstatsreceiver/agents/go/coder"
)

const (
	maxNotificationBytes = 64 << 10
	maxTopics            = 100 // of a subscriber
	writeWait            = 5 * time.Second
	pongWait             = 5 * time.Second
	leaveWait            = 250 * time.Millisecond // for those who leave by themselves: our close would cross theirs
)

// hub is the service: it knows the subscribers, and hands notifications on to them.
type hub struct {
	agent     *wsstats.Agent
	pingEvery time.Duration
	queueSize int // messages that may wait for a subscriber

	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
	closing     bool
	serving     sync.WaitGroup

	published                            atomic.Int64
	connections, sent, received, tooSlow atomic.Int64
}

func newHub(agent *wsstats.Agent, pingEvery time.Duration, queueSize int) *hub {
	return &hub{agent: agent, pingEvery: pingEvery, queueSize: queueSize, subscribers: map[*subscriber]struct{}{}}
}

func (h *hub) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /subscribe", h.subscribe)
	mux.HandleFunc("POST /notifications", h.publish)
	return mux
}

func (h *hub) counts() counts {
	return counts{h.connections.Load(), h.sent.Load(), h.received.Load(), h.tooSlow.Load()}
}

// subscribe serves a subscriber until it is gone. Its user id is in the query,
// and from then on an attribute of all that is recorded of the connection.
func (h *hub) subscribe(w http.ResponseWriter, r *http.Request) {
	user := r.URL.Query().Get("user")
	if user == "" || len(user) > 64 {
		http.Error(w, "subscribe needs ?user= with 1 to 64 bytes", http.StatusBadRequest)
		return
	}
	if !h.enter() {
		http.Error(w, "the service is closing", http.StatusServiceUnavailable)
		return
	}
	defer h.serving.Done()

	ws, err := wsstatscoder.Accept(h.agent, w, r, nil, wsstats.String("user.id", user))
	if err != nil {
		return // it has been answered
	}
	h.connections.Add(1)
	s := &subscriber{hub: h, ws: ws, user: user, queue: make(chan queued, h.queueSize), topics: map[string]struct{}{}, end: make(chan ending, 1)}
	h.mu.Lock()
	h.subscribers[s] = struct{}{}
	if h.closing {
		s.close(goingAway)
	}
	h.mu.Unlock()

	s.serve(context.WithoutCancel(r.Context()))

	h.mu.Lock()
	delete(h.subscribers, s)
	h.mu.Unlock()
}

func (h *hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return false
	}
	h.serving.Add(1)
	return true
}

// publish takes a notification and puts it into the queues of those who are to
// have it. It waits for none of them.
func (h *hub) publish(w http.ResponseWriter, r *http.Request) {
	var n notification
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNotificationBytes)).Decode(&n); err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			http.Error(w, fmt.Sprintf("expected at most %d bytes", maxNotificationBytes), http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "expected a JSON object", http.StatusBadRequest)
		return
	}
	if (n.Topic == "") == (n.User == "") {
		http.Error(w, "expected either a topic or a user", http.StatusBadRequest)
		return
	}
	msg := message{Type: typeNotification, ID: "n-" + strconv.FormatInt(h.published.Add(1), 10), Topic: n.Topic, Text: n.Text}
	// The span that the publisher made, if it names one: what is sent links to it.
	ctx := propagation.TraceContext{}.Extract(context.WithoutCancel(r.Context()), propagation.HeaderCarrier(r.Header))
	answer := receipt{ID: msg.ID}
	if n.User != "" {
		answer.Recipients = h.tell(ctx, n.User, msg)
	} else {
		answer.Recipients = h.broadcast(ctx, msg)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(answer) // a publisher that is gone does not matter
}

// tell posts a message to the connections of a user, and returns how many they
// are. Each makes a send with a span, which its receive meets in one trace.
func (h *hub) tell(ctx context.Context, user string, msg message) (recipients int) {
	q := queued{ctx: ctx, data: encode(msg), id: msg.ID}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers {
		if s.user == user && s.post(q) {
			recipients++
		}
	}
	return recipients
}

// broadcast posts a message to all who subscribed to its topic, and returns how
// many they are. One span stands for all sends.
func (h *hub) broadcast(ctx context.Context, msg message) (recipients int) {
	q := queued{ctx: ctx, data: encode(msg), broadcast: true}
	deepest := 0
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers {
		if !s.wants(msg.Topic) {
			continue
		}
		waiting := len(s.queue)
		if s.post(q) {
			recipients++
			deepest = max(deepest, waiting)
		}
	}
	h.agent.Broadcast(ctx, wsstats.TextMessage, len(q.data), recipients,
		wsstats.MessageID(msg.ID), wsstats.QueueSize(deepest), wsstats.String("topic", msg.Topic))
	return recipients
}

// shutdown closes all connections with 1001 and waits until they are gone; those
// that are left when ctx ends are cut.
func (h *hub) shutdown(ctx context.Context) error {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	gone := make(chan struct{})
	go func() { h.serving.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-time.After(leaveWait):
	}

	h.mu.Lock()
	for s := range h.subscribers {
		s.close(goingAway)
	}
	h.mu.Unlock()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	left := len(h.subscribers)
	for s := range h.subscribers {
		_ = s.ws.CloseNow()
	}
	h.mu.Unlock()
	<-gone
	return fmt.Errorf("%d subscribers did not leave in time: %w", left, ctx.Err())
}

var (
	goingAway = ending{websocket.StatusGoingAway, "service is closing"}
	tooSlow   = ending{websocket.StatusPolicyViolation, "too slow"}
)

// encode cannot fail: a message is of strings alone.
func encode(msg message) []byte {
	data, _ := json.Marshal(msg)
	return data
}
