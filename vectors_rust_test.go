package wsstatsreceiver

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The messages of the cases as the Rust agent encodes them, in both forms, lead to
// the same replies, spans and points. Red when: one of its encoders writes what
// its own decoder understands and the receiver does not.
func TestVectorsFromRust(t *testing.T) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		require.NotEqual(t, "1", os.Getenv("WSSTATS_REQUIRE_ALL"), err)
		t.Skip("no cargo")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), cargo, "test", "--quiet", "--locked", "--package=wsstats", "--lib", "wire::vectors")
	cmd.Dir = filepath.Join("agents", "rust")
	cmd.Env = append(os.Environ(), "WSSTATS_VECTORS_OUT="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	names := vectorNames(t)
	run := 0
	for _, name := range names {
		v := readVector(t, name)
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)+".json"))
		message, differs := binaryMessage[name]
		if err != nil || !v.hasTwins(t, readTwins(t, vectorDir, name)) || differs && message == "" {
			continue // a case with a message that no encoder writes
		}
		run++
		t.Run("json/"+name, func(t *testing.T) {
			t.Parallel()
			said := *v
			require.NoError(t, json.Unmarshal(text, &said.Messages))
			said.Expected.compare(t, said.run(t, nil))
		})
		t.Run("proto/"+name, func(t *testing.T) {
			t.Parallel()
			said := readVector(t, name)
			if differs {
				said.Expected.sayInstead(t, message)
			}
			said.Expected.compare(t, said.run(t, readTwins(t, dir, name)))
		})
	}
	assert.Greater(t, run, len(names)*3/4)
	t.Logf("%d of %d cases", run, len(names))
}
