package wire

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// beyondSchema are the cases with a message that the decoder refuses and the
// schema cannot: it does not see duplicate keys, and cannot add up.
var beyondSchema = []string{
	"malformed/duplicate-key", "malformed/duplicate-key-numbered",
	"stats/count-mismatch", "stats/time-before-start", "stats/unsized-mismatch",
}

// The schema refuses each message of the vectors that the decoder refuses, in
// whole or in part, and no other.
func TestSchemaAndDecoderAgreeOnVectors(t *testing.T) {
	schema := compileSchema(t, "")
	paths, err := filepath.Glob("../protocol/vectors/messages/*/*.json")
	require.NoError(t, err)
	require.Greater(t, len(paths), 100)
	differ := make(map[string]bool)
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path)) + "/" + strings.TrimSuffix(filepath.Base(path), ".json")
		for i, text := range vectorMessages(t, path) {
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			valid := err == nil && schema.Validate(doc) == nil
			if takes(text) != valid {
				differ[name] = true
				assert.True(t, valid, "%s: the schema refuses messages[%d], which the decoder takes", name, i)
				assert.Contains(t, beyondSchema, name, "the schema takes messages[%d], which the decoder refuses", i)
			}
		}
	}
	for _, name := range beyondSchema {
		assert.True(t, differ[name], "%s: schema and decoder agree by now", name)
	}
}

// vectorMessages are the messages of a case, as they are on the wire.
func vectorMessages(t testing.TB, path string) []string {
	t.Helper()
	var texts []string
	for _, s := range vectorSteps(t, path) {
		if !s.reconnect {
			texts = append(texts, s.text)
		}
	}
	return texts
}
