package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// made is a span to be made, with only what the story looks at.
type made struct {
	service, connection, name string
	kind                      ptrace.SpanKind
	trace, id, parent         byte
	after, lasts              time.Duration
	failed                    bool
	attributes                map[string]any
}

const (
	client   = ptrace.SpanKindClient
	server   = ptrace.SpanKindServer
	producer = ptrace.SpanKindProducer
	consumer = ptrace.SpanKindConsumer
)

// whole is a connection with every part of the story, and one that died.
func whole() []made {
	data := map[string]any{"ws.message.seq": 1, "ws.message.size": 41}
	return []made{
		{"chat-client", "c1", "ws.handshake", client, 1, 1, 0, 0, 2 * time.Millisecond, false, map[string]any{"http.status_code": 101, "ws.url": "ws://localhost:8390/chat"}},
		{"chat-server", "c1", "ws.handshake", server, 1, 2, 1, 500 * time.Microsecond, time.Millisecond, false, map[string]any{"http.status_code": 101}},
		{"chat-client", "c1", "ws.send text", producer, 2, 3, 0, 3 * time.Millisecond, 0, false, data},
		{"chat-server", "c1", "ws.receive text", consumer, 2, 4, 3, 3250 * time.Microsecond, 0, false, data},
		{"chat-client", "c1", "ws.ping", client, 3, 5, 0, 5 * time.Millisecond, 400 * time.Microsecond, false, nil},
		{"chat-client", "c1", "ws.close", producer, 4, 6, 0, 2 * time.Second, 0, false, map[string]any{"ws.close.code": 1000, "ws.close.class": "normal", "ws.close.initiator": "local", "ws.close.reason": "bye", "ws.connection.duration_ms": 2000.0, "ws.connection.messages.sent": 1, "ws.connection.messages.received": 0}},
		{"chat-server", "c1", "ws.close", consumer, 4, 7, 0, 2001 * time.Millisecond, 0, false, map[string]any{"ws.close.code": 1000, "ws.close.class": "normal", "ws.close.initiator": "remote"}},
		{"chat-client", "c2", "ws.close", producer, 5, 8, 0, 3 * time.Second, 0, true, map[string]any{"ws.close.code": 1006, "ws.close.class": "abnormal", "ws.close.initiator": "none", "ws.role": "client"}},
		{"chat-server", "c2", "ws.close", ptrace.SpanKindInternal, 5, 9, 0, 3 * time.Second, 0, true, map[string]any{"ws.close.code": 1006, "ws.close.class": "abnormal", "ws.close.initiator": "none", "ws.role": "server"}},
	}
}

// lines makes OTLP JSON of the spans, as the file exporter does: a line each.
func lines(t *testing.T, spans []made) [][]byte {
	t.Helper()
	out := make([][]byte, len(spans))
	for i, m := range spans {
		traces := ptrace.NewTraces()
		resource := traces.ResourceSpans().AppendEmpty()
		resource.Resource().Attributes().PutStr("service.name", m.service)
		s := resource.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetName(m.name)
		s.SetKind(m.kind)
		s.SetTraceID(pcommon.TraceID{15: m.trace})
		s.SetSpanID(pcommon.SpanID{7: m.id})
		s.SetParentSpanID(pcommon.SpanID{7: m.parent})
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(began.Add(m.after)))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(began.Add(m.after + m.lasts)))
		if m.failed {
			s.Status().SetCode(ptrace.StatusCodeError)
		}
		require.NoError(t, s.Attributes().FromRaw(m.attributes))
		s.Attributes().PutStr("ws.connection.id", m.connection)
		line, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
		require.NoError(t, err)
		out[i] = line
	}
	return out
}

func tellOf(t *testing.T, spans []made) story {
	t.Helper()
	var a assembler
	for _, line := range lines(t, spans) {
		require.NoError(t, a.addLine(line))
	}
	return a.story()
}

func TestStoryIsWholeInAnyOrder(t *testing.T) {
	spans := whole()
	for turn := range spans {
		told := tellOf(t, append(spans[turn:len(spans):len(spans)], spans[:turn]...))
		require.Empty(t, told.missing())
		require.Equal(t, "c1", told.id)
		require.Equal(t, told.send.TraceID(), told.receive.TraceID())
		require.Equal(t, "chat-server", told.receive.service)
		require.Equal(t, 400*time.Microsecond, told.ping.duration())
		require.Equal(t, "chat-client", told.close.service)
		require.Equal(t, "chat-server", told.dead.service, "the witness tells, not the dead")
		for i := 1; i < len(told.spans); i++ {
			require.False(t, told.spans[i].start().Before(told.spans[i-1].start()))
		}
	}
}

func TestStoryMissesWhatIsNotThere(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(spans []made)
		want   string
	}{
		{"no handshake of the server", func(s []made) { s[1].name = "ws.error" }, "a handshake"},
		{"message in two traces", func(s []made) { s[3].trace = 99 }, "a message"},
		{"receive not the send's child", func(s []made) { s[3].parent = 99 }, "a message"},
		{"receive by the sender itself", func(s []made) { s[3].service = "chat-client" }, "a message"},
		{"ping without a round trip", func(s []made) { s[4].lasts = 0 }, "a ping"},
		{"ping of the peer", func(s []made) { s[4].kind = server }, "a ping"},
		{"close not normal", func(s []made) { s[5].attributes["ws.close.class"] = "going_away" }, "a close"},
		{"close of one side", func(s []made) { s[6].name = "ws.error" }, "a close"},
		{"dead but no error", func(s []made) { s[8].failed = false }, "a client that dropped dead"},
		{"dead with another code", func(s []made) { s[8].attributes["ws.close.code"] = 1011 }, "a client that dropped dead"},
		{"no connection id", func(s []made) {
			for i := range s[:7] {
				s[i].connection = ""
			}
		}, "a handshake"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spans := whole()
			tc.change(spans)
			told := tellOf(t, spans)
			require.NotEmpty(t, told.missing())
			require.True(t, strings.HasPrefix(told.missing()[0], tc.want), told.missing())
		})
	}
}

func TestStoryIsOfTheConnectionThatHasMost(t *testing.T) {
	poor := whole()[:2]
	for i := range poor {
		poor[i].connection, poor[i].id = "c0", poor[i].id+100
	}
	told := tellOf(t, append(poor, whole()...))
	require.Equal(t, "c1", told.id)
	require.Empty(t, told.missing())
}

func TestRepeatedSpansCountOnce(t *testing.T) {
	told := tellOf(t, append(whole(), whole()...))
	require.Len(t, told.spans, 7)
}

func TestAssemblerIsBounded(t *testing.T) {
	var a assembler
	s := ptrace.NewSpan()
	for i := range maxConnections + maxSpans + 10 {
		one := ptrace.NewSpan()
		s.CopyTo(one)
		one.SetSpanID(pcommon.SpanID{0: 1, 6: byte(i >> 8), 7: byte(i)})
		id := "crowded"
		if i > maxSpans+5 {
			id = one.SpanID().String()
		}
		one.Attributes().PutStr("ws.connection.id", id)
		a.add(span{Span: one})
	}
	require.Len(t, a.connections, maxConnections)
	require.Len(t, a.byID["crowded"].spans, maxSpans)
}

func TestBadJSONIsAnError(t *testing.T) {
	var a assembler
	require.ErrorContains(t, a.addLine([]byte(`{"resourceSpans":7}`)), "read OTLP JSON")
}
