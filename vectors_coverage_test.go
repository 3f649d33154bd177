package wsstatsreceiver

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// coverage says which tables of docs/conventions.md a section has, which of
// their columns holds the names, and where a case shows them.
var coverage = []struct {
	section string
	column  int
	shows   func(e expectation, name string) bool
}{
	{"Spans", 1, showsSpan},
	{"Attributes", 0, showsAttribute},
	{"Names of the stable semantic conventions", 1, showsAttribute},
	{"Close classes", 1, showsValue},
	{"Metrics", 0, showsMetric},
}

func showsSpan(e expectation, name string) bool {
	name, typed := strings.CutSuffix(name, " {type}")
	if typed {
		return strings.Contains(string(e.Traces), `"name": "`+name+` text"`)
	}
	return strings.Contains(string(e.Traces), `"name": "`+name+`"`)
}

func showsAttribute(e expectation, name string) bool {
	return strings.Contains(string(e.Traces), `"key": "`+name+`"`)
}

func showsValue(e expectation, name string) bool {
	return strings.Contains(string(e.Metrics), `"ws.close.class", "value": {"stringValue": "`+name+`"}`)
}

func showsMetric(e expectation, name string) bool {
	return strings.Contains(string(e.Metrics), `"name": "`+name+`"`)
}

// TestVectorsShowTheConventions holds the tables of the conventions, the table
// of the vectors' README and the cases against each other.
func TestVectorsShowTheConventions(t *testing.T) {
	for _, c := range coverage {
		listed, names := readmeTable(t, c.section), namesOf(t, c.section, c.column)
		require.NotEmpty(t, names, c.section)
		for _, name := range names {
			cases := listed[name]
			if !assert.NotEmpty(t, cases, "protocol/vectors/README.md has no row for %s", name) {
				continue
			}
			for _, path := range cases {
				assert.True(t, c.shows(readVector(t, path).Expected, name), "%s does not show %s", path, name)
			}
		}
	}
}

// TestConventionsNameEveryAttribute checks that no attribute, kind or metric of
// the code is missing from the tables.
func TestConventionsNameEveryAttribute(t *testing.T) {
	attributes := namesOf(t, "Attributes", 0)
	for a := range wire.NumAttrs {
		assert.Contains(t, attributes, a.String())
	}
	kinds := namesOf(t, "Spans", 0)
	for k := wire.KindUnknown + 1; k.String() != ""; k++ {
		assert.Contains(t, kinds, k.String())
	}
}

var (
	quotedName = regexp.MustCompile("`([^`]+)`")
	caseLink   = regexp.MustCompile(`\(messages/([^)]+)\.json\)`)
)

// tableRows are the rows of all tables of a text, split into cells.
func tableRows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| ---") {
			continue
		}
		line = strings.ReplaceAll(line, `\|`, "\x00")
		rows = append(rows, strings.Split(strings.Trim(line, "|"), "|"))
	}
	return rows
}

// sectionOf is the part of a file below a heading.
func sectionOf(t *testing.T, file, heading string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	_, text, found := strings.Cut(string(data), "\n"+heading+"\n")
	require.True(t, found, "%s: %s", file, heading)
	text, _, _ = strings.Cut(text, "\n## ")
	text, _, _ = strings.Cut(text, "\n### ")
	return text
}

// namesOf are the quoted names of one column of the table of a section of
// docs/conventions.md. A name in the middle of a sentence is none.
func namesOf(t *testing.T, section string, column int) []string {
	t.Helper()
	var names []string
	for _, row := range tableRows(sectionOf(t, "docs/conventions.md", "## "+section)) {
		require.Greater(t, len(row), column)
		cell := row[column]
		if column > 0 {
			cell, _, _ = strings.Cut(cell, ", ")
		}
		for _, m := range quotedName.FindAllStringSubmatch(cell, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// readmeTable are the cases that a table of the vectors' README gives for a name.
func readmeTable(t *testing.T, section string) map[string][]string {
	t.Helper()
	listed := make(map[string][]string)
	for _, row := range tableRows(sectionOf(t, "protocol/vectors/README.md", "### "+section)) {
		require.GreaterOrEqual(t, len(row), 2)
		name := quotedName.FindStringSubmatch(row[0])
		if name == nil {
			continue
		}
		for _, m := range caseLink.FindAllStringSubmatch(row[1], -1) {
			listed[name[1]] = append(listed[name[1]], m[1])
		}
	}
	return listed
}
