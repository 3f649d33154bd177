package wsstatsreceiver

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/wsstats/wsstatsreceiver/internal/delivery"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	// defaultWriteTimeout ends a session whose agent does not read.
	defaultWriteTimeout = 10 * time.Second
	// linger is how long an agent may take to answer a close.
	linger = time.Second
)

// session is one agent's WebSocket. The reader goroutine takes messages off
// the socket into a queue and goes on, so that pings are answered while the
// pipeline blocks; a worker goroutine, which exists only while there is work,
// answers them in order.
type session struct {
	r       *wsstatsReceiver
	conn    *websocket.Conn
	address string
	subject string
	form    *form
	ctx     context.Context
	cancel  context.CancelFunc
	writer  writer

	mu          sync.Mutex
	queue       []item
	queued      int64  // bytes of the queue and of the message in hand
	unanswered  int64  // bytes of these that are numbered and count for the window
	awaiting    uint64 // the number that was refused and must come again, 0: none
	unheard     bool   // the agent was not yet told of awaiting
	skipped     uint64 // the lowest number that was ignored while it was not, 0: none
	refusals    int    // messages in the queue that are over the byte budget
	numberSeen  bool   // a number was received, though perhaps not yet handled
	received    uint64 // messages so far
	pending     uint64 // number to acknowledge, 0: none
	welcomed    bool   // the welcome was sent
	greeting    bool   // a hello waits for its welcome
	working     bool
	waiting     *turn     // of the worker, for memory; nil while it has a goroutine
	tending     bool      // keepalive is at work
	draining    bool      // nothing new is taken
	dismissed   bool      // the goaway was sent, so that the close may follow
	ended       bool      // nothing more is read
	stopped     bool      // nothing more is done
	closeCode   int       // that we sent, 0: none
	lingerUntil time.Time // with closeCode: for the agent's answer
	lastHeard   time.Time
	lastPing    time.Time
	opened      time.Time
	maxAge      time.Duration // 0: none
	stopping    chan struct{} // closed with stopped
	done        chan struct{} // closed when stopped and the worker is through
	detached    sync.Once

	lastSize int // of a message; of the reader

	// Of the worker.
	agent       *agent
	inst        *delivery.Instance[*agent] // nil: anonymous
	first       bool                       // a message was handled
	numbered    bool                       // a number was used
	resumeAfter uint64                     // of the welcome
	malformed   int
	ackTimer    *time.Timer      // made when the first ack waits
	definitions wire.Definitions // of the binary form
}

func newSession(r *wsstatsReceiver, conn *websocket.Conn, req *http.Request, address string) *session {
	// The request's context ends with its handler, and would keep all of the request.
	// What authentication found out, and the metadata, go on.
	ctx, cancel := context.WithCancel(client.NewContext(context.Background(), client.FromContext(req.Context())))
	now := time.Now()
	s := &session{
		r: r, conn: conn, address: address, form: cmp.Or(formOf(conn.Subprotocol()), forms[0]), ctx: ctx, cancel: cancel,
		subject: subject(ctx), writer: writer{conn: conn, timeout: r.writeTimeout},
		opened: now, lastHeard: now, lastPing: now, stopping: make(chan struct{}), done: make(chan struct{}),
	}
	if age := r.cfg.Keepalive.MaxConnectionAge; age > 0 {
		jitter := r.cfg.Keepalive.MaxConnectionAgeJitter * float64(age) * (2*rand.Float64() - 1)
		s.maxAge = age + time.Duration(jitter)
	}
	s.agent = r.newAgent("")
	return s
}

// subject is who authenticated: numbers of one are not another's.
func subject(ctx context.Context) string {
	auth := client.FromContext(ctx).Auth
	if auth == nil {
		return ""
	}
	for _, name := range []string{"subject", "username"} {
		if s, ok := auth.GetAttribute(name).(string); ok && s != "" {
			return s
		}
	}
	return ""
}

func (s *session) start() {
	draining := s.r.sessions.add(s)
	go s.run()
	if draining {
		s.goAway("shutdown")
	}
}

// run reads until the connection ends.
func (s *session) run() {
	s.read()
	s.end()
	<-s.done
	s.detach()
	if s.ackTimer != nil {
		s.ackTimer.Stop()
	}
	s.cancel()
	_ = s.conn.Close()
	s.mu.Lock()
	code := s.closeCode
	s.mu.Unlock()
	s.r.telemetry.ReceiverWsstatsSessionEnds.Add(context.WithoutCancel(s.ctx), 1, metric.WithAttributes(attribute.Int("close_code", code)))
	s.r.sessions.remove(s)
}

// end lets the worker finish what was read, since the agent is gone and sends
// no more.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if !s.working {
		s.halt()
	}
}

// stop ends all work but that on the message in hand.
func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	unnumbered := 0
	for i := range s.queue {
		if s.queue[i].seq == 0 {
			unnumbered++
		}
		s.give(&s.queue[i])
	}
	s.queue = nil
	s.r.noteDropped(s.ctx, unnumbered, droppedShutdown)
	s.halt()
}

// halt says that nothing more is done. The caller holds s.mu.
func (s *session) halt() {
	if !s.stopped {
		s.stopped = true
		close(s.stopping)
		if s.waiting != nil && s.r.inHand.cancel(s.waiting) {
			s.working, s.waiting = false, nil
		}
		if !s.working {
			close(s.done)
		}
	}
}

// abort is stop for those who cannot wait.
func (s *session) abort() {
	s.stop()
	s.cancel()
	_ = s.conn.NetConn().Close()
}

// closeWith sends a close and lets the reader wait a while for the agent's.
func (s *session) closeWith(code int, reason string) {
	s.mu.Lock()
	first := s.closeCode == 0
	if first {
		s.closeCode = code
	}
	s.mu.Unlock()
	if !first {
		return
	}
	s.stop()
	select {
	case <-s.done:
		s.detach()
	default: // the worker does it
	}
	deadline := time.Now().Add(linger)
	s.mu.Lock()
	s.lingerUntil = deadline
	s.mu.Unlock()
	s.flushAcksWithin(linger) // nothing can follow a close
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), deadline)
	_ = s.conn.NetConn().SetReadDeadline(deadline)
}

// goAway sends the agent away: nothing new is taken, what is in hand is
// answered, and the close follows.
func (s *session) goAway(reason string) {
	s.mu.Lock()
	again := s.draining || s.stopped
	s.draining = true
	s.mu.Unlock()
	if again {
		return
	}
	// Spread over a second, so that a fleet does not come back at once.
	after := 500 + rand.Int64N(1000)
	s.writer.send(&wire.Reply{GoAway: &wire.GoAway{Reason: reason, ReconnectAfterMs: after}})
	s.mu.Lock()
	s.dismissed = true
	idle := !s.working
	s.mu.Unlock()
	if idle {
		s.closeWith(websocket.CloseGoingAway, reason)
	}
}

// detach leaves the instance to a next session, or gives up what is anonymous.
// It is called when the session has nothing in hand any more, and does not
// return before that is done, whoever does it: a shutdown goes by it.
func (s *session) detach() {
	s.detached.Do(func() {
		s.mu.Lock()
		leave := s.draining
		s.mu.Unlock()
		if s.inst == nil {
			s.r.giveUpAnonymous(context.WithoutCancel(s.ctx), s.agent, leave)
			return
		}
		s.inst.Leave = leave
		s.r.instances.Release(s.inst, true, s.r.now())
	})
}

// keepaliveTick is how often sessions are looked at.
func keepaliveTick(k KeepaliveConfig) time.Duration { return min(k.Heartbeat, k.PingInterval) / 2 }

// tend sees to the sessions for which it is time. All have one timer, so that an
// idle one costs no more than its reader; but each has a goroutine of its own for
// what has to be sent, which may wait for an agent that does not read.
func (s *sessionSet) tend() {
	now := time.Now()
	for _, session := range s.all() {
		if due := session.due(now); due != (duties{}) {
			go session.keepalive(now, due)
		}
	}
}

// duties are what it is time for.
type duties struct{ ping, beat, idle, old bool }

func (s *session) due(now time.Time) (d duties) {
	k := s.r.cfg.Keepalive
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.tending {
		return d
	}
	d = duties{
		ping: now.Sub(s.lastPing) >= k.PingInterval/2,
		beat: s.working,
		idle: !s.working && now.Sub(s.lastHeard) >= s.r.cfg.Limits.IdleTimeout,
		old:  s.maxAge > 0 && now.Sub(s.opened) >= s.maxAge,
	}
	if d.ping {
		s.lastPing = now
	}
	s.tending = d != duties{}
	return d
}

// keepalive pings, sends heartbeats, and ends sessions that are idle or old.
func (s *session) keepalive(now time.Time, d duties) {
	switch {
	case d.old:
		s.goAway("max_connection_age")
	case d.idle:
		s.closeWith(websocket.CloseGoingAway, "idle")
	}
	if d.ping {
		_ = s.conn.WriteControl(websocket.PingMessage, nil, now.Add(s.writer.timeout))
	}
	if d.beat && s.writer.silentFor(now) >= s.r.cfg.Keepalive.Heartbeat/2 {
		s.writer.send(&wire.Reply{Flow: s.flow()})
	}
	s.mu.Lock()
	s.tending = false
	s.mu.Unlock()
}

// flow is the window as it is now; it is the heartbeat too.
func (s *session) flow() *wire.Flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	window := int64(0)
	if !s.greeting && !s.draining {
		window = int64(s.r.cfg.Delivery.WindowBytes)
	}
	return &wire.Flow{WindowBytes: &window}
}

// replyPool has memory for a reply, which an idle session does not keep.
var replyPool = sync.Pool{New: func() any { return new([]byte) }}

// writer sends replies. The first one that cannot be sent ends the connection.
type writer struct {
	conn    *websocket.Conn
	timeout time.Duration // for one reply

	mu     sync.Mutex
	last   time.Time
	failed bool
}

func (w *writer) send(reply *wire.Reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(reply)
}

func (w *writer) write(reply *wire.Reply) {
	if w.failed {
		return
	}
	buffer := replyPool.Get().(*[]byte)
	*buffer = wire.AppendReply((*buffer)[:0], reply)
	w.last = time.Now()
	_ = w.conn.SetWriteDeadline(w.last.Add(w.timeout))
	err := w.conn.WriteMessage(websocket.TextMessage, *buffer)
	replyPool.Put(buffer)
	if err != nil && !errors.Is(err, websocket.ErrCloseSent) {
		w.failed = true
		_ = w.conn.NetConn().Close()
	}
}

// sendAck sends the acknowledgement that next returns, none for 0. Next is
// called under the writer's lock, so that acknowledgements go out in order.
func (w *writer) sendAck(next func() uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq := next(); seq != 0 {
		w.write(&wire.Reply{Ack: seq})
	}
}

// silentFor is how long nothing was sent.
func (w *writer) silentFor(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.Sub(w.last)
}
