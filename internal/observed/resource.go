package observed

import (
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Resource is the resource of an agent: what its spans and metrics are of. It
// is not changed after NewResource and owns its strings.
type Resource struct {
	// Key is the same for equal sets of attributes and for no others.
	Key        string
	Attributes []wire.KeyValue // sorted by key
}

// NewResource copies the attributes that an agent stated and adds what is
// missing: service.name is "unknown_service", service.instance.id the instance
// where it has one.
func NewResource(stated []wire.KeyValue, instance string) *Resource {
	r := &Resource{Attributes: CloneUser(stated)}
	r.addMissing("service.name", "unknown_service")
	if instance != "" {
		r.addMissing("service.instance.id", strings.Clone(instance))
	}
	slices.SortFunc(r.Attributes, func(a, b wire.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	var key []byte
	for _, kv := range r.Attributes {
		key = strconv.AppendQuote(key, kv.Key)
		key = appendValueKey(key, kv.Value)
	}
	r.Key = string(key)
	return r
}

func (r *Resource) addMissing(key, value string) {
	for _, kv := range r.Attributes {
		if kv.Key == key {
			return
		}
	}
	r.Attributes = append(r.Attributes, wire.KeyValue{Key: key, Value: wire.StringValue(value)})
}

// CopyTo puts the attributes into a pdata resource.
func (r *Resource) CopyTo(res pcommon.Resource) {
	m := res.Attributes()
	m.EnsureCapacity(len(r.Attributes) + 1)
	for _, kv := range r.Attributes {
		PutValue(m, kv.Key, kv.Value)
	}
}

// PutValue puts a value whose strings are owned into a pdata map.
func PutValue(m pcommon.Map, key string, v wire.Value) { SetValue(m.PutEmpty(key), &v) }

// SetValue sets an empty pdata value to one whose strings are owned.
func SetValue(dst pcommon.Value, v *wire.Value) {
	switch v.Type {
	case wire.TypeString:
		dst.SetStr(v.Str)
	case wire.TypeBool:
		dst.SetBool(v.Bool())
	case wire.TypeInt:
		dst.SetInt(v.Int())
	case wire.TypeDouble:
		dst.SetDouble(v.Double())
	case wire.TypeArray:
		s := dst.SetEmptySlice()
		s.EnsureCapacity(len(v.Array))
		for i := range v.Array {
			SetValue(s.AppendEmpty(), &v.Array[i])
		}
	case wire.TypeEmpty:
	}
}

// CloneUser copies attributes so that they outlive the message they came in.
func CloneUser(kvs []wire.KeyValue) []wire.KeyValue {
	if len(kvs) == 0 {
		return nil
	}
	out := make([]wire.KeyValue, len(kvs))
	for i, kv := range kvs {
		out[i] = wire.KeyValue{Key: strings.Clone(kv.Key), Value: CloneValue(kv.Value)}
	}
	return out
}

// CloneValue copies a value so that it outlives the message it came in.
func CloneValue(v wire.Value) wire.Value {
	v.Str = strings.Clone(v.Str)
	if v.Array != nil {
		elems := make([]wire.Value, len(v.Array))
		for i, e := range v.Array {
			elems[i] = CloneValue(e)
		}
		v.Array = elems
	}
	return v
}

func appendValueKey(key []byte, v wire.Value) []byte {
	switch v.Type {
	case wire.TypeString:
		return strconv.AppendQuote(key, v.Str)
	case wire.TypeBool:
		return strconv.AppendBool(key, v.Bool())
	case wire.TypeInt:
		return append(strconv.AppendInt(key, v.Int(), 10), 'i')
	case wire.TypeDouble:
		return append(strconv.AppendFloat(key, v.Double(), 'g', -1, 64), 'd')
	case wire.TypeArray:
		key = append(key, '[')
		for _, e := range v.Array {
			key = append(appendValueKey(key, e), ',')
		}
		return append(key, ']')
	case wire.TypeEmpty:
	}
	return append(key, 'n')
}
