package wire

import (
	"bytes"
	"errors"

	"github.com/go-faster/jx"
)

// PeekSeq returns the number of an encoded batch without decoding it, 0 where
// it has none or none can be read before the first mistake or the end of what
// is there. A bare event has no number: any key may be an attribute of it.
//
// Encoders put the number first, where this costs little: the search ends at
// the first value behind it that no event can have, which the rows of a batch
// are. The decoder has the last word.
func PeekSeq(data []byte) uint64 {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return 0
	}
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(data)
	var seq uint64
	isBatch := false // for certain
	flat := func(d *jx.Decoder) error {
		if t := d.Next(); t == jx.Object || t == jx.Array {
			isBatch = true
			if seq != 0 {
				return errFound
			}
		}
		return d.Skip()
	}
	// The error only ends the search.
	_ = d.ObjBytes(func(d *jx.Decoder, key []byte) error {
		switch string(key) {
		case "event":
			seq = 0
			return errFound
		case "seq":
			if seq != 0 || d.Next() != jx.Number {
				return errFound
			}
			n, err := d.Num()
			if err != nil {
				return err
			}
			if seq, _ = parseSeq(n); seq == 0 || isBatch {
				return errFound
			}
			return nil
		case "links": // the one attribute that is not flat
			return d.Skip()
		}
		if d.Next() == jx.Array {
			return d.Arr(flat)
		}
		return flat(d)
	})
	return seq
}

var errFound = errors.New("found")
