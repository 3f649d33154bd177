package aggregate

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// Attributes whose values are text (error.type, error.category, reason and the
// dimensions) are the second part of a series' identity: a list of fields in
// the order of Aggregator.textNames, each a byte that says whether it is there,
// and then two bytes of length and the value.

// maxDimensionBytes bounds the value of a dimension. Longer ones are cut, so
// that values that differ only behind it share a series.
const maxDimensionBytes = 256

var (
	errorNames   = []string{"error.type", "error.category"}
	droppedNames = []string{"reason"}
)

// textNames returns the names of the text fields of a metric's series.
func (a *Aggregator) textNames(m metric) []string {
	switch m {
	case errorsTotal:
		return a.errorNames
	case agentDropped:
		return droppedNames
	}
	return a.cfg.Dimensions
}

func appendAbsent(dst []byte) []byte { return append(dst, 0) }

func appendField[T string | []byte](dst []byte, value T) []byte {
	dst = append(dst, 1)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(value)))
	return append(dst, value...)
}

// putText writes the fields of a text as attributes.
func putText(m pcommon.Map, names []string, text string) {
	for _, name := range names {
		if text == "" {
			return // the rest is absent
		}
		present := text[0] != 0
		text = text[1:]
		if present {
			n := int(text[0])<<8 | int(text[1])
			m.PutStr(name, text[2:2+n])
			text = text[2+n:]
		}
	}
}

// appendDimensions appends the dimensions of an event: what it states itself,
// else what its connection does. It appends nothing where all are absent.
func (a *Aggregator) appendDimensions(dst []byte, own []wire.KeyValue, conn *observed.Conn) []byte {
	begin := len(dst)
	stated := false
	for _, name := range a.cfg.Dimensions {
		v, ok := lookUp(own, name)
		if !ok && conn != nil {
			v, ok = lookUp(conn.User, name)
		}
		if !ok {
			dst = appendAbsent(dst)
			continue
		}
		dst = appendValue(dst, v)
		stated = true
	}
	if !stated {
		return dst[:begin]
	}
	return dst
}

func lookUp(kvs []wire.KeyValue, name string) (wire.Value, bool) {
	for i := range kvs {
		if kvs[i].Key == name && kvs[i].Value.Type != wire.TypeEmpty {
			return kvs[i].Value, true
		}
	}
	return wire.Value{}, false
}

// appendValue appends a value as text, in the form that the collector gives it
// (pcommon.Value.AsString).
func appendValue(dst []byte, v wire.Value) []byte {
	switch v.Type {
	case wire.TypeString:
		return appendField(dst, cut(v.Str, maxDimensionBytes))
	case wire.TypeInt:
		var digits [20]byte
		return appendField(dst, strconv.AppendInt(digits[:0], v.Int(), 10))
	case wire.TypeBool:
		return appendField(dst, strconv.FormatBool(v.Bool()))
	}
	m := pcommon.NewMap()
	observed.PutValue(m, "", v)
	value, _ := m.Get("")
	return appendField(dst, cut(value.AsString(), maxDimensionBytes))
}

// cut shortens a value to n bytes, at the boundary of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
