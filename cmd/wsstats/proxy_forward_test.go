package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	return l
}

// frames is a stream of random frames of one direction: fragmented messages,
// control frames between, every form of a length. Where it is wrong, so are
// reserved bits, opcodes, masks and closes.
func frames(rng *rand.Rand, masked, wrong bool) (stream []byte) {
	one := func(first byte, size int) {
		second := byte(0)
		if masked != (wrong && rng.IntN(8) == 0) {
			second = 0x80
		}
		stream = append(stream, first)
		switch {
		case size < 126:
			stream = append(stream, second|byte(size))
		case size < 1<<16:
			stream = binary.BigEndian.AppendUint16(append(stream, second|126), uint16(size))
		default:
			stream = binary.BigEndian.AppendUint64(append(stream, second|127), uint64(size))
		}
		if second != 0 {
			stream = binary.BigEndian.AppendUint32(stream, rng.Uint32())
		}
		for range size {
			stream = append(stream, byte(rng.Uint32()))
		}
	}
	sizes := []int{0, 1, 100, 125, 126, 1000, 65535, 65536, 70000}
	for range 20 {
		opcode := byte(1 + rng.IntN(2))
		if rng.IntN(2) == 0 {
			opcode |= 0x40 // RSV1: compressed
		}
		if wrong && rng.IntN(4) == 0 {
			opcode = byte(rng.Uint32()) &^ 0x80
		}
		parts := 1 + rng.IntN(3)
		for part := range parts {
			first := opcode
			if part > 0 {
				first = 0
			}
			if part == parts-1 {
				first |= 0x80
			}
			one(first, sizes[rng.IntN(len(sizes))])
			if rng.IntN(2) == 0 {
				one(0x80|byte(9+rng.IntN(2)), rng.IntN(126))
			}
		}
	}
	return stream
}

// chatter writes a stream in pieces of any size.
func chatter(rng *rand.Rand, w io.Writer, stream []byte) error {
	for len(stream) > 0 {
		n := min(len(stream), 1+rng.IntN(1+rng.IntN(40000)))
		if _, err := w.Write(stream[:n]); err != nil {
			return err
		}
		stream = stream[n:]
	}
	return nil
}

// exchange carries two streams over one connection, each side's end told by a
// half-close, and returns what each side got. The client's first bytes come with
// its request, the server's with its answer.
func exchange(t *testing.T, seed uint64, dial func(server string) string, up, down []byte, serverFirst bool) (gotUp, gotDown []byte) {
	t.Helper()
	served := make(chan error, 1)
	upEnded := make(chan struct{})
	server := application(t, func(w http.ResponseWriter, _ *http.Request) {
		served <- func() error {
			conn, brw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return err
			}
			defer conn.Close()
			rng := rand.New(rand.NewPCG(seed, 2))
			read := make(chan error, 1)
			go func() {
				var err error
				gotUp, err = io.ReadAll(brw)
				close(upEnded)
				read <- err
			}()
			first := min(len(down), 10)
			answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
			if _, err := conn.Write(append([]byte(answer), down[:first]...)); err != nil {
				return err
			}
			if !serverFirst {
				<-upEnded // it still sends to a client that has ended its own direction
			}
			if err := chatter(rng, conn, down[first:]); err != nil {
				return err
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				return err
			}
			return <-read
		}()
	})
	conn, err := net.Dial("tcp", dial(server.Listener.Addr().String()))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	rng := rand.New(rand.NewPCG(seed, 1))
	first := min(len(up), 10)
	head := "GET /x HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	_, err = conn.Write(append([]byte(head), up[:first]...))
	require.NoError(t, err)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	wrote := make(chan error, 1)
	downEnded := make(chan struct{})
	go func() {
		if serverFirst {
			<-downEnded
		}
		err := chatter(rng, conn, up[first:])
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		wrote <- err
	}()
	gotDown, err = io.ReadAll(br)
	close(downEnded)
	require.NoError(t, err)
	require.NoError(t, <-wrote)
	require.NoError(t, <-served)
	return gotUp, gotDown
}

// Each direction comes through as it was sent, as it does without the proxy,
// and goes on when the other one has ended. Red when: a half-close is not passed
// on, a byte that came with a handshake is lost.
func TestProxyForwardsByteForByte(t *testing.T) {
	r := newReceiver(t, nil)
	for seed := range uint64(6) {
		for _, wrong := range []bool{false, true} {
			t.Run(fmt.Sprint(seed, wrong), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 0))
				up, down := frames(rng, true, wrong), frames(rng, false, wrong)
				direct := func(server string) string { return server }
				through := func(server string) string {
					return startProxy(t, "http://"+server, "--collector", r.endpoint()).address
				}
				plainUp, plainDown := exchange(t, seed, direct, up, down, seed%2 == 0)
				proxyUp, proxyDown := exchange(t, seed, through, up, down, seed%2 == 0)
				assert.True(t, bytes.Equal(up, plainUp) && bytes.Equal(down, plainDown), "without the proxy")
				assert.True(t, bytes.Equal(plainUp, proxyUp), "from the client: %d bytes, and %d arrived", len(plainUp), len(proxyUp))
				assert.True(t, bytes.Equal(plainDown, proxyDown), "from the application: %d bytes, and %d arrived", len(plainDown), len(proxyDown))
			})
		}
	}
}

// request sends a request as it stands here and returns the answer as it came,
// and what the application got.
func request(t *testing.T, address, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n"))
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(answer)
}

// Plain requests pass as they are, but for what says that a proxy has forwarded them.
func TestProxyPassesHTTP(t *testing.T) {
	var got []string
	app := application(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = []string{r.Method + " " + r.RequestURI, "Host: " + r.Host, string(body)}
		for key, values := range r.Header {
			got = append(got, key+": "+strings.Join(values, "|"))
		}
		slices.Sort(got[3:])
		w.Header().Set("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "not inflated")
		w.Header().Set("X-Sum", "12")
	})
	collector := newReceiver(t, nil).endpoint()
	const text = "PUT /a%2Fb//c;d?x=%zz&y=1;2 HTTP/1.1\nHost: example.com:99\nConnection: close\nContent-Length: 4\nX-Own: 1\nX-Own: 2\n" +
		"Forwarded: for=192.0.2.1\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-Host: public.example\nX-Forwarded-Proto: https\n\nbody"
	common := []string{"PUT /a%2Fb//c;d?x=%zz&y=1;2", "Host: example.com:99", "body", "Content-Length: 4"}
	tests := map[string]struct {
		args []string
		want []string
	}{
		"a stranger's forwarding is replaced": {nil, []string{
			"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: example.com:99", "X-Forwarded-Proto: http", "X-Own: 1|2",
		}},
		"a proxy's is kept": {[]string{"--trust-forwarded"}, []string{
			"Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1, 127.0.0.1", "X-Forwarded-Host: public.example", "X-Forwarded-Proto: https", "X-Own: 1|2",
		}},
	}
	direct := request(t, app.Listener.Addr().String(), text)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, app.URL, append(tt.args, "--collector", collector)...)
			answer := request(t, p.address, text)
			want := append(slices.Clone(common), tt.want...)
			slices.Sort(want[3:])
			assert.Equal(t, want, got)
			assert.Equal(t, sortedLines(direct), sortedLines(answer))
		})
	}
}

// sortedLines are the lines of an answer, in any order.
func sortedLines(answer string) []string {
	all := strings.Split(answer, "\r\n")
	slices.Sort(all)
	return all
}

// What an application writes bit by bit arrives bit by bit.
func TestProxyStreams(t *testing.T) {
	next := make(chan struct{})
	app := application(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3") // else ReverseProxy takes it for a stream by itself
		for i := range 3 {
			_, _ = io.WriteString(w, strconv.Itoa(i))
			w.(http.Flusher).Flush()
			<-next
		}
	})
	p := startProxy(t, app.URL, "--collector", newReceiver(t, nil).endpoint())
	resp := get(t, "http://"+p.address)
	for i := range 3 {
		b := make([]byte, 1)
		_, err := io.ReadFull(resp.Body, b)
		require.NoError(t, err)
		assert.Equal(t, strconv.Itoa(i), string(b))
		next <- struct{}{}
	}
}
