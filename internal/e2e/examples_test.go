package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// exampleBinary is the path of one of the examples, which are built with the demo.
func exampleBinary(t *testing.T, name string) string {
	t.Helper()
	demo := os.Getenv("WSSTATS_DEMO")
	if demo == "" {
		skipOrFail(t, "no examples: make test names the demo beside them in WSSTATS_DEMO")
	}
	return filepath.Join(filepath.Dir(demo), name)
}

// runExample runs both sides of an example until its clients have done all. It
// returns what it printed, and how many events the agents of both have told of.
func runExample(t *testing.T, c *collector, name string, args ...string) (printed string, events int) {
	t.Helper()
	args = append([]string{"--listen", "127.0.0.1:0", "--collector", "ws://" + c.endpoint}, args...)
	out, err := exec.Command(exampleBinary(t, name), args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out), delivered(t, string(out), 2)
}

var lastLine = regexp.MustCompile(`(?m)^[a-z]+-(?:server|client): .*; agent: (\d+) events, (\d+) acknowledged, (\d+) dropped$`)

// delivered adds up the events that the sides' last lines speak of. All have
// been acknowledged.
func delivered(t *testing.T, printed string, sides int) (events int) {
	t.Helper()
	lines := lastLine.FindAllStringSubmatch(printed, -1)
	require.Len(t, lines, sides, "%s", printed)
	for _, line := range lines {
		assert.Equal(t, line[1], line[2], "acknowledged")
		assert.Equal(t, "0", line[3], "dropped")
		n, err := strconv.Atoi(line[1])
		require.NoError(t, err)
		events += n
	}
	return events
}

// example is one that goes on until it is interrupted.
type example struct {
	cmd     *exec.Cmd
	printed lockedBuffer
	exited  chan error
}

func startExample(t *testing.T, binary string, args ...string) *example {
	t.Helper()
	e := &example{cmd: exec.Command(binary, args...), exited: make(chan error, 1)}
	e.cmd.Stdout, e.cmd.Stderr = &e.printed, &e.printed
	require.NoError(t, e.cmd.Start())
	go func() { e.exited <- e.cmd.Wait() }()
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the example's output:\n%s", e.printed.String())
		}
	})
	return e
}

// interrupt ends the example as Ctrl-C does.
func (e *example) interrupt(t *testing.T) {
	t.Helper()
	require.NoError(t, e.cmd.Process.Signal(syscall.SIGINT))
	select {
	case err := <-e.exited:
		require.NoError(t, err)
	case <-time.After(stopTimeout):
		t.Fatalf("the example still runs %v after SIGINT", stopTimeout)
	}
}

// TestExampleCommands has each example started by one command, and ended by Ctrl-C
// in order while it is at work.
//
// Red when: the first signal ends it at once.
func TestExampleCommands(t *testing.T) {
	for _, tt := range []struct{ name, works string }{
		{"chat", "chat: ada, grace, edsger, barbara come to the library, round 1\n"},
		{"notify", "notify: n-5 to u-1, read by 1 of 1 after "},
		{"voice", "voice: speaker 1 sings C4 E4 G4\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			binary := exampleBinary(t, tt.name)
			recipe, err := exec.Command("make", "-C", repository, "--dry-run", "example-"+tt.name).CombinedOutput()
			require.NoError(t, err, "%s", recipe)
			assert.Contains(t, string(recipe), "exec build/"+tt.name+"\n")

			c := startCollector(t)
			e := startExample(t, binary, "--listen", "127.0.0.1:0", "--collector", "ws://"+c.endpoint)
			require.Eventually(t, func() bool { return strings.Contains(e.printed.String(), tt.works) }, startTimeout, waitTick)
			e.interrupt(t)
			events := delivered(t, e.printed.String(), 2)
			c.stop(t)
			assert.Zero(t, c.totals(t)["ws.connections.active"], "all were closed")
			if tt.name != "voice" { // its agents aggregate
				assert.Len(t, c.spans(t), events)
			}
		})
	}
}

// TestExampleChat is the chat, observed by two wrapped lines: two rooms of three.
// TestCrowdPlaysTheSameSceneEachTime knows why these are the numbers.
//
// Red when: one of the lines is not there.
func TestExampleChat(t *testing.T) {
	c := startCollector(t)
	printed, events := runExample(t, c, "chat", "--rounds", "1", "--members", "3", "--pace", "0s", "--pause", "0s", "--ping-every", "1h")
	assert.Contains(t, printed, "chat-client: 6 connections, 28 sent, 76 received, 6 pings, 4 closed, 2 dropped dead; ")
	assert.Contains(t, printed, "chat-server: 6 connections, 76 sent, 28 received; ")

	awaitPrometheusValues(t, c, []promValue{
		{6, "ws_connections_total", []string{"job", "chat-server"}},
		{6, "ws_connections_total", []string{"job", "chat-client"}},
		{0, "ws_connections_active", []string{"job", "chat-server"}},
		{76, "ws_messages_sent_total", []string{"job", "chat-server", "ws_message_type", "text"}},
		{76, "ws_messages_received_total", []string{"job", "chat-client", "ws_message_type", "text"}},
		{28, "ws_messages_sent_total", []string{"job", "chat-client", "ws_message_type", "text"}},
		{28, "ws_messages_received_total", []string{"job", "chat-server", "ws_message_type", "text"}},
		{6, "ws_ping_rtt_seconds", []string{"job", "chat-client"}},
		{4, "ws_connections_closed_total", []string{"job", "chat-server", "ws_close_code", "1000"}},
		{2, "ws_connections_closed_total", []string{"job", "chat-server", "ws_close_code", "1006"}},
	})
	c.stop(t)
	spans := c.spans(t)
	assert.Len(t, spans, events)
	assert.Equal(t, map[string]int{
		"ws.handshake": 12, "ws.send text": 104, "ws.receive text": 104, "ws.ping": 12, "ws.pong": 12, "ws.close": 12,
	}, countNames(spans))
	assertJoined(t, spans, 0)
	totals := c.totals(t)
	for metric, want := range map[string]float64{
		"ws.connections.total": 12, "ws.connections.active": 0, "ws.connections.closed": 12, "ws.connection.duration": 12,
		"ws.messages.sent": 104, "ws.messages.received": 104, "ws.message.size": 208, "ws.handshake.duration": 12,
		"ws.messages.bytes": 2 * sizes(spans, "ws.send text"),
		"ws.errors":         0,
	} {
		assert.InDelta(t, want, totals[metric], 0, metric)
	}
}

// TestExampleNotify has ten notifications fanned out to four subscribers. Eight
// are broadcasts, four to all and four to two of them; two are for one user.
// TestBothSidesReportWhatHappened of the example knows why these are the numbers.
//
// Red when: a broadcast counts once and not as its recipients, or its sends have
// spans as well; a handler's span is not below its receive; an answer does not
// link to it.
func TestExampleNotify(t *testing.T) {
	c := startCollector(t)
	printed, events := runExample(t, c, "notify", "--subscribers", "4", "--notifications", "10", "--every", "20ms", "--ping-every", "1h")
	assert.Contains(t, printed, "notify-client: 4 connections, 30 sent, 30 received, 0 too slow; ")
	assert.Contains(t, printed, "notify-server: 4 connections, 30 sent, 30 received, 0 too slow; ")

	awaitPrometheusValues(t, c, []promValue{
		{4, "ws_connections_total", []string{"job", "notify-server"}},
		{0, "ws_connections_active", []string{"job", "notify-server"}},
		{4, "ws_connections_closed_total", []string{"job", "notify-server", "ws_close_code", "1000", "ws_close_initiator", "remote"}},
		{4, "ws_connections_closed_total", []string{"job", "notify-client", "ws_close_code", "1000", "ws_close_initiator", "local"}},
		{30, "ws_messages_sent_total", []string{"job", "notify-server"}},
		{30, "ws_messages_received_total", []string{"job", "notify-client"}},
		{8, "ws_broadcast_recipients", []string{"job", "notify-server"}},
		{14, "ws_queue_size", []string{"job", "notify-server"}},
		{30, "ws_processing_time_seconds", []string{"job", "notify-server"}},
		{4, "ws_ping_rtt_seconds", []string{"job", "notify-server"}},
	})
	families := scrape(t, c.prometheus)
	for _, way := range [][2]string{{"notify-server", "notify-client"}, {"notify-client", "notify-server"}} {
		sent, ok := value(families, "ws_messages_bytes_total", "job", way[0], "ws_direction", "sent")
		assert.True(t, ok)
		assertValue(t, sent, families, "ws_messages_bytes_total", "job", way[1], "ws_direction", "received")
	}

	c.stop(t)
	spans := c.spans(t)
	assert.Len(t, spans, events)
	assert.Equal(t, map[string]int{
		"ws.handshake": 8, "ws.send text": 36, "ws.broadcast": 8, "ws.receive text": 60, "ws.process text": 60,
		"ws.ping": 8, "ws.pong": 8, "ws.close": 8,
	}, countNames(spans))
	assertJoined(t, spans, 24) // the sends of broadcasts have no spans
	recipients, queued := 0, 0
	for _, s := range spans {
		attributes := s.Attributes().AsRaw()
		if n, ok := attributes["ws.broadcast.recipients"].(int64); ok {
			recipients += int(n)
			assert.Regexp(t, "^n-[0-9]+$", attributes["ws.message.id"])
			assert.Contains(t, []any{"weather", "orders"}, attributes["topic"])
		} else {
			assert.Regexp(t, "^u-[1-4]$", attributes["user.id"], "%s", s.Name())
		}
		if _, ok := attributes["ws.queue.size"]; ok {
			queued++
		}
	}
	assert.Equal(t, 24, recipients)
	assert.Equal(t, 14, queued)
	assert.Equal(t, 4+26, activeLinks(t, spans), "topics that were told, and notifications that were read")
	totals := c.totals(t)
	for metric, want := range map[string]float64{
		"ws.connections.total": 8, "ws.connections.closed": 8, "ws.connection.duration": 8, "ws.handshake.duration": 8,
		"ws.messages.sent": 60, "ws.messages.received": 60, "ws.message.size": 120, "ws.processing.time": 60,
		"ws.messages.bytes":       2 * sizes(spans, "ws.receive text"),
		"ws.broadcast.recipients": 8, "ws.queue.size": 14, "ws.ping.rtt": 4, "ws.errors": 0,
	} {
		assert.InDelta(t, want, totals[metric], 0, metric)
	}
}

// Of a voice session: 120 chunks of 640 bytes, in three turns.
const voiceChunks, voiceChunkBytes, voiceTurns = 120, 640, 3

// TestExampleVoice has audio up and events down. The events name the span under
// which the turn was recognised, and the client handles them in its trace.
//
// Red when: the events name no span, or Extract is left out; the recognition is
// not below the chunk with which the turn began.
func TestExampleVoice(t *testing.T) {
	const sessions = 2
	c := startCollector(t)
	printed, events := runExample(t, c, "voice", "--speakers", "2", "--sessions", "1", "--pace", "0s", "--word-every", "50ms")
	said := voiceEvents(t, printed, sessions)
	awaitPrometheusValues(t, c, []promValue{
		{sessions, "ws_connections_total", []string{"job", "voice-server"}},
		{0, "ws_connections_active", []string{"job", "voice-server"}},
		{sessions, "ws_connections_closed_total", []string{"job", "voice-client", "ws_close_code", "1000", "ws_close_initiator", "local"}},
		{sessions * voiceChunks, "ws_messages_sent_total", []string{"job", "voice-client", "ws_message_type", "binary"}},
		{sessions * voiceChunks, "ws_messages_received_total", []string{"job", "voice-server", "ws_message_type", "binary"}},
		{sessions * voiceChunks * voiceChunkBytes, "ws_messages_bytes_total", []string{"job", "voice-server", "ws_message_type", "binary"}},
		{float64(said), "ws_messages_sent_total", []string{"job", "voice-server", "ws_message_type", "text"}},
		{float64(said), "ws_messages_received_total", []string{"job", "voice-client", "ws_message_type", "text"}},
		{sessions * voiceTurns, "ws_processing_time_seconds", []string{"job", "voice-server", "ws_message_type", "binary"}},
		{float64(said), "ws_processing_time_seconds", []string{"job", "voice-client", "ws_message_type", "text"}},
	})
	c.stop(t)

	spans := c.spans(t)
	assert.Equal(t, map[string]int{
		"ws.handshake": 2 * sessions, "ws.send binary": sessions * voiceChunks, "ws.receive binary": sessions * voiceChunks,
		"ws.send text": said, "ws.receive text": said, "ws.process binary": sessions * voiceTurns, "ws.process text": said,
		"ws.close": 2 * sessions,
	}, countNames(spans))
	assert.Greater(t, events, len(spans)-1, "the aggregates beside them")
	assertJoined(t, spans, 0)
	assert.Equal(t, said-sessions, activeLinks(t, spans), "all but the first one of a session link to their turn")

	turns := make(map[spanKey]bool)
	for _, s := range spans {
		if s.Name() == "ws.process binary" {
			turns[spanKey{s.TraceID(), s.SpanID()}] = true
		}
	}
	handled := 0
	for _, s := range spans {
		if s.Name() == "ws.process text" && turns[spanKey{s.TraceID(), s.ParentSpanID()}] {
			handled++
		}
	}
	assert.Equal(t, said-sessions, handled, "events that were handled in the trace of their turn")
	totals := c.totals(t)
	assert.InDelta(t, 2*(sessions*voiceChunks*voiceChunkBytes+sizes(spans, "ws.receive text")), totals["ws.messages.bytes"], 0)
	assert.InDelta(t, 0, totals["ws.errors"], 0)
}

// TestExampleVoiceSampled has a receiver that keeps one span in a hundred: the
// agents measure the chunks, leave most of them out, and every count is the same.
//
// Red when: the example's agents do not aggregate.
func TestExampleVoiceSampled(t *testing.T) {
	const sessions = 8
	c := startCollector(t, "receivers::wsstats::traces::sampling::ratio: 0.01")
	printed, _ := runExample(t, c, "voice", "--speakers", "4", "--sessions", "2", "--pace", "1ms", "--word-every", "50ms")
	said := voiceEvents(t, printed, sessions)
	for _, kind := range []string{"send", "receive"} {
		sent, _ := value(scrape(t, c.telemetry), "otelcol_receiver_wsstats_events", "event", kind)
		assert.Less(t, sent, float64(sessions*voiceChunks*2/3), "events of %ss, of %d", kind, sessions*voiceChunks+said)
	}
	c.stop(t)
	own := 0
	for _, s := range c.spans(t) {
		if s.Name() == "ws.send binary" || s.Name() == "ws.receive binary" {
			own++
		}
	}
	assert.Less(t, own, sessions*voiceChunks/4, "spans of chunks, of %d at both ends", 2*sessions*voiceChunks)
	totals := c.totals(t)
	for metric, want := range map[string]float64{
		"ws.messages.sent":     float64(sessions*voiceChunks + said),
		"ws.messages.received": float64(sessions*voiceChunks + said),
		"ws.message.size":      float64(2 * (sessions*voiceChunks + said)),
		"ws.processing.time":   float64(sessions*voiceTurns + said),
	} {
		assert.InDelta(t, want, totals[metric], 0, metric)
	}
}

// voiceEvents is how many events the server has sent. Of each session the second
// response was interrupted.
func voiceEvents(t *testing.T, printed string, sessions int) (events int) {
	t.Helper()
	counted := regexp.MustCompile(`(?m)^voice-(?:client|server): (\d+) sessions, (\d+) chunks, (\d+) events, (\d+) turns, (\d+) interrupted; `)
	lines := counted.FindAllStringSubmatch(printed, -1)
	require.Len(t, lines, 2, "%s", printed)
	assert.Equal(t, lines[0][1:], lines[1][1:], "both sides have seen the same")
	for i, want := range map[int]int{1: sessions, 2: sessions * voiceChunks, 4: sessions * voiceTurns, 5: sessions} {
		assert.Equal(t, strconv.Itoa(want), lines[0][i])
	}
	events, err := strconv.Atoi(lines[0][3])
	require.NoError(t, err)
	return events
}

// assertJoined checks that both ends of every connection meet: each receive is the
// child of its send, but for some whose sends have no spans; each server's
// handshake of the client's; each process of its own receive, unless it was told
// another trace. All but handshakes and broadcasts link to their connection's handshake.
func assertJoined(t *testing.T, spans []span, without int) {
	t.Helper()
	byKey := make(map[spanKey]span)
	for _, s := range spans {
		byKey[spanKey{s.TraceID(), s.SpanID()}] = s
	}
	assert.Len(t, byKey, len(spans), "each span is itself")
	parents := map[string]string{
		"ws.receive text": "ws.send text", "ws.receive binary": "ws.send binary",
		"ws.process binary": "ws.receive binary",
	}
	alone := 0
	for _, s := range spans {
		parent, found := byKey[spanKey{s.TraceID(), s.ParentSpanID()}]
		role := s.Attributes().AsRaw()["ws.role"]
		switch want := parents[s.Name()]; {
		case s.Name() == "ws.receive text" && !found:
			alone++
		case want != "":
			assert.Equal(t, want, parent.Name(), "parent of %s", s.Name())
		case s.Name() == "ws.process text":
			assert.Contains(t, []string{"ws.receive text", "ws.process binary"}, parent.Name())
		case s.Name() == "ws.handshake" && role == "server":
			assert.Equal(t, "ws.handshake", parent.Name())
			assert.Equal(t, "client", parent.Attributes().AsRaw()["ws.role"])
		}
		if s.Name() == "ws.handshake" || s.Name() == "ws.broadcast" {
			continue
		}
		toHandshake := 0
		for _, link := range s.Links().All() {
			if link.Attributes().AsRaw()["ws.link.kind"] == "handshake" {
				linked := byKey[spanKey{link.TraceID(), link.SpanID()}]
				assert.Equal(t, "ws.handshake", linked.Name())
				assert.Equal(t, s.Attributes().AsRaw()["ws.connection.id"], linked.Attributes().AsRaw()["ws.connection.id"])
				toHandshake++
			}
		}
		assert.Equal(t, 1, toHandshake, "links of %s to its handshake", s.Name())
	}
	assert.Equal(t, without, alone, "receives whose send has no span")
}

// activeLinks counts the sends that link to the span that was active, which is
// the handling of a message on the same side.
func activeLinks(t *testing.T, spans []span) (n int) {
	t.Helper()
	processes := make(map[spanKey]span)
	for _, s := range spans {
		if s.Name() == "ws.process text" || s.Name() == "ws.process binary" {
			processes[spanKey{s.TraceID(), s.SpanID()}] = s
		}
	}
	for _, s := range spans {
		for _, link := range s.Links().All() {
			if link.Attributes().AsRaw()["ws.link.kind"] != "active" {
				continue
			}
			n++
			handling, ok := processes[spanKey{link.TraceID(), link.SpanID()}]
			if assert.True(t, ok, "%s links to the handling of a message", s.Name()) {
				assert.Equal(t, ptrace.SpanKindProducer, s.Kind())
				assert.Equal(t, s.Resource.AsRaw()["service.name"], handling.Resource.AsRaw()["service.name"])
			}
		}
	}
	return n
}

// sizes adds up what the spans of a name say of their messages.
func sizes(spans []span, name string) (total float64) {
	for _, s := range spans {
		if n, ok := s.Attributes().AsRaw()["ws.message.size"].(int64); ok && s.Name() == name {
			total += float64(n)
		}
	}
	return total
}

// promValue is what one series of the Prometheus endpoint has to say.
type promValue struct {
	want   float64
	name   string
	labels []string
}

// awaitPrometheusValues waits until the Prometheus endpoint says all of it.
func awaitPrometheusValues(t *testing.T, c *collector, wanted []promValue) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		families := scrape(t, c.prometheus)
		for _, w := range wanted {
			got, ok := value(families, w.name, w.labels...)
			assert.True(collect, ok && got == w.want, "%s %v: expected %v, got %v", w.name, w.labels, w.want, got)
		}
	}, waitTimeout, waitTick)
}
