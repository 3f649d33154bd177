package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// screen writes what a person reads: at most 90 columns, colours only on a terminal.
type screen struct {
	io.Writer
	terminal bool
	colour   bool
	status   bool // the cursor stands behind a status line
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{Writer: out, terminal: terminal, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(text string) string { return s.paint("1", text) }
func (s *screen) red(text string) string  { return s.paint("31", text) }
func (s *screen) dim(text string) string  { return s.paint("2", text) }

func (s *screen) line(format string, args ...any) {
	if s.status {
		fmt.Fprintln(s)
		s.status = false
	}
	fmt.Fprintf(s, format+"\n", args...)
}

// refresh writes a status line; on a terminal it replaces the one before.
func (s *screen) refresh(text string) {
	if !s.terminal {
		s.line("%s", text)
		return
	}
	fmt.Fprint(s, "\r\x1b[K"+text)
	s.status = true
}

// story shows the parts that are known.
func (s *screen) story(told *story) {
	if told.client != nil && told.server != nil {
		s.line("\n%s", s.bold(fmt.Sprintf("1  One connection, %s to %s", told.client.service, told.server.service)))
		s.line("   ws.connection.id %s, %s", told.id, told.client.str("ws.url"))
		s.timeline(told)
	}
	if told.send != nil {
		s.line("\n%s", s.bold("2  One message, one trace, two processes; nothing was added to the message"))
		s.line("   trace %s", told.send.TraceID())
		s.line("   ws.send text        %s  span %s  %s", told.send.service, told.send.SpanID(), messageFacts(*told.send))
		s.line("   └ ws.receive text   %s  span %s  its child, %s later", told.receive.service, told.receive.SpanID(),
			short(told.receive.start().Sub(told.send.start())))
	}
	if told.ping != nil {
		s.line("\n%s", s.bold("3  A ping and its pong"))
		s.line("   ws.ping             %s  round trip %s", told.ping.service, short(told.ping.duration()))
	}
	if told.close != nil {
		s.line("\n%s", s.bold("4  The end of that connection"))
		s.line("   ws.close            %s  %s", told.close.service, closeFacts(*told.close))
		s.line("                       %s", summaryFacts(*told.close))
	}
	if told.dead != nil {
		s.line("\n%s", s.bold("5  Another client dropped dead: no close frame came"))
		s.line("   ws.connection.id %s", told.dead.str("ws.connection.id"))
		s.line("   ws.close            %s  %s  %s", told.dead.service, closeFacts(*told.dead), s.red("status Error"))
		s.line("                       %s", summaryFacts(*told.dead))
	}
}

// timelineRows is how many messages the timeline shows before it counts the rest.
const timelineRows = 4

func (s *screen) timeline(told *story) {
	began := told.spans[0].start()
	shown, more := 0, 0
	flush := func() {
		if more > 0 {
			s.line("   %s", s.dim(fmt.Sprintf("%12s%d more messages", "", more)))
			more = 0
		}
	}
	for _, sp := range told.spans {
		var facts string
		switch name, _, _ := strings.Cut(sp.Name(), " "); name {
		case "ws.handshake":
			facts = fmt.Sprintf("status %s in %s", sp.str("http.status_code"), short(sp.duration()))
			if told.client != nil && sp.Kind() == ptrace.SpanKindServer && sp.childOf(*told.client) {
				facts += ", child of the client's"
			}
		case "ws.send", "ws.receive":
			if shown == timelineRows {
				more++
				continue
			}
			shown++
			facts = messageFacts(sp)
		case "ws.ping":
			facts = "from the peer"
			if sp.Kind() == ptrace.SpanKindClient {
				facts = "sent"
			}
			if sp.duration() > 0 {
				facts += ", round trip " + short(sp.duration())
			}
		case "ws.close":
			facts = closeFacts(sp)
		default:
			continue
		}
		flush()
		s.line("   %+9.1f ms %-12s %-16s %s", milliseconds(sp.start().Sub(began)), sp.service, sp.Name(), facts)
	}
	flush()
}

func messageFacts(sp span) string {
	return fmt.Sprintf("no. %s, %s bytes", sp.str("ws.message.seq"), sp.str("ws.message.size"))
}

func closeFacts(sp span) string {
	facts := sp.str("ws.close.code") + " " + sp.str("ws.close.class")
	if reason := sp.str("ws.close.reason"); reason != "" {
		facts += fmt.Sprintf(" %q", reason)
	}
	switch sp.str("ws.close.initiator") {
	case "local":
		facts += ", closed here"
	case "remote":
		facts += ", closed by the peer"
	}
	return facts
}

func summaryFacts(sp span) string {
	return fmt.Sprintf("after %s, %s messages sent, %s received",
		short(time.Duration(sp.num("ws.connection.duration_ms")*float64(time.Millisecond))),
		sp.str("ws.connection.messages.sent"), sp.str("ws.connection.messages.received"))
}

// table shows the metrics of services side by side.
func (s *screen) table(f families, services ...string) {
	s.line("\n%s", s.bold("6  The metrics, as Prometheus reads them"))
	all := make([]numbers, len(services))
	for i, service := range services {
		all[i] = f.of(service)
	}
	s.row("", services)
	for _, row := range []struct {
		name string
		cell func(numbers) string
	}{
		{"connections open now", func(n numbers) string { return count(n.active) }},
		{"connections opened", func(n numbers) string { return count(n.opened) }},
		{"closed: normal", func(n numbers) string { return count(n.normal) }},
		{"closed: abnormal", func(n numbers) string { return count(n.abnormal) }},
		{"messages sent", func(n numbers) string { return count(n.sent) }},
		{"messages received", func(n numbers) string { return count(n.received) }},
		{"message size, mean", func(n numbers) string { return count(n.meanSize) + " B" }},
		{"handshake, mean", func(n numbers) string { return short(n.handshake) }},
		{"ping round trip, mean", func(n numbers) string { return short(n.ping) }},
		{"errors", func(n numbers) string { return count(n.errors) }},
	} {
		cells := make([]string, len(all))
		for i, n := range all {
			cells[i] = row.cell(n)
		}
		s.row(row.name, cells)
	}
}

func (s *screen) row(name string, cells []string) {
	var text strings.Builder
	fmt.Fprintf(&text, "   %-34s", name)
	for _, cell := range cells {
		fmt.Fprintf(&text, "%14s", cell)
	}
	s.line("%s", text.String())
}

// more tells where to look and how to take part.
func (s *screen) more(dir string, at *addresses) {
	s.line("\n%s", s.bold("See the rest"))
	s.line("   metrics             http://%s/metrics", at.prometheus.value)
	s.line("   the collector's own http://%s/metrics", at.telemetry.value)
	s.line("   zpages              http://%s/debug/pipelinez", at.zpages.value)
	s.line("   spans, OTLP JSON    %s", filepath.Join(dir, tracesFile))
	s.line("   metrics, OTLP JSON  %s", filepath.Join(dir, metricsFile))
	s.line("\n%s", s.bold("Take part"))
	s.line("   an agent: set its endpoint to ws://%s/v1/wsstats", at.endpoint.value)
	s.line("   by hand:  open that address in any WebSocket client and type")
	s.line("     %s", handTyped)
	s.line("   or:")
	s.line("     curl -H 'Content-Type: application/json' http://%s/v1/wsstats -d \\", at.endpoint.value)
	s.line("     '%s'", handTyped)
	s.line("   The span that comes of it is shown here.")
}

// guest shows a span that somebody else made. What it says is quoted: it may
// come from anywhere.
func (s *screen) guest(sp span) {
	s.line("   %s %q of service %q, ws.connection.id %q", s.bold("span"), sp.Name(), sp.service, sp.str("ws.connection.id"))
	s.line("        trace %s", sp.TraceID())
}

const handTyped = `{"event":"send","ws.connection.id":"demo","ws.message.type":"text","ws.message.size":5}`

// summary is one line on how things stand.
func summary(now time.Time, service string, n numbers) string {
	return fmt.Sprintf("%s %s: %s open of %s, closed %s normal %s abnormal, messages %s sent %s received",
		now.Format(time.TimeOnly), service, count(n.active), count(n.opened), count(n.normal), count(n.abnormal), count(n.sent), count(n.received))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// short is a duration with three digits or so.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", milliseconds(d))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func count(f float64) string { return fmt.Sprintf("%.0f", f) }
