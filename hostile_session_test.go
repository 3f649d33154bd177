package wsstatsreceiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Memory stays flat whatever agents name things, and nothing is lost: what is
// over the limit is in the overflow series.
func TestHostileNames(t *testing.T) {
	eachEncoding(t, func(t *testing.T, e encoding) {
		const messages, events = 32, 1024
		metrics := new(consumertest.MetricsSink)
		r := startReceiver(t, testOptions{traces: consumertest.NewNop(), metrics: metrics, config: func(cfg *Config) {
			cfg.Metrics.Dimensions = []string{"room.id"}
			cfg.Metrics.CardinalityLimit = 100
			cfg.Limits.Connections = 1000
		}})
		h := &hostile{T: t, r: r, encoding: e}
		h.greet("i1")
		n := 0
		message := func(seq int) string {
			var b strings.Builder
			fmt.Fprintf(&b, `{"seq":%d,"events":[`, seq)
			for i := range events / 2 {
				if i > 0 {
					b.WriteByte(',')
				}
				fmt.Fprintf(&b, `{"event":"send","room.id":"room %d","ws.message.type":"type %d","ws.role":"role %d","ws.connection.id":"c%d","key %d":"value %d"},`, n, n, n, n, n, n)
				fmt.Fprintf(&b, `{"event":"close","ws.close.code":%d,"error.type":"e%d","error.category":"k%d","ws.close.reason":"r %d","ws.connection.id":"c%d"}`, n, n, n, n, n)
				n++
			}
			b.WriteString(`]}`)
			return b.String()
		}
		var before int64
		for seq := 1; seq <= messages; seq++ {
			h.say(message(seq))
			require.Regexp(t, fmt.Sprintf("^ack %d", seq), h.client.next())
			if seq == messages/4 {
				before = heldBytes()
			}
		}
		assert.Less(t, heldBytes()-before, int64(4<<20), "memory is flat")
		series, _ := r.aggregator.Held()
		assert.LessOrEqual(t, series, 12*101)
		r.stopNow()
		assert.EqualValues(t, n, sumOf(metrics.AllMetrics(), "ws.messages.sent"), "all are counted")
		assert.EqualValues(t, n-100, overflowOf(metrics.AllMetrics(), "ws.messages.sent"))
	})
}

// overflowOf is the newest value of the overflow series of a sum.
func overflowOf(all []pmetric.Metrics, name string) (value int64) {
	for _, md := range all {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range metricsOf(rm, name) {
				for _, dp := range m.Sum().DataPoints().All() {
					if over, ok := dp.Attributes().Get("otel.metric.overflow"); ok && over.Bool() {
						value = dp.IntValue()
					}
				}
			}
		}
	}
	return value
}

func TestHostileValues(t *testing.T) {
	rejected := once(`dropped{reason="rejected"}`)
	var rows []hostileRow
	for _, tt := range []struct {
		row         int
		name, event string
		gets        string
		shows       map[string]int64
	}{
		{14, "1970", `"time":0`, "ack 1", once(`events{event="send"}`)},
		{14, "before 1970", `"time":-1`, "ack 1 rejected 1", rejected},
		{14, "9999", `"time":"9999-12-31T23:59:59Z"`, "ack 1 rejected 1", rejected},
		{14, "the last nanosecond", `"time":9223372036854775807`, "ack 1", once(`adjustments{adjustment="future_time"}`)},
		{14, "an end behind the last nanosecond", `"time":1,"duration_ns":9223372036854775807`, "ack 1 rejected 1", rejected},
		{14, "a negative duration", `"duration_ns":-1`, "ack 1 rejected 1", rejected},
		{15, "a trace id of zeros", `"trace_id":"00000000000000000000000000000000"`, "ack 1 rejected 1", rejected},
		{15, "a span id of zeros", `"span_id":"0000000000000000"`, "ack 1 rejected 1", rejected},
		{15, "a short trace id", `"trace_id":"0af7651916cd43dd"`, "ack 1 rejected 1", rejected},
		{15, "an id that is not hexadecimal", `"span_id":"b7ad6b716920333g"`, "ack 1 rejected 1", rejected},
		{15, "upper case", `"trace_id":"0AF7651916CD43DD8448EB211C80319C","span_id":"B7AD6B7169203331"`, "ack 1", once(`events{event="send"}`)},
		{15, "both forms of context", `"trace_id":"0af7651916cd43dd8448eb211c80319c","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`, "ack 1 rejected 1", rejected},
		{15, "a traceparent of zeros", `"traceparent":"00-00000000000000000000000000000000-b7ad6b7169203331-01"`, "ack 1", once(`adjustments{adjustment="traceparent_ignored"}`)},
	} {
		rows = append(rows, hostileRow{
			row: tt.row, name: tt.name, heard: []string{"close 1000"}, shows: tt.shows,
			do: func(h *hostile) {
				h.join().write(text(`{"seq":1,"events":[{"event":"send",` + tt.event + `}]}`))
				assert.Equal(h, tt.gets, h.client.next())
				for _, span := range spansOf(h.r.traces.AllTraces()) {
					checkSpan(h.T, span)
					if tt.name == "upper case" {
						assert.Equal(h, "0af7651916cd43dd8448eb211c80319c", span.TraceID().String())
						assert.Equal(h, "b7ad6b7169203331", span.SpanID().String())
					}
				}
				h.leave()
			},
		})
	}
	runHostileIn(t, encodings[0], rows) // the binary form cannot say most of them
}

func TestHostileNumbers(t *testing.T) {
	says := func(pairs ...string) func(h *hostile) {
		return func(h *hostile) {
			h.greet("i1")
			for i := 0; i < len(pairs); i += 2 {
				h.say(pairs[i])
				assert.Equal(h, pairs[i+1], h.client.next())
			}
			h.leave()
		}
	}
	runHostile(t, []hostileRow{
		{
			row: 16, name: "replayed", heard: []string{"close 1000"}, shows: map[string]int64{"duplicates": 1, `events{event="send"}`: 1},
			do: says(batch(1, "c", 1), "ack 1", batch(1, "c", 1), "duplicate 1"),
		},
		{
			row: 16, name: "skipped", heard: []string{"close 1000"}, shows: map[string]int64{"gaps": 8},
			do: says(batch(1, "c", 1), "ack 1", batch(10, "c", 2), "ack 10"),
		},
		{
			row: 16, name: "backward", heard: []string{"close 1000"}, shows: map[string]int64{"duplicates": 1},
			do: says(batch(10, "c", 1), "ack 10", batch(3, "c", 2), "duplicate 3"),
		},
		{
			row: 16, name: "huge", heard: []string{"close 1000"}, shows: map[string]int64{"gaps": 1<<53 - 2, "duplicates": 1},
			do: says(batch(1, "c", 1), "ack 1", `{"seq":9007199254740992}`, "ack 9007199254740992", batch(2, "c", 2), "duplicate 2"),
		},
		{
			row: 16, name: "without a hello", heard: []string{"close 1000"}, shows: map[string]int64{`events{event="send"}`: 2},
			do: func(h *hostile) {
				h.join()
				for range 2 { // acknowledged, never remembered
					h.say(batch(7, "c", 1))
					assert.Equal(h, "ack 7", h.client.next())
				}
				h.leave()
			},
		},
		{
			row: 16, name: "a second hello", heard: []string{"close 1008"}, shows: closes("1008"),
			do: func(h *hostile) { h.greet("i1"); h.say(`{"hello":{"instance":"i2"}}`) },
		},
		{
			row: 16, name: "a late hello", heard: []string{"close 1008"}, shows: closes("1008"),
			do: func(h *hostile) {
				h.join()
				h.say(batch(1, "c", 1))
				assert.Equal(h, "ack 1", h.client.next())
				h.say(`{"hello":{"instance":"i2"}}`)
			},
		},
	})
}

// hostOfTwo knows alice and bob, by their tokens.
func hostOfTwo() *authHost {
	return &authHost{extension: extensionauth.ServerAuthenticateFunc(func(ctx context.Context, sources map[string][]string) (context.Context, error) {
		name, ok := strings.CutPrefix(http.Header(sources).Get("Authorization"), "Bearer ")
		if !ok {
			return ctx, errors.New("who is there?")
		}
		info := client.FromContext(ctx)
		info.Auth = authData{"subject": name}
		return client.NewContext(ctx, info), nil
	})}
}

func TestHostileClaims(t *testing.T) {
	runHostile(t, []hostileRow{
		{
			row: 19, name: "the instance of another user", heard: []string{"close 1000"}, shows: map[string]int64{"duplicates": 0, `session_ends{close_code="0"}`: 1},
			options: testOptions{host: hostOfTwo(), config: authenticate},
			do: func(h *hostile) {
				alice := h.r.rawDial(h.T, "Authorization: Bearer alice")
				alice.write(text(`{"hello":{"instance":"i1"}}`))
				require.Equal(h, "welcome 0", alice.next())
				alice.write(text(batch(5, "c", 1)))
				require.Equal(h, "ack 5", alice.next())

				h.client = h.r.rawDial(h.T, "Authorization: Bearer bob", "Sec-WebSocket-Protocol: "+h.encoding.subprotocol)
				h.say(`{"hello":{"instance":"i1"}}`)
				assert.Equal(h, "welcome 0", h.client.next(), "bob's own numbers")
				h.say(batch(1, "c", 1))
				assert.Equal(h, "ack 1", h.client.next())
				h.leave()
				alice.write(text(batch(6, "c", 2)))
				assert.Equal(h, "ack 6", alice.next(), "alice's session goes on")
			},
		},
		{
			row: 19, name: "the instance of the same user", heard: []string{"close 1008"}, shows: closes("1008"),
			do: func(h *hostile) {
				older := h.greet("i1")
				h.greet("i1")
				h.client = older
			},
		},
		{
			row: 19, name: "the connections of another", heard: []string{"close 1000"}, shows: map[string]int64{"connections": 2},
			do: func(h *hostile) {
				first := h.greet("i1")
				open := `{"seq":1,"events":[{"event":"handshake","ws.connection.id":"c","ws.role":"server","ws.handshake.success":true}]}`
				h.say(open)
				require.Equal(h, "ack 1", first.next())
				h.greet("i2")
				h.say(`{"seq":1,"events":[{"event":"close","ws.connection.id":"c","ws.close.code":1000}]}`)
				require.Equal(h, "ack 1", h.client.next())
				h.r.flush(h.Context())
				assert.EqualValues(h, 1, sumOf(h.r.metrics.AllMetrics(), "ws.connections.active"), "it is open still")
				h.leave()
			},
		},
	})
}

// A fleet that loses its connections at once comes back at once: each agent
// finds its numbers, no place is lost and none is left over. The end-to-end
// tests do it with 5,000 and a real collector.
func TestHostileReconnects(t *testing.T) {
	eachEncoding(t, func(t *testing.T, e encoding) {
		const agents = 1000
		r := startReceiver(t, limits(func(l *LimitsConfig) { l.Sessions, l.SessionsPerAddress = agents, agents }))
		h := &hostile{T: t, r: r, encoding: e}
		join := func(want string) []*rawClient {
			fleet := make([]*rawClient, agents)
			for i := range fleet {
				fleet[i] = h.join()
				h.say(fmt.Sprintf(`{"hello":{"instance":"i%d"}}`, i))
			}
			for _, c := range fleet {
				require.Equal(t, want, c.next())
			}
			return fleet
		}
		for i, c := range join("welcome 0") {
			c.write(h.frame(batch(1, fmt.Sprintf("c%d", i), 1)))
		}
		require.Eventually(t, func() bool { return r.traces.SpanCount() == agents }, waitFor, pollEvery)
		r.sessions.abort()
		require.Eventually(t, func() bool { return r.sessions.places() == 0 }, waitFor, pollEvery)
		join("welcome 1")
		assert.Equal(t, agents, r.sessions.len())
		assert.Equal(t, agents, r.instances.Len())
		assert.Zero(t, r.budget.Used())
	})
}
