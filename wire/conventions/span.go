package conventions

import "github.com/wsstats/wsstatsreceiver/wire"

// SpanKind is the kind of a span, with the numbers of OTLP's SpanKind, which are
// those of OpenTelemetry's Go API, too.
type SpanKind int

// The kinds of spans.
const (
	SpanKindInternal SpanKind = 1
	SpanKindServer   SpanKind = 2
	SpanKindClient   SpanKind = 3
	SpanKindProducer SpanKind = 4
	SpanKindConsumer SpanKind = 5
)

var spanNames = func() (names [wire.KindBatchSend + 1][wire.MessageTypeOther]string) {
	types := [...]string{
		wire.MessageText: " text", wire.MessageBinary: " binary",
		wire.MessagePing: " ping", wire.MessagePong: " pong", wire.MessageClose: " close",
	}
	for kind := wire.KindHandshake; kind <= wire.KindBatchSend; kind++ {
		for typ := range names[kind] {
			names[kind][typ] = "ws." + kind.String()
			switch kind {
			case wire.KindSend, wire.KindReceive, wire.KindProcess, wire.KindMessage:
				names[kind][typ] += types[typ]
			default:
			}
		}
	}
	return names
}()

// SpanName is of a bounded set: a type that is not of the conventions is left out.
func SpanName(kind wire.Kind, typ wire.MessageType) string {
	if typ >= wire.MessageTypeOther {
		typ = wire.MessageTypeUnknown
	}
	return spanNames[kind][typ]
}

// SpanKindOf returns the kind of an event's span. Initiator is its ws.close.initiator.
func SpanKindOf(kind wire.Kind, role wire.Role, dir wire.Direction, initiator string) SpanKind {
	switch kind {
	case wire.KindHandshake:
		switch role {
		case wire.RoleClient:
			return SpanKindClient
		case wire.RoleServer:
			return SpanKindServer
		}
	case wire.KindSend, wire.KindBroadcast, wire.KindBatchSend:
		return SpanKindProducer
	case wire.KindReceive, wire.KindProcess:
		return SpanKindConsumer
	case wire.KindPing, wire.KindPong:
		switch dir {
		case wire.DirectionSent:
			return SpanKindClient
		case wire.DirectionReceived:
			return SpanKindServer
		}
	case wire.KindClose:
		switch initiator {
		case "local":
			return SpanKindProducer
		case "remote":
			return SpanKindConsumer
		case "":
			// A close that was reported as a send or a receive says it by that.
			switch dir {
			case wire.DirectionSent:
				return SpanKindProducer
			case wire.DirectionReceived:
				return SpanKindConsumer
			}
		}
	}
	return SpanKindInternal
}
