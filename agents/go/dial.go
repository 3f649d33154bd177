package wsstats

import (
	"context"
	"net"
	"net/http"
	"net/url"
)

// DialContext returns a dial function that observes the WebSocket connections
// that are opened over those of dial: for a client library's hook of this kind.
// For a wss URL dial has to make the TLS too; bytes that are encrypted already
// pass unobserved, as does everything else that is not a WebSocket handshake.
func (a *Agent) DialContext(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return dialContext(a, dial)
}

// ClientConn returns a connection that observes the WebSocket which a client is
// about to open over conn: for libraries that take a ready connection.
func (a *Agent) ClientConn(conn net.Conn) net.Conn {
	return clientConn(context.Background(), a, conn)
}

// dialFunc is the dial function that client libraries take.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialContext observes the connections that dial makes.
func dialContext(rec recorder, dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return raw, err
		}
		return clientConn(ctx, rec, raw), nil
	}
}

// clientConn observes a connection on which a client is about to write its
// request, under the span that is active in ctx.
func clientConn(ctx context.Context, rec recorder, raw net.Conn) net.Conn {
	_, secure := raw.(tlsState)
	return wrapConn(raw, clientStream(raw, func(r *http.Request) *upgrade {
		if rec.isOwn(&url.URL{Host: r.Host, Path: r.URL.Path}) || !rec.wants(r) {
			return nil
		}
		return newClientUpgrade(rec, r.WithContext(ctx), secure, raw.RemoteAddr())
	}))
}
