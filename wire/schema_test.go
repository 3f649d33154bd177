package wire

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func compileSchema(t *testing.T, ref string) *jsonschema.Schema {
	t.Helper()
	const file = "../protocol/wsstats.schema.json"
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("wsstats.schema.json", doc))
	s, err := c.Compile("wsstats.schema.json" + ref)
	require.NoError(t, err)
	return s
}

func validates(t *testing.T, s *jsonschema.Schema, data string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(data))
	require.NoError(t, err, data)
	return s.Validate(doc)
}

// takes tells whether the decoder takes a message whole.
func takes(data string) bool {
	var d Decoder
	var m Message
	return d.DecodeJSON([]byte(data), &m) == nil && m.Batch.Rejected.Count == 0
}

// What the schema accepts the decoder accepts, and the reverse.
func TestSchemaAndDecoderAgree(t *testing.T) {
	schema := compileSchema(t, "")
	const ids = `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"`
	for data, ok := range map[string]bool{
		sampleBatch: true,
		`{"hello":{"instance":"i","agent":{"name":"a","version":"1"},"resource":{"a":[1,2.5]},"aggregates":false}}`: true,
		`[]`:                 true,
		`[{"event":"ping"}]`: true,
		`{"event":"ping"}`:   true,
		`{"event":"ping","seq":"mine","hello":null,"events":5}`: true,
		`{"event":null,"seq":4}`:                                true,
		`{"aggregates":true}`:                                   true,
		`{"seq":1,"future":{}}`:                                 true,
		`{"seq":null,"events":[]}`:                              true,
		`{"seq":9007199254740992}`:                              true,
		`{"dropped":{"a":1,"b":null}}`:                          true,
		`{"threshold":"fd70a"}`:                                 true,
		`{"threshold":"100000000000000"}`:                       true,
		`{"resource":{}}`:                                       true,
		`{"connections":[{"ws.connection.id":"a","opened_at":"2026-01-01T00:00:00Z","open":false,` + ids + `,"tenant":"t"}]}`: true,
		`{"event":"send","time":"1767225600000000000"}`:                                                                       true,
		`{"event":"send","time":"2026-01-01T00:00:00.123+01:00"}`:                                                             true,
		`{"event":"send","time":null,"duration_ns":5.0}`:                                                                      true,
		`{"event":"send",` + ids + `,"parent_span_id":"00F067AA0BA902B7","traceparent":null}`:                                 true,
		`{"event":"send","traceparent":"nonsense","tracestate":"x"}`:                                                          true,
		`{"event":"send","links":[{` + ids + `,"attributes":{"a":true},"future":{}}]}`:                                        true,
		`{"event":"send","links":null,"sampled":false}`:                                                                       true,
		`{"event":"send","ws.message.size":128.0,"ws.message.id":5,"ws.message.timestamp":-5}`:                                true,
		`{"event":"send","ws.role":"martian","ws.close.clean":null}`:                                                          true,
		`{"event":"send","a":"x","b":true,"c":1,"d":1.5,"e":[],"f":["x"],"g":[1,2.5],"h":[true],"i":null}`:                    true,
		`{"event":"upgrade"}`: true,
		stat(`"attributes":{"ws.role":"server","room.id":"x"}`):    true,
		stat(`"min":1,"max":2,"scale":-10,"offset":-5,"future":1`): true,
		stat(`"min":null,"attributes":null`):                       true,
		stat(`"metric":"ws.message.size","unsized":1`):             true,

		`5`:            false,
		`"x"`:          false,
		`{}`:           false,
		`{"seq":null}`: false,
		`{"foo":1}`:    false,
		`[1]`:          false,
		`{"event":"ping","hello":{"instance":"i"}}`:      false,
		`{"hello":{"instance":"i"},"seq":1}`:             false,
		`{"hello":{}}`:                                   false,
		`{"hello":5}`:                                    false,
		`{"hello":{"instance":""}}`:                      false,
		`{"hello":{"instance":"a\u0007"}}`:               false,
		`{"hello":{"instance":"i","agent":{"name":1}}}`:  false,
		`{"hello":{"instance":"i","resource":{"a":{}}}}`: false,
		`{"hello":{"instance":"i","resource":{"":1}}}`:   false,
		`{"seq":0}`:                false,
		`{"seq":1.5}`:              false,
		`{"seq":"1"}`:              false,
		`{"seq":9007199254740993}`: false,
		`{"events":{}}`:            false,
		`{"dropped":{"a":-1}}`:     false,
		`{"dropped":{"":1}}`:       false,
		`{"threshold":"FD"}`:       false,
		`{"threshold":""}`:         false,
		`{"aggregates":"yes"}`:     false,
		`{"connections":[{}]}`:     false,
		`{"connections":[{"ws.connection.id":null}]}`:         false,
		`{"connections":[{"ws.connection.id":"a","open":1}]}`: false,
		`{"events":[{}]}`:                                false,
		`{"event":"recieve"}`:                            false,
		`{"event":5}`:                                    false,
		`{"event":"send","time":-1}`:                     false,
		`{"event":"send","time":1.5}`:                    false,
		`{"event":"send","time":"yesterday"}`:            false,
		`{"event":"send","time":"1969-12-31T00:00:00Z"}`: false,
		`{"event":"send","duration_ns":-1}`:              false,
		`{"event":"send","duration_ns":"1"}`:             false,
		`{"event":"send","trace_id":"abc"}`:              false,
		`{"event":"send","span_id":"0000000000000000"}`:  false,
		`{"event":"send","traceparent":5}`:               false,
		`{"event":"send","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",` + ids + `}`: false,
		`{"event":"send","links":[{}]}`:              false,
		`{"event":"send","links":{}}`:                false,
		`{"event":"send","sampled":"no"}`:            false,
		`{"event":"send","ws.message.size":"128"}`:   false,
		`{"event":"send","ws.message.size":-1}`:      false,
		`{"event":"send","ws.message.seq":0}`:        false,
		`{"event":"send","ws.message.id":1.5}`:       false,
		`{"event":"send","ws.role":5}`:               false,
		`{"event":"send","ws.connection.id":""}`:     false,
		`{"event":"send","ws.close.clean":"true"}`:   false,
		`{"event":"send","ws.pong.latency":-1}`:      false,
		`{"event":"send","a":{}}`:                    false,
		`{"event":"send","a":[[]]}`:                  false,
		`{"event":"send","a":[1,"x"]}`:               false,
		`{"event":"send","a":[null]}`:                false,
		`{"event":"send","":1}`:                      false,
		stat(`"metric":"ws.messages.sent"`):          false,
		stat(`"count":-1`):                           false,
		stat(`"count":null`):                         false,
		stat(`"sum":"1"`):                            false,
		stat(`"scale":21`):                           false,
		stat(`"bucket_counts":[1.5]`):                false,
		stat(`"unsized":-1`):                         false,
		stat(`"attributes":{"ws.message.size":"x"}`): false,
		stat(`"attributes":{"a":{}}`):                false,
	} {
		assert.Equal(t, ok, takes(data), "decoder: %s", data)
		err := validates(t, schema, data)
		assert.Equal(t, ok, err == nil, "schema: %s: %v", data, err)
	}
}

// What JSON Schema cannot say, or not in a way that people could read.
func TestSchemaCannotSay(t *testing.T) {
	schema := compileSchema(t, "")
	for why, data := range map[string]string{
		"counts add up":                         stat(`"count":9`),
		"only messages are without a size":      stat(`"unsized":1`),
		"no more of them than zeros":            stat(`"metric":"ws.message.size","unsized":2`),
		"start is not after time":               stat(`"start":5`),
		"min is not over max":                   stat(`"min":3,"max":1`),
		"the end is not beyond 2262":            `{"event":"send","time":9223372036854775807,"duration_ns":5}`,
		"a day exists":                          `{"event":"send","time":"2026-02-30T00:00:00Z"}`,
		"a decimal string fits into 64 bits":    `{"event":"send","time":"9999999999999999999"}`,
		"characters beyond ASCII are printable": `{"event":"send","ws.connection.id":"a\u200eb"}`,
		"a number fits into a double":           `{"event":"send","a":1e400}`,
		"an id is written as an integer":        `{"event":"send","ws.message.id":5.0}`,
	} {
		assert.NoError(t, validates(t, schema, data), why)
		assert.False(t, takes(data), why)
	}
	// And the reader of a schema sees one of two keys that are the same.
	assert.False(t, takes(`{"seq":1,"seq":1}`))
}

func TestSchemaOfReplies(t *testing.T) {
	schema := compileSchema(t, "#/$defs/reply")
	for _, r := range sampleReplies() {
		data := string(AppendReply(nil, &r))
		assert.NoError(t, validates(t, schema, data), data)
	}
	for _, data := range []string{`{}`, `{"ack":0}`, `{"nack":1}`, `{"error":{}}`, `{"welcome":{}}`, `{"flow":{"window_bytes":-1}}`, `{"goaway":{}}`} {
		assert.Error(t, validates(t, schema, data), data)
	}
}

// Every attribute of the conventions is in the schema with its type.
func TestSchemaHasAllAttributes(t *testing.T) {
	data, err := os.ReadFile("../protocol/wsstats.schema.json")
	require.NoError(t, err)
	var doc struct {
		Defs struct {
			Attributes struct {
				Properties map[string]struct{ Description string }
			}
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(data, &doc))
	props := doc.Defs.Attributes.Properties
	assert.Len(t, props, int(NumAttrs))
	for a := range NumAttrs {
		assert.NotEmpty(t, props[a.String()].Description, a.String())
	}
}
