package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// strangersServer is a server on gorilla that somebody has. What the README says
// goes where the mark is.
const strangersServer = `package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

var upgrader websocket.Upgrader

func echo(w http.ResponseWriter, r *http.Request) {
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	for {
		typ, data, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(typ, data) != nil {
			return
		}
	}
}

func serve() error {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	// README
}

func main() { log.Fatal(serve()) }
`

// TestReadmeServer does to an existing server what the README says, in a module of
// its own: go get, with our modules fetched as versions, and the lines of code as
// they stand there. Its spans are what happened to it.
//
// Red when: the README's command or code does not work as it stands.
func TestReadmeServer(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	require.NoError(t, err)
	shown := regexp.MustCompile("(?s)### From Go\n.*?```sh\n(.*?)```.*?```go\n(.*?)```").FindSubmatch(readme)
	require.NotNil(t, shown, "README.md has a command and then code, from Go")
	command, code := strings.TrimSpace(string(shown[1])), string(shown[2])
	require.Contains(t, notRun, command, "and TestDocsCommands leaves it to this test")

	modules := readModules(t, "wire", "agents/go")
	version := "v0.1.1-test.h" + contentHash(t, modules)
	c := startCollector(t)
	address := freePorts(t, 1)[0]
	dir := t.TempDir()
	source := strings.ReplaceAll(strings.Replace(strangersServer, "// README", code, 1), "localhost:8080", address)
	require.Contains(t, source, address)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	env := append(strangersEnv(t, serveModules(t, version, modules)), "WSSTATS_ENDPOINT=ws://"+c.endpoint)
	for _, args := range [][]string{
		{"go", "mod", "init", "example.com/chat"},
		{"go", "get", "github.com/gorilla/websocket@v1.5.3"},
		strings.Fields(command),
		{"go", "build", "-o", "chat", "."},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}

	var printed lockedBuffer
	server := exec.Command(filepath.Join(dir, "chat"))
	server.Env, server.Stdout, server.Stderr = env, &printed, &printed
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("the server's output:\n%s", printed.String())
		}
	})
	var ws *websocket.Conn
	require.Eventually(t, func() bool {
		ws, _, err = websocket.DefaultDialer.Dial("ws://"+address+"/echo", nil)
		return err == nil
	}, startTimeout, waitTick)
	defer ws.Close()
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("hello")))
	_, data, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "hello", string(data))
	require.NoError(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")))

	spans := c.awaitSpans(t, 4)
	assert.Equal(t, map[string]int{"ws.handshake": 1, "ws.receive text": 1, "ws.send text": 1, "ws.close": 1}, countNames(spans))
	for _, s := range spans {
		assert.Equal(t, "chat", s.Resource.AsRaw()["service.name"])
		assert.Equal(t, "ws://"+address+"/echo", s.Attributes().AsRaw()["ws.url"])
	}
}
