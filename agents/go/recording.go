package wsstats

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	recordingBytes = 1 << 20                // memory of events that wait to be written, and once more of those that are
	recordingDelay = 100 * time.Millisecond // that they wait for more
	recordingLine  = 512                    // events of a line
	recordingLost  = "recording"            // the reason in the recording's own "dropped"
)

// recording writes records to a writer, from a goroutine of its own, so that
// recording never waits for it. What comes while too much waits is lost.
type recording struct {
	w     io.Writer
	log   *slog.Logger
	hello wire.Hello

	mu      sync.Mutex
	pending []record
	bytes   int    // memory of pending
	lost    uint64 // in all
	failed  bool   // the writer has: nothing more is kept
	missing uint64 // of lost: the recording does not say so yet

	wake chan struct{}
	done chan struct{} // closed: all is written

	// The goroutine's own.
	spare []record
	known map[*conn]struct{} // declared in the recording, and not closed
	msg   wire.Message
	buf   []byte
}

func newRecording(w io.Writer, log *slog.Logger, resource []wire.KeyValue) *recording {
	return &recording{
		w: w, log: log,
		hello: wire.Hello{Instance: newInstance(), AgentName: agentName, AgentVersion: Version, Resource: resource},
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		known: map[*conn]struct{}{},
	}
}

// take keeps a record until it is written. It waits for nothing but a short lock.
func (g *recording) take(r *record) {
	size := r.memory()
	g.mu.Lock()
	if g.failed || g.bytes+size > recordingBytes {
		g.lost++
		g.missing++
		g.mu.Unlock()
		return
	}
	before := g.bytes
	g.pending = append(g.pending, *r)
	g.bytes += size
	wake := before == 0 || before < recordingBytes/2 && g.bytes >= recordingBytes/2
	g.mu.Unlock()
	if wake {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
}

// run writes until stop is closed, and then what is left.
func (g *recording) run(stop <-chan struct{}) {
	defer close(g.done)
	g.msg.Form, g.msg.Hello = wire.FormHello, g.hello
	g.write()
	for open := true; open; {
		select {
		case <-g.wake:
			open = g.linger(stop)
		case <-stop:
			open = false
		}
		g.flush()
	}
}

// linger waits until more has come or a while has passed. It tells whether the
// recording goes on.
func (g *recording) linger(stop <-chan struct{}) bool {
	timer := time.NewTimer(recordingDelay)
	defer timer.Stop()
	select {
	case <-g.wake:
	case <-timer.C:
	case <-stop:
		return false
	}
	return true
}

// flush writes what waits, and what is missing before it.
func (g *recording) flush() {
	g.mu.Lock()
	rows, missing := g.pending, g.missing
	g.pending, g.bytes, g.missing = g.spare[:0], 0, 0
	g.mu.Unlock()
	for rest := rows; len(rest) > 0 || missing > 0; missing = 0 {
		n := min(len(rest), recordingLine)
		g.lines(rest[:n], missing)
		rest = rest[n:]
	}
	clear(rows) // lets go of connections
	g.spare = rows
}

// lines writes records as one message. It declares the connections whose
// handshake is not in the recording.
func (g *recording) lines(rows []record, missing uint64) {
	g.msg.Reset()
	g.msg.Form = wire.FormBatch
	b := &g.msg.Batch
	if missing > 0 {
		b.Dropped = append(b.Dropped, wire.Dropped{Reason: recordingLost, Count: missing})
	}
	for i := range rows {
		r := &rows[i]
		if r.extra != nil { // the link appends to its attributes, too
			extra := *r.extra
			extra.User = slices.Clip(extra.User)
			r.extra = &extra
		}
		b.Events = append(b.Events, wire.Event{})
		fillEvent(&b.Events[i], r)
		if r.conn == nil {
			continue
		}
		if _, known := g.known[r.conn]; !known && r.kind != wire.KindHandshake {
			entry := connectionEntry(r.conn)
			entry.Closed = false // what the recording says of it is still to come
			b.Connections = append(b.Connections, entry)
		}
		g.known[r.conn] = struct{}{}
		if r.kind == wire.KindClose {
			delete(g.known, r.conn)
		}
	}
	g.write()
}

// write writes the message as a line. The first error is the last thing that is tried.
func (g *recording) write() {
	g.mu.Lock()
	failed := g.failed
	g.mu.Unlock()
	rows := uint64(len(g.msg.Batch.Events))
	if !failed {
		g.buf = append(wire.AppendJSON(g.buf[:0], &g.msg), '\n')
		_, err := g.w.Write(g.buf)
		if err == nil {
			return
		}
		g.log.Warn("wsstats: recording ended", "error", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = true
	g.lost += rows
}

// ended waits until all is written: until the context ends, and then a little.
func (g *recording) ended(ctx context.Context, little time.Duration) bool {
	select {
	case <-g.done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-g.done:
		return true
	case <-time.After(little):
		return false
	}
}

// unrecorded is how many records are not in the recording.
func (g *recording) unrecorded() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}
