package wsstats

import (
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// openTap is the tap of a client's connection. Client frames may be unmasked
// in these tests' hands only through received.
func openTap(t *testing.T, rec recorder) *tap {
	t.Helper()
	r := upgradeRequest()
	up := newClientUpgrade(rec, r, false, nil)
	return up.succeed(http.Header{"Sec-Websocket-Extensions": {"foo, Permessage-Deflate; client_max_window_bits"}})
}

// serverFrame is a frame as a server sends it.
func serverFrame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.NewFrame(op, fin, []byte(payload)))
}

// maskedFrame is a frame as a client sends it.
func maskedFrame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

func closeFrame(code int, reason string) string {
	return string(ws.NewCloseFrameBody(ws.StatusCode(code), reason))
}

// A message begins at its first frame and lasts until its last.
func TestMessageTimes(t *testing.T) {
	rec := newFakeRecorder()
	tap := openTap(t, rec)
	before := time.Now().UnixNano()
	tap.received(serverFrame(ws.OpText, false, "ab"))
	between := time.Now().UnixNano()
	tap.received(serverFrame(ws.OpPing, true, ""))
	tap.received(serverFrame(ws.OpContinuation, true, "c"))
	tap.received(serverFrame(ws.OpBinary, true, "d"))
	big := serverFrame(ws.OpBinary, true, strings.Repeat("e", 1000))
	tap.received(big[:10])
	tap.received(big[10:])

	got := rec.of(wire.KindReceive)
	assert.Equal(t, []summary{
		{1, 3, -1, 2, wire.MessageText}, {2, 1, -1, 1, wire.MessageBinary}, {3, 1000, -1, 1, wire.MessageBinary},
	}, summaries(got))
	assert.GreaterOrEqual(t, got[0].time, before)
	assert.LessOrEqual(t, got[0].time, between)
	assert.Positive(t, got[0].duration)
	assert.Equal(t, int64(-1), got[1].duration)
	assert.Positive(t, got[2].duration)
	assert.Equal(t, wire.DirectionReceived, got[0].dir)
	tap.ended()
	assert.Equal(t, int64(1004), rec.await(t, wire.KindClose, 1).extra.Int(wire.AttrBytesReceived))
}

// Only a message of RSV1 is a compressed one.
func TestCompressedSize(t *testing.T) {
	rec := newFakeRecorder()
	tap := openTap(t, rec)
	f := ws.NewFrame(ws.OpBinary, false, []byte("abc"))
	f.Header.Rsv = ws.Rsv(true, false, false)
	tap.received(append(ws.MustCompileFrame(f), serverFrame(ws.OpContinuation, true, "d")...))
	tap.received(serverFrame(ws.OpBinary, true, "abc"))
	assert.Equal(t, []summary{{1, -1, 4, 2, wire.MessageBinary}, {2, 3, -1, 1, wire.MessageBinary}}, summaries(rec.of(wire.KindReceive)))
	tap.ended()
}

func TestPingsAndPongs(t *testing.T) {
	rec := newFakeRecorder()
	tap := openTap(t, rec)
	ping := func(payload string) { tap.sent(maskedFrame(ws.OpPing, true, payload)) }
	pong := func(payload string) { tap.received(serverFrame(ws.OpPong, true, payload)) }
	seqs := func() (seqs []int64) {
		for _, r := range rec.of(wire.KindPing) {
			seqs = append(seqs, r.seq)
		}
		return seqs
	}

	pong("unasked")
	ping("a")
	ping("b")
	ping("a")
	assert.Empty(t, seqs(), "not before the pong")
	pong("c")
	pong("b") // the peer may answer the latest only
	assert.Equal(t, []int64{2}, seqs())
	pong("a")
	pong("a")
	assert.Equal(t, []int64{2, 1, 3}, seqs(), "the oldest of two alike first")
	for _, r := range rec.of(wire.KindPing) {
		assert.Positive(t, r.duration)
		assert.Equal(t, int64(1), r.size)
	}
	assert.Len(t, rec.of(wire.KindPong), 5)
	assert.Equal(t, int64(5), rec.of(wire.KindPong)[4].seq)

	for range maxPings + 2 {
		ping("")
	}
	pings := rec.of(wire.KindPing)
	require.Len(t, pings, 5, "the two oldest made room")
	assert.Equal(t, []int64{2, 1, 3, 4, 5}, seqs())
	assert.Equal(t, int64(-1), pings[3].duration)
	pong("")
	assert.Equal(t, int64(6), rec.of(wire.KindPing)[5].seq)
	tap.ended()
	pings = rec.of(wire.KindPing)
	require.Len(t, pings, 3+maxPings+2)
	assert.Equal(t, int64(-1), pings[len(pings)-1].duration)
	assert.Equal(t, wire.KindClose, rec.all()[len(rec.all())-1].kind, "the close is the last")
}

// When the close is recorded, and what it says.
func TestClose(t *testing.T) {
	near := func(code int, reason string) []byte {
		return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewCloseFrame([]byte(closeFrame(code, reason))), [4]byte{1, 2, 3, 4}))
	}
	far := func(code int, reason string) []byte { return serverFrame(ws.OpClose, true, closeFrame(code, reason)) }
	tests := []struct {
		name      string
		steps     []func(*tap)
		code      int64
		reason    string
		initiator string
		clean     bool
	}{
		{"we close", []func(*tap){
			func(t *tap) { t.sent(near(1001, "we")) }, func(t *tap) { t.received(far(1000, "they")) }, (*tap).ended,
		}, 1001, "we", "local", true},
		{"they close", []func(*tap){
			func(t *tap) { t.received(far(4000, "they")) }, func(t *tap) { t.sent(near(4000, "")) }, (*tap).ended,
		}, 4000, "they", "remote", true},
		{"they close and go before our answer", []func(*tap){
			func(t *tap) { t.received(far(4000, "they")) }, (*tap).readEnded, func(t *tap) { t.sent(near(4000, "")) },
		}, 4000, "they", "remote", true},
		{"they close and we do not answer", []func(*tap){
			func(t *tap) { t.received(far(4000, "they")) }, (*tap).readEnded, (*tap).ended,
		}, 4000, "they", "remote", false},
		{"they close and we end our side", []func(*tap){
			func(t *tap) { t.received(far(4000, "they")) }, (*tap).readEnded, (*tap).writeEnded,
		}, 4000, "they", "remote", false},
		{"we close and they vanish", []func(*tap){
			func(t *tap) { t.sent(near(1000, "we")) }, (*tap).readEnded,
		}, 1000, "we", "local", false},
		{"we cannot write and find their close", []func(*tap){
			(*tap).writeEnded, func(t *tap) { t.received(far(1012, "they")) }, (*tap).readEnded,
		}, 1012, "they", "remote", false},
		{"they vanish", []func(*tap){(*tap).readEnded}, 1006, "", "none", false},
		{"we vanish", []func(*tap){(*tap).ended}, 1006, "", "none", false},
		{"no code", []func(*tap){
			func(t *tap) { t.received(serverFrame(ws.OpClose, true, "")) }, (*tap).ended,
		}, 1005, "", "remote", false},
		{"their code is not read", []func(*tap){
			func(t *tap) { t.received(far(4000, "they")[:2]) }, (*tap).ended,
		}, 1005, "", "remote", false},
		{"their close frame is at fault", []func(*tap){
			func(t *tap) { t.received(far(999, "they")) }, func(t *tap) { t.sent(near(1002, "we")) }, (*tap).ended,
		}, 1002, "we", "local", false},
		{"both at once", []func(*tap){
			func(t *tap) { t.sent(near(1000, "we")[:6]) }, func(t *tap) { t.received(far(1001, "they")) },
			func(t *tap) { t.sent(near(1000, "we")[6:]) }, (*tap).ended,
		}, 1000, "we", "local", true},
		{"longest reason", []func(*tap){
			func(t *tap) { t.received(far(1000, strings.Repeat("é", 61)+"x")) }, (*tap).ended,
		}, 1000, strings.Repeat("é", 61) + "x", "remote", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := newFakeRecorder()
			tap := openTap(t, rec)
			for i, step := range tt.steps {
				assert.Empty(t, rec.of(wire.KindClose), "before step %d", i)
				step(tap)
			}
			requireClose(t, rec.await(t, wire.KindClose, 1), tt.code, tt.reason, tt.initiator, tt.clean)
			n := len(rec.all())
			tap.ended()
			tap.readEnded()
			tap.writeEnded()
			tap.sent(maskedFrame(ws.OpText, true, "late"))
			tap.received(serverFrame(ws.OpText, true, "late"))
			assert.Len(t, rec.all(), n, "nothing after the close")
		})
	}
}

// After a violation that direction counts no more, and the other goes on.
func TestViolation(t *testing.T) {
	rec := newFakeRecorder()
	tap := openTap(t, rec)
	tap.received(serverFrame(ws.OpText, true, "canary"))
	tap.received([]byte("\x83\x06canary"))
	tap.received(serverFrame(ws.OpText, true, "canary"))
	tap.sent(maskedFrame(ws.OpText, true, "canary"))
	tap.sent(maskedFrame(ws.OpClose, true, closeFrame(1002, "")))
	tap.ended()
	assert.Len(t, rec.of(wire.KindReceive), 1)
	assert.Len(t, rec.of(wire.KindSend), 1)
	e := rec.await(t, wire.KindProtocolError, 1)
	assert.Equal(t, "reserved_opcode", e.extra.Str(wire.AttrErrorType))
	assert.Equal(t, "protocol", e.extra.Str(wire.AttrErrorCategory))
	assert.NotEmpty(t, e.extra.Str(wire.AttrErrorMessage))
	assert.Equal(t, wire.DirectionReceived, e.dir)
	requireClose(t, rec.await(t, wire.KindClose, 1), 1002, "", "local", false)
	assert.Equal(t, int64(1), rec.await(t, wire.KindClose, 1).extra.Int(wire.AttrMessagesReceived))
	assert.NotContains(t, rec.String(), "canary")
}

// The two directions, control frames and the end may come from any goroutine.
func TestConcurrency(t *testing.T) {
	rec := newFakeRecorder()
	tap := openTap(t, rec)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				tap.sent(maskedFrame(ws.OpText, true, "hello"))
				tap.sent(maskedFrame(ws.OpPing, true, "x"))
			}
		})
	}
	wg.Go(func() {
		for range 200 {
			tap.received(serverFrame(ws.OpText, true, "hello"))
			tap.received(serverFrame(ws.OpPong, true, "x"))
		}
		tap.readEnded()
	})
	wg.Go(tap.writeEnded)
	wg.Wait()
	tap.ended()
	assert.Len(t, rec.of(wire.KindClose), 1)
	assert.Len(t, rec.of(wire.KindReceive), 200)
	for i, r := range rec.of(wire.KindSend) {
		require.Equal(t, int64(i+1), r.seq)
	}
}

func TestBytesDoNotOverflow(t *testing.T) {
	rec := newFakeRecorder()
	tap := openTap(t, rec)
	tap.in.bytes = math.MaxInt64 - 1
	tap.received(serverFrame(ws.OpText, true, "hello"))
	tap.ended()
	assert.Equal(t, int64(math.MaxInt64), rec.await(t, wire.KindClose, 1).extra.Int(wire.AttrBytesReceived))
}

// discard is a recorder that costs nothing.
type discard struct{ n int }

func (d *discard) open(*conn)                  {}
func (d *discard) record(record)               { d.n++ }
func (d *discard) isOwn(*url.URL) bool         { return false }
func (d *discard) wants(*http.Request) bool    { return true }
func (d *discard) Read([]byte) (int, error)    { return 0, io.EOF }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) Close() error                { return nil }

// loop is a stream that reads one frame for ever.
type loop struct {
	discard
	frame []byte
}

func (l *loop) Read(p []byte) (int, error) { return copy(p, l.frame), nil }

func benchStream(tb testing.TB, frame []byte) *stream {
	tb.Helper()
	up := newClientUpgrade(&discard{}, upgradeRequest(), false, nil)
	s := openStream(&loop{frame: frame}, up.succeed(http.Header{}))
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func TestNoAllocations(t *testing.T) {
	in, out := serverFrame(ws.OpText, true, "hello"), maskedFrame(ws.OpText, true, "hello")
	s, buf := benchStream(t, in), make([]byte, 64)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = s.Write(out)
		_, _ = s.Read(buf)
	}))
	ping, pong := maskedFrame(ws.OpPing, true, "hello"), serverFrame(ws.OpPong, true, "hello")
	s = benchStream(t, pong)
	_, _ = s.Write(ping)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = s.Write(ping)
		_, _ = s.Read(buf)
	}))
}

// BenchmarkTap reports what a tap adds to one message, Read or Write included.
func BenchmarkTap(b *testing.B) {
	out := maskedFrame(ws.OpText, true, strings.Repeat("x", 128))
	b.Run("send", func(b *testing.B) {
		s := benchStream(b, nil)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Write(out)
		}
	})
	b.Run("receive", func(b *testing.B) {
		s, buf := benchStream(b, serverFrame(ws.OpText, true, strings.Repeat("x", 128))), make([]byte, 4096)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Read(buf)
		}
	})
	b.Run("ping and pong", func(b *testing.B) {
		ping := maskedFrame(ws.OpPing, true, "12345678")
		s, buf := benchStream(b, serverFrame(ws.OpPong, true, "12345678")), make([]byte, 4096)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Write(ping)
			_, _ = s.Read(buf)
		}
	})
}
