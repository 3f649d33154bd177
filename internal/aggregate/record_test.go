package aggregate

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	client = wire.RoleClient
	server = wire.RoleServer
)

type attrs = map[wire.Attr]any

func TestRows(t *testing.T) {
	tests := []struct {
		name   string
		events []event
		want   []string
	}{
		{"send", []event{
			{kind: wire.KindSend, role: server, typ: wire.MessageText, dir: wire.DirectionSent, attrs: attrs{wire.AttrMessageSize: 128, wire.AttrQueueSize: 3}},
			{kind: wire.KindSend, role: server, typ: wire.MessageText, dir: wire.DirectionSent, attrs: attrs{wire.AttrMessageSize: 2, wire.AttrQueueSize: 0}},
		}, []string{
			"ws.message.size{ws.direction=sent,ws.message.type=text,ws.role=server} n=2 sum=130 min=2 max=128",
			"ws.messages.bytes{ws.direction=sent,ws.message.type=text,ws.role=server} 130",
			"ws.messages.sent{ws.message.type=text,ws.role=server} 2",
			"ws.queue.size{ws.role=server} n=2 sum=3 min=0 max=3",
		}},
		{"receive, untyped, no role", []event{
			{kind: wire.KindReceive, dir: wire.DirectionReceived, attrs: attrs{wire.AttrMessageSize: 0}},
		}, []string{
			"ws.message.size{ws.direction=received} n=1 sum=0 min=0 max=0",
			"ws.messages.bytes{ws.direction=received} 0",
			"ws.messages.received{} 1",
		}},
		{"a compressed message of unknown size", []event{
			{kind: wire.KindReceive, role: client, typ: wire.MessageBinary, dir: wire.DirectionReceived, attrs: attrs{wire.AttrCompressedSize: 9}},
		}, []string{"ws.messages.received{ws.message.type=binary,ws.role=client} 1"}},
		{"values outside their sets", []event{
			{kind: wire.KindSend, role: wire.RoleOther, typ: wire.MessageTypeOther, dir: wire.DirectionSent},
			{kind: wire.KindMessage, dir: wire.DirectionOther, attrs: attrs{wire.AttrMessageSize: 1}},
		}, []string{
			"ws.message.size{ws.direction=_OTHER} n=1 sum=1 min=1 max=1",
			"ws.messages.sent{ws.message.type=_OTHER,ws.role=_OTHER} 1",
		}},
		{"message without direction", []event{
			{kind: wire.KindMessage, role: client, typ: wire.MessageText, attrs: attrs{wire.AttrMessageSize: 7}},
		}, []string{"ws.message.size{ws.message.type=text,ws.role=client} n=1 sum=7 min=7 max=7"}},
		{"message with direction", []event{
			{kind: wire.KindMessage, typ: wire.MessageText, dir: wire.DirectionReceived, attrs: attrs{wire.AttrMessageSize: 7}},
			{kind: wire.KindMessage, typ: wire.MessageText, dir: wire.DirectionSent},
		}, []string{
			"ws.message.size{ws.direction=received,ws.message.type=text} n=1 sum=7 min=7 max=7",
			"ws.messages.bytes{ws.direction=received,ws.message.type=text} 7",
			"ws.messages.received{ws.message.type=text} 1",
			"ws.messages.sent{ws.message.type=text} 1",
		}},
		{"control messages", []event{
			{kind: wire.KindMessage, typ: wire.MessagePing, dir: wire.DirectionSent, attrs: attrs{wire.AttrMessageSize: 7}},
			{kind: wire.KindMessage, typ: wire.MessageClose, attrs: attrs{wire.AttrMessageSize: 7}},
			{kind: wire.KindBroadcast, typ: wire.MessagePong, attrs: attrs{wire.AttrBatchSize: 3}},
		}, []string{}},
		{"process", []event{
			{
				kind: wire.KindProcess, typ: wire.MessageText, dir: wire.DirectionReceived, timed: true, duration: 2 * time.Millisecond,
				attrs: attrs{wire.AttrProcessingTime: 99.0, wire.AttrMessageSize: 5},
			},
			{kind: wire.KindProcess, typ: wire.MessageText, attrs: attrs{wire.AttrProcessingTime: 4.0}},
			{kind: wire.KindProcess, typ: wire.MessageBinary},
		}, []string{"ws.processing.time{ws.message.type=text} n=2 sum=0.006 min=0.002 max=0.004"}},
		{"broadcast", []event{
			{kind: wire.KindBroadcast, role: server, typ: wire.MessageText, dir: wire.DirectionSent, attrs: attrs{wire.AttrBroadcastRecipients: 10, wire.AttrMessageSize: 5}},
			{kind: wire.KindBroadcast, role: server, typ: wire.MessageText, attrs: attrs{wire.AttrBroadcastRecipients: 0, wire.AttrMessageSize: 5}},
			{kind: wire.KindBroadcast, role: server, typ: wire.MessageText, attrs: attrs{wire.AttrMessageSize: 5}},
		}, []string{
			"ws.broadcast.recipients{} n=2 sum=10 min=0 max=10",
			"ws.message.size{ws.direction=sent,ws.message.type=text,ws.role=server} n=10 sum=50 min=5 max=5",
			"ws.messages.bytes{ws.direction=sent,ws.message.type=text,ws.role=server} 50",
			"ws.messages.sent{ws.message.type=text,ws.role=server} 10",
		}},
		{"batch_send", []event{
			{kind: wire.KindBatchSend, attrs: attrs{wire.AttrBatchSize: 4, wire.AttrMessageSize: 3}},
			{kind: wire.KindBatchSend, attrs: attrs{wire.AttrBatchSize: 2}},
			{kind: wire.KindBatchSend},
		}, []string{
			"ws.message.size{ws.direction=sent} n=4 sum=12 min=3 max=3",
			"ws.messages.bytes{ws.direction=sent} 12",
			"ws.messages.sent{} 6",
		}},
		{"queue size of any kind", []event{
			{kind: wire.KindPing, role: client, attrs: attrs{wire.AttrQueueSize: 3}},
			{kind: wire.KindError, role: client, attrs: attrs{wire.AttrQueueSize: 4}},
		}, []string{
			"ws.errors{} 1",
			"ws.queue.size{ws.role=client} n=2 sum=7 min=3 max=4",
		}},
		{"ping and pong without a connection", []event{
			{kind: wire.KindPing, role: client, timed: true, duration: 3 * time.Millisecond},
			{kind: wire.KindPing, role: client},
			{kind: wire.KindPong, role: client, attrs: attrs{wire.AttrPongLatency: 5.0}},
			{kind: wire.KindPong, role: client},
		}, []string{"ws.ping.rtt{ws.role=client} n=2 sum=0.008 min=0.003 max=0.005"}},
		{"handshake", []event{
			{kind: wire.KindHandshake, role: server, timed: true, duration: time.Millisecond, attrs: attrs{wire.AttrProtocol: "wss", wire.AttrStatusCode: 101}},
			{kind: wire.KindHandshake, role: server, conn: &observed.Conn{Protocol: "ws", Closed: true}},
			{kind: wire.KindHandshake, role: server, attrs: attrs{wire.AttrProtocol: "WSS"}},
			{kind: wire.KindHandshake},
		}, []string{
			"ws.connections.total{} 1",
			"ws.connections.total{ws.protocol=_OTHER,ws.role=server} 1",
			"ws.connections.total{ws.protocol=ws,ws.role=server} 1",
			"ws.connections.total{ws.protocol=wss,ws.role=server} 1",
			"ws.handshake.duration{http.status_code=101,ws.role=server} n=1 sum=0.001 min=0.001 max=0.001",
		}},
		{"failed handshake", []event{
			{kind: wire.KindHandshake, role: client, failed: true, timed: true, duration: time.Second, attrs: attrs{wire.AttrStatusCode: 403}},
			{kind: wire.KindHandshake, failed: true, timed: true, duration: time.Second, attrs: attrs{wire.AttrStatusCode: 600, wire.AttrErrorType: "x509"}},
			{kind: wire.KindHandshake, failed: true, attrs: attrs{wire.AttrErrorCategory: "dns"}},
		}, []string{
			"ws.errors{error.category=dns} 1",
			"ws.errors{error.category=handshake,error.type=x509} 1",
			"ws.errors{error.category=handshake} 1",
			"ws.handshake.duration{http.status_code=403,ws.role=client} n=1 sum=1 min=1 max=1",
			"ws.handshake.duration{} n=1 sum=1 min=1 max=1",
		}},
		{"close", []event{
			{kind: wire.KindClose, class: "normal", attrs: attrs{wire.AttrCloseCode: 1000, wire.AttrCloseInitiator: "remote", wire.AttrConnectionDuration: 2500.0}},
			{kind: wire.KindClose, class: "application", start: 5e9, conn: &observed.Conn{OpenedAt: 2e9}, attrs: attrs{wire.AttrCloseCode: 4001, wire.AttrCloseInitiator: "moon"}},
			{kind: wire.KindClose, class: "abnormal", start: 5e9, conn: &observed.Conn{}, failed: true},
			{kind: wire.KindClose, class: "strange", start: 5e9, conn: &observed.Conn{OpenedAt: 6e9}},
		}, []string{
			"ws.connection.duration{ws.close.class=application} n=1 sum=3 min=3 max=3",
			"ws.connection.duration{ws.close.class=normal} n=1 sum=2.5 min=2.5 max=2.5",
			"ws.connections.closed{ws.close.class=_OTHER} 1",
			"ws.connections.closed{ws.close.class=abnormal} 1",
			"ws.connections.closed{ws.close.class=application,ws.close.initiator=_OTHER} 1",
			"ws.connections.closed{ws.close.class=normal,ws.close.code=1000,ws.close.initiator=remote} 1",
		}},
		{"errors", []event{
			{kind: wire.KindError, attrs: attrs{wire.AttrErrorType: "net.OpError", wire.AttrErrorCategory: "io"}},
			{kind: wire.KindError, attrs: attrs{wire.AttrErrorType: "a b"}},
			{kind: wire.KindError, attrs: attrs{wire.AttrErrorType: strings.Repeat("x", 65), wire.AttrErrorCategory: ""}},
			{kind: wire.KindProtocolError},
			{kind: wire.KindProtocolError, attrs: attrs{wire.AttrErrorCategory: "framing"}},
			{kind: wire.KindSend, failed: true, attrs: attrs{wire.AttrErrorType: "x"}},
		}, []string{
			"ws.errors{error.category=_OTHER,error.type=_OTHER} 1",
			"ws.errors{error.category=framing} 1",
			"ws.errors{error.category=io,error.type=net.OpError} 1",
			"ws.errors{error.category=protocol} 1",
			"ws.errors{error.type=_OTHER} 1",
			"ws.messages.sent{} 1",
		}},
		{"numbers that a decoder would refuse", []event{
			{kind: wire.KindSend, attrs: attrs{wire.AttrMessageSize: -1, wire.AttrQueueSize: -1}},
			{kind: wire.KindSend, attrs: attrs{wire.AttrMessageSize: math.MaxInt64}},
			{kind: wire.KindBatchSend, attrs: attrs{wire.AttrBatchSize: math.MaxInt64, wire.AttrMessageSize: 1}},
			{kind: wire.KindProcess, attrs: attrs{wire.AttrProcessingTime: math.NaN()}},
			{kind: wire.KindProcess, attrs: attrs{wire.AttrProcessingTime: math.Inf(1)}},
			{kind: wire.KindPing, timed: true, duration: -1},
		}, []string{
			"ws.message.size{ws.direction=sent} n=9223372036854775808 sum=1.84467e+19 min=1 max=9.22337e+18",
			"ws.messages.bytes{ws.direction=sent} 9223372036854775807",
			"ws.messages.sent{} 9223372036854775807",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, cfg := range map[string]Config{"cumulative": {}, "delta": {Delta: true}, "exponential": {Exponential: true}} {
				for i := range tt.events {
					if c := tt.events[i].conn; c != nil {
						c.Ended = false
					}
				}
				slices.Sort(tt.want)
				assert.Equal(t, tt.want, newHarness(t, cfg).take(post(tt.events...)), name)
			}
		})
	}
}

func TestPongLatencyGivesWayToPings(t *testing.T) {
	a, b := &observed.Conn{ID: "a"}, &observed.Conn{ID: "b"}
	pong := attrs{wire.AttrPongLatency: 5.0}
	h := newHarness(t, Config{})
	got := h.take(session(
		event{kind: wire.KindPong, conn: a, attrs: pong},
		event{kind: wire.KindPing, conn: a}, // without a round trip
		event{kind: wire.KindPong, conn: a, attrs: pong},
		event{kind: wire.KindPing, conn: a, timed: true, duration: time.Millisecond},
		event{kind: wire.KindPong, conn: a, attrs: pong},
		event{kind: wire.KindPong, conn: b, attrs: pong},
	))
	assert.Equal(t, []string{"ws.ping.rtt{} n=4 sum=0.016 min=0.001 max=0.005"}, got)
}

func TestStatusCodeNames(t *testing.T) {
	tests := map[Conventions]string{
		"":      "http.status_code=101",
		WS:      "http.status_code=101",
		WSDup:   "http.response.status_code=101,http.status_code=101",
		Semconv: "http.response.status_code=101",
	}
	for conventions, want := range tests {
		h := newHarness(t, Config{Conventions: conventions})
		got := h.take(post(event{kind: wire.KindHandshake, failed: true, timed: true, duration: 1, attrs: attrs{wire.AttrStatusCode: 101}}))
		assert.Contains(t, got[1], "{"+want+"}", conventions)
	}
}

func TestDropped(t *testing.T) {
	b := post()
	b.Dropped = []wire.Dropped{{Reason: "queue_full", Count: 3}, {Reason: "queue_full", Count: 4}, {Reason: "a b", Count: 1}, {Reason: "none"}}
	assert.Equal(t, []string{
		"ws.agent.dropped{reason=_OTHER} 1",
		"ws.agent.dropped{reason=queue_full} 7",
	}, newHarness(t, Config{Dimensions: []string{"room.id"}}).take(b))
}

func stat(m wire.Metric, attributes attrs, s wire.Stat) wire.Stat {
	s.Metric = m
	setAttrs(&s.Attrs, attributes)
	return s
}

// protocolStat is the stat of the example in the protocol's document: 4 values
// in (8, 16] and 90 in (16, 32].
var protocolStat = wire.Stat{
	Count: 94, Sum: 2310, Min: 12, HasMin: true, Max: 31, HasMax: true, Offset: 3, Buckets: []uint64{4, 90},
}

func TestStats(t *testing.T) {
	sent := attrs{wire.AttrDirection: "sent", wire.AttrMessageType: "text", wire.AttrRole: "server"}
	noMin := protocolStat
	noMin.HasMin = false
	noMax := protocolStat
	noMax.HasMax = false
	broken := protocolStat
	broken.Count++
	huge := protocolStat
	huge.Sum = 1e30
	some := protocolStat
	some.Count, some.ZeroCount, some.Unsized = 99, 5, 3
	unsized := wire.Stat{Count: 7, ZeroCount: 7, Unsized: 7}
	tests := []struct {
		name  string
		stats []wire.Stat
		want  []string
	}{
		{"sizes feed three metrics", []wire.Stat{stat(wire.MetricMessageSize, sent, protocolStat)}, []string{
			"ws.message.size{ws.direction=sent,ws.message.type=text,ws.role=server} n=94 sum=2310 min=12 max=31",
			"ws.messages.bytes{ws.direction=sent,ws.message.type=text,ws.role=server} 2310",
			"ws.messages.sent{ws.message.type=text,ws.role=server} 94",
		}},
		{"received", []wire.Stat{stat(wire.MetricMessageSize, attrs{wire.AttrDirection: "received"}, huge)}, []string{
			"ws.message.size{ws.direction=received} n=94 sum=1e+30 min=12 max=31",
			"ws.messages.bytes{ws.direction=received} 9223372036854775807",
			"ws.messages.received{} 94",
		}},
		{"no direction", []wire.Stat{stat(wire.MetricMessageSize, nil, protocolStat)}, []string{
			"ws.message.size{} n=94 sum=2310 min=12 max=31",
		}},
		{"some without a size", []wire.Stat{stat(wire.MetricMessageSize, sent, some)}, []string{
			"ws.message.size{ws.direction=sent,ws.message.type=text,ws.role=server} n=96 sum=2310 min=12 max=31",
			"ws.messages.bytes{ws.direction=sent,ws.message.type=text,ws.role=server} 2310",
			"ws.messages.sent{ws.message.type=text,ws.role=server} 99",
		}},
		{"all without a size", []wire.Stat{stat(wire.MetricMessageSize, sent, unsized)}, []string{
			"ws.messages.sent{ws.message.type=text,ws.role=server} 7",
		}},
		{"neither size nor direction", []wire.Stat{stat(wire.MetricMessageSize, nil, unsized)}, []string{}},
		{"control frames", []wire.Stat{stat(wire.MetricMessageSize, attrs{wire.AttrMessageType: "ping"}, protocolStat)}, []string{}},
		{"the other metrics", []wire.Stat{
			stat(wire.MetricProcessingTime, sent, protocolStat),
			stat(wire.MetricQueueSize, sent, protocolStat),
			stat(wire.MetricBroadcastRecipients, sent, protocolStat),
		}, []string{
			"ws.broadcast.recipients{} n=94 sum=2310 min=12 max=31",
			"ws.processing.time{ws.message.type=text} n=94 sum=2310 min=12 max=31",
			"ws.queue.size{ws.role=server} n=94 sum=2310 min=12 max=31",
		}},
		{"an unknown extreme stays unknown", []wire.Stat{
			stat(wire.MetricBroadcastRecipients, nil, noMin), stat(wire.MetricBroadcastRecipients, nil, protocolStat),
			stat(wire.MetricQueueSize, nil, protocolStat), stat(wire.MetricQueueSize, nil, noMax),
		}, []string{
			"ws.broadcast.recipients{} n=188 sum=4620 min=0 max=31",
			"ws.queue.size{} n=188 sum=4620 min=12 max=0",
		}},
		{"invalid or empty", []wire.Stat{stat(wire.MetricQueueSize, nil, broken), stat(wire.MetricQueueSize, nil, wire.Stat{})}, []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, cfg := range map[string]Config{"cumulative": {}, "delta": {Delta: true}, "exponential": {Exponential: true}} {
				b := post()
				b.Stats = tt.stats
				assert.Equal(t, tt.want, newHarness(t, cfg).take(b), name)
			}
		})
	}
}

func TestAggregatesMeasureByStatsAlone(t *testing.T) {
	size := attrs{wire.AttrMessageSize: 5, wire.AttrQueueSize: 5, wire.AttrBroadcastRecipients: 5, wire.AttrBatchSize: 5, wire.AttrProcessingTime: 5.0}
	var events []event
	for k := wire.KindHandshake; k <= wire.KindBatchSend; k++ {
		events = append(events, event{kind: k, dir: wire.DirectionSent, attrs: size})
	}
	b := post(events...)
	b.Aggregates = true
	b.Stats = []wire.Stat{stat(wire.MetricBroadcastRecipients, nil, protocolStat)}
	assert.Equal(t, []string{
		"ws.broadcast.recipients{} n=94 sum=2310 min=12 max=31",
		"ws.connections.closed{} 1",
		"ws.connections.total{} 1",
		"ws.errors{error.category=protocol} 1",
		"ws.errors{} 1",
		"ws.queue.size{} n=6 sum=30 min=5 max=5",
	}, newHarness(t, Config{}).take(b))
}

func TestDimensions(t *testing.T) {
	conn := &observed.Conn{User: []wire.KeyValue{
		{Key: "room.id", Value: wire.StringValue("lobby")}, {Key: "tenant", Value: wire.StringValue("t1")}, {Key: "secret", Value: wire.StringValue("s")},
	}}
	value := func(v wire.Value) []wire.KeyValue { return []wire.KeyValue{{Key: "room.id", Value: v}} }
	send := func(c *observed.Conn, kvs []wire.KeyValue) event {
		return event{kind: wire.KindSend, conn: c, user: kvs}
	}
	h := newHarness(t, Config{Dimensions: []string{"room.id", "tenant"}})
	got := h.take(session(
		send(conn, nil),
		send(conn, user("room.id", "kitchen")),
		send(conn, value(wire.Value{})), // null is the same as absent
		send(nil, nil),
		send(nil, user("room.id", "")),
		send(nil, user("tenant", "t1")),
		send(nil, value(wire.IntValue(-7))),
		send(nil, value(wire.DoubleValue(1.5))),
		send(nil, value(wire.BoolValue(true))),
		send(nil, value(wire.ArrayValue([]wire.Value{wire.StringValue("a"), wire.StringValue("b")}))),
		send(nil, user("room.id", strings.Repeat("ä", 200))),
		send(nil, user("room.id", "x"+strings.Repeat("ä", 200))),
		event{kind: wire.KindError, conn: conn, attrs: attrs{wire.AttrErrorType: "e"}},
		event{kind: wire.KindError, user: user("tenant", "t2")},
	))
	assert.ElementsMatch(t, []string{
		"ws.errors{error.type=e,room.id=lobby,tenant=t1} 1",
		"ws.errors{tenant=t2} 1",
		"ws.messages.sent{} 1",
		"ws.messages.sent{room.id=} 1",
		"ws.messages.sent{room.id=-7} 1",
		"ws.messages.sent{room.id=1.5} 1",
		"ws.messages.sent{room.id=true} 1",
		`ws.messages.sent{room.id=["a","b"]} 1`,
		"ws.messages.sent{room.id=kitchen,tenant=t1} 1",
		"ws.messages.sent{room.id=lobby,tenant=t1} 2",
		"ws.messages.sent{room.id=" + strings.Repeat("ä", 128) + "} 1",
		"ws.messages.sent{room.id=x" + strings.Repeat("ä", 127) + "} 1",
		"ws.messages.sent{tenant=t1} 1",
	}, got)
}

func TestDimensionsOfStatsAndConnections(t *testing.T) {
	conn := &observed.Conn{Role: server, User: user("room.id", "lobby")}
	b := opened(conn)
	b.Stats = []wire.Stat{stat(wire.MetricQueueSize, nil, protocolStat)}
	b.Stats[0].User = user("room.id", "kitchen")
	h := newHarness(t, Config{Dimensions: []string{"room.id"}})
	assert.Equal(t, []string{
		"ws.connections.active{room.id=lobby,ws.role=server} 1",
		"ws.queue.size{room.id=kitchen} n=94 sum=2310 min=12 max=31",
	}, h.take(b))
}

func TestAnAttributeOfTheMetricWinsOverADimension(t *testing.T) {
	h := newHarness(t, Config{Dimensions: []string{"http.response.status_code"}, Conventions: Semconv})
	got := h.take(post(event{
		kind: wire.KindHandshake, failed: true, timed: true, attrs: attrs{wire.AttrStatusCode: 403},
		user: user("http.response.status_code", "mine"),
	}))
	assert.Equal(t, "ws.handshake.duration{http.response.status_code=403} n=1 sum=0 min=0 max=0", got[1])
}

// The instruments are the table of the conventions.
func TestInstruments(t *testing.T) {
	const (
		sum       = "sum"
		upDown    = "sum, not monotonic"
		histogram = "histogram"
	)
	want := map[string][2]string{
		"ws.connections.total":    {sum, "{connection}"},
		"ws.connections.active":   {upDown, "{connection}"},
		"ws.connections.closed":   {sum, "{connection}"},
		"ws.connection.duration":  {histogram, "s"},
		"ws.handshake.duration":   {histogram, "s"},
		"ws.messages.sent":        {sum, "{message}"},
		"ws.messages.received":    {sum, "{message}"},
		"ws.messages.bytes":       {sum, "By"},
		"ws.message.size":         {histogram, "By"},
		"ws.ping.rtt":             {histogram, "s"},
		"ws.processing.time":      {histogram, "s"},
		"ws.queue.size":           {histogram, "{message}"},
		"ws.broadcast.recipients": {histogram, "{connection}"},
		"ws.errors":               {sum, "{error}"},
		"ws.agent.dropped":        {sum, "{event}"},
	}
	for _, delta := range []bool{false, true} {
		h := newHarness(t, Config{Delta: delta, ReceiverID: "r1"})
		h.take(everything())
		md := h.last
		if !delta {
			md = h.Flush()
		}
		got := map[string][2]string{}
		each(md, func(res pcommon.Resource, m pmetric.Metric, _ anyPoint) {
			kind := histogram
			var temporality pmetric.AggregationTemporality
			if m.Type() == pmetric.MetricTypeSum {
				kind, temporality = sum, m.Sum().AggregationTemporality()
				if !m.Sum().IsMonotonic() {
					kind = upDown
				}
			} else {
				temporality = m.Histogram().AggregationTemporality()
			}
			got[m.Name()] = [2]string{kind, m.Unit()}
			assert.NotEmpty(t, m.Description(), m.Name())
			assert.Equal(t, delta && kind != upDown, temporality == pmetric.AggregationTemporalityDelta, m.Name())
			assert.Equal(t, map[string]any{"service.name": "chat", "wsstats.receiver.id": "r1"}, res.Attributes().AsRaw())
		})
		assert.Equal(t, want, got)
		scope := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope()
		assert.Equal(t, "scope", scope.Name())
		assert.Equal(t, "v1", scope.Version())
	}
}

// everything is a batch that makes a point of each metric.
func everything() *observed.Batch {
	b := session(
		event{kind: wire.KindHandshake, conn: &observed.Conn{ID: "c"}, timed: true},
		event{kind: wire.KindSend, dir: wire.DirectionSent, attrs: attrs{wire.AttrMessageSize: 1, wire.AttrQueueSize: 1}},
		event{kind: wire.KindReceive, dir: wire.DirectionReceived},
		event{kind: wire.KindProcess, timed: true},
		event{kind: wire.KindPing, timed: true},
		event{kind: wire.KindBroadcast, attrs: attrs{wire.AttrBroadcastRecipients: 1}},
		event{kind: wire.KindClose, attrs: attrs{wire.AttrConnectionDuration: 1.0}},
		event{kind: wire.KindError},
	)
	b.Dropped = []wire.Dropped{{Reason: "r", Count: 1}}
	return b
}
