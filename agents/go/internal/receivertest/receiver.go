// Package receivertest is a receiver for the tests of adapters: it takes
// everything, and hands it back as the protocol's own values.
package receivertest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// Patience is how long a test waits for what has to happen.
const Patience = 10 * time.Second

// Receiver keeps the events of one agent.
type Receiver struct {
	Endpoint string // a ws URL
	Agent    *wsstats.Agent

	t testing.TB

	mu     sync.Mutex
	events []wire.Event
}

// Start starts a receiver and an agent that delivers to it, until the test ends.
func Start(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{t: t}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	r.Endpoint = "ws" + strings.TrimPrefix(server.URL, "http") + "/"
	agent, err := wsstats.NewAgent(
		wsstats.WithEndpoint(r.Endpoint), wsstats.WithEncoding(wsstats.EncodingJSON),
		wsstats.WithLogger(slog.New(slog.DiscardHandler)),
	)
	require.NoError(t, err)
	r.Agent = agent
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		assert.NoError(t, agent.Shutdown(ctx))
		server.Close()
	})
	return r
}

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	u := websocket.Upgrader{Subprotocols: []string{wire.SubprotocolJSON}}
	ws, err := u.Upgrade(w, req, nil)
	if !assert.NoError(r.t, err) {
		return
	}
	defer ws.Close()
	reply := func(a wire.Reply) { _ = ws.WriteMessage(websocket.TextMessage, wire.AppendReply(nil, &a)) }
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		m := new(wire.Message) // its strings are those of data
		if !assert.NoError(r.t, new(wire.Decoder).DecodeJSON(data, m)) {
			return
		}
		assert.Zero(r.t, m.Batch.Rejected)
		if m.Form == wire.FormHello {
			reply(wire.Reply{Welcome: &wire.Welcome{MaxMessageBytes: 1 << 20, MaxEvents: 1000, WindowBytes: 1 << 20, HeartbeatS: 10}})
			continue
		}
		r.mu.Lock()
		r.events = append(r.events, m.Batch.Events...)
		r.mu.Unlock()
		if m.Batch.Seq > 0 {
			reply(wire.Reply{Ack: m.Batch.Seq})
		}
	}
}

// Events returns the events of these kinds that the agent has recorded.
func (r *Receiver) Events(kinds ...wire.Kind) []wire.Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), Patience)
	defer cancel()
	require.NoError(r.t, r.Agent.Flush(ctx))
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []wire.Event
	for i := range r.events {
		for _, k := range kinds {
			if r.events[i].Kind == k {
				found = append(found, r.events[i])
			}
		}
	}
	return found
}

// Await waits for the n-th event of a kind.
func (r *Receiver) Await(kind wire.Kind, n int) wire.Event {
	r.t.Helper()
	var found []wire.Event
	require.Eventually(r.t, func() bool {
		found = r.Events(kind)
		return len(found) >= n
	}, Patience, 10*time.Millisecond, "no %d. %s", n, kind)
	return found[n-1]
}

// Messages are what both ends of a connection have to agree on, of the events of
// these kinds: type, ordinal and size, -1 where it is not stated.
func (r *Receiver) Messages(kinds ...wire.Kind) []string {
	r.t.Helper()
	var found []string
	events := r.Events(kinds...)
	for i := range events {
		e := &events[i]
		size := int64(-1)
		if e.Has(wire.AttrMessageSize) {
			size = e.Int(wire.AttrMessageSize)
		}
		found = append(found, fmt.Sprintf("%s %d %d", e.Str(wire.AttrMessageType), e.Int(wire.AttrMessageSeq), size))
	}
	return found
}

// RequireClose waits for the close and checks it.
func (r *Receiver) RequireClose(code int64, reason, initiator string, clean bool) wire.Event {
	r.t.Helper()
	e := r.Await(wire.KindClose, 1)
	require.Len(r.t, r.Events(wire.KindClose), 1)
	assert.Equal(r.t, code, e.Int(wire.AttrCloseCode), "code")
	assert.Equal(r.t, reason, e.Str(wire.AttrCloseReason), "reason")
	assert.Equal(r.t, initiator, e.Str(wire.AttrCloseInitiator), "initiator")
	assert.Equal(r.t, clean, e.Bool(wire.AttrCloseClean), "clean")
	return e
}
