package wire

import (
	"crypto/sha256"
	"encoding/binary"
)

// TraceID is a W3C trace id. All zero is not a valid one.
type TraceID [16]byte

// SpanID is a W3C span id. All zero is not a valid one.
type SpanID [8]byte

// Slot says what a derived id stands for on its connection.
type Slot uint8

// The slots of the conventions.
const (
	SlotHandshake  Slot = 0
	SlotClientData Slot = 1 // text and binary, client to server
	SlotServerData Slot = 2 // text and binary, server to client
	SlotClientPing Slot = 3 // a ping by the client
	SlotServerPing Slot = 4
	SlotClientPong Slot = 5 // a pong by the client
	SlotServerPong Slot = 6
	SlotClose      Slot = 7
	SlotSent       Slot = 8 // text and binary, role unknown, sent
	SlotReceived   Slot = 9
	SlotOther      Slot = 15
)

// Seed is what the ids of one connection, message or agent instance are
// derived from: a SHA-256 hash as four big-endian words.
type Seed struct{ a, b, c, d uint64 }

const idDomain = "wsstats1\x00"

// ConnectionSeed is the seed of the ids of a connection and its messages with an ordinal.
func ConnectionSeed(connectionID string) Seed { return newSeed(connectionID, "", false) }

// MessageSeed is the seed of the ids of a message that has an id and no ordinal; its ordinal is 0.
func MessageSeed(connectionID, messageID string) Seed { return newSeed(connectionID, messageID, true) }

// InstanceSeed is the seed of the ids of what has no place on a connection:
// their ordinal is the batch's seq << 16 | the event's index, their slot SlotOther.
func InstanceSeed(instance string) Seed { return newSeed("", instance, true) }

func newSeed(first, second string, two bool) Seed {
	var scratch [320]byte
	b := append(append(scratch[:0], idDomain...), first...)
	if two {
		b = append(append(b, 0), second...)
	}
	h := sha256.Sum256(b)
	return Seed{
		binary.BigEndian.Uint64(h[0:]), binary.BigEndian.Uint64(h[8:]),
		binary.BigEndian.Uint64(h[16:]), binary.BigEndian.Uint64(h[24:]),
	}
}

// TraceID derives the trace of the n-th item of the slot; n counts modulo 2^56.
func (s Seed) TraceID(n uint64, slot Slot) TraceID {
	k := mix(n<<8 | uint64(slot))
	var id TraceID
	hi, lo := mix(s.a^k), mix(s.b^k)
	if hi == 0 && lo == 0 {
		lo = 1
	}
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id
}

// SpanID derives the span of that kind and role for the n-th item of the slot.
func (s Seed) SpanID(n uint64, slot Slot, kind Kind, role Role) SpanID {
	k := mix(n<<8 | uint64(slot))
	var id SpanID
	w := mix(s.c ^ k ^ (idKind(kind)<<2 | idRole(role)))
	if w == 0 {
		w = 1
	}
	binary.BigEndian.PutUint64(id[:], w)
	return id
}

// Randomness is the rv that all messages of a connection share where a
// connection is sampled as a whole: 56 bits (tracestate-handling, "rv").
func (s Seed) Randomness() uint64 { return s.b & (1<<56 - 1) }

// idKind numbers the kinds in derived ids. Kinds without an own number share 0.
func idKind(k Kind) uint64 {
	switch k {
	case KindHandshake:
		return 1
	case KindSend:
		return 2
	case KindReceive:
		return 3
	case KindProcess:
		return 4
	case KindMessage:
		return 5
	case KindPing:
		return 6
	case KindPong:
		return 7
	case KindClose:
		return 8
	}
	return 0
}

func idRole(r Role) uint64 {
	switch r {
	case RoleClient:
		return 1
	case RoleServer:
		return 2
	}
	return 0
}

// mix is the first output of SplitMix64 seeded with x.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
