package wsstats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// active returns a context with an active span, and the span's ids.
func active(ctx context.Context, n byte) (context.Context, spanIDs) {
	ids := spanIDs{trace: wire.TraceID{0: 0xac, 15: n}, span: wire.SpanID{0: 0xac, 7: n}}
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(ids.trace), SpanID: trace.SpanID(ids.span), TraceFlags: trace.FlagsSampled,
	})), ids
}

func idsOf(ctx context.Context) spanIDs {
	sc := trace.SpanContextFromContext(ctx)
	return spanIDs{wire.TraceID(sc.TraceID()), wire.SpanID(sc.SpanID())}
}

// The span that a handler runs under is the one that the receiver derives.
func TestProcess(t *testing.T) {
	for role, slot := range map[Role]wire.Slot{
		RoleServer: wire.SlotClientData, RoleClient: wire.SlotServerData, wire.RoleUnknown: wire.SlotReceived,
	} {
		rec := newFakeRecorder()
		c := observe(rec, Opening{Role: role})
		seed := wire.ConnectionSeed(c.ID())
		caller, _ := active(t.Context(), 1)

		first := c.Received(TextMessage, 10)
		second := c.Received(BinaryMessage, 20)
		began := time.Now().UnixNano()
		ctx, end := c.Process(caller, first, String("room.id", "lobby"))
		assert.Equal(t, spanIDs{seed.TraceID(1, slot), seed.SpanID(1, slot, wire.KindProcess, role)}, idsOf(ctx))
		assert.True(t, trace.SpanContextFromContext(ctx).IsRemote())
		assert.True(t, trace.SpanContextFromContext(ctx).IsSampled())
		assert.Empty(t, rec.of(wire.KindProcess), "it has not ended")
		ctx, endSecond := c.Process(caller, Message{})
		assert.Equal(t, seed.TraceID(2, slot), idsOf(ctx).trace, "the last one")
		endSecond(io.ErrUnexpectedEOF)
		c.Closed(1000, "", Local)
		end(nil)
		end(errors.New("again"))

		processed := rec.of(wire.KindProcess)
		require.Len(t, processed, 2)
		assert.Equal(t, []summary{{2, -1, -1, 0, BinaryMessage}, {1, -1, -1, 0, TextMessage}}, summaries(processed))
		assert.Equal(t, "_OTHER", processed[0].extra.Str(wire.AttrErrorType))
		assert.Nil(t, processed[1].extra, "all of it is derived")
		assert.Equal(t, []Attribute{String("room.id", "lobby")}, *processed[1].attributes)
		assert.GreaterOrEqual(t, processed[1].time, began)
		assert.Positive(t, processed[1].duration)
		assert.Equal(t, second.seq, processed[0].seq)
	}
}

// A message that is handled again has a second span, which no derived id hides.
func TestProcessAgain(t *testing.T) {
	rec := newFakeRecorder()
	c := observe(rec, observed)
	m := c.Received(TextMessage, 1)
	first, end := c.Process(t.Context(), m)
	end(nil)
	second, end := c.Process(t.Context(), m)
	end(nil)
	assert.Equal(t, idsOf(first).trace, idsOf(second).trace)
	assert.NotEqual(t, idsOf(first).span, idsOf(second).span)
	stated := rec.await(t, wire.KindProcess, 2).extra
	assert.Equal(t, idsOf(second).span, stated.SpanID)
	assert.Zero(t, stated.TraceID)

	unknown, end := observe(rec, observed).Process(t.Context(), Message{})
	end(nil)
	stated = rec.await(t, wire.KindProcess, 3).extra
	assert.Equal(t, spanIDs{stated.TraceID, stated.SpanID}, idsOf(unknown), "nothing was received")
}

// A span that the message names is the parent, of the receive and by that of its process.
func TestStatedTrace(t *testing.T) {
	sender, sent := active(t.Context(), 7)
	var carrier TraceFields
	Inject(sender, &carrier)
	data, err := json.Marshal(struct {
		TraceFields
		Text string `json:"text"`
	}{carrier, "hi"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"trace_id":"ac000000000000000000000000000007","span_id":"ac00000000000007","text":"hi"}`, string(data))
	require.NoError(t, json.Unmarshal(data, &carrier))
	extracted := Extract(t.Context(), carrier)
	assert.Equal(t, sent, idsOf(extracted))
	require.True(t, trace.SpanContextFromContext(extracted).IsRemote())

	rec := newFakeRecorder()
	c := observe(rec, observed)
	seed := wire.ConnectionSeed(c.ID())
	span := func(n uint64, kind wire.Kind) wire.SpanID {
		return seed.SpanID(n, wire.SlotClientData, kind, RoleServer)
	}
	ctx, end := c.Process(t.Context(), c.ReceivedContext(extracted, TextMessage, 1))
	end(nil)
	r := rec.await(t, wire.KindReceive, 1)
	assert.Equal(t, &wire.Event{TraceID: sent.trace, ParentSpanID: sent.span}, r.extra)
	p := rec.await(t, wire.KindProcess, 1)
	assert.Equal(t, &wire.Event{TraceID: sent.trace, ParentSpanID: span(1, wire.KindReceive)}, p.extra)
	assert.Equal(t, spanIDs{sent.trace, span(1, wire.KindProcess)}, idsOf(ctx))

	// The receive was recorded before the message was understood.
	ctx, end = c.Process(extracted, c.Received(TextMessage, 1))
	end(nil)
	p = rec.await(t, wire.KindProcess, 2)
	assert.Equal(t, &wire.Event{TraceID: sent.trace, ParentSpanID: sent.span}, p.extra)
	assert.Equal(t, spanIDs{sent.trace, span(2, wire.KindProcess)}, idsOf(ctx))

	// A loop that goes on with the context of the last message is in no old trace.
	next, end := c.Process(ctx, c.Received(TextMessage, 1))
	end(nil)
	assert.Equal(t, seed.TraceID(3, wire.SlotClientData), idsOf(next).trace)
}

func TestExtractIgnores(t *testing.T) {
	good, ids := active(t.Context(), 1)
	var carrier TraceFields
	Inject(good, &carrier)
	upper := TraceFields{"AC000000000000000000000000000001", "AC00000000000001"}
	assert.Equal(t, ids, idsOf(Extract(t.Context(), upper)))
	for name, bad := range map[string]TraceFields{
		"nothing":      {},
		"no span":      {TraceID: carrier.TraceID},
		"zero trace":   {"00000000000000000000000000000000", carrier.SpanID},
		"zero span":    {carrier.TraceID, "0000000000000000"},
		"short":        {carrier.TraceID[1:], carrier.SpanID},
		"not hex":      {carrier.TraceID, "xyz0000000000001"},
		"a UUID":       {"ac000000-0000-0000-0000-000000000001", carrier.SpanID},
		"wrong places": {carrier.SpanID, carrier.TraceID},
	} {
		assert.Equal(t, t.Context(), Extract(t.Context(), bad), name)
	}
	before := carrier
	Inject(t.Context(), &carrier)
	assert.Equal(t, before, carrier, "no span is active")
}

// ruled is a recorder whose receiver has rules.
type ruled struct {
	*fakeRecorder
	rules spanRules
}

func (r ruled) spanRules() spanRules { return r.rules }

// What is called by a handler is sampled as its message is, and in its trace.
// (internal/e2e has it held against the receiver's own spans.)
//
// Red when: the tracestate lacks the threshold, the shared randomness, or has the
// threshold of a ratio that did not keep the message.
func TestProcessFollowsTheReceiver(t *testing.T) {
	half := wire.FormatThreshold(wire.ThresholdFromRatio(0.5))
	for name, tt := range map[string]struct {
		welcome wire.Welcome
		keeps   func(seed wire.Seed, trace wire.TraceID) bool
		state   string // of what is kept; %s: the connection's randomness
	}{
		"all":  {wire.Welcome{SamplingThreshold: "0"}, func(wire.Seed, wire.TraceID) bool { return true }, ""},
		"none": {wire.Welcome{SamplingThreshold: wire.FormatThreshold(wire.NeverSampled)}, func(wire.Seed, wire.TraceID) bool { return false }, ""},
		"half of the messages": {wire.Welcome{SamplingThreshold: half, SamplingScope: "message"}, func(_ wire.Seed, trace wire.TraceID) bool {
			return trace[9] >= 0x80
		}, "ot=th:8"},
		"half of the connections": {wire.Welcome{SamplingThreshold: half, SamplingScope: "connection"}, func(seed wire.Seed, _ wire.TraceID) bool {
			return seed.Randomness()>>55 == 1
		}, "ot=th:8;rv:%s"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []string{"message", "connection"} {
				tt.welcome.TraceMode = mode
				rec := ruled{fakeRecorder: newFakeRecorder()}
				rec.rules.follow(&tt.welcome)
				for range 20 {
					c := observe(rec, observed)
					seed := wire.ConnectionSeed(c.ID())
					for n := uint64(1); n <= 20; n++ {
						ctx, end := c.Process(t.Context(), c.Received(TextMessage, 1))
						end(nil)
						want := seed.TraceID(n, wire.SlotClientData)
						if mode == "connection" {
							want = seed.TraceID(0, wire.SlotHandshake)
						}
						require.Equal(t, want, idsOf(ctx).trace)
						sc := trace.SpanContextFromContext(ctx)
						require.Equal(t, tt.keeps(seed, want), sc.IsSampled())
						state := strings.Replace(tt.state, "%s", wire.FormatRandomness(seed.Randomness()), 1)
						if !sc.IsSampled() {
							state = strings.Replace(state, "th:8;", "", 1) // the randomness goes on to whoever samples next
							state = strings.Replace(state, "ot=th:8", "", 1)
						}
						require.Equal(t, state, sc.TraceState().String())
					}
				}
			}
		})
	}
}

func TestAgentKnowsTheRulesForSpans(t *testing.T) { eachEncoding(t, testAgentKnowsTheRulesForSpans) }

func testAgentKnowsTheRulesForSpans(t *testing.T, e encoding) {
	r := newReceiver(t, e, nil)
	a := r.agent()
	assert.Zero(t, a.spanRules())
	p := r.accept()
	p.welcome(func(w *wire.Welcome) {
		w.SamplingThreshold, w.SamplingScope, w.TraceMode = "fd70a", "connection", "connection"
	})
	want := spanRules{threshold: 0xfd70a << 36, byConnection: true, handshakeTraces: true}
	requireSoon(t, func() bool { return a.spanRules() == want })
	p.reply(wire.Reply{Flow: &wire.Flow{SamplingThreshold: "8"}})
	want.threshold = 8 << 52
	requireSoon(t, func() bool { return a.spanRules() == want })
	p.reply(wire.Reply{Flow: &wire.Flow{}})
	flushed(t, a)
	assert.Equal(t, want, a.spanRules())
}

func TestHandledWindow(t *testing.T) {
	var w window
	for i, tt := range []struct {
		n   int64
		new bool
	}{{1, true}, {1, false}, {3, true}, {2, true}, {2, false}, {70, true}, {7, true}, {7, false}, {6, false}, {1000, true}, {999, true}, {70, false}} {
		assert.Equal(t, tt.new, w.add(tt.n), "%d. %d", i, tt.n)
	}
}

type kindOfError struct{}

func (kindOfError) Error() string     { return "secret" }
func (kindOfError) ErrorType() string { return "quota" }

func TestErrorType(t *testing.T) {
	_, noFile := os.Open(t.TempDir() + "/secret")
	for want, err := range map[string]error{
		"_OTHER":        fmt.Errorf("secret: %w", errors.New("secret")),
		"canceled":      fmt.Errorf("secret: %w", context.Canceled),
		"timeout":       fmt.Errorf("secret: %w", context.DeadlineExceeded),
		"quota":         fmt.Errorf("secret: %w", kindOfError{}),
		"syscall.Errno": noFile,
		"net.AddrError": fmt.Errorf("secret: %w", &net.AddrError{Err: "secret"}),
	} {
		assert.Equal(t, want, errorType(err))
	}
}

// An application need not ask whether its connection is observed.
func TestNoConnection(t *testing.T) {
	var c *Connection
	ctx, end := c.Process(t.Context(), c.Received(TextMessage, 1))
	assert.Equal(t, t.Context(), ctx)
	end(nil)
	c.Sending(ctx)
	c.SendingBatch(ctx, TextMessage, 1, 1)
	c.SendingBroadcast()
	c.Sent(TextMessage, 1)
	c.Pinged(1)
	c.PingReceived(1)
	c.PongSent(1)
	c.PongReceived(1)
	c.Failed("a", "b")
	c.Closed(1000, "", Local)
	assert.Empty(t, c.ID())
	assert.False(t, c.Tapped())
}

// BenchmarkTold reports what it costs the application to tell of one message.
func BenchmarkTold(b *testing.B) {
	c := observe(&discard{}, observed)
	ctx, _ := active(b.Context(), 1)
	b.Run("process", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, end := c.Process(ctx, c.Received(TextMessage, 128))
			end(nil)
		}
	})
	b.Run("linked", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Sending(ctx)
			c.Sent(TextMessage, 128)
		}
	})
}
