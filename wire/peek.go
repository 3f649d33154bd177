package wire

import (
	"bytes"
	"errors"

	"github.com/go-faster/jx"
)

// PeekSeq returns the number of an encoded message without decoding it, 0
// where it has none or none can be read before the first mistake. Encoders put
// it first, where this costs little. The decoder has the last word: a bare
// event may have an attribute of that name.
func PeekSeq(data []byte) uint64 {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return 0
	}
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(data)
	var seq uint64
	// The error only ends the search.
	_ = d.ObjBytes(func(d *jx.Decoder, key []byte) error {
		if string(key) != "seq" {
			return d.Skip()
		}
		if d.Next() != jx.Number {
			return errFound
		}
		n, err := d.Num()
		if err != nil {
			return err
		}
		seq, _ = parseSeq(n)
		return errFound
	})
	return seq
}

var errFound = errors.New("found")
