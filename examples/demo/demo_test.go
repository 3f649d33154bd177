package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The tests' program is also the children of the demo: the collector is
// started with --config, the chat with serve or crowd.
func TestMain(m *testing.M) {
	stopped := make(chan os.Signal, 1)
	switch os.Args[1] {
	case "--config":
		signal.Notify(stopped, syscall.SIGTERM)
		actCollector(stopped)
	case "serve":
		signal.Notify(stopped, syscall.SIGTERM)
		listener, err := net.Listen("tcp", os.Args[3])
		if err != nil {
			panic(err)
		}
		<-stopped
		listener.Close()
		os.Stdout.WriteString("served\n")
	case "crowd":
		signal.Notify(stopped, syscall.SIGTERM)
		if err := os.WriteFile(crowdFile(), nil, 0o644); err != nil {
			panic(err)
		}
		<-stopped
		os.Stdout.WriteString("chat-client: 7 sent, 8 received; agent: 30 events, 29 acknowledged, 1 dropped\n")
	default:
		goleak.VerifyTestMain(m)
	}
}

// actCollector stands for a collector that is fed: it copies the traces and
// the metrics that the test has prepared.
func actCollector(stopped <-chan os.Signal) {
	prepared := os.Getenv("DEMO_TEST_PREPARED")
	if prepared == "" {
		os.Stdout.WriteString("cannot start: no pipelines\n")
		os.Exit(1)
	}
	traces, err := os.ReadFile(filepath.Join(prepared, "traces"))
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("DEMO_DIR"), tracesFile), traces, 0o644); err != nil {
		panic(err)
	}
	answer := func(addr string, handler http.HandlerFunc) { panic(http.ListenAndServe(addr, handler)) }
	go answer(os.Getenv("DEMO_HEALTH"), func(http.ResponseWriter, *http.Request) {})
	go answer(os.Getenv("DEMO_PROMETHEUS"), func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat(crowdFile()); err != nil {
			http.Error(w, "the crowd is still to come", http.StatusServiceUnavailable)
			return
		}
		http.ServeFile(w, r, filepath.Join(prepared, "metrics"))
	})
	<-stopped
}

// crowdFile is there when the crowd is: before, it could not be stopped properly.
func crowdFile() string { return filepath.Join(os.Getenv("DEMO_TEST_PREPARED"), "crowd") }

// prepare writes what the collector of the test will have written.
func prepare(t *testing.T, spans []made) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DEMO_TEST_PREPARED", dir)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // children of a -race test end at once
	traces := append(bytes.Join(lines(t, spans), []byte{'\n'}), '\n')
	require.NoError(t, os.WriteFile(filepath.Join(dir, "traces"), traces, 0o644))
	var metrics strings.Builder // a family's series of both services follow its type
	for line := range strings.Lines(scraped) {
		switch {
		case strings.Contains(line, "chat-client"):
		case strings.Contains(line, "chat-server"):
			metrics.WriteString(line + strings.ReplaceAll(line, "chat-server", "chat-client"))
		default:
			metrics.WriteString(line)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics"), []byte(metrics.String()), 0o644))
}

// demoOptions are the options of a demo whose programs are this one, on free ports.
func demoOptions(t *testing.T, args ...string) *options {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	o, err := parse(append([]string{"--collector", self, "--chat", self, "--dir", t.TempDir()}, args...))
	require.NoError(t, err)
	var held []net.Listener
	for _, addr := range o.at.all() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr.value = listener.Addr().String()
		held = append(held, listener)
	}
	for _, listener := range held { // after all are found, so that they differ
		require.NoError(t, listener.Close())
	}
	return o
}

func TestDemoOnce(t *testing.T) {
	prepare(t, whole())
	var buf bytes.Buffer
	require.NoError(t, demoOptions(t, "--once").run(&screen{Writer: &buf}, nil))
	text := buf.String()
	at := -1
	for _, want := range []string{
		"are up after", "One connection", "One message", "A ping", "The end of", "dropped dead",
		"The metrics", "See the rest", "Take part",
		"chat crowd   drained: 7 sent, 8 received; agent: 30 events, 29 acknowledged, 1 dropped",
		"chat server  drained\n", "collector    drained",
	} {
		i := strings.Index(text, want)
		require.Greater(t, i, at, "%q comes in its place in:\n%s", want, text)
		at = i
	}
}

func TestDemoOnceFailsWhereThePartsAreMissing(t *testing.T) {
	spans := whole()
	prepare(t, append(spans[:4:4], spans[5:8]...)) // no ping, and only the dead one's own word
	var buf bytes.Buffer
	err := demoOptions(t, "--once", "--deadline", "300ms").run(&screen{Writer: &buf}, nil)
	require.ErrorContains(t, err, "not read within 300ms: a ping's round trip; a client that dropped dead")
	require.Contains(t, buf.String(), "not read: a ping's round trip")
	require.Contains(t, buf.String(), "chat server  drained", "it drains also then")
}

func TestDemoEndsWithASignal(t *testing.T) {
	prepare(t, whole())
	signals := make(chan os.Signal, 1)
	out := &screen{Writer: writer(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("chat-server: 4 open of 11")) { // the status line
			signals <- os.Interrupt
		}
		return len(p), nil
	})}
	require.NoError(t, demoOptions(t).run(out, signals))
}

func TestDemoShowsSpansOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), tracesFile)
	own := whole()[0]
	own.service, own.connection = "mine\x1b", "demo"
	text := append(bytes.Join(lines(t, append(whole(), own)), []byte{'\n'}), '\n')
	require.NoError(t, os.WriteFile(path, text, 0o644))
	var buf bytes.Buffer
	d := &demo{out: &screen{Writer: &buf}, traces: tail{path: path}}
	require.NoError(t, d.welcome())
	require.Equal(t, `   span "ws.handshake" of service "mine\x1b", ws.connection.id "demo"
        trace 00000000000000000000000000000001
`, buf.String())
}

func TestDemoSaysWhyTheCollectorDidNotStart(t *testing.T) {
	t.Setenv("DEMO_TEST_PREPARED", "")
	err := demoOptions(t).run(&screen{Writer: &bytes.Buffer{}}, nil)
	require.ErrorContains(t, err, "collector ended: exit status 1")
	require.Equal(t, 1, strings.Count(err.Error(), "cannot start: no pipelines"), err)
}

func TestDemoNamesATakenPort(t *testing.T) {
	o := demoOptions(t)
	listener, err := net.Listen("tcp", o.at.prometheus.value)
	require.NoError(t, err)
	defer listener.Close()
	err = o.run(&screen{Writer: &bytes.Buffer{}}, nil)
	require.ErrorContains(t, err, o.at.prometheus.value+" (the Prometheus exporter) cannot be used, choose another with --prometheus HOST:PORT")
}

func TestDemoWithoutPrograms(t *testing.T) {
	o := demoOptions(t)
	o.collector = filepath.Join(t.TempDir(), "none")
	require.ErrorContains(t, o.run(&screen{Writer: &bytes.Buffer{}}, nil), "start collector")
}

func TestParseRefuses(t *testing.T) {
	_, err := parse([]string{"now"})
	require.ErrorContains(t, err, `unexpected argument "now"`)
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
