package wsstatsreceiver

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

// Messages of the binary form alone: what its lengths, handles and columns can
// say that does not hold.
func TestHostileProto(t *testing.T) {
	message := func(change func(m *wsstatspb.Message, e *wsstatspb.Events)) []byte {
		events := &wsstatspb.Events{Kinds: []byte{2, 3}, BaseTime: 1767225600_000000000, Times: []int64{0, 1}}
		m := &wsstatspb.Message{Form: &wsstatspb.Message_Batch{Batch: &wsstatspb.Batch{Seq: 1, Events: events}}}
		if change != nil {
			change(m, events)
		}
		data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
		require.NoError(t, err)
		return data
	}
	column := func(c *wsstatspb.Column) []byte {
		return message(func(_ *wsstatspb.Message, e *wsstatspb.Events) { e.Columns = append(e.Columns, c) })
	}
	good := message(nil)
	size := wsstatspb.AttributeName_ATTRIBUTE_NAME_WS_MESSAGE_SIZE
	malformed, rejected := once(`dropped{reason="malformed"}`), once(`dropped{reason="rejected"}`)
	var rows []hostileRow
	for _, tt := range []struct {
		name    string
		message []byte
		gets    string
		shows   map[string]int64
	}{
		{"what is good", good, "ack 1", nil},
		{"a field that nobody knows", protowire.AppendVarint(protowire.AppendTag(bytes.Clone(good), 1000, protowire.VarintType), 1), "ack 1", nil},
		{"it breaks off", good[:len(good)-1], "nack 1 malformed", malformed},
		{"a length of 2^63", protowire.AppendVarint(protowire.AppendTag(bytes.Clone(good), 5, protowire.BytesType), 1<<63), "nack 1 malformed", malformed},
		{"a number that never ends", append(protowire.AppendTag(bytes.Clone(good), 4, protowire.VarintType), bytes.Repeat([]byte{0xff}, 100)...), "nack 1 malformed", malformed},
		{"a group", protowire.AppendTag(bytes.Clone(good), 9, protowire.StartGroupType), "nack 1 malformed", malformed},
		{"a batch twice", append(bytes.Clone(good), good...), "nack 1 malformed", malformed},
		{"a million events of a byte each", message(func(_ *wsstatspb.Message, e *wsstatspb.Events) {
			e.Kinds, e.Times = bytes.Repeat([]byte{2}, 1_000_000), nil
		}), "nack 1 too_large", malformed},
		{"fewer times than events", message(func(_ *wsstatspb.Message, e *wsstatspb.Events) { e.Times = e.Times[:1] }), "nack 1 malformed", malformed},
		{"more connections than events", message(func(_ *wsstatspb.Message, e *wsstatspb.Events) { e.Connections = []uint32{0, 0, 0} }), "nack 1 malformed", malformed},
		{"fewer values than rows", column(&wsstatspb.Column{Attribute: size, Ints: []int64{1}}), "nack 1 malformed", malformed},
		{"more values than rows", column(&wsstatspb.Column{Attribute: size, Rows: []uint32{0}, Ints: []int64{1, 2}}), "nack 1 malformed", malformed},
		{"a row that is not there", column(&wsstatspb.Column{Attribute: size, Rows: []uint32{7}, Ints: []int64{1}}), "nack 1 malformed", malformed},
		{"times that overflow", message(func(_ *wsstatspb.Message, e *wsstatspb.Events) { e.Times = []int64{math.MaxInt64, math.MaxInt64} }), "nack 1 malformed", malformed},
		{"a size that is negative", column(&wsstatspb.Column{Attribute: size, Rows: []uint32{0}, Ints: []int64{-1}}), "ack 1 rejected 1", rejected},
		{"a connection that is not defined", message(func(_ *wsstatspb.Message, e *wsstatspb.Events) { e.Connections = []uint32{1, 1} }), "later 1", malformed},
		{"a key that is not defined", column(&wsstatspb.Column{Key: 9, Rows: []uint32{0}, Ints: []int64{1}}), "later 1", malformed},
		{"the handle 0", message(func(m *wsstatspb.Message, _ *wsstatspb.Events) {
			m.StringHandles, m.Strings = []uint32{0}, []string{"a"}
		}), "nack 1 malformed", malformed},
		{"a handle of 2^32-1", message(func(m *wsstatspb.Message, _ *wsstatspb.Events) {
			m.StringHandles, m.Strings = []uint32{math.MaxUint32}, []string{"a"}
		}), "nack 1 too_large", malformed},
		{"a handle without a string", message(func(m *wsstatspb.Message, _ *wsstatspb.Events) { m.StringHandles = []uint32{1} }), "nack 1 malformed", malformed},
	} {
		rows = append(rows, hostileRow{
			row: 11, name: tt.name, heard: []string{"close 1000"}, shows: tt.shows,
			do: func(h *hostile) {
				h.join().write(rawFrame(fin|opBinary, string(tt.message)))
				assert.Equal(h, tt.gets, h.client.next())
				h.leave()
			},
		})
	}
	runHostileIn(t, encodings[1], rows)
}
