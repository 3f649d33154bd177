package wsstats

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/frame"
)

// recorder takes what the taps see. Its methods return at once, may be called by
// any goroutine, and do not call back.
type recorder interface {
	open(c *conn)
	record(r record)
	// isOwn tells whether a URL is where the records themselves go.
	isOwn(u *url.URL) bool
	// wants tells whether the WebSocket that a request asks for is to be observed.
	wants(r *http.Request) bool
}

// maxPings bounds the sent pings of a connection that wait for their pong.
const maxPings = 16

// tap turns the bytes of one open connection into records. It reads frame
// headers and control frames; of payload it keeps nothing but a close reason.
type tap struct {
	observation

	in    flow
	out   flow
	pings []ping // sent and unanswered, oldest first, at most maxPings
	first closing
	app   *Connection // what the application tells beside the bytes; nil: it has not asked
}

// flow is one direction of a connection.
type flow struct {
	tap     *tap
	dir     wire.Direction
	parser  frame.Parser
	traffic               // the bytes as they were on the wire
	began   time.Duration // the first frame of the message at hand
	closed  bool          // a close frame went by
	ended   bool          // no more bytes can come
}

// ping is a sent ping. Its payload, which a pong repeats, is kept as a hash.
type ping struct {
	hash uint64
	size int
	seq  int64
	at   time.Duration
}

var pingSeed = maphash.MakeSeed()

// newTap observes a connection whose handshake is just over.
func newTap(rec recorder, c *conn, compression bool, opened time.Time, release func()) *tap {
	t := &tap{
		observation: observation{rec: rec, conn: c, release: release, clock: newClock(opened)},
		first:       vanished,
	}
	// Section 5.1: a client masks and a server does not.
	sent, received := frame.MaskRequired, frame.MaskForbidden
	if c.role == wire.RoleServer {
		sent, received = received, sent
	}
	t.out = flow{tap: t, dir: wire.DirectionSent, parser: frame.Parser{Masking: sent, Compression: compression}}
	t.in = flow{tap: t, dir: wire.DirectionReceived, parser: frame.Parser{Masking: received, Compression: compression}}
	return t
}

// sent is told of bytes before they are handed to the socket, so that an answer
// to them is never seen first.
func (t *tap) sent(b []byte) { t.feed(&t.out, b) }

// received is told of bytes that came from the socket.
func (t *tap) received(b []byte) { t.feed(&t.in, b) }

func (t *tap) feed(f *flow, b []byte) {
	if len(b) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || f.parser.Stopped() {
		return
	}
	t.now = t.clock.now()
	f.parser.Feed(b, f)
	if t.in.ended && t.out.closed {
		t.close()
	}
}

// readEnded is told that nothing more can be read. The close is recorded unless
// the peer's close frame still waits for ours.
func (t *tap) readEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in.ended = true
	if t.out.ended || t.out.closed || !t.in.closed {
		t.close()
	}
}

// writeEnded is told that nothing more can be written. What the peer has sent
// may still be read, its close frame for one.
func (t *tap) writeEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.ended = true
	if t.in.ended {
		t.close()
	}
}

// ended is told that the application closes the socket.
func (t *tap) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.close()
}

// close records the close, once.
func (t *tap) close() {
	if t.done {
		return
	}
	t.now = t.clock.now()
	for _, p := range t.pings {
		t.recordPing(p, -1)
	}
	t.pings = nil
	r := t.summary(t.first, &t.out.traffic, &t.in.traffic)
	r.extra.SetBool(wire.AttrCloseClean, t.in.closed && t.out.closed)
	t.finish(r)
}

// Frame implements frame.Handler. A close counts from its header on: there are
// readers that go at once, and never read its code.
func (f *flow) Frame(h frame.Header) {
	switch h.Opcode {
	case frame.Text, frame.Binary:
		f.began = f.tap.now
	case frame.Close:
		if f.tap.first.initiator == "none" {
			f.tap.first = closing{code: 1005, initiator: f.side()} // section 7.1.5: no code present
		}
	}
}

// side names the end that sends in this direction.
func (f *flow) side() string {
	if f.dir == wire.DirectionReceived {
		return "remote"
	}
	return "local"
}

// Message implements frame.Handler. A message begins with its first header; it
// has a duration where its last byte came in a later read or write.
func (f *flow) Message(m frame.Message) {
	kind := wire.KindSend
	if f.dir == wire.DirectionReceived {
		kind = wire.KindReceive
	}
	r := f.tap.newRecord(kind, f.dir)
	r.time = f.tap.clock.unix(f.began)
	if d := f.tap.now - f.began; d > 0 {
		r.duration = int64(d)
	}
	r.seq, r.size, r.compressed = f.message(m.Size), m.Size, m.Compressed
	r.frames = int32(min(m.Frames, math.MaxInt32))
	r.typ = wire.MessageBinary
	if m.Opcode == frame.Text {
		r.typ = wire.MessageText
	}
	if f.dir == wire.DirectionSent && !f.tap.sending.tell(&r, nil) {
		return
	}
	f.tap.rec.record(r)
}

// Control implements frame.Handler.
func (f *flow) Control(op frame.Opcode, payload []byte) {
	t := f.tap
	switch op {
	case frame.Ping:
		f.pings++
		p := ping{hash: maphash.Bytes(pingSeed, payload), size: len(payload), seq: f.pings, at: t.now}
		if f.dir == wire.DirectionSent {
			t.await(p)
			return
		}
		r := t.newRecord(wire.KindPing, f.dir)
		r.seq, r.size = p.seq, int64(p.size)
		t.rec.record(r)
	case frame.Pong:
		f.pongs++
		if f.dir == wire.DirectionReceived {
			t.answered(payload)
		}
		r := t.newRecord(wire.KindPong, f.dir)
		r.seq, r.size = f.pongs, int64(len(payload))
		t.rec.record(r)
	case frame.Close:
		f.closed = true
		if t.first.initiator == f.side() && len(payload) >= 2 { // else the answer to the first one
			t.first.code, t.first.reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
	}
}

// Violation implements frame.Handler. That direction is not read any more; the
// other one is, as the close frame with 1002 may still come there.
func (f *flow) Violation(v frame.Violation) {
	if f.tap.first.initiator == f.side() {
		f.tap.first = vanished // the close frame itself was at fault
	}
	e := &wire.Event{}
	e.SetStr(wire.AttrErrorType, v.Code())
	e.SetStr(wire.AttrErrorCategory, "protocol")
	e.SetStr(wire.AttrErrorMessage, v.Error())
	r := f.tap.newRecord(wire.KindProtocolError, f.dir)
	r.extra = e
	f.tap.rec.record(r)
}

// await keeps a sent ping until its pong comes; the oldest makes room.
func (t *tap) await(p ping) {
	if len(t.pings) == maxPings {
		t.recordPing(t.pings[0], -1)
		t.pings = append(t.pings[:0], t.pings[1:]...)
	}
	t.pings = append(t.pings, p)
}

// answered finds the ping of a pong: the oldest with its payload. Others before
// it stay, as a peer may answer the latest alone (section 5.5.3).
func (t *tap) answered(payload []byte) {
	if len(t.pings) == 0 {
		return
	}
	hash := maphash.Bytes(pingSeed, payload)
	for i, p := range t.pings {
		if p.hash == hash && p.size == len(payload) {
			t.pings = append(t.pings[:i], t.pings[i+1:]...)
			t.recordPing(p, t.now-p.at)
			return
		}
	}
}

func (t *tap) recordPing(p ping, roundTrip time.Duration) {
	r := t.newRecord(wire.KindPing, wire.DirectionSent)
	r.time, r.duration, r.seq, r.size = t.clock.unix(p.at), int64(roundTrip), p.seq, int64(p.size)
	t.rec.record(r)
}
