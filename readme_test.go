package wsstatsreceiver

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

// optionRow is a row of the README's tables of options: a key and its default.
var optionRow = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| `([^`]*)` \\|")

func TestREADMEHasEveryOption(t *testing.T) {
	var documented []string
	for _, row := range optionRow.FindAllStringSubmatch(readText(t, "README.md"), -1) {
		key, value := row[1], row[2]
		documented = append(documented, key)
		conf := parseYAML(t, value, key)
		cfg := createDefaultConfig()
		require.NoError(t, conf.Unmarshal(cfg), key)
		// As text, since an empty list is as good as none.
		assert.Equal(t, fmt.Sprint(createDefaultConfig()), fmt.Sprint(cfg), "the default of %s is not %s", key, value)
	}
	assert.ElementsMatch(t, optionKeys(reflect.TypeFor[Config](), ""), documented)
}

// parseYAML is the configuration in which the option has that value.
func parseYAML(t *testing.T, value, key string) *confmap.Conf {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(value))
	require.NoError(t, err, key)
	raw, err := retrieved.AsRaw()
	require.NoError(t, err, key)
	for _, level := range slices.Backward(strings.Split(key, ".")) {
		raw = map[string]any{level: raw}
	}
	return confmap.NewFromStringMap(raw.(map[string]any))
}

func TestDocsShowTheExamplesOfTheGoAgent(t *testing.T) {
	var examples strings.Builder
	for _, pattern := range []string{"agents/go/example*_test.go", "agents/go/*/example*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			examples.WriteString(strings.ReplaceAll(readText(t, file), "\t", ""))
		}
	}
	for _, file := range []string{"README.md", "docs/agents.md"} {
		blocks := codeBlocks(t, file, "go")
		require.NotEmpty(t, blocks, file)
		for _, block := range blocks {
			assert.Contains(t, examples.String(), strings.ReplaceAll(block, "\t", ""), file)
		}
	}
}

func TestDocsHaveEveryOptionOfTheGoAgent(t *testing.T) {
	docs := readText(t, "docs/agents.md")
	options := regexp.MustCompile(`(?m)^func (With\w+)\(`).FindAllStringSubmatch(readText(t, "agents/go/options.go"), -1)
	require.NotEmpty(t, options)
	for _, option := range options {
		assert.Contains(t, docs, "`"+option[1]+"`")
	}
}

func TestDocsNameEveryMetricOfTheReceiver(t *testing.T) {
	operations, readme := readText(t, "docs/operations.md"), readText(t, "README.md")
	names := regexp.MustCompile(`(?m)^### otelcol_receiver_wsstats_(\w+)$`).FindAllStringSubmatch(readText(t, "documentation.md"), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		pattern := regexp.MustCompile("`" + name[1] + "[`{]")
		assert.Regexp(t, pattern, operations, "docs/operations.md")
		assert.Regexp(t, pattern, readme, "README.md")
	}
}

// Links of the docs to files of this repository, and to headings in them, lead somewhere.
func TestLinksOfTheDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchor := regexp.MustCompile(`[^a-z0-9 _-]`)
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	for _, file := range files {
		for _, to := range link.FindAllStringSubmatch(readText(t, file), -1) {
			target := file
			if to[1] != "" {
				target = filepath.Join(filepath.Dir(file), to[1])
			}
			if _, err := os.Stat(target); !assert.NoError(t, err, file) || to[2] == "" {
				continue
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(readText(t, target), -1) {
				anchors = append(anchors, strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
			}
			assert.Contains(t, anchors, to[2], "%s links to %s", file, target)
		}
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}
