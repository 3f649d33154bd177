package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notRun are the commands of the docs that this test does not run, and why.
var notRun = map[string]string{
	"make run":  "TestDemo runs the program that it starts",
	"make test": "it would run this test",
	"go test -run='^$' -bench='Traces|Metrics|Both|Translator' -benchtime=1s .":                                       "it measures for minutes",
	"go test -run='^$' -bench=MemoryBlocked -benchtime=1x .":                                                          "TestMemoryBlocked runs a part of it",
	"build/wsstats gen --rate 20000 --connections 1000 --agents 4 --duration 5s --ledger ledger.json":                 "TestGen runs it, for shorter",
	"go get github.com/wsstats/wsstatsreceiver/agents/go":                                                             "TestReadmeServer runs it, with the module served as a version",
	"build/wsstats validate messages.jsonl":                                                                           "the tests of cmd/wsstats run it",
	"build/wsstats proxy --listen :8080 --target http://app:3000 --collector ws://collector:4390 --service-name chat": "TestProxyNode runs it, before an application that is there",
	"build/wsstats replay recording.jsonl --speed 10 --endpoint ws://localhost:4390":                                  "TestProxyNode runs it, and the tests of cmd/wsstats",
	"go run " + builder + " --config manifest.yaml":                                                                   "TestForeignManifest runs it with the README's manifest",
}

// block is a code block of Markdown, with the mark before it.
var block = regexp.MustCompile("(?ms)^(?:<!-- ([a-z]+) -->\n)?```([a-z]+)\n(.*?)^```$")

type codeBlock struct{ file, mark, kind, text string }

// docBlocks are the code blocks of the README and of docs/, in order.
func docBlocks(t *testing.T) []codeBlock {
	t.Helper()
	files, err := filepath.Glob(repository + "/docs/*.md")
	require.NoError(t, err)
	var blocks []codeBlock
	for _, file := range append([]string{repository + "/README.md"}, files...) {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range block.FindAllStringSubmatch(string(content), -1) {
			blocks = append(blocks, codeBlock{filepath.Base(file), m[1], m[2], m[3]})
		}
	}
	return blocks
}

// TestDocsCommands runs every shell command of the docs as it stands there, but
// for the addresses, against a collector. A text block that follows is what the
// command prints; one that is marked as output is what the collector prints.
func TestDocsCommands(t *testing.T) {
	c := startCollector(
		t, "exporters::debug::verbosity: normal",
		"service::pipelines::traces::exporters: [file/traces, debug]",
		"service::pipelines::metrics::exporters: [file/metrics, prometheus, debug]",
	)
	addresses := strings.NewReplacer(
		"localhost:4390", c.endpoint, "localhost:9464", c.prometheus,
		"localhost:8888", c.telemetry, "localhost:13133", c.health,
	)
	path := filepath.Dir(python(t)) + string(os.PathListSeparator) + os.Getenv("PATH")

	skipped, events := make(map[string]bool), 0
	var printed, output string
	for _, b := range docBlocks(t) {
		switch {
		case b.kind == "text" && b.mark == "output":
			output += b.text
		case b.kind == "text" && printed != "":
			assert.Equal(t, b.text, printed, "what the command above it prints, in %s", b.file)
		}
		printed = ""
		if b.kind != "sh" {
			continue
		}
		command := strings.TrimSpace(b.text)
		if notRun[command] != "" {
			skipped[command] = true
			continue
		}
		cmd := exec.Command("bash", "-eo", "pipefail", "-c", addresses.Replace(command))
		cmd.Env = append(os.Environ(), "PATH="+path)
		cmd.Dir = t.TempDir()
		out, err := cmd.Output()
		require.NoError(t, err, "%s in %s: %s", command, b.file, out)
		events += strings.Count(command, `"event":`)
		printed = string(out)
	}
	assert.Len(t, skipped, len(notRun), "a command that is not run is not in the docs any more")
	require.NotZero(t, events)
	assert.Len(t, c.awaitSpans(t, events), events, "each event of the commands is a span")

	c.stop(t)
	for line := range strings.Lines(output) {
		assert.Contains(t, c.logs.String(), line, "what the collector prints")
	}
}

// TestDocsConfigurations has the collector check every whole configuration of the
// docs and the examples, with all components that it names.
func TestDocsConfigurations(t *testing.T) {
	configs := make(map[string]string)
	for i, b := range docBlocks(t) {
		if b.kind == "yaml" && strings.Contains(b.text, "\nservice:") {
			configs[fmt.Sprintf("%s block %d", b.file, i)] = b.text
		}
	}
	require.NotEmpty(t, configs)
	files, err := filepath.Glob(repository + "/examples/*/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		configs[filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file)] = string(content)
	}
	for name, text := range configs {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			cmd := exec.Command(collectorBinary(t), "validate", "--config", file)
			cmd.Dir = filepath.Dir(file)
			cmd.Env = append(os.Environ(), "WSSTATS_TOKEN=token", "WSSTATS_PASSWORD=password")
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s", out)
		})
	}
}
