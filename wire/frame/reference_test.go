package frame

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/stretchr/testify/assert"
)

// log is a Handler that writes down what it is told.
type log []string

func (l *log) Frame(h Header)    { *l = append(*l, fmt.Sprintf("frame %+v", h)) }
func (l *log) Message(m Message) { *l = append(*l, fmt.Sprintf("message %+v", m)) }
func (l *log) Control(op Opcode, payload []byte) {
	*l = append(*l, fmt.Sprintf("control %d %x", op, payload))
}
func (l *log) Violation(v Violation) { *l = append(*l, "violation "+v.Code()) }

// violated is what the reference says of any breach: which of several faults
// of a frame is told is the parser's choice.
const violated = "violation"

// sameAsReference holds what a parser told about a stream to what gobwas/ws finds in it.
func sameAsReference(t *testing.T, stream []byte, p Parser, got log) {
	t.Helper()
	want := reference(stream, p.Masking, p.Compression)
	if n := len(want) - 1; n >= 0 && n == len(got)-1 && want[n] == violated {
		assert.Contains(t, got[n], "violation ")
		want, got = want[:n], got[:n]
	}
	assert.Equal(t, want, got, "the reference")
}

// reference reads a whole stream with gobwas/ws, and writes down what a Handler would be told.
func reference(stream []byte, masking Masking, compression bool) (l log) {
	state := map[Masking]ws.State{MaskRequired: ws.StateServerSide, MaskForbidden: ws.StateClientSide}[masking]
	if compression {
		state = state.Set(ws.StateExtended)
	}
	var deflate wsflate.MessageState
	var msg Message
	for r := bytes.NewReader(stream); ; {
		before := r.Len()
		h, err := ws.ReadHeader(r)
		switch {
		case errors.Is(err, ws.ErrHeaderLengthMSB):
			return append(l, violated)
		case err != nil:
			return l
		}
		// It does not tell the forms of a length, but writes the shortest.
		broken := before-r.Len() != ws.HeaderSize(h) || ws.CheckHeader(h, state) != nil || h.Rsv2() || h.Rsv3()
		rsv1 := h.Rsv1()
		if !broken {
			_, err = deflate.UnsetBits(h)
			broken = err != nil
		}
		if broken {
			return append(l, violated)
		}
		l.Frame(Header{Opcode: Opcode(h.OpCode), Fin: h.Fin, RSV1: rsv1, Masked: h.Masked, Length: h.Length})

		if h.OpCode.IsData() && h.OpCode != ws.OpContinuation {
			msg = Message{Opcode: Opcode(h.OpCode), Compressed: deflate.IsCompressed()}
			state = state.Set(ws.StateFragmented)
		}
		if !h.OpCode.IsControl() {
			msg.Frames++
			msg.Size += min(h.Length, math.MaxInt64-msg.Size)
		}
		if int64(r.Len()) < h.Length {
			return l
		}
		payload := make([]byte, h.Length)
		_, _ = r.Read(payload)
		if h.Masked {
			ws.Cipher(payload, h.Mask, 0)
		}
		switch {
		case h.OpCode == ws.OpClose:
			if !validClose(payload) {
				return append(l, violated)
			}
			l.Control(Close, payload)
			return l
		case h.OpCode.IsControl():
			l.Control(Opcode(h.OpCode), payload)
		case h.Fin:
			l.Message(msg)
			state = state.Clear(ws.StateFragmented)
		}
	}
}

// validClose knows what was registered since, 1012 to 1014 (IANA WebSocket
// Close Code Number Registry), and that there are no codes from 5000.
func validClose(payload []byte) bool {
	if len(payload) == 0 {
		return true
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if code >= 1012 && code <= 1014 {
		code = ws.StatusNormalClosure
	}
	return code < 5000 && ws.CheckCloseFrameData(code, reason) == nil
}
