package wsstats

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// What an application must not notice of its agent.

// moodyReceivers are receivers that are of no use.
var moodyReceivers = map[string]func(t *testing.T) string{
	"absent":     closedPort,
	"black hole": func(t *testing.T) string { return blackHole(t) },
	"resets": func(t *testing.T) string {
		return listen(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) })
	},
	"talks nonsense": func(t *testing.T) string {
		return listen(t, func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("nonsense ", 10_000)) })
	},
	"refuses": func(t *testing.T) string {
		return served(t, func(*websocketPeer) {}, http.StatusServiceUnavailable)
	},
	"never welcomes": func(t *testing.T) string {
		return served(t, func(p *websocketPeer) { p.readAll() }, 0)
	},
	"never acknowledges": func(t *testing.T) string {
		return served(t, func(p *websocketPeer) { p.welcome(); p.readAll() }, 0)
	},
	"closes the window": func(t *testing.T) string {
		return served(t, func(p *websocketPeer) { _ = p.say(`{"welcome":{}}`); p.readAll() }, 0)
	},
	"never reads": func(t *testing.T) string {
		return served(t, func(p *websocketPeer) { p.welcome(); <-p.gone }, 0)
	},
	"breaks off": func(t *testing.T) string {
		return served(t, func(p *websocketPeer) { p.welcome(); _, _, _ = p.ReadMessage() }, 0)
	},
	"acknowledges what it has not": func(t *testing.T) string {
		return served(t, func(p *websocketPeer) { p.welcome(); _ = p.say(`{"ack":99}`); p.readAll() }, 0)
	},
	"floods": func(t *testing.T) string {
		return served(t, func(p *websocketPeer) {
			p.welcome()
			for p.say(`{"flow":{"window_bytes":1000000,"sampling_threshold":"8"}}`) == nil {
				continue
			}
		}, 0)
	},
}

// websocketPeer is the agent as a moody receiver sees it.
type websocketPeer struct {
	*gorilla.Conn
	gone chan struct{} // closed at the end of the test
}

func (p *websocketPeer) say(s string) error {
	return p.WriteMessage(gorilla.TextMessage, []byte(s))
}

func (p *websocketPeer) welcome() {
	_ = p.say(`{"welcome":{"window_bytes":1000000000,"max_events":1000,"sampling_threshold":"8"}}`)
}

func (p *websocketPeer) readAll() {
	for {
		if _, _, err := p.ReadMessage(); err != nil {
			return
		}
	}
}

// served is the address of a receiver, that refuses where it has a status.
func served(t *testing.T, session func(*websocketPeer), status int) string {
	t.Helper()
	gone := make(chan struct{})
	var sessions sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != 0 {
			http.Error(w, "not now", status)
			return
		}
		u := gorilla.Upgrader{Subprotocols: []string{wire.SubprotocolProto}}
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		sessions.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(t.Context(), func() { _ = c.Close() })
			defer stop()
			session(&websocketPeer{c, gone})
		})
	}))
	t.Cleanup(func() {
		s.Close()
		close(gone)
		sessions.Wait()
	})
	return s.Listener.Addr().String()
}

// listen accepts connections, reads a line of each, answers and ends them.
func listen(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			answer(c)
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
	})
	return l.Addr().String()
}

// Red when: a receiver that is of no use is noticed by the application, or what
// it does not take piles up.
func TestNoEffectOnTheApplication(t *testing.T) {
	for name, receiver := range moodyReceivers {
		for _, aggregates := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, aggregates=%d", name, aggregates), func(t *testing.T) {
				t.Parallel()
				a := newAgent(t, WithEndpoint("ws://"+receiver(t)), WithMaxQueueBytes(minQueueBytes),
					WithBatch(10, 1<<20, time.Millisecond), WithAggregates(aggregates))
				s := httptest.NewServer(a.Handler(servers["gorilla"]))
				defer s.Close()
				c, _, err := a.Dialer(nil).Dial("ws"+strings.TrimPrefix(s.URL, "http"), nil)
				require.NoError(t, err)
				for i := range 500 {
					echo(t, gorillaClient{c}, 1+i%2, strings.Repeat("x", i))
				}
				a.mu.Lock()
				held := a.ring.bytes
				if a.meter != nil {
					assert.LessOrEqual(t, a.meter.bytes, 16<<10, "a few series")
				}
				a.mu.Unlock()
				assert.LessOrEqual(t, held, minQueueBytes)
				requireBalanced(t, a)
				_ = gorillaClient{c}.close()

				ctx, cancel := contextThatIsOver()
				defer cancel()
				began := time.Now()
				_ = a.Shutdown(ctx)
				assert.Less(t, time.Since(began), patience, "it is let go at once")
			})
		}
	}
}

// After a violation all bytes go on as they are, both ways, and are not looked
// at in that direction any more.
func TestViolationsAreForwarded(t *testing.T) {
	compressedFrame := func() string {
		f := ws.NewFrame(ws.OpText, true, []byte("x"))
		f.Header.Rsv = ws.Rsv(true, false, false)
		return string(ws.MustCompileFrame(f))
	}()
	violations := map[string]string{
		"reserved opcode":            "\x83\x06canary",
		"reserved bit":               "\x91\x06canary",
		"compression not agreed on":  compressedFrame,
		"masked by a server":         string(maskedFrame(ws.OpText, true, "canary")),
		"fragmented control":         string(serverFrame(ws.OpPing, false, "canary")),
		"long control":               string(serverFrame(ws.OpPing, true, strings.Repeat("x", 126))),
		"continuation of nothing":    string(serverFrame(ws.OpContinuation, true, "canary")),
		"message in a message":       string(serverFrame(ws.OpText, false, "a")) + string(serverFrame(ws.OpText, true, "b")),
		"length of 63 bits and more": "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffcanary",
		"close with half a code":     "\x88\x01\x03",
	}
	for name, bad := range violations {
		for _, piece := range []int{1, 1 << 20} {
			t.Run(fmt.Sprintf("%s, %d", name, piece), func(t *testing.T) {
				rec, raw := newFakeRecorder(), &pipeConn{readErr: io.EOF}
				up := newClientUpgrade(rec, upgradeRequest(), false, nil)
				c := wrapConn(raw, openStream(raw, up.succeed(http.Header{})))
				good := string(serverFrame(ws.OpText, true, "hello"))
				incoming := good + bad + good + "\x00\xffwhatever"
				raw.in.WriteString(incoming)
				var got bytes.Buffer
				for {
					b := make([]byte, min(piece, 4096))
					n, err := c.Read(b)
					got.Write(b[:n])
					if err != nil {
						break
					}
				}
				assert.Equal(t, incoming, got.String())
				assert.Len(t, rec.of(wire.KindReceive), 1, "what came before it")
				assert.Len(t, rec.of(wire.KindProtocolError), 1)

				outgoing := string(maskedFrame(ws.OpBinary, true, "reply"))
				_, err := io.WriteString(c, outgoing)
				require.NoError(t, err)
				assert.Equal(t, outgoing, raw.out.String())
				require.NoError(t, c.Close())
				assert.Len(t, rec.of(wire.KindClose), 1)
				assert.NotContains(t, rec.String(), "canary")
			})
		}
	}
}

// A refused upgrade reaches the client as the application wrote it.
func TestRefusalsAreForwarded(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Reason", "full")
		w.Header().Set("Retry-After", "7")
		http.Error(w, "come back later", http.StatusServiceUnavailable)
	})
	bare := httptest.NewServer(app)
	defer bare.Close()
	answers := map[string]*http.Response{}
	for name, target := range map[string]string{"bare": bare.URL, "observed": serve(t, newFakeRecorder(), app)} {
		_, _, resp := dialRaw(t, "ws://"+target[strings.Index(target, "//")+2:], rawRequest(connectionHeader+": 0123456789abcdef0123456789abcdef"))
		body, err := io.ReadAll(io.LimitReader(resp.Body, int64(len("come back later\n"))))
		require.NoError(t, err)
		assert.Equal(t, "come back later\n", string(body))
		resp.Header.Del("Date")
		answers[name] = resp
	}
	assert.Equal(t, answers["bare"].Header, answers["observed"].Header)
	assert.Equal(t, answers["bare"].Status, answers["observed"].Status)
}

// HTTP/2 has its own way to open a WebSocket, and none of these can be hijacked:
// a request is the application's alone, both at a server and at a client.
func TestHTTP2IsUntouched(t *testing.T) {
	rec := newFakeRecorder()
	first := make(chan struct{})
	s := httptest.NewUnstartedServer(handler{rec, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, hijacker := w.(http.Hijacker)
		_, pusher := w.(http.Pusher)
		assert.False(t, hijacker)
		assert.True(t, pusher)
		assert.Empty(t, r.Header[connectionHeader])
		_, _ = io.WriteString(w, r.Proto+" first ")
		w.(http.Flusher).Flush()
		<-first
		_, _ = io.WriteString(w, "second")
	})})
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	hc := s.Client()
	hc.Transport = &transport{rec, hc.Transport}
	resp, err := hc.Get(s.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 2, resp.ProtoMajor)
	b := make([]byte, len("HTTP/2.0 first "))
	_, err = io.ReadFull(resp.Body, b)
	require.NoError(t, err, "flushed before the end")
	close(first)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "HTTP/2.0 first second", string(b)+string(rest))
	assert.Empty(t, rec.all())
	hc.CloseIdleConnections()
}
