package wsstats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const maxHandshakeBytes = 64 << 10 // of the receiver's, TLS and headers

// refusal is an answer to the upgrade that is not a 101.
type refusal struct {
	status int
	after  time.Duration // Retry-After
}

func (r *refusal) Error() string {
	return fmt.Sprintf("expected 101, got %d %s", r.status, http.StatusText(r.status))
}

// connect opens a WebSocket. A receiver that refuses the list of encodings may
// know nothing but JSON, and is asked for that alone: each time anew, as it may
// have learned more since.
func (l *link) connect(ctx context.Context) (*websocket.Conn, error) {
	offers := l.cfg.encoding.subprotocols()
	ws, err := l.dial(ctx, offers)
	var r *refusal
	if len(offers) > 1 && errors.As(err, &r) && r.status == http.StatusBadRequest {
		return l.dial(ctx, EncodingJSON.subprotocols())
	}
	return ws, err
}

// dial opens a WebSocket with a dialer of its own, which nothing observes. A
// shutdown that has nothing to deliver does not wait for it.
func (l *link) dial(ctx context.Context, offers []string) (*websocket.Conn, error) {
	dialing, cut := context.WithCancel(ctx)
	defer cut()
	go func() {
		select {
		case <-l.agent.drain:
			if l.finished() {
				cut()
			}
		case <-dialing.Done():
		}
	}()
	var opened *linkConn
	uncut := func() bool { return true }
	dialer := websocket.Dialer{
		NetDialContext: func(dialCtx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(dialCtx, network, addr)
			if err != nil {
				return nil, err
			}
			opened = newLinkConn(ctx, c)
			uncut = context.AfterFunc(dialing, func() { _ = c.Close() })
			return opened, nil
		},
		Proxy:            http.ProxyFromEnvironment,
		TLSClientConfig:  l.cfg.tls,
		HandshakeTimeout: l.cfg.timing.handshake,
		Subprotocols:     offers,
	}
	ws, resp, err := dialer.DialContext(dialing, l.cfg.url.String(), l.cfg.header)
	if err != nil {
		if errors.Is(err, websocket.ErrBadHandshake) && resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &refusal{status: resp.StatusCode, after: retryAfter(resp.Header, time.Now())}
		}
		return nil, err
	}
	if !uncut() {
		_ = ws.Close()
		return nil, dialing.Err()
	}
	opened.left.Store(math.MaxInt64)
	// Without a subprotocol a session is one in JSON.
	got := cmp.Or(ws.Subprotocol(), wire.SubprotocolJSON)
	if !slices.Contains(offers, got) || resp.Header.Get("Sec-Websocket-Extensions") != "" {
		_ = ws.Close()
		return nil, fmt.Errorf("expected one of the subprotocols %q and no extensions, got %q", offers, ws.Subprotocol())
	}
	return ws, nil
}

// linkConn ends with its context, and takes only so much before the 101.
type linkConn struct {
	net.Conn
	release func() bool
	left    atomic.Int64
}

func newLinkConn(ctx context.Context, c net.Conn) *linkConn {
	lc := &linkConn{Conn: c, release: context.AfterFunc(ctx, func() { _ = c.Close() })}
	lc.left.Store(maxHandshakeBytes)
	return lc
}

func (c *linkConn) Read(p []byte) (int, error) {
	if c.left.Load() <= 0 {
		return 0, errors.New("the receiver's handshake is too long")
	}
	n, err := c.Conn.Read(p)
	c.left.Add(-int64(n))
	return n, err
}

func (c *linkConn) Close() error {
	c.release()
	return c.Conn.Close()
}
