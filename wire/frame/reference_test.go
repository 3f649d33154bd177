package frame

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// log is a Handler that writes down what it is told.
type log []string

func (l *log) Frame(h Header)    { *l = append(*l, fmt.Sprintf("frame %+v", h)) }
func (l *log) Message(m Message) { *l = append(*l, fmt.Sprintf("message %+v", m)) }
func (l *log) Control(op Opcode, payload []byte) {
	*l = append(*l, fmt.Sprintf("control %d %x", op, payload))
}
func (l *log) Violation(v Violation) { *l = append(*l, "violation "+v.Code()) }

// reference reads a whole stream at once, frame by frame, as the text of RFC
// 6455 goes, and writes down what a Handler would be told.
func reference(stream []byte, masking Masking, compression bool) (l log) {
	var msg *Message
	for {
		// A header is judged when the whole of it is there.
		if len(stream) < 2 {
			return l
		}
		first, second, rest := stream[0], stream[1], stream[2:]
		h := Header{Opcode: Opcode(first % 16), Fin: first >= 128, RSV1: first/64%2 == 1, Masked: second >= 128}
		length, shortest := uint64(second%128), uint64(0)
		switch length {
		case 126:
			if len(rest) < 2 {
				return l
			}
			length, shortest, rest = uint64(binary.BigEndian.Uint16(rest)), 126, rest[2:]
		case 127:
			if len(rest) < 8 {
				return l
			}
			length, shortest, rest = binary.BigEndian.Uint64(rest), 65536, rest[8:]
		}
		key := make([]byte, 4)
		if h.Masked {
			if len(rest) < 4 {
				return l
			}
			key, rest = rest[:4], rest[4:]
		}

		control, data := false, false
		switch h.Opcode {
		case Close, Ping, Pong:
			control = true
		case Text, Binary:
			data = true
		}
		known := control || data || h.Opcode == Continuation
		violation := Violation(0)
		for _, rule := range []struct {
			broken bool
			v      Violation
		}{
			{first/16%4 != 0 || h.RSV1 && !compression || h.RSV1 && known && !data, ReservedBits},
			{h.RSV1 && !known && h.Opcode > 7, ReservedBits},
			{!known, ReservedOpcode},
			{masking == MaskRequired && !h.Masked, MaskMissing},
			{masking == MaskForbidden && h.Masked, MaskUnexpected},
			{length < shortest, LengthNotMinimal},
			{length > math.MaxInt64, LengthTooLarge},
			{control && length > 125, ControlTooLong},
			{control && !h.Fin, ControlFragment},
			{h.Opcode == Continuation && msg == nil, NothingToGoOn},
			{data && msg != nil, MessageUnfinished},
		} {
			if rule.broken {
				violation = rule.v
				break
			}
		}
		if violation != 0 {
			return append(l, "violation "+violation.Code())
		}
		h.Length = int64(length)
		l.Frame(h)

		if data {
			msg = &Message{Opcode: h.Opcode, Compressed: h.RSV1}
		}
		if !control {
			msg.Frames++
			if msg.Size > math.MaxInt64-h.Length {
				msg.Size = math.MaxInt64
			} else {
				msg.Size += h.Length
			}
		}
		if uint64(len(rest)) < length {
			return l
		}
		payload := make([]byte, 0, 125)
		if control {
			for i, b := range rest[:length] {
				payload = append(payload, b^key[i%4])
			}
		}
		stream = rest[length:]

		switch {
		case h.Opcode == Close && len(payload) == 1:
			return append(l, "violation "+CloseTooShort.Code())
		case h.Opcode == Close && len(payload) > 1 && !referenceCode(payload):
			return append(l, "violation "+CloseCode.Code())
		case h.Opcode == Close && len(payload) > 1 && !utf8.Valid(payload[2:]):
			return append(l, "violation "+CloseReason.Code())
		case control:
			l.Control(h.Opcode, payload)
			if h.Opcode == Close {
				return l
			}
		case h.Fin:
			l.Message(*msg)
			msg = nil
		}
	}
}

// referenceCode knows the registered codes that may be on the wire one by one.
func referenceCode(payload []byte) bool {
	code := int(payload[0])*256 + int(payload[1])
	for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
		if c == code {
			return true
		}
	}
	return code/1000 == 3 || code/1000 == 4
}
