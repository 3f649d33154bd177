package wsstatsreceiver

import (
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// textBytes is how many bytes of texts are allocated at once. A span that is
// kept for long, as the tail sampling processor does, keeps not more than these.
const textBytes = 1 << 10

// texts copies what has to outlive the message that it came in, many strings
// to an allocation.
type texts struct {
	b strings.Builder
}

func (t *texts) clone(s string) string {
	if len(s) == 0 {
		return ""
	}
	if t.b.Cap()-t.b.Len() < len(s) {
		t.b.Reset()
		t.b.Grow(max(textBytes, len(s)))
	}
	begin := t.b.Len()
	t.b.WriteString(s)
	return t.b.String()[begin:]
}

func (t *texts) cloneValue(v wire.Value) wire.Value {
	v.Str = t.clone(v.Str)
	if v.Array != nil {
		elements := make([]wire.Value, len(v.Array))
		for i, e := range v.Array {
			elements[i] = t.cloneValue(e)
		}
		v.Array = elements
	}
	return v
}
