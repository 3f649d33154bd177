package wsstatsreceiver

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Messages of the JSON form alone.
func TestHostileJSON(t *testing.T) {
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":1`, i)
		}
		return b.String()
	}
	mega := strings.Repeat("x", 1<<20)
	malformed, rejected := once(`dropped{reason="malformed"}`), once(`dropped{reason="rejected"}`)
	var rows []hostileRow
	for _, tt := range []struct {
		name, message string
		gets          string
		shows         map[string]int64
	}{
		{"10,000 deep", `{"event":"send","x":` + deep + `}`, "error too_large", malformed},
		{"10,000 deep in what is ignored", `{"seq":1,"x":` + deep + `}`, "nack 1 too_large", malformed},
		{"10,000 deep and never closed", strings.Repeat("[", 10_000), "error too_large", malformed},
		{"10,000 objects deep", strings.Repeat(`{"a":`, 10_000), "error too_large", malformed},
		{"300,000 attributes", `{"event":"send"` + keys(300_000) + `}`, "error rejected", rejected},
		{"300,000 keys that are ignored", `{"seq":1` + keys(300_000) + `}`, "ack 1", nil},
		{"a key twice", `{"seq":1,"events":[{"event":"send","x":1,"x":2}]}`, "nack 1 malformed", malformed},
		{"a key twice, once escaped", `{"event":"send","x":1,"\u0078":2}`, "error malformed", malformed},
		{"a number twice", `{"seq":1,"seq":2}`, "nack 1 malformed", malformed},
		{"NaN", `{"event":"send","x":NaN}`, "error malformed", malformed},
		{"infinity", `{"event":"send","x":-Infinity}`, "error malformed", malformed},
		{"1e400", `{"event":"send","x":1e400}`, "error rejected", rejected},
		{"1e400 as a size", `{"event":"send","ws.message.size":1e400}`, "error rejected", rejected},
		{"a huge integer", `{"seq":1,"events":[{"event":"send","x":1` + strings.Repeat("0", 300) + `}]}`, "ack 1", nil},
		{"a huger integer", `{"event":"send","x":1` + strings.Repeat("0", 400) + `}`, "error rejected", rejected},
		{"a huge integer as a size", `{"event":"send","ws.message.size":18446744073709551616}`, "error rejected", rejected},
		{"NUL", "{\"event\":\"send\",\"x\":\"\x00\"}", "error malformed", malformed},
		{"NUL in a name", `{"event":"send","ws.connection.id":"a\u0000b"}`, "error rejected", rejected},
		{"NUL in a value", `{"seq":1,"events":[{"event":"send","x":"a\u0000b"}]}`, "ack 1", nil},
		{"a lone surrogate", `{"seq":1,"events":[{"event":"send","x":"\ud800"}]}`, "ack 1", nil},
		{"a megabyte of a value", `{"seq":1,"events":[{"event":"send","x":"` + mega + `"}]}`, "ack 1", once(`adjustments{adjustment="value_cut"}`)},
		{"a megabyte of a key", `{"event":"send","` + mega + `":1}`, "error rejected", rejected},
		{"a megabyte of a kind", `{"event":"` + mega + `"}`, "error rejected", rejected},
		{"a megabyte of digits", `{"event":"send","time":1` + strings.Repeat("0", 1<<20) + `}`, "error rejected", rejected},
	} {
		rows = append(rows, hostileRow{
			row: 11, name: tt.name, heard: []string{"close 1000"}, shows: tt.shows,
			do: func(h *hostile) {
				h.join().write(text(tt.message))
				assert.Equal(h, tt.gets, h.client.next())
				for _, span := range spansOf(h.r.traces.AllTraces()) {
					checkSpan(h.T, span)
				}
				h.leave()
			},
		})
	}
	runHostileIn(t, encodings[0], rows)
}

// A session that goes on with such messages is ended, and what it says in the
// log is bounded too.
func TestHostileMalformed(t *testing.T) {
	runHostile(t, []hostileRow{{
		row: 11, name: "again and again", ends: "close 1008", shows: map[string]int64{
			`dropped{reason="malformed"}`: 11, `session_ends{close_code="1008"}`: 1,
		},
		options: limits(func(l *LimitsConfig) { l.MalformedMessages = 10 }),
		do:      func(h *hostile) { h.join(); h.flood(rawFrame(fin|h.encoding.opcode, "\x01"), 1<<12) },
	}})
}

// Nothing that a stranger writes breaks a line of the log or turns its reading
// direction, in either of the collector's formats, and nobody is answered with
// it. Values of spans stay as they are.
func TestHostileCharacters(t *testing.T) {
	const evil = `a\nlevel=error\r\u001b[31m\u0085\u2028\u2029\u202e\u2066\u200f\u0000b`
	for name, newEncoder := range map[string]func(zapcore.EncoderConfig) zapcore.Encoder{
		"console": zapcore.NewConsoleEncoder, "json": zapcore.NewJSONEncoder,
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			logger := zap.New(zapcore.NewCore(newEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(&log), zap.DebugLevel))
			runHostileIn(t, encodings[0], []hostileRow{{
				row: 12, name: "in every place", options: testOptions{logger: logger, config: func(cfg *Config) { cfg.Limits.MalformedMessages = 100 }},
				shows: map[string]int64{`dropped{reason="malformed"}`: 8, `dropped{reason="rejected"}`: 8},
				do: func(h *hostile) {
					h.join()
					for _, message := range []string{
						// Whole messages that cannot be read.
						`{"EVIL":1}`, `{"event":"send","EVIL":1,"EVIL":2}`, `{"hello":{"instance":"EVIL"}}`, `{"hello":{"instance":"i","resource":{"EVIL":[[]]}}}`,
						`{"seq":"EVIL"}`, `{"events":"EVIL"}`, `{"dropped":{"EVIL":"EVIL"}}`, `"EVIL"`,
						// Single events.
						`{"event":"EVIL"}`, `{"event":"send","ws.connection.id":"EVIL"}`, `{"event":"send","ws.message.size":"EVIL"}`,
						`{"event":"send","time":"EVIL"}`, `{"event":"send","trace_id":"EVIL"}`, `{"event":"send","EVIL":{}}`,
						`{"event":"send","links":"EVIL"}`, `{"stats":[{"metric":"EVIL"}]}`,
					} {
						h.client.write(text(strings.ReplaceAll(message, "EVIL", evil)))
						word := h.client.next()
						assert.Regexp(h, "^error ", word, message)
					}
				},
			}})
			require.Contains(t, log.String(), "u202e", "what was wrong is told, in other letters")
			for line := range strings.Lines(log.String()) {
				assert.Regexp(t, `^(\{"|\d)`, line, "a line begins with its entry")
				for _, c := range strings.TrimSuffix(line, "\n") {
					assert.True(t, c == '\t' || unicode.IsPrint(c), "%q in %q", c, line)
				}
			}
		})
	}
}

func TestHostileCharactersInSpans(t *testing.T) {
	const evil = "a\nb\r\x1b[31m\u0085\u2028\u202e\u2066\x00"
	runHostile(t, []hostileRow{{
		row: 12, name: "in values", heard: []string{"close 1000"}, shows: once(`events{event="send"}`),
		do: func(h *hostile) {
			h.join()
			quoted := toJSON(h.T, evil)
			h.say(`{"seq":1,"events":[{"event":"send","x":` + quoted + `,"ws.message.id":` + quoted + `,"ws.message.type":` + quoted + `}]}`)
			require.Equal(h, "ack 1", h.client.next())
			spans := spansOf(h.r.traces.AllTraces())
			require.Len(h, spans, 1)
			span := spans[0]
			assert.Equal(h, "ws.send", span.Name(), "names are of a bounded set")
			assert.Equal(h, ptrace.SpanKindProducer, span.Kind())
			for _, key := range []string{"x", "ws.message.id", "ws.message.type"} {
				v, _ := span.Attributes().Get(key)
				assert.Equal(h, evil, v.Str(), key)
				assert.True(h, utf8.ValidString(v.Str()))
			}
			h.leave()
		},
	}})
}
