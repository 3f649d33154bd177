package wsstats

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// maxHead bounds what is kept of a handshake; a longer one is not observed.
const maxHead = 64 << 10

var headEnd = []byte("\r\n\r\n")

// phase says what a stream waits for.
type phase uint8

const (
	phaseHead   phase = iota // the head that is written: a client's request, a server's answer
	phaseTunnel              // client: the proxy's answer to CONNECT
	phaseAnswer              // client: the server's answer
	phaseOver                // the handshake is over, one way or the other
)

// stream is the byte stream of a connection with a tap on it. Until the
// handshake is over it collects the head that goes out, adds its header lines
// and sends the whole at once; what else goes by is not changed.
//
// A stream that turns out not to be a WebSocket is left alone.
type stream struct {
	raw io.ReadWriteCloser

	tap  atomic.Pointer[tap] // set once the connection is open
	over atomic.Bool         // phase is phaseOver

	mu       sync.Mutex // guards the handshake
	phase    phase
	head     []byte                       // of phaseHead: what the application has written
	incoming []byte                       // client: the answer's head; server: what came before the answer
	outgoing []byte                       // client: what was written before the answer
	up       *upgrade                     // nil until a client's request is known, and again at the end
	client   func(*http.Request) *upgrade // nil result: not to be observed
}

// openStream taps a connection whose handshake is over.
func openStream(raw io.ReadWriteCloser, t *tap) *stream {
	s := &stream{raw: raw, phase: phaseOver}
	s.over.Store(true)
	s.tap.Store(t)
	return s
}

// serverStream taps a hijacked connection on which the answer to u is still to
// be written.
func serverStream(raw io.ReadWriteCloser, u *upgrade) *stream { return &stream{raw: raw, up: u} }

// clientStream taps a connection on which a client is about to write its
// request, for which begin makes the upgrade.
func clientStream(raw io.ReadWriteCloser, begin func(*http.Request) *upgrade) *stream {
	return &stream{raw: raw, client: begin}
}

// Read reads from the connection.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.raw.Read(p)
	s.didRead(p[:n])
	if err != nil {
		s.readFailed(err)
	}
	return n, err
}

func (s *stream) didRead(b []byte) {
	if t := s.tap.Load(); t != nil {
		t.received(b)
		return
	}
	if s.over.Load() || len(b) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseOver {
		if t := s.tap.Load(); t != nil {
			t.received(b)
		}
		return
	}
	if s.incoming = append(s.incoming, b...); s.up == nil || s.up.role == wire.RoleClient {
		s.readAnswer()
	}
	if s.phase != phaseOver && len(s.incoming) > maxHead {
		s.giveUp(0, "head_too_large")
	}
}

// readAnswer looks for the head of an answer in what a client has read.
func (s *stream) readAnswer() {
	for s.phase == phaseAnswer || s.phase == phaseTunnel {
		i := bytes.Index(s.incoming, headEnd)
		if i < 0 {
			return
		}
		var rest []byte
		i += len(headEnd)
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(s.incoming[:i])), nil)
		s.incoming, rest = nil, s.incoming[i:]
		switch {
		case err != nil:
			s.giveUp(0, "malformed_answer")
		case resp.StatusCode == http.StatusSwitchingProtocols && s.phase == phaseAnswer:
			s.open(resp.Header, s.outgoing, rest)
		case resp.StatusCode < http.StatusOK:
			s.incoming = rest // section 15.2 of RFC 9110: the final answer is still to come
		case resp.StatusCode == http.StatusOK && s.phase == phaseTunnel:
			s.phase, s.outgoing = phaseHead, nil
		default:
			s.giveUp(resp.StatusCode, "")
		}
	}
}

func (s *stream) readFailed(err error) {
	if t := s.tap.Load(); t != nil {
		if !isTimeout(err) {
			t.readEnded()
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseAnswer {
		cause := "no_answer"
		if isTimeout(err) {
			cause = "timeout"
		}
		s.giveUp(0, cause)
	}
}

// Write writes to the connection.
func (s *stream) Write(p []byte) (int, error) {
	t := s.tap.Load()
	switch {
	case t != nil:
		t.sent(p)
	case !s.over.Load():
		return s.writeEarly(p)
	}
	n, err := s.raw.Write(p)
	if err != nil && t != nil && !isTimeout(err) {
		t.writeEnded()
	}
	return n, err
}

// writeEarly writes during the handshake.
func (s *stream) writeEarly(p []byte) (int, error) {
	held, send, done := s.prepare(p)
	if send == nil {
		return len(p), nil
	}
	n, err := s.raw.Write(send)
	done(err)
	if err != nil {
		return max(0, min(n-held, len(p))), err
	}
	return len(p), nil
}

// prepare takes what the application writes and returns what is to be written:
// nothing while a head is incomplete; held bytes of it were taken before. Done
// is to be called after the write.
func (s *stream) prepare(p []byte) (held int, send []byte, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done = func(error) {}
	switch {
	case s.phase == phaseHead:
	case s.phase != phaseOver:
		if s.outgoing = append(s.outgoing, p...); len(s.outgoing) > maxHead {
			s.giveUp(0, "early_data")
		}
		return 0, p, done
	default:
		if t := s.tap.Load(); t != nil {
			t.sent(p)
		}
		return 0, p, done
	}

	held = len(s.head)
	s.head = append(s.head, p...)
	i := bytes.Index(s.head, headEnd)
	if !s.mayBeHead() || i < 0 && len(s.head) > maxHead {
		send, s.head = s.head, nil
		s.giveUp(0, "unreadable_head")
		return held, send, done
	}
	if i < 0 {
		return held, nil, done
	}
	i += len(headEnd)
	head, tail := s.head[:i], s.head[i:]
	s.head = nil
	if s.up == nil {
		head, s.outgoing = s.request(head), tail
		return held, append(head, tail...), s.requested
	}
	head, header, ok := s.answer(head)
	if !ok {
		return held, append(head, tail...), done
	}
	return held, append(head, tail...), func(err error) { s.answered(header, tail, err) }
}

// mayBeHead tells whether the bytes in head can begin an HTTP message that
// concerns the tap.
func (s *stream) mayBeHead() bool {
	starts := []string{"GET ", "CONNECT "}
	if s.up != nil {
		starts = []string{"HTTP/1."}
	}
	for _, start := range starts {
		n := min(len(s.head), len(start))
		if string(s.head[:n]) == start[:n] {
			return true
		}
	}
	return false
}

// request is given the head of a client's request and returns the one to send.
// It is complete, so it never shares memory that tail is in.
func (s *stream) request(head []byte) []byte {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	switch {
	case err == nil && r.Method == http.MethodConnect:
		s.phase = phaseTunnel
	case err == nil && upgradeRequested(r):
		if s.up = s.client(r); s.up == nil {
			break
		}
		s.phase = phaseAnswer
		return setHeader(head, s.up.requestHeader())
	}
	if s.up == nil && s.phase == phaseHead {
		s.giveUp(0, "")
	}
	return bytes.Clone(head)
}

// requested is told that the request was written.
func (s *stream) requested(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUp(0, "write_failed")
}

// answer is given the head of a server's answer and returns the one to send,
// its header, and whether it opens the connection.
func (s *stream) answer(head []byte) ([]byte, http.Header, bool) {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	switch {
	case err != nil:
		s.giveUp(0, "malformed_answer")
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return setHeader(head, s.up.answerHeader()), resp.Header, true
	case resp.StatusCode >= http.StatusOK:
		s.giveUp(resp.StatusCode, "")
	}
	return bytes.Clone(head), nil, false
}

// answered is told that the 101 was written, and tail with it.
func (s *stream) answered(header http.Header, tail []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseOver {
		return
	}
	if err != nil {
		s.giveUp(0, "write_failed")
		return
	}
	s.open(header, tail, s.incoming)
}

// open ends the handshake with a connection. Sent and received went by already.
func (s *stream) open(header http.Header, sent, received []byte) {
	t := s.up.succeed(header)
	if t != nil {
		t.sent(sent)
		t.received(received)
	}
	s.end(t)
}

// giveUp ends the handshake without a connection.
func (s *stream) giveUp(status int, cause string) {
	if s.up != nil {
		s.up.fail(status, cause)
	}
	s.end(nil)
}

func (s *stream) end(t *tap) {
	s.tap.Store(t)
	s.phase = phaseOver
	s.over.Store(true)
	s.up, s.client, s.incoming, s.outgoing = nil, nil, nil, nil
}

// Close closes the connection and records its end.
func (s *stream) Close() error {
	if !s.over.Load() {
		s.abandon()
	}
	if t := s.tap.Load(); t != nil {
		t.ended()
	}
	return s.raw.Close()
}

// abandon ends a handshake that the application has given up. What it wrote of
// a head goes out as it is.
func (s *stream) abandon() {
	s.mu.Lock()
	head := s.head
	s.head = nil
	if s.phase != phaseOver {
		s.giveUp(0, "abandoned")
	}
	s.mu.Unlock()
	if len(head) > 0 {
		_, _ = s.raw.Write(head) // the connection ends anyway
	}
}

// closeWrite ends the sending direction by the connection's own method.
func (s *stream) closeWrite(closer interface{ CloseWrite() error }) error {
	if t := s.tap.Load(); t != nil {
		t.writeEnded()
	}
	return closer.CloseWrite()
}

// setHeader returns a head with these fields in place of its own of the same
// names; one with no value is only removed. All other bytes stay.
func setHeader(head []byte, fields http.Header) []byte {
	out := make([]byte, 0, len(head)+256)
	for line := range bytes.SplitAfterSeq(head[:len(head)-2], []byte("\n")) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if _, ours := fields[http.CanonicalHeaderKey(string(name))]; !ours {
			out = append(out, line...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for _, value := range fields[name] {
			out = append(append(append(append(out, name...), ": "...), value...), "\r\n"...)
		}
	}
	return append(out, "\r\n"...)
}

// isTimeout tells whether an error is that of a deadline, after which the
// connection lives on. ETIMEDOUT is no such: the peer is gone.
func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}

// The connections below keep the optional methods of the one that they wrap.
// Its ReadFrom and WriteTo (sendfile, splice) are lost: bytes have to be seen.

// tappedConn is a net.Conn with a tap.
type tappedConn struct {
	net.Conn
	stream *stream
}

func (c *tappedConn) Read(p []byte) (int, error)  { return c.stream.Read(p) }
func (c *tappedConn) Write(p []byte) (int, error) { return c.stream.Write(p) }
func (c *tappedConn) Close() error                { return c.stream.Close() }

// NetConn returns the connection below, as tls.Conn's does. What is read from
// or written to it is not observed.
func (c *tappedConn) NetConn() net.Conn { return c.Conn }

type halfCloser interface{ CloseWrite() error }

type halfConn struct {
	*tappedConn
	half halfCloser
}

func (c halfConn) CloseWrite() error { return c.stream.closeWrite(c.half) }

type tlsState interface {
	ConnectionState() tls.ConnectionState
}

type tlsConn struct {
	halfConn
	tlsState
}

type socket interface {
	halfCloser
	CloseRead() error
	syscall.Conn
}

type socketConn struct {
	halfConn
	syscall.Conn
	socket socket
}

func (c socketConn) CloseRead() error { return c.socket.CloseRead() }

func wrapConn(raw net.Conn, s *stream) net.Conn {
	c := &tappedConn{raw, s}
	half, ok := raw.(halfCloser)
	if !ok {
		return c
	}
	if sock, ok := raw.(socket); ok {
		return socketConn{halfConn{c, half}, sock, sock}
	}
	if state, ok := raw.(tlsState); ok {
		return tlsConn{halfConn{c, half}, state}
	}
	return halfConn{c, half}
}
