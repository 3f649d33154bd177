package wsstats

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// tape is a writer that tests can look at, hold up and break.
type tape struct {
	hold chan struct{} // nil: it does not wait

	mu   sync.Mutex
	data []byte
	fail error
}

func (w *tape) Write(p []byte) (int, error) {
	if w.hold != nil {
		<-w.hold
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return 0, w.fail
	}
	w.data = append(w.data, p...)
	return len(p), nil
}

// recorded reads a recording: its events, and what it says is missing.
func (w *tape) recorded(t *testing.T) (hello wire.Hello, events []wire.Event, declared int, missing uint64) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range bytes.Lines(w.data) {
		var d wire.Decoder // of each line, so that nothing is reused
		var m wire.Message
		require.NoError(t, d.DecodeJSON(line, &m))
		require.Zero(t, m.Batch.Rejected.Count, m.Batch.Rejected.First)
		if m.Form == wire.FormHello {
			hello = m.Hello
			continue
		}
		declared += len(m.Batch.Connections)
		for _, d := range m.Batch.Dropped {
			missing += d.Count
		}
		events = append(events, m.Batch.Events...)
	}
	return hello, events, declared, missing
}

// A recording does not ask for a receiver, and has everything, in order.
// Red when: the connection whose handshake is not in it is not declared.
func TestRecording(t *testing.T) {
	w := &tape{}
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithServiceName("taped"), WithRecorder(w))
	c := newConn("a81b")
	recordMessages(a, c, 1, 2000)
	opened := a.Observe(Opening{Role: RoleServer, URL: "ws://example.com/x?secret=1", Attributes: []Attribute{String("room.id", "lobby")}})
	opened.Received(TextMessage, 7, Int("n", 1))
	opened.Failed("oops", "network", Int("n", 2))
	opened.Closed(1000, "bye", Remote, Int("n", 3))
	a.ObserveRefused(Opening{Role: RoleServer, URL: "ws://example.com/x"}, 503, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, a.Shutdown(ctx), "there is no receiver")
	<-a.recording.done
	recordMessages(a, c, 1, 1) // too late

	hello, events, declared, missing := w.recorded(t)
	assert.Equal(t, []wire.KeyValue{String("service.name", "taped")}, hello.Resource)
	assert.Equal(t, 1, declared, "the one without a handshake, once")
	assert.Zero(t, missing)
	assert.Zero(t, a.Stats().Unrecorded)
	require.Len(t, events, 2005)
	for i := range 2000 {
		require.Equal(t, int64(i+1), events[i].Int(wire.AttrMessageSize))
	}
	var kinds []wire.Kind
	for i, e := range events[2000:] {
		kinds = append(kinds, e.Kind)
		assert.True(t, e.HasTime)
		if i > 0 && i < 4 {
			assert.Equal(t, opened.ID(), e.Str(wire.AttrConnectionID))
			assert.Equal(t, []Attribute{Int("n", i)}, e.User)
		}
	}
	assert.Equal(t, []wire.Kind{wire.KindHandshake, wire.KindReceive, wire.KindError, wire.KindClose, wire.KindHandshake}, kinds)
	assert.Equal(t, "ws://example.com/x", events[2000].Str(wire.AttrURL))
	assert.NotContains(t, string(w.data), "secret")
	assert.Len(t, a.recording.known, 1, "what is closed is forgotten")
}

// What is recorded comes to the writer by itself.
func TestRecordingIsWrittenSoon(t *testing.T) {
	w := &tape{}
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithRecorder(w))
	for n := int64(1); n <= 2; n++ {
		recordMessages(a, nil, n, n)
		require.Eventually(t, func() bool {
			_, events, _, _ := w.recorded(t)
			return len(events) == int(n)
		}, 10*time.Second, 5*time.Millisecond)
	}
}

// A writer that hangs holds nothing up; what is missing is counted, and the
// recording says so where it is.
func TestRecordingIsBounded(t *testing.T) {
	w := &tape{hold: make(chan struct{})}
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithMaxQueueBytes(minQueueBytes), WithRecorder(w))
	const many = int64(2 * recordingBytes / rowBytes)
	recordMessages(a, nil, 1, many)
	a.recording.mu.Lock()
	bytes, pending := a.recording.bytes, cap(a.recording.pending)*rowBytes
	a.recording.mu.Unlock()
	assert.LessOrEqual(t, bytes, recordingBytes)
	assert.LessOrEqual(t, pending, 2*recordingBytes)
	lost := a.Stats().Unrecorded
	assert.Positive(t, lost)
	requireBalanced(t, a)

	close(w.hold)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, a.Shutdown(ctx), "there is no receiver")
	<-a.recording.done
	_, events, _, missing := w.recorded(t)
	assert.Equal(t, lost, missing)
	assert.Equal(t, lost, a.Stats().Unrecorded)
	assert.Equal(t, many, int64(len(events))+int64(missing))
}

func TestRecordingFails(t *testing.T) {
	var log bytes.Buffer
	w := &tape{fail: errors.New("disk full")}
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithRecorder(w), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	recordMessages(a, nil, 1, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, a.Shutdown(ctx))
	<-a.recording.done
	assert.Equal(t, uint64(10), a.Stats().Unrecorded)
	assert.Empty(t, w.data)
	assert.Equal(t, 1, strings.Count(log.String(), "recording ended"), log.String())
	assert.Contains(t, log.String(), "disk full")
}

// Shutdown waits for the writer no longer than for the receiver.
func TestShutdownWithHangingRecorder(t *testing.T) {
	w := &tape{hold: make(chan struct{})}
	a := newAgent(t, WithEndpoint("ws://"+closedPort(t)), WithRecorder(w), withTiming(func(tm *timing) { tm.closing = 0 }))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.Shutdown(ctx), context.DeadlineExceeded)
	close(w.hold)
	<-a.recording.done
}

func BenchmarkRecordWithRecorder(b *testing.B) {
	a, err := NewAgent(WithEndpoint("ws://127.0.0.1:1"), WithRecorder(io.Discard), WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(b, err)
	r := message(newConn("a81b"), 100)
	b.ReportAllocs()
	for b.Loop() {
		a.record(r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = a.Shutdown(ctx)
}
