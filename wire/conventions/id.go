package conventions

import "github.com/wsstats/wsstatsreceiver/wire"

// Basis says what the ids of an event are derived from.
type Basis uint8

// What ids are derived from.
const (
	NoBasis         Basis = iota // nothing on a connection
	ConnectionBasis              // wire.ConnectionSeed
	MessageBasis                 // wire.MessageSeed
)

// Place is where the ids of an event of a connection come from: the seed, the
// ordinal and the slot. Kind, role and direction are those that it is handled as.
func Place(ev *wire.Event, kind wire.Kind, role wire.Role, dir wire.Direction) (b Basis, n uint64, slot wire.Slot) {
	switch kind {
	case wire.KindHandshake:
		return ConnectionBasis, 0, wire.SlotHandshake
	case wire.KindClose:
		return ConnectionBasis, 0, wire.SlotClose
	case wire.KindSend, wire.KindReceive, wire.KindProcess, wire.KindMessage:
		slot, ok := DataSlot(role, dir)
		switch {
		case !ok:
		case ev.Has(wire.AttrMessageSeq):
			return ConnectionBasis, uint64(ev.Int(wire.AttrMessageSeq)), slot
		case ev.Has(wire.AttrMessageID) && kind != wire.KindMessage:
			return MessageBasis, 0, slot
		}
	case wire.KindPing, wire.KindPong:
		if slot, ok := controlSlot(kind, role, dir); ok && ev.Has(wire.AttrMessageSeq) {
			return ConnectionBasis, uint64(ev.Int(wire.AttrMessageSeq)), slot
		}
	}
	return NoBasis, 0, 0
}

// Parent is what the parent of an event's span is in the trace that both ends
// derive, false where the span is a root. Shared says that both ends know the
// connection's id.
func Parent(kind wire.Kind, role wire.Role, shared bool) (wire.Kind, wire.Role, bool) {
	switch kind {
	case wire.KindProcess:
		return wire.KindReceive, role, true
	case wire.KindReceive:
		return wire.KindSend, role.Peer(), shared && role.Peer() != wire.RoleUnknown
	case wire.KindHandshake:
		return wire.KindHandshake, wire.RoleClient, shared && role == wire.RoleServer
	}
	return wire.KindUnknown, wire.RoleUnknown, false
}

// DataSlot is the slot of a message's ids, false where the direction is not known.
func DataSlot(role wire.Role, dir wire.Direction) (wire.Slot, bool) {
	if byClient, ok := sentByClient(role, dir); ok {
		if byClient {
			return wire.SlotClientData, true
		}
		return wire.SlotServerData, true
	}
	switch dir {
	case wire.DirectionSent:
		return wire.SlotSent, true
	case wire.DirectionReceived:
		return wire.SlotReceived, true
	}
	return 0, false
}

// controlSlot is the slot of a ping's ids, or of a pong's, false where the role or
// the direction is not known.
func controlSlot(kind wire.Kind, role wire.Role, dir wire.Direction) (wire.Slot, bool) {
	byClient, ok := sentByClient(role, dir)
	if !ok {
		return 0, false
	}
	switch {
	case kind == wire.KindPing && byClient:
		return wire.SlotClientPing, true
	case kind == wire.KindPing:
		return wire.SlotServerPing, true
	case byClient:
		return wire.SlotClientPong, true
	}
	return wire.SlotServerPong, true
}

// sentByClient tells which way a message went on the wire.
func sentByClient(role wire.Role, dir wire.Direction) (byClient, ok bool) {
	client, server := role == wire.RoleClient, role == wire.RoleServer
	sent, received := dir == wire.DirectionSent, dir == wire.DirectionReceived
	if !client && !server || !sent && !received {
		return false, false
	}
	return client == sent, true
}
