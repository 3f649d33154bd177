// Package wsstats observes the WebSocket connections of a Go application and
// streams what happens on them to an OpenTelemetry Collector that runs the
// wsstats receiver, which makes spans and metrics of it.
//
// An [Agent] owns one link to the receiver. What the taps record goes into a
// bounded queue and from there, in numbered batches, to the receiver; it is
// kept until the receiver acknowledges it and is sent again after a reconnect.
// Recording never waits for the network and never fails: where the queue is
// full, message samples are dropped first, counted, and reported.
//
// The agent sends the protocol's binary form (wsstats.v1.proto) to receivers that
// know it, and JSON to others: see [WithEncoding].
//
// An agent of an application with many messages may measure them itself, and tell
// only of those whose spans the receiver's sampling keeps: see [WithAggregates].
//
// An application with an OpenTelemetry SDK may have the agent make the same spans
// and metrics through that, without a receiver: see [WithTracerProvider].
//
// A tap ([Agent.Handler], [Agent.Dialer], [Agent.Transport], …) observes a
// connection by its bytes. What those do not say the application tells the same
// [Connection]: [ConnectionFromContext], [ConnectionOf]. What no tap can get
// between is told to the agent by the application or an adapter: [Agent.Observe],
// [Agent.ServerHandshake], [Agent.ClientHandshake].
//
// Payload is never looked at, kept or sent.
package wsstats

// Version is the version of this agent, as it is told to the receiver.
const Version = "0.1.0"

// agentName names this implementation to the receiver.
const agentName = "wsstats-go"
