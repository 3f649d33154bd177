package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestValidate(t *testing.T) {
	const fine = `{"event":"send","ws.message.size":5}`
	tests := []struct {
		name, file, text, flags string
		status                  int
		out                     []string // its lines, with the file's name as @
	}{
		{
			"right", "a.jsonl", fine + "\n\n  \n" + `{"hello":{"instance":"a"}}` + "\r\n" + `{"seq":1,"events":[` + fine + `]}`, "", 0,
			[]string{"0 mistakes in 3 messages; taken: 2 events, 0 connections, 0 stats"},
		},
		{
			"each row", "a.jsonl", `{"seq":1, "events":[{"event":"sned"}, ` + fine + `, {"event":"send","ws.message.size":"big"}]}
{"connections":[{"ws.role":"client"}],"events":[7,{"event":"send","a":null,"room":{}}]}`, "", 1,
			[]string{
				`@:1:22: events[0].event: unknown kind "sned"`,
				`@:1:93: events[2].ws.message.size: expected an integer, got "big"`,
				`@:2:17: connections[0].ws.connection.id: is required`,
				`@:2:49: events[0]: expected an object, got 7`,
				`@:2:76: events[1].room: expected a string, boolean, number or flat array, got an object`,
				`5 mistakes in 2 messages; taken: 1 event, 0 connections, 0 stats`,
			},
		},
		{"bare events", "a.jsonl", `[` + fine + `,{"event":"sned"},{"event":"recieve"}]`, "", 1, []string{
			`@:1:40: [1].event: unknown kind "sned"`,
			`@:1:57: [2].event: unknown kind "recieve", did you mean "receive"?`,
			`2 mistakes in 1 message; taken: 1 event, 0 connections, 0 stats`,
		}},
		{"an array of messages", "a.json", "[\n  " + fine + ",\n  {\n    \"hello\": {\"instance\": 5}\n  }\n]\n", "", 1, []string{
			`@:4:15: hello.instance: expected a string of 1 to 128 printable characters, got 5`,
			`1 mistake in 2 messages; taken: 1 event, 0 connections, 0 stats`,
		}},
		{"one message over lines", "a.json", "\n{\n \"event\": \"send\",\n \"ws.message.size\": -1\n}", "", 1, []string{
			`@:4:2: ws.message.size: expected an integer of at least 0, got -1`,
			`1 mistake in 1 message; taken: 0 events, 0 connections, 0 stats`,
		}},
		{"lines in a .json file", "a.json", fine + "\n" + fine + "\n", "", 0, []string{`0 mistakes in 2 messages; taken: 2 events, 0 connections, 0 stats`}},
		{"a duplicate key", "a.jsonl", `{"event":"send","event":"send"}`, "", 1, []string{
			`@:1:17: event: duplicate key`, `1 mistake in 1 message; taken: 0 events, 0 connections, 0 stats`,
		}},
		{"too long", "a.jsonl", fine + "\n" + strings.Repeat("x", 1000) + "\n" + fine, "--message-bytes=100", 1, []string{
			`@:2:1: expected at most 100 bytes (--message-bytes)`, `1 mistake in 3 messages; taken: 2 events, 0 connections, 0 stats`,
		}},
		{"limits", "a.jsonl", `{"event":"send","a":"` + strings.Repeat("x", 20) + `","b":1}` + "\n[" + fine + "," + fine + "]", "--value-bytes=10 --events=1", 1, []string{
			`@:1: note: values cut to 10 bytes: 1`,
			`@:2:39: [1]: more than 1`, `1 mistake in 2 messages; taken: 1 event, 0 connections, 0 stats`,
		}},
		{"a traceparent", "a.jsonl", `{"event":"send","traceparent":"00-x"}`, "", 0, []string{
			`@:1: note: traceparents ignored, as W3C Trace Context calls them invalid: 1`, `0 mistakes in 1 message; taken: 1 event, 0 connections, 0 stats`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), tt.file)
			require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
			args := append(append([]string{"validate"}, strings.Fields(tt.flags)...), path)
			status, out, errs := wsstatsIn(t.Context(), "", args...)
			assert.Empty(t, errs)
			assert.Equal(t, tt.status, status)
			assert.Equal(t, strings.Join(tt.out, "\n")+"\n", strings.ReplaceAll(out, path, "@"))
		})
	}
}

func TestValidateInput(t *testing.T) {
	status, out, errs := wsstatsIn(t.Context(), `{"event":"close","ws.close.code":"1000"}`, "validate", "-")
	assert.Equal(t, 1, status)
	assert.Empty(t, errs)
	assert.Contains(t, out, `-:1:18: ws.close.code: expected an integer, got "1000"`)

	status, _, errs = wsstatsIn(t.Context(), "\n", "validate", "-")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "no message found")

	status, _, errs = wsstatsIn(t.Context(), "", "validate", filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "validate: open ")
}

// The project's own vectors are right where they show what is right, and each
// one of the messages that cannot be taken has a mistake.
func TestValidateVectors(t *testing.T) {
	for dir, want := range map[string]int{"kinds": 0, "session": 0, "inherit": 0, "malformed": 1} {
		paths, err := filepath.Glob("../../protocol/vectors/messages/" + dir + "/*.json")
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			status, out, _ := wsstatsIn(t.Context(), "", "validate", path)
			assert.Equal(t, want, status, "%s: %s", path, out)
		}
	}
}

func FuzzValidate(f *testing.F) {
	f.Add(`{"event":"send"}`)
	f.Add(`[{"event":"send"},{"hello":{}}]`)
	f.Add(`{"description":"","messages":[{"raw":"x"},{"reconnect":true}]}`)
	f.Add("{\"a\":[1,{\"b\":\n2}]}\n{")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "a.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, out, _ := wsstatsIn(t.Context(), "", "validate", path)
		for line := range strings.Lines(out) {
			assert.NotContains(t, line, ":0:")
		}
	})
}
