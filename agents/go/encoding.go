package wsstats

import "github.com/wsstats/wsstatsreceiver/wire"

// Encoding is a form of the messages that an agent sends.
type Encoding string

// The encodings.
const (
	EncodingProto Encoding = "proto" // binary: a twentieth of the bytes
	EncodingJSON  Encoding = "json"
)

func (e Encoding) valid() bool { return e == "" || e == EncodingProto || e == EncodingJSON }

// subprotocols are what is offered to the receiver, the best one first.
func (e Encoding) subprotocols() []string {
	switch e {
	case EncodingProto:
		return []string{wire.SubprotocolProto}
	case EncodingJSON:
		return []string{wire.SubprotocolJSON}
	default:
		return []string{wire.SubprotocolProto, wire.SubprotocolJSON}
	}
}
