package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is one line of testdata/truth.json, which each end of each connection
// tells the other one: a message, in one piece or with a ping after its first
// part, or a ping.
type step struct {
	Send  string // "text" or "binary"; "": a ping
	Parts []int  // bytes
	Times int    // 0: once
}

// story is the whole of it, and what it comes to.
type story struct {
	steps    []step
	messages []message // what one end sends, with the "done" at its end
	pings    int
}

// message is one message as an observer tells of it.
type message struct {
	typ        string
	size       int // payload bytes before compression; -1: not told
	compressed int // payload bytes on the wire of one that was compressed; -1: it was not, or that is not told
	frames     int // 0: not told
}

func readStory(t *testing.T) *story {
	t.Helper()
	content, err := os.ReadFile("testdata/truth.json")
	require.NoError(t, err)
	s := &story{}
	require.NoError(t, json.Unmarshal(content, &s.steps))
	for _, step := range s.steps {
		if step.Send == "" || len(step.Parts) > 1 {
			s.pings++
		}
		size := 0
		for _, n := range step.Parts {
			size += n
		}
		for range step.times() {
			s.messages = append(s.messages, message{typ: step.Send, size: size, compressed: -1})
		}
	}
	s.messages = append(s.messages, message{typ: "text", size: len("done"), compressed: -1})
	return s
}

// times is how many messages a step is.
func (s step) times() int {
	if s.Send == "" {
		return 0
	}
	return max(1, s.Times)
}

// payload is what one can compress, and not to nothing.
func payload(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte('a' + (i*i+size)%26)
	}
	return b
}

// route is the path of a connection's URL. It says how its ends are to talk, and is the
// name by which all observers know it: together with the server's proxy, no other
// connection has it.
type route struct {
	client      string // gorilla, coder, ws or k6
	compression string // plain, takeover or no-takeover
	observer    string // of the ends that are in Go: tap or adapter
	closer      string // client or server
	code        int
}

func (r route) String() string {
	return fmt.Sprintf("/%s/%s/%s/%s/%d", r.client, r.compression, r.observer, r.closer, r.code)
}

func parseRoute(path string) (route, error) {
	r := route{}
	_, err := fmt.Sscan(strings.ReplaceAll(path, "/", " "), &r.client, &r.compression, &r.observer, &r.closer, &r.code)
	if err != nil {
		return route{}, fmt.Errorf("path %q: %w", path, err)
	}
	return r, nil
}

// closeReason is in all close frames.
const closeReason = "the story ends"

// closings are who closes, and how. Compression has nothing to do with it.
func (r route) closings() []route {
	all := []route{}
	for _, closer := range []string{"client", "server"} {
		for _, code := range []int{1000, 1001, 4000} {
			r.closer, r.code = closer, code
			if r.client == "k6" && closer == "client" && code == 1001 {
				continue // a browser's WebSocket, whose interface k6 has, cannot
			}
			if r.compression == "plain" || (code == 1000) == (closer == "client") && code != 1001 {
				all = append(all, r)
			}
		}
	}
	return all
}

// routes are the connections of a client with a server.
func routes(client, server string) []route {
	observers := []string{"tap", "adapter"}
	if (client == "ws" || client == "k6") && server == "ws" {
		observers = observers[:1] // no end is in Go: the proxy alone observes
	}
	var all []route
	for _, compression := range []string{"plain", "takeover", "no-takeover"} {
		if client == "k6" && compression == "takeover" {
			continue // it has no-takeover only
		}
		for _, observer := range observers {
			all = append(all, route{client: client, compression: compression, observer: observer}.closings()...)
		}
	}
	return all
}
