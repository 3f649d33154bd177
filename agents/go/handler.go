package wsstats

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/felixge/httpsnoop"
)

// Handler returns a handler that observes the WebSocket connections that next
// accepts, whatever library it uses, and the upgrades that it refuses. What only
// next knows of a connection it tells by [ConnectionFromContext]. Other requests
// go straight to next. WebSockets over HTTP/2 (RFC 8441) are not observed.
func (a *Agent) Handler(next http.Handler) http.Handler { return handler{a, next} }

// handler observes the WebSocket connections that next accepts.
type handler struct {
	rec  recorder
	next http.Handler
}

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !upgradeRequested(r) {
		h.next.ServeHTTP(w, r)
		return
	}
	if !h.rec.wants(r) {
		h.next.ServeHTTP(w, leaveAlone(r))
		return
	}
	a := &acceptance{up: newServerUpgrade(h.rec, r), w: w}
	defer a.returned()
	h.next.ServeHTTP(a.wrap(), r.WithContext(context.WithValue(r.Context(), acceptanceKey{}, a)))
	a.writeHeader(http.StatusOK) // as net/http does for a handler that writes nothing
}

// leaveAlone returns the request for a handler below: an adapter there does not
// observe it either, whatever became of its URL on the way.
func leaveAlone(r *http.Request) *http.Request {
	if r.Context().Value(acceptanceKey{}) != nil { // another agent observes it
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), acceptanceKey{}, (*acceptance)(nil)))
}

// acceptance follows a handler that may accept an upgrade. Libraries write the
// 101 by WriteHeader before they hijack the connection, or on it afterwards.
type acceptance struct {
	up       *upgrade
	w        http.ResponseWriter
	status   int         // of the final answer, 0: none
	header   http.Header // of a 101 that went through WriteHeader
	hijacked bool
	stream   atomic.Pointer[stream] // of the hijacked connection
}

// wrap returns the ResponseWriter for the handler, with the optional
// interfaces of the server's own.
func (a *acceptance) wrap() http.ResponseWriter {
	w := a.w
	if _, ok := w.(http.Hijacker); !ok {
		// A middleware in between may leave Hijack to http.ResponseController,
		// which would look past this wrapper.
		w = hijackable{w}
	}
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(code int) {
				a.writeHeader(code)
				next(code)
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(b []byte) (int, error) {
				a.writeHeader(http.StatusOK)
				return next(b)
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) {
				a.writeHeader(http.StatusOK)
				return next(src)
			}
		},
		Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc {
			return func() {
				a.writeHeader(http.StatusOK)
				next()
			}
		},
		Hijack: func(next httpsnoop.HijackFunc) httpsnoop.HijackFunc {
			return func() (net.Conn, *bufio.ReadWriter, error) {
				conn, brw, err := next()
				if err != nil {
					return conn, brw, err
				}
				a.hijacked = true
				conn, err = a.tap(conn, brw)
				return conn, brw, err
			}
		},
	})
}

// writeHeader sees the first final status, as net/http does.
func (a *acceptance) writeHeader(code int) {
	if a.status != 0 || a.hijacked || code < http.StatusOK && code != http.StatusSwitchingProtocols {
		return
	}
	a.status = code
	if code == http.StatusSwitchingProtocols {
		for name, values := range a.up.answerHeader() {
			a.w.Header()[name] = values
		}
		a.header = a.w.Header().Clone()
	}
}

// tap puts a hijacked connection behind a tap. Its buffers read and write
// through the tap then; libraries take their memory over, so they stay the same ones.
func (a *acceptance) tap(raw net.Conn, brw *bufio.ReadWriter) (net.Conn, error) {
	if err := brw.Flush(); err != nil {
		return raw, err
	}
	early, _ := brw.Reader.Peek(brw.Reader.Buffered()) // what is buffered is there
	early = bytes.Clone(early)

	var s *stream
	if a.status == http.StatusSwitchingProtocols {
		s = openStream(raw, a.up.succeed(a.header))
	} else {
		s = serverStream(raw, a.up)
	}
	a.stream.Store(s)
	s.didRead(early)
	conn := wrapConn(raw, s)

	brw.Writer.Reset(conn)
	if len(early) == 0 {
		brw.Reader.Reset(conn)
		return conn, nil
	}
	brw.Reader.Reset(io.MultiReader(bytes.NewReader(early), conn))
	_, _ = brw.Reader.Peek(len(early)) // so that they are buffered again
	return conn, nil
}

// returned ends the handshake where the handler returned without a connection.
func (a *acceptance) returned() {
	switch {
	case a.hijacked:
	case a.status == 0:
		a.up.fail(0, "panic")
	case a.status == http.StatusSwitchingProtocols:
		a.up.fail(a.status, "not_hijacked")
	default:
		a.up.fail(a.status, "")
	}
}

// hijackable hijacks as http.ResponseController does.
type hijackable struct{ http.ResponseWriter }

// Unwrap keeps what http.ResponseController finds below.
func (h hijackable) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Hijack implements http.Hijacker.
func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
