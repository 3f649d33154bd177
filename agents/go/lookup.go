package wsstats

import (
	"context"
	"io"
	"sync/atomic"
)

// acceptanceKey is the key of a request's acceptance in its context, nil where a
// filter has the request left alone.
type acceptanceKey struct{}

// dialledKey is the key of what a client has dialled in its context.
type dialledKey struct{}

type dialled struct{ stream atomic.Pointer[stream] }

// ContextForDial returns a context for a client that dials by a transport of
// [Agent.Transport], and gives away neither the net.Conn nor the answer's body:
// when it has dialled, [ConnectionFromContext] returns its connection.
func ContextForDial(ctx context.Context) context.Context {
	return context.WithValue(ctx, dialledKey{}, &dialled{})
}

// ConnectionFromContext returns the connection that a request has become, from
// the request's context below [Agent.Handler], or that was dialled with a context
// of [ContextForDial]: what the application tells of it and what the tap sees are
// one connection then. It is nil before the connection is open, and where it is
// not observed.
func ConnectionFromContext(ctx context.Context) *Connection {
	if d, ok := ctx.Value(dialledKey{}).(*dialled); ok {
		return d.stream.Load().connection()
	}
	if a, _ := ctx.Value(acceptanceKey{}).(*acceptance); a != nil {
		return a.stream.Load().connection()
	}
	return nil
}

// ConnectionOf returns the connection that a tap observes on a byte stream: a
// net.Conn of [Agent.Handler], [Agent.Dialer], [Agent.DialContext] or
// [Agent.ClientConn] (with gorilla: ConnectionOf(ws.NetConn())), or the body of
// the answer that [Agent.Transport] got. It is nil before the connection is open,
// and where it is not observed.
func ConnectionOf(stream io.ReadCloser) *Connection {
	tapped, ok := stream.(interface{ connection() *Connection })
	if !ok {
		return nil
	}
	return tapped.connection()
}

func (c *tappedConn) connection() *Connection { return c.stream.connection() }

func (s *stream) connection() *Connection {
	if s == nil {
		return nil
	}
	if t := s.tap.Load(); t != nil {
		return t.connection()
	}
	return nil
}

func (t *tap) connection() *Connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.app == nil {
		t.app = &Connection{observation: &t.observation, tapped: true}
	}
	return t.app
}
