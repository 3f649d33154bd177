package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// receiver takes what agents send and counts the events by service and
// kind, and closes by code too.
type receiver struct {
	mu     sync.Mutex
	events map[string]map[string]int
	work   sync.WaitGroup
}

func startReceiver(t *testing.T) (*receiver, string) {
	t.Helper()
	r := &receiver{events: map[string]map[string]int{}}
	web := httptest.NewServer(r)
	t.Cleanup(func() {
		web.Close()
		r.work.Wait()
	})
	return r, "ws" + strings.TrimPrefix(web.URL, "http")
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.work.Add(1)
	defer r.work.Done()
	upgrader := websocket.Upgrader{Subprotocols: []string{"wsstats.v1.json"}}
	conn, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	service := ""
	for {
		var msg struct {
			Hello *struct {
				Resource map[string]any `json:"resource"`
			} `json:"hello"`
			Seq    uint64 `json:"seq"`
			Events []struct {
				Event string `json:"event"`
				Code  int    `json:"ws.close.code"`
			} `json:"events"`
		}
		if conn.ReadJSON(&msg) != nil {
			return
		}
		if msg.Hello != nil {
			service, _ = msg.Hello.Resource["service.name"].(string)
			_ = conn.WriteJSON(map[string]any{"welcome": map[string]any{
				"resume_after": 0, "max_message_bytes": 1 << 20, "max_events": 1000, "window_bytes": 4 << 20, "heartbeat_s": 10,
				"sampling_ratio": 1, "sampling_threshold": "0", "sampling_scope": "message", "trace_mode": "message",
				"dimensions": []string{}, "signals": []string{"traces", "metrics"},
			}})
			continue
		}
		r.mu.Lock()
		for _, event := range msg.Events {
			if r.events[service] == nil {
				r.events[service] = map[string]int{}
			}
			r.events[service][event.Event]++
			if event.Code > 0 {
				r.events[service][strconv.Itoa(event.Code)]++
			}
		}
		r.mu.Unlock()
		if msg.Seq > 0 {
			_ = conn.WriteJSON(map[string]any{"ack": msg.Seq})
		}
	}
}

// captureStdout returns a reader of what is printed from now on. It has to be read.
func captureStdout(t *testing.T) *bufio.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	old := os.Stdout
	os.Stdout = w
	t.Cleanup(func() {
		os.Stdout = old
		w.Close()
		r.Close()
	})
	return bufio.NewReader(r)
}

func TestBothSidesReportWhatHappened(t *testing.T) {
	receiver, collector := startReceiver(t)
	printed := captureStdout(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, []string{"--listen", "127.0.0.1:0", "--collector", collector}) }()
	line, err := printed.ReadString('\n')
	require.NoError(t, err)
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "chat: listening on ")
	require.True(t, ok, line)

	require.NoError(t, comeAndGo(t.Context(), []string{
		"--server", url, "--collector", collector,
		"--members", "3", "--rooms", "lobby", "--rounds", "1", "--pace", "0s",
	}))
	stop()
	require.NoError(t, <-served)

	// The numbers of a scene of three, see TestCrowdPlaysTheSameSceneEachTime.
	for _, tc := range []struct {
		service string
		want    map[string]int
	}{
		{"chat-client", map[string]int{"handshake": 3, "send": 14, "receive": 38, "ping": 3, "pong": 3, "close": 3, "1000": 2, "1006": 1}},
		{"chat-server", map[string]int{"handshake": 3, "send": 38, "receive": 14, "ping": 3, "pong": 3, "close": 3, "1000": 2, "1006": 1}},
	} {
		for kind, want := range tc.want {
			require.Equal(t, want, receiver.events[tc.service][kind], "%s of %s: %v", kind, tc.service, receiver.events)
		}
	}

	for range 2 { // each side's last line
		line, err := printed.ReadString('\n')
		require.NoError(t, err)
		var report struct {
			Application map[string]int
			Agent       map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(line), &report), line)
		require.Equal(t, 3, report.Application["connections"])
		require.EqualValues(t, 64, report.Agent["observed"], line)
		require.EqualValues(t, 64, report.Agent["acknowledged"], line)
		require.Empty(t, report.Agent["dropped"], line)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  func(context.Context, []string) error
		args []string
		want string
	}{
		{"too many people", comeAndGo, []string{"--members", "9"}, "--members: expected 2 to 8, got 9"},
		{"too few people", comeAndGo, []string{"--members", "1"}, "--members: expected 2 to 8, got 1"},
		{"endpoint of the crowd", comeAndGo, []string{"--collector", "http://localhost"}, "endpoint"},
		{"endpoint of the server", serve, []string{"--collector", "http://localhost"}, "endpoint"},
		{"no command", func(context.Context, []string) error { return run(nil) }, nil, "usage"},
		{"pace", comeAndGo, []string{"--pace", "fast"}, "-pace"},
		{"listen", serve, []string{"--listen", "nowhere"}, "nowhere"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.ErrorContains(t, tc.run(t.Context(), tc.args), tc.want)
		})
	}
}
