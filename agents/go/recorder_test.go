package wsstats

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// fakeRecorder keeps what the taps record.
type fakeRecorder struct {
	own    string                   // the host that is the recorder's
	filter func(*http.Request) bool // nil: all

	mu      sync.Mutex
	changed chan struct{} // closed at the next record
	opened  []*conn
	records []record
}

func newFakeRecorder() *fakeRecorder { return &fakeRecorder{changed: make(chan struct{})} }

func (f *fakeRecorder) open(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened = append(f.opened, c)
}

func (f *fakeRecorder) record(r record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records = append(f.records, r)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeRecorder) wants(r *http.Request) bool { return f.filter == nil || f.filter(r) }

func (f *fakeRecorder) isOwn(u *url.URL) bool { return f.own != "" && u.Host == f.own }

// all returns what was recorded so far.
func (f *fakeRecorder) all() []record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]record(nil), f.records...)
}

// of returns the records of these kinds, in order.
func (f *fakeRecorder) of(kinds ...wire.Kind) []record {
	var found []record
	for _, r := range f.all() {
		for _, k := range kinds {
			if r.kind == k {
				found = append(found, r)
			}
		}
	}
	return found
}

// await waits for the n-th record of a kind.
func (f *fakeRecorder) await(t *testing.T, kind wire.Kind, n int) record {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		if found := f.of(kind); len(found) >= n {
			return found[n-1]
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(t, "no such record", "%d. %s in\n%s", n, kind, f)
		}
	}
}

// String shows everything that was recorded, for messages and for canaries.
func (f *fakeRecorder) String() string {
	var b strings.Builder
	for _, r := range f.all() {
		fmt.Fprintf(&b, "%s %+v", r.kind, r)
		if r.conn != nil {
			fmt.Fprintf(&b, " %+v", struct{ id, url, ip string }{r.conn.id, r.conn.url, r.conn.peerIP})
		}
		if r.extra != nil {
			fmt.Fprintf(&b, " %+v", *r.extra)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// summary is what both ends have to agree on.
type summary struct {
	seq, size, compressed int64
	frames                int32
	typ                   wire.MessageType
}

func summaries(rs []record) []summary {
	var ms []summary
	for _, r := range rs {
		s := summary{r.seq, r.size, -1, r.frames, r.typ}
		if r.compressed {
			s.size, s.compressed = -1, r.size
		}
		ms = append(ms, s)
	}
	return ms
}

// requireClose checks a close record.
func requireClose(t *testing.T, r record, code int64, reason, initiator string, clean bool) {
	t.Helper()
	require.Equal(t, wire.KindClose, r.kind)
	assert.Equal(t, code, r.extra.Int(wire.AttrCloseCode), "code")
	assert.Equal(t, reason, r.extra.Str(wire.AttrCloseReason), "reason")
	assert.Equal(t, initiator, r.extra.Str(wire.AttrCloseInitiator), "initiator")
	assert.Equal(t, clean, r.extra.Bool(wire.AttrCloseClean), "clean")
	assert.True(t, r.conn.closed.Load())
	assert.Positive(t, r.extra.Double(wire.AttrConnectionDuration))
}

// requireNothingReserved waits until all connection ids were given back, which
// happens just after the last record.
func requireNothingReserved(t *testing.T, recs ...recorder) {
	t.Helper()
	requireSoon(t, func() bool {
		none := true
		reserved.Range(func(key, _ any) bool {
			none = none && !slices.Contains(recs, key.(reservation).rec)
			return true
		})
		return none
	})
}

func requireFree(t *testing.T, rec recorder, id string) {
	t.Helper()
	requireSoon(t, func() bool {
		_, held := reserved.Load(reservation{rec, id})
		return !held
	})
}

func requireSoon(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Second, time.Millisecond)
}
