package conventions

import "github.com/wsstats/wsstatsreceiver/wire"

// Class is the class of a close and whether it is an error.
type Class struct {
	Name   string // ws.close.class
	Failed bool
}

// CloseClass returns the class of a close event. A receiver may be told that
// codes of 3000 to 4999 are errors, too.
func CloseClass(ev *wire.Event) Class {
	if !ev.Has(wire.AttrCloseCode) {
		return Class{"no_status", false}
	}
	switch code := ev.Int(wire.AttrCloseCode); {
	case code == 1000:
		return Class{"normal", false}
	case code == 1001:
		return Class{"going_away", false}
	case code == 1005:
		return Class{"no_status", false}
	case code == 1006:
		return Class{"abnormal", true}
	case code == 1008:
		return Class{"policy", true}
	case code == 1009:
		return Class{"too_big", true}
	case code == 1011:
		return Class{"server_error", true}
	case code == 1012:
		return Class{"restart", false}
	case code == 1013:
		return Class{"try_later", true}
	case code == 1014:
		return Class{"bad_gateway", true}
	case code == 1015:
		return Class{"tls", true}
	case code >= 3000 && code <= 3999:
		return Class{"registered", false}
	case code >= 4000 && code <= 4999:
		return Class{"application", false}
	}
	return Class{"protocol", true}
}

// Refused tells whether a handshake did not succeed.
func Refused(ev *wire.Event) bool {
	switch {
	case ev.Has(wire.AttrHandshakeSuccess):
		return !ev.Bool(wire.AttrHandshakeSuccess)
	case ev.Has(wire.AttrStatusCode):
		code := ev.Int(wire.AttrStatusCode)
		return code != 101 && code != 200
	}
	return ev.Has(wire.AttrErrorType)
}

// Kind is the kind that an event is handled as: a send or receive of type ping,
// pong or close is of that kind.
func Kind(stated wire.Kind, typ wire.MessageType) wire.Kind {
	if stated != wire.KindSend && stated != wire.KindReceive {
		return stated
	}
	switch typ {
	case wire.MessagePing:
		return wire.KindPing
	case wire.MessagePong:
		return wire.KindPong
	case wire.MessageClose:
		return wire.KindClose
	}
	return stated
}

// Direction is the direction of an event: the stated one, unless the kind implies one.
func Direction(ev *wire.Event) wire.Direction {
	switch ev.Kind {
	case wire.KindSend, wire.KindBroadcast, wire.KindBatchSend:
		return wire.DirectionSent
	case wire.KindReceive, wire.KindProcess:
		return wire.DirectionReceived
	}
	return wire.ParseDirection(ev.Str(wire.AttrDirection))
}
