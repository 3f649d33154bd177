// Package wsstatscoder observes the connections of github.com/coder/websocket by
// the library's own methods, where a tap cannot be used or does not see enough:
// the size of compressed messages, and which message a handler is at.
//
// [Accept] and [Dial] take the place of the library's own, and a [Conn] that of
// its connection, with the same methods. What is called on the library's
// connection itself, which is embedded, is not observed.
//
// A server may be below [wsstats.Agent.Handler] too: its tap observes the
// connection then, and nothing counts twice. A client of [wsstats.Agent.Transport]
// is not to be wrapped again.
package wsstatscoder
