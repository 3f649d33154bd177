package wsstats

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// patience is how long a test waits for what has to happen.
const patience = 10 * time.Second

// encoding is one that a suite runs in.
type encoding struct {
	subprotocol string
	messageType int // of WebSocket messages
	decode      func(*wire.Decoder, []byte, *wire.Message) error
	peekSeq     func([]byte) uint64
}

var encodings = map[Encoding]encoding{
	EncodingJSON:  {wire.SubprotocolJSON, websocket.TextMessage, (*wire.Decoder).DecodeJSON, wire.PeekSeq},
	EncodingProto: {wire.SubprotocolProto, websocket.BinaryMessage, (*wire.Decoder).DecodeProto, wire.PeekSeqProto},
}

func eachEncoding(t *testing.T, run func(t *testing.T, e encoding)) {
	t.Helper()
	for name, e := range encodings {
		t.Run(string(name), func(t *testing.T) { run(t, e) })
	}
}

// encodingOf is the encoding of a session.
func encodingOf(ws *websocket.Conn) encoding {
	if ws.Subprotocol() == wire.SubprotocolProto {
		return encodings[EncodingProto]
	}
	return encodings[EncodingJSON]
}

// receiver is a receiver whose every word the test says itself: it accepts
// sessions, and the test reads and answers.
type receiver struct {
	t        testing.TB
	server   *httptest.Server
	accepted chan *websocket.Conn
	requests chan *http.Request
	// refuse answers instead of an upgrade, where it is set.
	refuse func(http.ResponseWriter, *http.Request) bool
	header http.Header // of the answer that upgrades

	mu       sync.Mutex
	upgrader websocket.Upgrader
}

// newReceiver starts a receiver that knows one encoding.
func newReceiver(t testing.TB, e encoding, refuse func(http.ResponseWriter, *http.Request) bool) *receiver {
	r := &receiver{
		t:        t,
		accepted: make(chan *websocket.Conn, 100),
		requests: make(chan *http.Request, 100),
		refuse:   refuse,
		header:   http.Header{},
		upgrader: websocket.Upgrader{Subprotocols: []string{e.subprotocol}},
	}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case r.requests <- req:
		default:
		}
		if r.refuse != nil && r.refuse(w, req) {
			return
		}
		r.mu.Lock()
		upgrader := r.upgrader
		r.mu.Unlock()
		if ws, err := upgrader.Upgrade(w, req, r.header); err == nil {
			r.accepted <- ws
		}
	}))
	t.Cleanup(func() {
		r.server.Close()
		for {
			select {
			case ws := <-r.accepted:
				_ = ws.Close()
			default:
				return
			}
		}
	})
	return r
}

// knows sets what the receiver chooses from.
func (r *receiver) knows(subprotocols ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.upgrader.Subprotocols = subprotocols
}

func (r *receiver) endpoint() string { return "ws" + strings.TrimPrefix(r.server.URL, "http") }

// agent starts an agent of this receiver with short pauses.
func (r *receiver) agent(opts ...Option) *Agent {
	return newAgent(r.t, append([]Option{WithEndpoint(r.endpoint())}, opts...)...)
}

func newAgent(t testing.TB, opts ...Option) *Agent {
	base := []Option{WithLogger(slog.New(slog.DiscardHandler)), withTiming(func(tm *timing) {
		tm.firstJitter = 0
		tm.minBackoff = time.Millisecond
		tm.maxBackoff = 10 * time.Millisecond
		tm.minNackRetry = time.Millisecond
		tm.closing = 200 * time.Millisecond
	})}
	a, err := NewAgent(append(base, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.Shutdown(ctx)
		requireBalanced(t, a)
		require.Zero(t, a.Stats().Held)
	})
	return a
}

func withTiming(change func(*timing)) Option { return func(c *config) { change(&c.timing) } }

// batchOf sends each batch of n messages at once.
func batchOf(n int) Option { return WithBatch(n, 1<<20, time.Hour) }

// peer is the receiver's side of one session.
type peer struct {
	t        testing.TB
	ws       *websocket.Conn
	encoding encoding
	decoder  wire.Decoder // with what the session defined
	data     []byte       // the last message
	hello    wire.Hello
}

// accept waits for the next session and its hello.
func (r *receiver) accept() *peer {
	r.t.Helper()
	select {
	case ws := <-r.accepted:
		p := &peer{t: r.t, ws: ws, encoding: encodingOf(ws)}
		r.t.Cleanup(func() { _ = ws.Close() })
		m := p.read()
		require.Equal(r.t, wire.FormHello, m.Form)
		p.hello = m.Hello
		return p
	case <-time.After(patience):
		require.FailNow(r.t, "no session")
		return nil
	}
}

// welcomed accepts a session and welcomes it with a window that is wide open.
func (r *receiver) welcomed(resumeAfter uint64) *peer {
	r.t.Helper()
	p := r.accept()
	p.welcome(func(w *wire.Welcome) { w.ResumeAfter = resumeAfter })
	return p
}

func (p *peer) welcome(change func(*wire.Welcome)) {
	p.t.Helper()
	w := wire.Welcome{MaxMessageBytes: 1 << 20, MaxEvents: 1000, WindowBytes: 1 << 20, HeartbeatS: 10}
	if change != nil {
		change(&w)
	}
	p.reply(wire.Reply{Welcome: &w})
}

func (p *peer) reply(r wire.Reply) {
	p.t.Helper()
	if r.Nack > 0 { // the agent may not count on anything that was defined before
		p.decoder.Definitions = nil
	}
	p.text(string(wire.AppendReply(nil, &r)))
}

func (p *peer) ack(seq uint64) {
	p.t.Helper()
	p.reply(wire.Reply{Ack: seq})
}

func (p *peer) text(s string) {
	p.t.Helper()
	require.NoError(p.t, p.ws.WriteMessage(websocket.TextMessage, []byte(s)))
}

func (p *peer) close(code int, text string) {
	p.t.Helper()
	require.NoError(p.t, p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(patience)))
	_ = p.ws.Close()
}

// cut ends the session without a close frame.
func (p *peer) cut() { _ = p.ws.Close() }

// read reads one message of the agent, every row of which has to be right.
func (p *peer) read() *wire.Message {
	p.t.Helper()
	_ = p.ws.SetReadDeadline(time.Now().Add(patience))
	messageType, data, err := p.ws.ReadMessage()
	require.NoError(p.t, err)
	require.Equal(p.t, p.encoding.messageType, messageType)
	p.data = data
	m := &wire.Message{}
	require.NoError(p.t, p.encoding.decode(&p.decoder, data, m), "%q", data)
	require.Zero(p.t, m.Batch.Rejected, "%q", data)
	return m
}

// batch reads one batch, which has this number (0: none).
func (p *peer) batch(seq uint64) *wire.Batch {
	p.t.Helper()
	m := p.read()
	require.Equal(p.t, wire.FormBatch, m.Form)
	require.Equal(p.t, seq, m.Batch.Seq)
	return &m.Batch
}

// nothing asserts that the agent sends nothing for a moment. The session's
// reader is of no use afterwards.
func (p *peer) nothing() {
	p.t.Helper()
	_ = p.ws.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, data, err := p.ws.ReadMessage()
	require.Error(p.t, err, "%s", data)
	require.ErrorContains(p.t, err, "timeout")
}

// closeCode reads on until the agent's close frame and returns its code.
func (p *peer) closeCode() int {
	p.t.Helper()
	_ = p.ws.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, _, err := p.ws.ReadMessage(); err != nil {
			var closeErr *websocket.CloseError
			require.ErrorAs(p.t, err, &closeErr)
			return closeErr.Code
		}
	}
}

// message is a received message; its size tells it from others.
func message(c *conn, size int64) record {
	return record{
		conn: c, time: 1767225600123456789, duration: -1, size: size,
		kind: wire.KindReceive, typ: wire.MessageText, dir: wire.DirectionReceived,
	}
}

// event is any event of a connection.
func event(c *conn, kind wire.Kind) record {
	return record{conn: c, time: 1767225600123456789, duration: -1, size: -1, kind: kind}
}

func recordMessages(a *Agent, c *conn, from, to int64) {
	for size := from; size <= to; size++ {
		a.record(message(c, size))
	}
}

// sizes are the sizes of a batch's messages.
func sizes(b *wire.Batch) []int64 {
	all := []int64{}
	for i := range b.Events {
		all = append(all, b.Events[i].Int(wire.AttrMessageSize))
	}
	return all
}

func dropped(b *wire.Batch) map[string]uint64 {
	all := map[string]uint64{}
	for _, d := range b.Dropped {
		all[d.Reason] = d.Count
	}
	return all
}

func requireBalanced(t testing.TB, a *Agent) {
	t.Helper()
	s := a.Stats()
	sum := s.Acknowledged + s.Held
	for _, count := range s.Dropped {
		sum += count
	}
	require.Equal(t, s.Observed, sum, "%+v", s)
	require.LessOrEqual(t, s.Rejected, s.Acknowledged)
}

func flushed(t *testing.T, a *Agent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.Flush(ctx))
}

// inBackground calls Flush or Shutdown and returns where its error comes.
func inBackground(t *testing.T, f func(context.Context) error) <-chan error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	result := make(chan error, 1)
	go func() {
		defer cancel()
		result <- f(ctx)
	}()
	return result
}

func newConn(id string) *conn {
	return &conn{id: id, role: wire.RoleServer, url: "ws://example.com/chat", protocol: "ws", peerIP: "192.0.2.7", peerPort: 4711, openedAt: 1767225600000000000}
}
