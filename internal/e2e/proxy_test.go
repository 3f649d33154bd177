package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestProxyNode starts examples/node by its one command, lets clients talk to it
// through the proxy, and looks for everything that happened, to the exact count.
// The proxy's recording, replayed to another collector, makes the same of it.
func TestProxyNode(t *testing.T) {
	const clients, texts, size = 3, 20, 70_000
	const received, sent = clients * (texts + 1), clients * clients * (texts + 1)
	c := startCollector(t)
	recording := filepath.Join(t.TempDir(), "recording.jsonl")
	p := startNode(t, "--collector", "ws://"+c.endpoint, "--record", recording)

	refused, resp, err := websocket.DefaultDialer.Dial("ws://"+p.address+"/nowhere?token=secret", nil)
	require.ErrorIs(t, err, websocket.ErrBadHandshake, refused)
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	page, err := get(t.Context(), "http://"+p.address)
	require.NoError(t, err)
	assert.NoError(t, page.Body.Close())
	assert.Equal(t, http.StatusOK, page.StatusCode)

	people := make([]*websocket.Conn, clients)
	for i := range people {
		people[i], _, err = websocket.DefaultDialer.Dial("ws://"+p.address+"/chat/lobby?token=secret", nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = people[i].Close() })
	}
	for _, ws := range people {
		for range texts {
			require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("canary-payload")))
		}
		require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, bytes.Repeat([]byte("x"), size)))
	}
	for _, ws := range people {
		for range clients * (texts + 1) {
			require.NoError(t, ws.SetReadDeadline(time.Now().Add(waitTimeout)))
			_, data, err := ws.ReadMessage()
			require.NoError(t, err)
			require.Contains(t, []int{len("canary-payload"), size}, len(data))
		}
		ponged := make(chan string, 1)
		ws.SetPongHandler(func(data string) error {
			ponged <- data
			return nil
		})
		require.NoError(t, ws.WriteControl(websocket.PingMessage, []byte("ping"), time.Now().Add(waitTimeout)))
		require.NoError(t, ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye"), time.Now().Add(waitTimeout)))
		_, _, err := ws.ReadMessage()
		require.True(t, websocket.IsCloseError(err, 1000), "%v", err)
		assert.Equal(t, "ping", <-ponged)
		require.NoError(t, ws.Close())
	}
	p.stop(t)
	c.stop(t)

	names := map[string]int{
		"ws.handshake":      clients + 1,
		"ws.receive text":   clients * texts,
		"ws.receive binary": clients,
		"ws.send text":      clients * clients * texts,
		"ws.send binary":    clients * clients,
		"ws.ping":           clients,
		"ws.pong":           clients,
		"ws.close":          clients,
	}
	spans := c.spans(t)
	assert.Equal(t, names, countNames(spans))
	for _, s := range spans {
		assert.Equal(t, "chat", s.Resource.AsRaw()["service.name"])
		assert.Equal(t, "server", s.Attributes().AsRaw()["ws.role"])
		if s.Name() == "ws.handshake" && s.Status().Code() == ptrace.StatusCodeError {
			assert.Equal(t, int64(404), s.Attributes().AsRaw()["http.status_code"])
			continue
		}
		assert.Equal(t, "ws://"+p.address+"/chat/lobby", s.Attributes().AsRaw()["ws.url"])
	}
	totals := c.totals(t)
	bytesEach := float64(texts*len("canary-payload") + size)
	for metric, want := range map[string]float64{
		"ws.connections.total":   clients,
		"ws.connections.active":  0,
		"ws.connections.closed":  clients,
		"ws.messages.received":   received,
		"ws.messages.sent":       sent,
		"ws.messages.bytes":      bytesEach * (clients + clients*clients),
		"ws.message.size":        received + sent,
		"ws.handshake.duration":  clients + 1,
		"ws.connection.duration": clients,
		"ws.errors":              1, // the refused handshake
	} {
		assert.InDelta(t, want, totals[metric], 0, metric)
	}

	text, err := os.ReadFile(recording)
	require.NoError(t, err)
	for _, secret := range []string{"canary", "secret"} {
		assert.NotContains(t, string(text), secret)
		assert.NotContains(t, p.output.String(), secret)
	}
	out, err := exec.Command(tool(t), "validate", recording).CombinedOutput()
	require.NoError(t, err, "%s", out)

	again := startCollector(t)
	out, err = exec.Command(tool(t), "replay", recording, "--speed=max", "--endpoint=ws://"+again.endpoint).CombinedOutput()
	require.NoError(t, err, "%s", out)
	again.stop(t)
	assert.Equal(t, names, countNames(again.spans(t)))
	assert.Equal(t, totals, again.totals(t))
}

// TestProxySecondSignal ends the proxy at once, although something is open.
func TestProxySecondSignal(t *testing.T) {
	c := startCollector(t)
	p := startNode(t, "--collector", "ws://"+c.endpoint, "--drain", "10m")
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.address+"/chat/lobby", nil)
	require.NoError(t, err)
	defer ws.Close()
	p.signal(t)
	require.Eventually(t, func() bool { return strings.Contains(p.output.String(), "msg=draining open=1") }, waitTimeout, waitTick)
	p.signal(t)
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		t.Fatal("the proxy still runs after a second SIGTERM")
	}
}

// nodeExample is examples/node: the chat and the proxy before it.
type nodeExample struct {
	address string // of the proxy
	output  lockedBuffer
	cmd     *exec.Cmd
	exited  chan struct{}
	exitErr error // valid when exited
}

func startNode(t *testing.T, flags ...string) *nodeExample {
	t.Helper()
	example := filepath.Join(repository, "examples", "node")
	if _, err := exec.LookPath("node"); err != nil {
		skipOrFail(t, "no Node.js")
	}
	if _, err := os.Stat(filepath.Join(example, "node_modules", "ws")); err != nil {
		skipOrFail(t, "no ws for Node.js (make setup installs it)")
	}
	_, port, _ := strings.Cut(freePorts(t, 1)[0], ":")
	p := &nodeExample{exited: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(example, "start"), append([]string{tool(t), "--listen", "127.0.0.1:0"}, flags...)...)
	p.cmd.Env = append(os.Environ(), "PORT="+port)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	require.NoError(t, p.cmd.Start())
	go func() {
		p.exitErr = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		for waiting := true; waiting; { // a second signal ends it in any case
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-p.exited:
				waiting = false
			case <-time.After(time.Second):
			}
		}
		if t.Failed() {
			t.Logf("the example's output:\n%s", p.output.String())
		}
	})
	listening := regexp.MustCompile(`msg=listening address=(\S+)`)
	require.Eventually(t, func() bool {
		m := listening.FindStringSubmatch(p.output.String())
		if m != nil {
			p.address = m[1]
		}
		return m != nil && strings.Contains(p.output.String(), "listening on "+port)
	}, startTimeout, waitTick)
	return p
}

func (p *nodeExample) signal(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
}

// stop ends the example as a service manager does.
func (p *nodeExample) stop(t *testing.T) {
	t.Helper()
	p.signal(t)
	select {
	case <-p.exited:
		require.NoError(t, p.exitErr)
	case <-time.After(stopTimeout):
		t.Fatalf("the example still runs %v after SIGTERM", stopTimeout)
	}
}
