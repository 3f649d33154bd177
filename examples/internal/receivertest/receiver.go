// Package receivertest has what the tests of the examples put in a receiver's
// place: it takes all that agents send, and counts.
package receivertest

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
)

// Receiver counts the events of agents by service and kind, and closes by code too.
type Receiver struct {
	URL string

	mu     sync.Mutex
	events map[string]map[string]int
	rows   map[string][]map[string]any
	work   sync.WaitGroup
}

// Start starts a receiver that speaks the JSON form and stops with the test.
func Start(t *testing.T) *Receiver {
	t.Helper()
	r := &Receiver{events: map[string]map[string]int{}, rows: map[string][]map[string]any{}}
	web := httptest.NewServer(r)
	t.Cleanup(func() {
		web.Close()
		r.work.Wait()
	})
	r.URL = "ws" + strings.TrimPrefix(web.URL, "http")
	return r
}

// Events returns how many events of each kind a service has told of.
func (r *Receiver) Events(service string) map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.events[service])
}

// Rows returns the events of a kind that a service has told of.
func (r *Receiver) Rows(service, kind string) []map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rows []map[string]any
	for _, row := range r.rows[service] {
		if row["event"] == kind {
			rows = append(rows, row)
		}
	}
	return rows
}

// ServeHTTP is one session of an agent.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
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
			Seq    uint64           `json:"seq"`
			Events []map[string]any `json:"events"`
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
		r.take(service, msg.Events)
		if msg.Seq > 0 {
			_ = conn.WriteJSON(map[string]any{"ack": msg.Seq})
		}
	}
}

func (r *Receiver) take(service string, events []map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events[service] == nil {
		r.events[service] = map[string]int{}
	}
	r.rows[service] = append(r.rows[service], events...)
	for _, event := range events {
		kind, _ := event["event"].(string)
		r.events[service][kind]++
		if code, ok := event["ws.close.code"].(float64); ok {
			r.events[service][strconv.Itoa(int(code))]++
		}
	}
}

// Printed is what a program has printed, while it goes on to.
type Printed struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (p *Printed) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(data)
}

// String returns all of it.
func (p *Printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}
