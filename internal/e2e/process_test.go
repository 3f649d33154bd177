package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/otel/trace"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// TestProcessContext holds the span context that a message is handled under
// against the process span that the receiver makes: what the handler calls is kept
// together with it, and says by the same tracestate how many it stands for.
//
// Red when: the tracestate or the sampled flag of the context is not the span's.
func TestProcessContext(t *testing.T) {
	for _, tt := range []struct {
		sampling, mode string
		states         int // different ones
	}{
		{"{ratio: 1}", "message", 1},
		{"{ratio: 0}", "message", 0},
		{"{ratio: 0.5}", "message", 1},
		{"{ratio: 0.5, scope: connection}", "message", 2},
		{"{ratio: 0.5}", "connection", 1},
		{"{ratio: 0.5, scope: connection}", "connection", 2},
	} {
		t.Run(tt.sampling+" "+tt.mode, func(t *testing.T) {
			c := startCollector(t, "receivers::wsstats::traces::sampling: "+tt.sampling, "receivers::wsstats::traces::mode: "+tt.mode)
			agent, err := wsstats.NewAgent(wsstats.WithEndpoint("ws://" + c.endpoint))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return agent.Stats().Sessions == 1 }, waitTimeout, waitTick)
			handled := handleMessages(t, agent)
			ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
			defer cancel()
			require.NoError(t, agent.Shutdown(ctx))
			c.stop(t)

			spans := map[spanKey]span{}
			for _, s := range c.output.spans(t) {
				spans[spanKey{s.TraceID(), s.SpanID()}] = s
			}
			kept, states := 0, map[string]bool{}
			for _, sc := range handled {
				s, ok := spans[spanKey{pcommon.TraceID(sc.TraceID()), pcommon.SpanID(sc.SpanID())}]
				require.Equal(t, sc.IsSampled(), ok, "%v", sc)
				if ok {
					kept++
					states[s.TraceState().AsRaw()] = true
					require.Equal(t, "ws.process text", s.Name())
					require.Equal(t, s.TraceState().AsRaw(), sc.TraceState().String())
				}
			}
			assert.GreaterOrEqual(t, len(states), tt.states)
			t.Logf("%d of %d are kept, with %d tracestates", kept, len(handled), len(states))
		})
	}
}

// handleMessages has messages handled on connections of each sort: ids that both
// ends derive, the handshake in a trace of the caller's, and messages that name a
// trace themselves. It returns the contexts' spans.
func handleMessages(t *testing.T, agent *wsstats.Agent) (handled []trace.SpanContext) {
	t.Helper()
	for i := range 30 {
		r := httptest.NewRequest(http.MethodGet, "/chat", http.NoBody)
		if i%3 == 1 {
			r.Header.Set("Traceparent", fmt.Sprintf("00-4bf92f3577b34da6%016x-00f067aa0ba902b7-01", uint64(i)<<51|1))
		}
		conn := agent.ServerHandshake(r).Opened(http.Header{}, nil)
		for j := range 10 {
			ctx := t.Context()
			if i%3 == 2 && j%2 == 0 {
				ctx = wsstats.Extract(ctx, wsstats.TraceFields{TraceID: fmt.Sprintf("ac%014x%016x", i+1, uint64(j)<<52|1), SpanID: "ac00000000000001"})
			}
			ctx, end := conn.Process(ctx, conn.Received(wsstats.TextMessage, 10))
			end(nil)
			handled = append(handled, trace.SpanContextFromContext(ctx))
		}
		conn.Closed(1000, "", wsstats.Remote)
	}
	return handled
}
