package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEventFields(t *testing.T) {
	for i, name := range eventFields {
		assert.Equal(t, eventKind+eventKey(i), eventField(name))
	}
	assert.Equal(t, eventUser, eventKind+eventKey(len(eventFields)))
	assert.Equal(t, eventUnknown, eventField("ws.role"))
	assert.Less(t, int(eventUser), 64, "what was seen is kept in the bits of a word")
}

// A guess changes nothing but the time: events say the same behind any others.
func TestGuessedKeys(t *testing.T) {
	many := ""
	for i := range guessedUsers + 3 {
		many += fmt.Sprintf(`,"k%d":%d`, i, i)
	}
	shapes := []string{
		`{"event":"send","ws.role":"client","a":1,"b":2}`,
		`{"event":"send","ws.role":"client","b":2,"a":1}`,
		`{ "event": "send", "ws.role": "client", "a": 1, "b": 2}`,
		"{\t\"event\"\n:\r\"send\" , \"ws.role\":\t\"client\" ,\n\"a\" : 1 , \"b\" : 2 }",
		`{"event":"send","ws.rol":"client","a":1,"ws.roles":2}`,
		`{"event":"send","\u0061":1,"b":2}`,
		`{"event":"send","\u0077s.role":"client","a":1}`,
		`{"a":1,"event":"send"}`,
		`{"event":"send","":1}`,
		`{"event":"send"}`,
		`{}`,
		`{"event":"send"` + many + `}`,
		`{"event":"send","a":[1,2],"links":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","attributes":{"a":1}}],"b":null}`,
	}
	for _, before := range shapes {
		for _, shape := range shapes {
			alone, both := decode(t, "["+shape+"]"), decode(t, "["+before+","+before+","+shape+"]")
			if alone.Batch.Rejected.Count > 0 {
				continue
			}
			want, got := rowsOf(alone).Batch.Events[0], rowsOf(both).Batch.Events
			want.Index = 2
			assert.Equal(t, want, got[len(got)-1], "%s behind %s", shape, before)
		}
	}
}

// What is wrong with a key is found where it was guessed too.
func TestGuessedKeysAreChecked(t *testing.T) {
	for _, tt := range []struct{ events, want string }{
		{`{"event":"send","a":1},{"event":"send","a":1,"a":2}`, `[1].a: duplicate key`},
		{`{"event":"send","a":1},{"event":"send","a":1,"\u0061":2}`, `[1].a: duplicate key`},
		{`{"event":"send","a":1},{"event":"send","\u0061":1,"a":2}`, `[1].a: duplicate key`},
		{`{"event":"send","time":1},{"event":"send","event":"send"}`, `[1].event: duplicate key`},
		{`{"event":"send","ws.role":"a"},{"event":"send","ws.role":"a","ws.role":"a"}`, `[1].ws.role: duplicate key`},
		{`{"event":"send","a":1},{"event":"send" "a":1}`, `[1]: invalid JSON: unexpected byte 34 '"' at 40`},
		{`{"event":"send","a":1},{,"event":"send"}`, `[1]: invalid JSON: unexpected byte 44 ',' at 25`},
		{`{"event":"send","a":1},{"event":"send",,"a":1}`, `[1]: invalid JSON: unexpected byte 44 ',' at 40`},
		{`{"event":"send","a":1},{"event":"send","a"1}`, `[1]: invalid JSON: unexpected byte 49 '1' at 43`},
		{`{"event":"send","a":1},{"event":"send","a":}`, `[1]: invalid JSON: unexpected byte 125 '}' at 44`},
		{`{"event":"send","a":1},{"event":"send",}`, `[1]: invalid JSON: unexpected byte 125 '}' at 40`},
	} {
		require.EqualError(t, decodeError(t, Limits{}, "["+tt.events+"]"), tt.want, tt.events)
	}
	for _, end := range []string{``, `"`, `"a`, `"a"`, `"a":`, `"a": `} {
		require.EqualError(t, decodeError(t, Limits{}, `[{"event":"send","a":1},{"event":"send",`+end), `[1]: invalid JSON: unexpected end`, end)
	}
	// The end comes before the duplicate.
	const turns = `[{"event":"send","a":1,"b":1},{"event":"send","b":1,"a":1},{"event":"send","a":1,"b":1,"a":`
	require.EqualError(t, decodeError(t, Limits{}, turns), `[2]: invalid JSON: unexpected end`)
	require.EqualError(t, decodeError(t, Limits{}, turns+`1}]`), `[2].a: duplicate key`)
}

// A key of the user aliases its message, and is not looked for in the next one.
func TestGuessedKeysOfAnotherMessage(t *testing.T) {
	var d Decoder
	var m Message
	data := []byte(`[{"event":"send","aaa":1},{"event":"send","aaa":1}]`)
	require.NoError(t, d.DecodeJSON(data, &m))
	assert.Equal(t, [guessedUsers]string{}, d.keys.users)
	assert.Zero(t, d.keys.count)
	assert.Equal(t, eventKind, d.keys.next[eventStart], "what is not the user's is remembered")
	assert.Equal(t, eventUser, d.keys.next[eventKind])
	copy(data, strings.ReplaceAll(string(data), "aaa", "bbb"))
	require.NoError(t, d.DecodeJSON(data, &m))
	assert.Equal(t, []KeyValue{{"bbb", IntValue(1)}}, m.Batch.Events[1].User)
}
