package wsstatsreceiver

import (
	"errors"
	"io"
)

// errTooLarge is that a message is over limits::message_bytes.
var errTooLarge = errors.New("message over limits::message_bytes")

// inbound is a message that is being read. Its memory grows with the bytes that
// came, never by a length that is only declared, and is paid for out of the
// byte budget before it is there.
type inbound struct {
	buffer *[]byte // the message, or its beginning where it is over
	paid   int64   // to the budget, 0 up to minBuffer
	size   int     // bytes that came
	over   bool    // the budget was used up: the rest was read and thrown away
}

// maxHint bounds the memory that a message has because the last one needed it.
const maxHint = 256 << 10

// read reads one message of at most limit bytes. Pay takes n more bytes of the
// budget for a message that begins with head, or none and returns false. The
// hint is the size of the last message: one that is larger than minBuffer is
// probably like it, and then copied once and not each time that memory doubles.
// Whatever comes of it, what in holds is the caller's to give back.
func (in *inbound) read(body io.Reader, limit, hint int, pay func(head []byte, n int64) bool) error {
	in.buffer = buffers.get(minBuffer)
	for {
		data := *in.buffer
		if len(data) == cap(data) && !in.grow(min(max(2*cap(data), min(hint+1, maxHint)), limit+1), limit, pay) &&
			!in.grow(min(2*cap(data), limit+1), limit, pay) {
			in.over = true
			rest, err := io.Copy(io.Discard, io.LimitReader(body, int64(limit+1-in.size)))
			in.size += int(rest)
			return in.verdict(err, limit)
		}
		data = *in.buffer
		n, err := body.Read(data[len(data):cap(data)])
		*in.buffer = data[:len(data)+n]
		in.size += n
		if err != nil || in.size > limit {
			return in.verdict(err, limit)
		}
	}
}

// verdict is what the end of a message means.
func (in *inbound) verdict(err error, limit int) error {
	switch {
	case in.size > limit:
		return errTooLarge
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// grow moves the message to a larger buffer.
func (in *inbound) grow(size, limit int, pay func(head []byte, n int64) bool) bool {
	size = bufferSize(size)
	cost := int64(min(size, limit))
	if !pay(*in.buffer, cost-in.paid) {
		return false
	}
	in.paid = cost
	larger := buffers.get(size)
	*larger = append(*larger, *in.buffer...)
	buffers.put(in.buffer)
	in.buffer = larger
	return true
}
