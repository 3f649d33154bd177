package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestStoryOnTheScreen(t *testing.T) {
	told := tellOf(t, whole())
	f, err := parseMetrics(strings.NewReader(scraped))
	require.NoError(t, err)
	o, err := parse(nil)
	require.NoError(t, err)

	var buf bytes.Buffer
	out := &screen{Writer: &buf}
	out.story(&told)
	out.table(f, services...)
	out.more("/tmp/demo", &o.at)
	text := buf.String()

	for _, want := range []string{
		"One connection, chat-client to chat-server",
		"status 101 in 1.0 ms, child of the client's",
		"trace 00000000000000000000000000000002",
		"its child, 250 µs later",
		"round trip 400 µs",
		`1000 normal "bye", closed here`,
		"after 2.0 s, 1 messages sent, 0 received",
		"1006 abnormal  status Error",
		"http://localhost:9464/metrics",
		handTyped,
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "\x1b", "no colours off a terminal")
	for line := range strings.Lines(text) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 95, line)
	}
}

func TestTimelineCountsWhatItDoesNotShow(t *testing.T) {
	spans := whole()
	for i := range byte(6) {
		more := spans[2]
		more.id, more.after = 50+i, time.Second
		spans = append(spans, more)
	}
	told := tellOf(t, spans)
	var buf bytes.Buffer
	(&screen{Writer: &buf}).timeline(&told)
	require.Contains(t, buf.String(), "4 more messages")
	require.Equal(t, timelineRows, strings.Count(buf.String(), "41 bytes"))
}

func TestStatusLine(t *testing.T) {
	for _, tc := range []struct {
		name     string
		terminal bool
		want     string
	}{
		{"terminal", true, "\r\x1b[Kone\r\x1b[Ktwo\nend\n"},
		{"file", false, "one\ntwo\nend\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var buf bytes.Buffer
			out := &screen{Writer: &buf, terminal: tc.terminal}
			out.refresh("one")
			out.refresh("two")
			out.line("end")
			require.Equal(t, tc.want, buf.String())
		})
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "-",
		-time.Second:            "-",
		214 * time.Microsecond:  "214 µs",
		1500 * time.Microsecond: "1.5 ms",
		2400 * time.Millisecond: "2.4 s",
	} {
		require.Equal(t, want, short(d))
	}
}
