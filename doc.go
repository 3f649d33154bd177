// Package wsstatsreceiver is an OpenTelemetry Collector receiver for what
// happens on WebSocket connections. Agents stream handshakes, messages, pings,
// closes and errors of the connections that they observe; the receiver makes
// traces and metrics of them under the ws.* conventions.
//
// The protocol is in docs/protocol.md, the conventions are in docs/conventions.md.
package wsstatsreceiver

//go:generate ./scripts/mdatagen
