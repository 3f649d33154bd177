package wsstatsreceiver

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// fence is a code block of Markdown: its language and attributes, and its text.
var fence = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$")

// codeBlocks are the code blocks of that kind in a file, such as "json agent".
func codeBlocks(t testing.TB, file, kind string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var blocks []string
	for _, m := range fence.FindAllStringSubmatch(string(data), -1) {
		if m[1] == kind {
			blocks = append(blocks, m[2])
		}
	}
	return blocks
}

func TestAgentMessagesOfTheDocs(t *testing.T) {
	blocks := codeBlocks(t, "docs/protocol.md", "json agent")
	require.NotEmpty(t, blocks)
	for _, text := range blocks {
		var m wire.Message
		require.NoError(t, new(wire.Decoder).DecodeJSON([]byte(text), &m), text)
		assert.Zero(t, m.Batch.Rejected, text)
	}
}

func TestReceiverMessagesOfTheDocs(t *testing.T) {
	blocks := codeBlocks(t, "docs/protocol.md", "json receiver")
	require.NotEmpty(t, blocks)
	for _, text := range blocks {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		var reply wire.Reply
		require.NoError(t, dec.Decode(&reply), text)
		again, err := json.Marshal(reply)
		require.NoError(t, err)
		assert.JSONEq(t, text, string(again))
	}
}

func TestConfigurationsOfTheDocs(t *testing.T) {
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			for _, text := range codeBlocks(t, file, "yaml") {
				checkReceivers(t, file, text)
			}
		}
	}
}

// checkReceivers loads the wsstats receivers of a collector configuration.
func checkReceivers(t *testing.T, file, text string) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(text))
	require.NoError(t, err, file)
	raw, err := retrieved.AsRaw()
	require.NoError(t, err, file)
	root, _ := raw.(map[string]any)
	receivers, _ := root["receivers"].(map[string]any)
	for id, values := range receivers {
		if typ, _, _ := strings.Cut(id, "/"); typ != metadata.Type.String() {
			continue
		}
		options, _ := values.(map[string]any)
		cfg := createDefaultConfig()
		require.NoError(t, confmap.NewFromStringMap(options).Unmarshal(cfg), "%s: %s", file, text)
		require.NoError(t, confmap.Validate(cfg), "%s: %s", file, text)
	}
}
