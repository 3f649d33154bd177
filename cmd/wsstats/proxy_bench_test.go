package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// BenchmarkProxyRoundTrip is a message to a server and back over loopback: what
// the tap adds is the difference between the last two.
func BenchmarkProxyRoundTrip(b *testing.B) {
	for _, size := range []int{128, 32 << 10} {
		server := mirror(b, size)
		b.Run("bytes="+strconv.Itoa(size)+"/direct", func(b *testing.B) { roundTrips(b, server, size) })
		b.Run("bytes="+strconv.Itoa(size)+"/untapped", func(b *testing.B) {
			roundTrips(b, benchProxy(b, server, func(h http.Handler) http.Handler { return h }), size)
		})
		b.Run("bytes="+strconv.Itoa(size)+"/tapped", func(b *testing.B) {
			agent, err := wsstats.NewAgent(wsstats.WithEndpoint("ws://127.0.0.1:1"), wsstats.WithLogger(slog.New(slog.DiscardHandler)))
			require.NoError(b, err)
			defer func() {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				_ = agent.Shutdown(ctx)
			}()
			roundTrips(b, benchProxy(b, server, agent.Handler), size)
		})
	}
}

// benchProxy is a proxy to a server, with this tap.
func benchProxy(b *testing.B, server string, tap func(http.Handler) http.Handler) string {
	b.Helper()
	o, err := parseProxy([]string{"--target", "http://" + server}, streams{strings.NewReader(""), io.Discard, io.Discard})
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- newProxy(o, tap).serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-ended)
	})
	return l.Addr().String()
}

// roundTrips measures messages to a server that sends each frame back.
func roundTrips(b *testing.B, address string, size int) {
	conn, err := net.Dial("tcp", address)
	require.NoError(b, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	require.NoError(b, err)
	br := bufio.NewReaderSize(conn, 64<<10)
	_, err = http.ReadResponse(br, nil)
	require.NoError(b, err)
	out := binary.BigEndian.AppendUint16([]byte{0x82, 0x80 | 126}, uint16(size))
	out = append(append(out, 0, 0, 0, 0), make([]byte, size)...)
	in := make([]byte, 4+size)
	b.SetBytes(int64(2 * size))
	for b.Loop() {
		if _, err := conn.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(br, in); err != nil {
			b.Fatal(err)
		}
	}
}

// mirror sends back each frame that roundTrips sends, unmasked: its mask is 0.
func mirror(b *testing.B, size int) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, brw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		frame := make([]byte, 8+size)
		for {
			if _, err := io.ReadFull(brw, frame); err != nil {
				return
			}
			copy(frame[4:], []byte{0x82, 126, frame[2], frame[3]}) // over the mask
			if _, err := conn.Write(frame[4:]); err != nil {
				return
			}
		}
	}))
	b.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// BenchmarkProxyIdle tells what an open WebSocket on which nothing happens
// costs: heap and stacks of both of its ends, and of the proxy between them.
func BenchmarkProxyIdle(b *testing.B) {
	const connections = 400
	server := mirror(b, 128)
	for name, address := range map[string]func() string{
		"direct": func() string { return server },
		"tapped": func() string {
			agent, err := wsstats.NewAgent(wsstats.WithEndpoint("ws://127.0.0.1:1"), wsstats.WithLogger(slog.New(slog.DiscardHandler)))
			require.NoError(b, err)
			b.Cleanup(func() {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				_ = agent.Shutdown(ctx)
			})
			return benchProxy(b, server, agent.Handler)
		},
	} {
		to := address()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := inUse()
				open := make([]net.Conn, connections)
				for i := range open {
					conn, err := net.Dial("tcp", to)
					require.NoError(b, err)
					_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
					require.NoError(b, err)
					_, err = http.ReadResponse(bufio.NewReader(conn), nil)
					require.NoError(b, err)
					open[i] = conn
				}
				b.ReportMetric(float64(inUse()-before)/connections, "B/connection")
				for _, conn := range open {
					_ = conn.Close()
				}
			}
		})
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
