package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	wsstatscoder "github.com/wsstats/wsstatsreceiver/agents/go/coder"
	wsstatsgorilla "github.com/wsstats/wsstatsreceiver/agents/go/gorilla"
)

// gorillaConn is what a connection of gorilla has, and one of its adapter.
type gorillaConn interface {
	ReadMessage() (typ int, data []byte, err error)
	WriteMessage(typ int, data []byte) error
	NextWriter(typ int) (io.WriteCloser, error)
	WriteControl(typ int, data []byte, deadline time.Time) error
	SetPongHandler(h func(string) error)
	Close() error
}

type gorillaPeer struct{ gorillaConn }

func gorillaType(typ string) int {
	if typ == "text" {
		return gorilla.TextMessage
	}
	return gorilla.BinaryMessage
}

func (p gorillaPeer) send(typ string, data []byte) error {
	return p.WriteMessage(gorillaType(typ), data)
}

func (p gorillaPeer) sendParts(typ string, parts [][]byte) error {
	w, err := p.NextWriter(gorillaType(typ))
	if err != nil {
		return err
	}
	for i, part := range parts {
		_, wrong := w.Write(part)
		if i == 0 {
			wrong = errors.Join(wrong, p.ping())
		}
		err = errors.Join(err, wrong)
	}
	return errors.Join(err, w.Close())
}

func (p gorillaPeer) ping() error {
	return p.WriteControl(gorilla.PingMessage, []byte(time.Now().String()), time.Now().Add(waitTimeout))
}

func (p gorillaPeer) read() error {
	_, _, err := p.ReadMessage()
	return err
}

func (p gorillaPeer) close(code int) error {
	return p.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, closeReason), time.Now().Add(waitTimeout))
}

func (p gorillaPeer) end() { _ = p.Close() }

// talkGorilla has a connection of gorilla talk.
func (s *story) talkGorilla(ws gorillaConn, r route, role string) error {
	pongs := make(chan struct{}, s.pings)
	ws.SetPongHandler(func(string) error {
		pongs <- struct{}{}
		return nil
	})
	return s.talk(gorillaPeer{ws}, r, role, pongs)
}

// coderConn is what a connection of coder has, and one of its adapter.
type coderConn interface {
	Read(ctx context.Context) (websocket.MessageType, []byte, error)
	Write(ctx context.Context, typ websocket.MessageType, p []byte) error
	Writer(ctx context.Context, typ websocket.MessageType) (io.WriteCloser, error)
	Ping(ctx context.Context) error
	Close(code websocket.StatusCode, reason string) error
	CloseNow() error
	SetReadLimit(n int64)
}

type coderPeer struct {
	coderConn
	ctx   context.Context
	pongs chan struct{}
}

func coderType(typ string) websocket.MessageType {
	if typ == "text" {
		return websocket.MessageText
	}
	return websocket.MessageBinary
}

func (p coderPeer) send(typ string, data []byte) error { return p.Write(p.ctx, coderType(typ), data) }

func (p coderPeer) sendParts(typ string, parts [][]byte) error {
	w, err := p.Writer(p.ctx, coderType(typ))
	if err != nil {
		return err
	}
	for i, part := range parts {
		_, wrong := w.Write(part)
		if i == 0 {
			wrong = errors.Join(wrong, p.ping())
		}
		err = errors.Join(err, wrong)
	}
	return errors.Join(err, w.Close())
}

// ping waits for the pong, as the library does.
func (p coderPeer) ping() error {
	err := p.Ping(p.ctx)
	if err == nil {
		p.pongs <- struct{}{}
	}
	return err
}

func (p coderPeer) read() error {
	_, _, err := p.Read(p.ctx)
	return err
}

func (p coderPeer) close(code int) error { return p.Close(websocket.StatusCode(code), closeReason) }
func (p coderPeer) end()                 { _ = p.CloseNow() }

// talkCoder has a connection of coder talk.
func (s *story) talkCoder(ctx context.Context, ws coderConn, r route, role string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*waitTimeout)
	defer cancel()
	ws.SetReadLimit(-1)
	pongs := make(chan struct{}, s.pings)
	return s.talk(coderPeer{ws, ctx, pongs}, r, role, pongs)
}

func coderCompression(compression string) websocket.CompressionMode {
	return map[string]websocket.CompressionMode{
		"plain": websocket.CompressionDisabled, "takeover": websocket.CompressionContextTakeover,
		"no-takeover": websocket.CompressionNoContextTakeover,
	}[compression]
}

// observers are the agents of one library's connections, as clients or as servers.
type observers struct{ tap, adapter *wsstats.Agent }

// dialGorilla is the client that is made with gorilla.
func (s *story) dialGorilla(ctx context.Context, url string, r route, o observers) error {
	dialer := gorilla.Dialer{EnableCompression: r.compression != "plain"}
	if r.observer == "adapter" {
		ws, _, err := (&wsstatsgorilla.Dialer{Dialer: dialer, Agent: o.adapter}).DialContext(ctx, url, nil)
		if err != nil {
			return err
		}
		return s.talkGorilla(ws, r, "client")
	}
	ws, _, err := o.tap.Dialer(&dialer).DialContext(ctx, url, nil)
	if err != nil {
		return err
	}
	return s.talkGorilla(ws, r, "client")
}

// dialCoder is the client that is made with coder.
func (s *story) dialCoder(ctx context.Context, url string, r route, o observers) error {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	options := &websocket.DialOptions{CompressionMode: coderCompression(r.compression), HTTPClient: &http.Client{Transport: transport}}
	if r.observer == "adapter" {
		ws, _, err := wsstatscoder.Dial(ctx, o.adapter, url, options)
		if err != nil {
			return err
		}
		return s.talkCoder(ctx, ws, r, "client")
	}
	options.HTTPClient.Transport = o.tap.Transport(transport)
	ws, _, err := websocket.Dial(ctx, url, options)
	if err != nil {
		return err
	}
	return s.talkCoder(ctx, ws, r, "client")
}

// serveGorilla is the handler that is made with gorilla.
func (s *story) serveGorilla(w http.ResponseWriter, r *http.Request, at route, o observers) error {
	upgrader := gorilla.Upgrader{EnableCompression: at.compression != "plain"}
	if at.observer == "adapter" {
		ws, err := (&wsstatsgorilla.Upgrader{Upgrader: upgrader, Agent: o.adapter}).Upgrade(w, r, nil)
		if err != nil {
			return err
		}
		return s.talkGorilla(ws, at, "server")
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return err
	}
	return s.talkGorilla(ws, at, "server")
}

// serveCoder is the handler that is made with coder.
func (s *story) serveCoder(w http.ResponseWriter, r *http.Request, at route, o observers) error {
	ctx, options := context.WithoutCancel(r.Context()), &websocket.AcceptOptions{CompressionMode: coderCompression(at.compression)}
	if at.observer == "adapter" {
		ws, err := wsstatscoder.Accept(o.adapter, w, r, options)
		if err != nil {
			return err
		}
		return s.talkCoder(ctx, ws, at, "server")
	}
	ws, err := websocket.Accept(w, r, options)
	if err != nil {
		return err
	}
	return s.talkCoder(ctx, ws, at, "server")
}

// goServer is a server that listens at an address. Its handler is below the
// middleware where the tap is to observe.
func goServer(t *testing.T, address string, o observers, serve func(http.ResponseWriter, *http.Request, route, observers) error) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	var talking sync.WaitGroup
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		talking.Add(1)
		defer talking.Done()
		at, err := parseRoute(r.URL.Path)
		if err == nil {
			err = serve(w, r, at, o)
		}
		assert.NoError(t, err)
	})
	tapped := o.tap.Handler(handler)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if at, err := parseRoute(r.URL.Path); err == nil && at.observer == "tap" {
				tapped.ServeHTTP(w, r)
				return
			}
			handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: waitTimeout,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.ErrorIs(t, <-ended, http.ErrServerClosed)
		talking.Wait()
	})
}
