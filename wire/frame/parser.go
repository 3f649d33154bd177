package frame

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

const (
	maxHeader  = 14  // two bytes, 64 bits of length, a mask
	maxControl = 125 // section 5.5
)

// Parser reads one direction of a connection from the first byte after the
// opening handshake. It can be fed in pieces of any size and says the same for
// all of them. The zero value checks no masks and takes no compression. It is
// not safe for concurrent use.
type Parser struct {
	// Masking says which frames have to be masked.
	Masking Masking
	// Compression says that permessage-deflate was negotiated, so that RSV1 is
	// allowed on the first frame of a message.
	Compression bool

	stopped bool

	// The frame at hand.
	payload bool   // its header is done
	op      Opcode // of the frame
	fin     bool   // of the frame
	masked  bool   // of the frame
	left    uint64 // bytes of payload that are still to come
	have    uint8  // bytes in head, or in control once payload is set
	head    [maxHeader]byte
	mask    [4]byte
	control [maxControl]byte // payload of a control frame, unmasked

	// The message at hand; Frames is 0 between messages.
	msg Message
}

// Feed reads the next bytes of the stream. It keeps none of b. After a
// violation or a close frame, behind which nothing may come (section 5.5.1), it
// does nothing.
func (p *Parser) Feed(b []byte, h Handler) {
	for len(b) > 0 && !p.stopped {
		if p.payload {
			b = b[p.take(b):]
		} else {
			n, ok := p.header(b)
			b = b[n:]
			if !ok {
				continue // incomplete, so b is used up, or stopped
			}
			if v := p.begin(h); v != 0 {
				p.stop(v, h)
				return
			}
		}
		if p.left == 0 {
			p.end(h)
		}
	}
}

// Stopped tells whether the parser is done: after a violation or a close frame.
func (p *Parser) Stopped() bool { return p.stopped }

func (p *Parser) stop(v Violation, h Handler) {
	p.stopped = true
	h.Violation(v)
}

// header collects a header in p.head. It returns how many bytes it used and
// whether the header is complete.
func (p *Parser) header(b []byte) (int, bool) {
	used := 0
	for {
		need := 2
		if p.have >= 2 {
			need = headerSize(p.head[1])
			if int(p.have) >= need {
				p.have = 0
				return used, true
			}
		}
		n := copy(p.head[p.have:need], b[used:])
		used += n
		p.have += uint8(n)
		if int(p.have) < need {
			return used, false
		}
	}
}

// headerSize is the size of a header by its second byte.
func headerSize(second byte) int {
	n := 2
	switch second & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if second&0x80 != 0 {
		n += 4
	}
	return n
}

// begin starts the frame whose header is in p.head.
func (p *Parser) begin(h Handler) Violation {
	first, second := p.head[0], p.head[1]
	p.op, p.fin, p.masked = Opcode(first&0x0f), first&0x80 != 0, second&0x80 != 0
	rsv1 := first&0x40 != 0
	switch {
	case first&0x30 != 0, rsv1 && (!p.Compression || p.op.Control() || p.op == Continuation):
		return ReservedBits
	case p.op > Binary && p.op < Close, p.op > Pong:
		return ReservedOpcode
	case !p.masked && p.Masking == MaskRequired:
		return MaskMissing
	case p.masked && p.Masking == MaskForbidden:
		return MaskUnexpected
	}

	size := 2
	switch p.left = uint64(second & 0x7f); p.left {
	case 126:
		p.left, size = uint64(binary.BigEndian.Uint16(p.head[2:])), 4
		if p.left < 126 {
			return LengthNotMinimal
		}
	case 127:
		p.left, size = binary.BigEndian.Uint64(p.head[2:]), 10
		if p.left > math.MaxInt64 {
			return LengthTooLarge
		}
		if p.left <= math.MaxUint16 {
			return LengthNotMinimal
		}
	}

	switch {
	case p.op.Control():
		if p.left > maxControl {
			return ControlTooLong
		}
		if !p.fin {
			return ControlFragment
		}
		copy(p.mask[:], p.head[size:])
	case p.op == Continuation:
		if p.msg.Frames == 0 {
			return NothingToGoOn
		}
		p.extend()
	default:
		if p.msg.Frames != 0 {
			return MessageUnfinished
		}
		p.msg = Message{Opcode: p.op, Compressed: rsv1, Size: int64(p.left), Frames: 1}
	}

	p.payload = true
	h.Frame(Header{Opcode: p.op, Fin: p.fin, RSV1: rsv1, Masked: p.masked, Length: int64(p.left)})
	return 0
}

// extend adds the frame at hand to its message.
func (p *Parser) extend() {
	if p.msg.Size += int64(p.left); p.msg.Size < 0 {
		p.msg.Size = math.MaxInt64
	}
	p.msg.Frames++
}

// take goes over payload, keeps that of a control frame, and returns how much there was.
func (p *Parser) take(b []byte) int {
	n := int(min(uint64(len(b)), p.left))
	p.left -= uint64(n)
	if p.op.Control() {
		kept := p.control[p.have:][:n]
		copy(kept, b)
		if p.masked {
			for i := range kept {
				kept[i] ^= p.mask[(int(p.have)+i)&3]
			}
		}
		p.have += uint8(n)
	}
	return n
}

// end finishes the frame at hand.
func (p *Parser) end(h Handler) {
	p.payload = false
	payload := p.control[:p.have]
	p.have = 0
	switch {
	case p.op == Close:
		if v := checkClose(payload); v != 0 {
			p.stop(v, h)
			return
		}
		p.stopped = true
		h.Control(p.op, payload)
	case p.op.Control():
		h.Control(p.op, payload)
	case p.fin:
		m := p.msg
		p.msg.Frames = 0
		h.Message(m)
	}
}

// checkClose checks the payload of a close frame (section 5.5.1).
func checkClose(payload []byte) Violation {
	switch {
	case len(payload) == 0:
		return 0
	case len(payload) == 1:
		return CloseTooShort
	case !ValidCloseCode(int(binary.BigEndian.Uint16(payload))):
		return CloseCode
	case !utf8.Valid(payload[2:]):
		return CloseReason
	}
	return 0
}
