// Package frame reads the headers of a WebSocket byte stream (RFC 6455) and
// skips what they carry: it tells which frames and messages went by, how large
// they were and what a control frame said, and keeps no message.
//
// It is for those who look at a stream that someone else reads or writes: taps,
// proxies and flood counters. It imports the standard library alone.
package frame

// Opcode is the meaning of a frame (RFC 6455 section 5.2).
type Opcode uint8

// The opcodes of RFC 6455 section 11.8. All others are reserved.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// Control tells whether frames of that opcode are control frames (section 5.5).
func (o Opcode) Control() bool { return o&0x8 != 0 }

// Header is the header of one frame (section 5.2).
type Header struct {
	Opcode Opcode
	Fin    bool
	RSV1   bool // of the first frame of a compressed message (RFC 7692 section 6)
	Masked bool
	Length int64 // bytes of the payload, not negative
}

// Message is a whole text or binary message, over all of its frames (section 5.4).
type Message struct {
	Opcode     Opcode // Text or Binary
	Compressed bool   // permessage-deflate: Size counts compressed bytes
	Size       int64  // bytes of the payload; stays at its maximum rather than overflow
	Frames     int    // from 1
}

// Handler is told what a Parser finds, in the order of the stream.
type Handler interface {
	// Frame is called when a header is complete and without fault, before any
	// of its payload. Limits on frames and lengths are the handler's to set.
	Frame(Header)
	// Message is called at the last byte of a text or binary message.
	Message(Message)
	// Control is called at the last byte of a close, ping or pong frame. The
	// payload is unmasked, at most 125 bytes, and valid during the call. That
	// of a close frame is empty or holds a permitted code and a UTF-8 reason.
	Control(op Opcode, payload []byte)
	// Violation is called at the first breach of the protocol. It is the last call.
	Violation(Violation)
}

// Masking says which of the two directions a stream is (section 5.1).
type Masking uint8

// The rules of masking.
const (
	MaskAny       Masking = iota // not checked
	MaskRequired                 // client to server
	MaskForbidden                // server to client
)

// Violation is a breach of RFC 6455 that ends the parsing of a stream.
type Violation uint8

// The violations, with the section of RFC 6455 that they are against.
const (
	ReservedBits      Violation = iota + 1 // section 5.2, RFC 7692 section 6
	ReservedOpcode                         // section 5.2
	MaskMissing                            // section 5.1
	MaskUnexpected                         // section 5.1
	LengthNotMinimal                       // section 5.2
	LengthTooLarge                         // section 5.2: the most significant bit of 64 is 0
	ControlTooLong                         // section 5.5
	ControlFragment                        // section 5.5
	NothingToGoOn                          // section 5.4: a continuation without a beginning
	MessageUnfinished                      // section 5.4: a message inside a fragmented one
	CloseTooShort                          // section 5.5.1: a payload of one byte
	CloseCode                              // section 7.4
	CloseReason                            // section 5.5.1: not UTF-8
	numViolations
)

var violations = [numViolations]struct{ code, text string }{
	ReservedBits:      {"reserved_bits", "a reserved bit is set that no extension uses"},
	ReservedOpcode:    {"reserved_opcode", "the opcode is reserved"},
	MaskMissing:       {"mask_missing", "a client's frame is not masked"},
	MaskUnexpected:    {"mask_unexpected", "a server's frame is masked"},
	LengthNotMinimal:  {"length_not_minimal", "the length is not in its shortest form"},
	LengthTooLarge:    {"length_too_large", "the length is over 63 bits"},
	ControlTooLong:    {"control_too_long", "a control frame is over 125 bytes"},
	ControlFragment:   {"control_fragmented", "a control frame is fragmented"},
	NothingToGoOn:     {"unexpected_continuation", "a continuation frame without a message to continue"},
	MessageUnfinished: {"unfinished_message", "a new message before the fragmented one was finished"},
	CloseTooShort:     {"close_too_short", "a close frame of one byte"},
	CloseCode:         {"close_code", "a close code that must not be sent"},
	CloseReason:       {"close_reason", "a close reason that is not UTF-8"},
}

// Code returns a short stable name of the violation: lower-case letters and underscores.
func (v Violation) Code() string {
	if v >= numViolations {
		return ""
	}
	return violations[v].code
}

// Error returns one sentence about the violation. It holds nothing of the stream.
func (v Violation) Error() string {
	if v >= numViolations {
		return ""
	}
	return violations[v].text
}

// ValidCloseCode tells whether a close frame may carry the code: one that
// section 7.4 or the IANA registry defines for the wire, or 3000 to 4999.
func ValidCloseCode(code int) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}
