package aggregate

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// key is a metric and those of its attributes whose values come from small
// sets, packed into one word: a series without other attributes is found
// without making a string. A field of 0 is an absent attribute.
type key uint64

// Where the fields are. The lowest eight bits are the metric.
const (
	roleShift      = 8
	typeShift      = 12
	directionShift = 16
	protocolShift  = 20
	initiatorShift = 24
	classShift     = 28
	codeShift      = 36 // 16 bits: a status or close code
	overflowBit    = key(1) << 63
)

const other = conventions.Other

// The values of the fields.
var (
	protocolNames  = [...]string{"", "ws", "wss", other}
	initiatorNames = [...]string{"", "local", "remote", "none", other}
	classNames     = [...]string{
		"", "normal", "going_away", "no_status", "restart", "abnormal", "protocol", "policy", "too_big",
		"server_error", "try_later", "bad_gateway", "tls", "registered", "application", classAgentLost, other,
	}
)

const classAgentLost = "agent_lost"

func metricKey(m metric) key { return key(m) }

func (k key) metric() metric { return metric(k & 0xff) }

func (k key) withRole(r wire.Role) key           { return k | key(r)<<roleShift }
func (k key) withType(t wire.MessageType) key    { return k | key(t)<<typeShift }
func (k key) withDirection(d wire.Direction) key { return k | key(d)<<directionShift }

// withProtocol sets ws.protocol; the empty string leaves it absent.
func (k key) withProtocol(s string) key { return k | key(indexOf(protocolNames[:], s))<<protocolShift }

// withInitiator sets ws.close.initiator; the empty string leaves it absent.
func (k key) withInitiator(s string) key {
	return k | key(indexOf(initiatorNames[:], s))<<initiatorShift
}

// withClass sets ws.close.class; the empty string leaves it absent.
func (k key) withClass(s string) key { return k | key(indexOf(classNames[:], s))<<classShift }

// withCode sets a status or close code where it is within the bounds.
func (k key) withCode(code, lowest, highest int64) key {
	if code < lowest || code > highest {
		return k
	}
	return k | key(code)<<codeShift
}

// indexOf finds s in a table whose last entry stands for all other values.
func indexOf(names []string, s string) int {
	for i, name := range names {
		if name == s {
			return i
		}
	}
	return len(names) - 1
}

func (k key) field(shift int) int { return int(k>>shift) & 0xf }

// putAttributes writes the attributes of the fields that are set.
func (k key) putAttributes(m pcommon.Map, conventions Conventions) {
	put := func(name, value string) {
		if value != "" {
			m.PutStr(name, value)
		}
	}
	put("ws.role", wire.Role(k.field(roleShift)).String())
	put("ws.message.type", wire.MessageType(k.field(typeShift)).String())
	put("ws.direction", wire.Direction(k.field(directionShift)).String())
	put("ws.protocol", protocolNames[k.field(protocolShift)])
	put("ws.close.initiator", initiatorNames[k.field(initiatorShift)])
	put("ws.close.class", classNames[int(k>>classShift)&0xff])
	code := int64(k>>codeShift) & 0xffff
	switch {
	case code == 0:
	case k.metric() == connectionsClosed:
		m.PutInt("ws.close.code", code)
	default:
		if conventions != Semconv {
			m.PutInt("http.status_code", code)
		}
		if conventions != WS {
			m.PutInt("http.response.status_code", code)
		}
	}
}
