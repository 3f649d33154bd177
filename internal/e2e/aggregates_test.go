package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// TestAggregates tells one receiver the same story by agents that send every
// event, and another one by agents that aggregate and leave out what the ratio
// does not keep: the metrics are the same to the last count, and so are the
// spans, each with its other end. Red when: a message whose size is not known
// counts among the sizes, or does not count as a message.
func TestAggregates(t *testing.T) {
	for _, tt := range []struct {
		encoding wsstats.Encoding
		changes  []string
	}{
		{wsstats.EncodingProto, []string{"receivers::wsstats::traces::sampling::ratio: 0.1"}},
		{wsstats.EncodingJSON, []string{"receivers::wsstats::traces::sampling: {ratio: 0.3, scope: connection}", "receivers::wsstats::metrics::temporality: delta"}},
		{wsstats.EncodingProto, []string{"receivers::wsstats::traces::sampling::ratio: 0"}},
	} {
		t.Run(fmt.Sprintf("%s %s", tt.encoding, tt.changes[0]), func(t *testing.T) {
			changes := append(tt.changes, "receivers::wsstats::metrics::dimensions: [room.id]")
			plain, unsampled := tellStory(t, changes, wsstats.WithEncoding(tt.encoding))
			assert.Zero(t, unsampled)
			aggregated, unsampled := tellStory(t, changes, wsstats.WithEncoding(tt.encoding), wsstats.WithAggregates(100))
			assert.NotZero(t, unsampled, "something was left out")
			t.Logf("%d of %d messages were left out", unsampled, 2*storyMessages)

			assert.Equal(t, plain.measured(t), aggregated.measured(t))
			want, got := identities(plain.spans(t)), identities(aggregated.spans(t))
			assert.Len(t, got, len(want))
			for id, s := range want {
				if !assert.Equal(t, s, got[id]) {
					break
				}
			}
			ends := map[pcommon.TraceID]int{}
			for _, s := range aggregated.spans(t) {
				if s.Name() == "ws.send text" || s.Name() == "ws.receive text" {
					ends[s.TraceID()]++
				}
			}
			for id, n := range ends {
				assert.Equal(t, 2, n, "both ends of %s", id)
			}
		})
	}
}

// TestAggregatesOfCompressedMessages has taps tell of a chat whose messages are
// compressed, mostly: what they know of the sizes is the same in events and in
// aggregates. Red when: a compressed message counts among the sizes or the bytes.
func TestAggregatesOfCompressedMessages(t *testing.T) {
	const messages = 90
	tell := func(options ...wsstats.Option) map[string]string {
		c := startCollector(t)
		agentOf := func(service string) *wsstats.Agent {
			agent, err := wsstats.NewAgent(append(options, wsstats.WithServiceName(service), wsstats.WithEndpoint("ws://"+c.endpoint))...)
			require.NoError(t, err)
			return agent
		}
		client, server := agentOf("client"), agentOf("server")
		app := newChat(t, server, strings.Clone)
		ws, _, err := client.Dialer(&websocket.Dialer{EnableCompression: true}).Dial("ws://"+app.Listener.Addr().String(), nil)
		require.NoError(t, err)
		for i := range messages {
			ws.EnableWriteCompression(i%3 > 0)
			require.NoError(t, ws.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte("ha"), 10*i)))
			_, _, err := ws.ReadMessage()
			require.NoError(t, err)
		}
		require.NoError(t, ws.Close())
		app.leave()
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		defer cancel()
		for _, agent := range []*wsstats.Agent{client, server} {
			require.NoError(t, agent.Shutdown(ctx))
		}
		c.stop(t)
		return c.output.measured(t)
	}
	plain := tell()
	assert.Equal(t, plain, tell(wsstats.WithAggregates(1)))
	for series, count := range map[string]int{
		"ws.messages.sent client map[ws.message.type:text ws.role:client]":                      messages,
		"ws.messages.sent server map[ws.message.type:text ws.role:server]":                      messages,
		"ws.message.size client map[ws.direction:sent ws.message.type:text ws.role:client]":     messages / 3,
		"ws.message.size server map[ws.direction:received ws.message.type:text ws.role:server]": messages / 3,
	} {
		assert.Regexp(t, fmt.Sprintf(`^\{(count:0 sum|count):%d `, count), plain[series], series)
	}
	assert.NotContains(t, plain, "ws.message.size server map[ws.direction:sent ws.message.type:text ws.role:server]")
}

const storyMessages = 3000

// tellStory has a client send to a server, each with an agent of its own, and
// returns what the collector made of it, and how many messages its agents left
// out. The story is the same each time, down to the connection ids.
func tellStory(t *testing.T, changes []string, options ...wsstats.Option) (output, uint64) {
	t.Helper()
	c := startCollector(t, changes...)
	random := rand.New(rand.NewPCG(1, 2))
	agentOf := func(service string) *wsstats.Agent {
		agent, err := wsstats.NewAgent(append(options, wsstats.WithServiceName(service),
			wsstats.WithResource(map[string]string{"service.instance.id": service}), wsstats.WithEndpoint("ws://"+c.endpoint))...)
		require.NoError(t, err)
		return agent
	}
	client, server := agentOf("client"), agentOf("server")
	for _, agent := range []*wsstats.Agent{client, server} {
		require.Eventually(t, func() bool { return agent.Stats().Sessions == 1 }, waitTimeout, waitTick)
	}
	const connections = 20
	var near, far [connections]*wsstats.Connection
	for i := range connections {
		o := wsstats.Opening{
			Role: wsstats.RoleClient, URL: "ws://chat.example/", ID: fmt.Sprintf("%032x", i+1), Shared: true,
			Attributes: []wsstats.Attribute{wsstats.Int("room.id", i%3)},
		}
		near[i] = client.Observe(o)
		o.Role = wsstats.RoleServer
		far[i] = server.Observe(o)
	}
	for i := range storyMessages {
		size := random.IntN(1 << random.IntN(20))
		if i%7 == 0 {
			size = -1 // not known, as a compressed message's is to a tap
		}
		attributes := []wsstats.Attribute{wsstats.Int("ws.queue.size", random.IntN(100))}
		if i%10 == 0 {
			attributes = append(attributes, wsstats.String("room.id", "lobby"))
		}
		near[i%connections].Sent(wsstats.TextMessage, size, attributes...)
		far[i%connections].Received(wsstats.TextMessage, size, attributes...)
	}
	for i := range connections {
		near[i].Failed("boom", "application")
		near[i].Closed(1000, "", wsstats.Local)
		far[i].Closed(1000, "", wsstats.Remote)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	var unsampled uint64
	for _, agent := range []*wsstats.Agent{client, server} {
		require.NoError(t, agent.Shutdown(ctx))
		s := agent.Stats()
		assert.Equal(t, s.Observed, s.Acknowledged)
		unsampled += s.Unsampled
	}
	c.stop(t)
	return c.output, unsampled
}

// measured are the metrics of messages, each series with all that it says but
// its times.
func (o output) measured(t *testing.T) map[string]string {
	t.Helper()
	type total struct {
		count, sum, low, high float64
		buckets               []uint64
	}
	totals := map[string]*total{}
	for _, md := range o.metrics(t) {
		for _, rm := range md.ResourceMetrics().All() {
			service, _ := rm.Resource().Attributes().Get("service.name")
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					at := func(attributes pcommon.Map, temporality pmetric.AggregationTemporality) *total {
						id := m.Name() + " " + service.AsString() + " " + key(attributes)
						if totals[id] == nil || temporality == pmetric.AggregationTemporalityCumulative {
							totals[id] = &total{}
						}
						return totals[id]
					}
					switch m.Name() {
					case "ws.messages.sent", "ws.messages.received", "ws.messages.bytes", "ws.errors":
						for _, p := range m.Sum().DataPoints().All() {
							at(p.Attributes(), m.Sum().AggregationTemporality()).sum += float64(p.IntValue())
						}
					case "ws.message.size", "ws.queue.size":
						for _, p := range m.Histogram().DataPoints().All() {
							s := at(p.Attributes(), m.Histogram().AggregationTemporality())
							if s.count == 0 {
								s.low, s.high = p.Min(), p.Max()
								s.buckets = make([]uint64, p.BucketCounts().Len())
							}
							s.count += float64(p.Count())
							s.sum += p.Sum()
							s.low, s.high = min(s.low, p.Min()), max(s.high, p.Max())
							for i, n := range p.BucketCounts().All() {
								s.buckets[i] += n
							}
						}
					}
				}
			}
		}
	}
	texts := map[string]string{}
	for id, s := range totals {
		texts[id] = fmt.Sprintf("%+v", *s)
	}
	return texts
}

// identities are the spans by their ids, with their sampling. Those of errors are
// not there: their ids are of the batch that they came in.
func identities(spans []span) map[spanKey]string {
	all := map[spanKey]string{}
	for _, s := range spans {
		if s.Name() == "ws.error" {
			continue
		}
		all[spanKey{s.TraceID(), s.SpanID()}] = fmt.Sprintf("%s %s %s", s.Name(), s.ParentSpanID(), s.TraceState().AsRaw())
	}
	return all
}
