package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// truthTimeout is how long a client may take for all its connections.
const truthTimeout = 8 * waitTimeout

// startProgram starts a program that says when it is ready, and ends it by SIGTERM at
// the end of the test, if it was not before.
func startProgram(t *testing.T, ready string, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		assert.NoError(t, <-exited, "%s", out.String())
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), out.String())
		}
	})
	require.Eventually(t, func() bool { return strings.Contains(out.String(), ready) }, startTimeout, waitTick)
	return stop
}

// runProgram runs a program that ends by itself.
func runProgram(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	impatient := time.AfterFunc(truthTimeout, func() { _ = cmd.Process.Kill() })
	defer impatient.Stop()
	require.NoError(t, cmd.Wait(), "%s", out.String())
}

// nodePeer is testdata/truth_ws.js.
func nodePeer(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		skipOrFail(t, "no Node.js")
	}
	modules := filepath.Join(repository, "examples", "node", "node_modules")
	if _, err := os.Stat(filepath.Join(modules, "ws")); err != nil {
		skipOrFail(t, "the packages of examples/node are not there: make setup")
	}
	modules, err := filepath.Abs(modules)
	require.NoError(t, err)
	cmd := exec.Command("node", append([]string{"testdata/truth_ws.js"}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	return cmd
}

// k6Counts are what k6 has counted of its own.
type k6Counts struct{ Sessions, Sent, Received, Pings float64 }

// runK6 has k6 dial the URLs.
func runK6(t *testing.T, urls []string) k6Counts {
	t.Helper()
	binary := os.Getenv("WSSTATS_K6")
	if _, err := os.Stat(binary); err != nil {
		skipOrFail(t, "no k6: make test builds it")
	}
	summary := filepath.Join(t.TempDir(), "summary.json")
	cmd := exec.Command(binary, "run", "--quiet", "--no-usage-report", "--address=", "testdata/truth_k6.js")
	cmd.Env = append(os.Environ(), "URLS="+strings.Join(urls, " "), "SUMMARY="+summary)
	runProgram(t, cmd)

	content, err := os.ReadFile(summary)
	require.NoError(t, err)
	var metrics map[string]struct{ Values struct{ Count float64 } }
	require.NoError(t, json.Unmarshal(content, &metrics), "%s", content)
	count := func(name string) float64 { return metrics[name].Values.Count }
	return k6Counts{count("ws_sessions"), count("ws_msgs_sent"), count("ws_msgs_received"), count("ws_ping")}
}
