package wsstats

import (
	"slices"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Attribute is an attribute of a connection or an event.
type Attribute = wire.KeyValue

// String returns an attribute that is a string.
func String(key, value string) Attribute {
	return Attribute{Key: key, Value: wire.StringValue(value)}
}

// Int returns an attribute that is an integer.
func Int(key string, value int) Attribute { return Int64(key, int64(value)) }

// Int64 returns an attribute that is an integer.
func Int64(key string, value int64) Attribute {
	return Attribute{Key: key, Value: wire.IntValue(value)}
}

// Float64 returns an attribute that is a double.
func Float64(key string, value float64) Attribute {
	return Attribute{Key: key, Value: wire.DoubleValue(value)}
}

// Bool returns an attribute that is a boolean.
func Bool(key string, value bool) Attribute {
	return Attribute{Key: key, Value: wire.BoolValue(value)}
}

// setAttributes adds what the application gave an event.
func (r *record) setAttributes(attributes []Attribute) {
	if len(attributes) > 0 {
		kept := slices.Clone(attributes)
		r.attributes = &kept
	}
}

// setAttributes sets attributes of the application in a row that has none of
// the user's own yet. One of the conventions is set unless it is there, or of
// another type.
func setAttributes(as *wire.Attrs, attributes []Attribute) {
	if len(as.User) == 0 {
		as.User = attributes // the encoder leaves out those of the conventions
	} else {
		as.User = append(slices.Clip(as.User), attributes...)
	}
	for _, kv := range attributes {
		a, ok := wire.ParseAttr(kv.Key)
		if !ok || as.Has(a) {
			continue
		}
		switch want := a.Info().Type; {
		case want == kv.Value.Type:
			as.SetValue(a, kv.Value)
		case want == wire.TypeDouble && kv.Value.Type == wire.TypeInt:
			as.SetDouble(a, float64(kv.Value.Int()))
		}
	}
}
