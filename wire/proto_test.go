package wire

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

func TestDecodeProtoSamples(t *testing.T) {
	for _, s := range protoSamples() {
		t.Run(s.name, func(t *testing.T) {
			d, m := Decoder{Limits: small}, new(Message)
			err := d.DecodeProto(s.data, m)
			want, ok := oracleDecodeProto(s.data, small)
			require.Equal(t, s.err == "", ok, "the oracle")
			if s.err == "" {
				require.NoError(t, err)
				checkProtoRows(t, want, m)
				assert.Equal(t, s.row, m.Batch.Rejected.First)
				return
			}
			require.EqualError(t, err, s.err)
			var me *MessageError
			require.ErrorAs(t, err, &me)
			if s.code == "" {
				s.code = CodeMalformed
			}
			assert.Equal(t, s.code, me.Code)
			assert.Equal(t, strings.HasSuffix(s.err, "invalid UTF-8"), errors.Is(err, ErrInvalidUTF8))
			seq := uint64(7)
			if s.none {
				seq = 0
			}
			assert.Equal(t, seq, me.Seq)
		})
	}
}

// A message that is cut off is refused wherever that is, and has its number if that is there.
func TestDecodeProtoCutOff(t *testing.T) {
	message := decode(t, sampleBatch)
	data := appendProto(nil, message)
	var d Decoder
	m := new(Message)
	for n := range data {
		err := d.DecodeProto(data[:n], m)
		d.Definitions = nil
		if n == 0 {
			require.Error(t, err)
			continue
		}
		var me *MessageError
		require.ErrorAs(t, err, &me, "%d of %d bytes", n, len(data))
		want := uint64(0)
		if n >= 5 { // the batch's tag and two bytes of length, then the number
			want = 1
		}
		assert.Equal(t, want, me.Seq, "%d of %d bytes", n, len(data))
		_, _ = ProtoSize(data[:n])
	}
	require.NoError(t, d.DecodeProto(data, m))
}

// What a message costs follows its bytes, and not what it says of itself.
func TestDecodeProtoAllocatesByBytes(t *testing.T) {
	key := define("k")
	column := func(values int) []byte {
		return columnOf(pbVarint(columnKey, 1), pbBytes(columnInts, make([]byte, values)))
	}
	for name, data := range map[string][]byte{
		"columns without values":  join(eventsOf(sends(8192), []byte(strings.Repeat(string(column(1)), 64))), key),
		"texts without values":    join(eventsOf(sends(8192), []byte(strings.Repeat(string(columnOf(pbVarint(columnKey, 1), pbText(columnTexts, "x"))), 64))), key),
		"10,000 columns":          join(eventsOf(sends(1), []byte(strings.Repeat(string(column(1)), 10_000))), key),
		"10,000 columns of nil":   eventsOf(sends(1), []byte(strings.Repeat(string(columnOf()), 10_000))),
		"10,000 sparse columns":   join(eventsOf(sends(10), []byte(strings.Repeat(string(columnOf(pbVarint(columnKey, 1), pbList(columnRows, 9), pbInts(columnInts, 1))), 10_000))), key),
		"one handle, far away":    join(batchOf(), pbList(messageStringHandles, 65536), pbText(messageStrings, "x")),
		"an array without values": join(eventsOf(sends(8192), columnOf(pbVarint(columnKey, 1), pbBytes(columnArrays))), key),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var d Decoder
		_ = d.DecodeProto(data, new(Message))
		runtime.ReadMemStats(&after)
		allocated := float64(after.TotalAlloc - before.TotalAlloc)
		rows, _ := ProtoSize(data)
		// Beside the rows, of which a byte is there each, and a page of definitions.
		assert.Less(t, allocated, 1000*float64(rows)+10*float64(len(data))+30_000, name)
	}
}

// The enums of the schema are those of the package.
func TestProtoNumbers(t *testing.T) {
	for a := range NumAttrs {
		assert.NotZero(t, attributeNumber(a), a.String())
		assert.Equal(t, a, attributesByNumber[attributeNumber(a)])
	}
	assert.Len(t, wsstatspb.AttributeName_name, int(NumAttrs)+1)
	assert.Len(t, wsstatspb.Kind_name, int(numKinds))
	for k := KindUnknown + 1; k < numKinds; k++ {
		assert.Equal(t, "KIND_"+strings.ToUpper(k.String()), wsstatspb.Kind(k).String())
	}
	assert.Len(t, wsstatspb.MessageType_name, len(messageTypes))
	for n, name := range messageTypes {
		if name != "" {
			assert.Equal(t, "MESSAGE_TYPE_"+strings.ToUpper(name), wsstatspb.MessageType(n).String())
			assert.EqualValues(t, n, ParseMessageType(name))
		}
	}
	// The tables of fields by which messages are decoded.
	for _, m := range []struct {
		name   string
		fields []protoField
	}{
		{"Message", messageFields},
		{"Hello", helloFields},
		{"Agent", agentFields},
		{"Resource", resourceFields},
		{"Attribute", attributeFields},
		{"Value", valueFields},
		{"Array", arrayFields},
		{"Batch", batchFields},
		{"Connection", connectionFields},
		{"Dropped", droppedFields},
		{"Stat", statFields},
		{"Events", eventsFields},
		{"IDs", idsFields},
		{"Ints", intsFields},
		{"Contexts", contextsFields},
		{"Texts", textsFields},
		{"EventLinks", eventLinksFields},
		{"Link", linkFields},
		{"Column", columnFields},
	} {
		fields := wsstatspb.File_wsstats_proto.Messages().ByName(protoreflect.Name(m.name)).Fields()
		assert.Len(t, m.fields, fields.Len()+1, m.name)
		for i := range fields.Len() {
			fd := fields.Get(i)
			got := m.fields[fd.Number()]
			assert.Equal(t, string(fd.Name()), got.name, m.name)
			assert.EqualValues(t, wireTypeOf(fd), got.typ.wire(), "%s.%s", m.name, got.name)
			assert.Equal(t, fd.IsPacked(), got.typ == fieldPacked, "%s.%s", m.name, got.name)
			assert.Equal(t, fd.IsList() && !fd.IsPacked(), got.repeated, "%s.%s", m.name, got.name)
		}
	}
}

// Each row has the same attributes of the user: as many as there may be, and one more.
func TestDecodeProtoManyUserAttributes(t *testing.T) {
	for n, kept := range map[int]int{3: 2, 4: 0} {
		m := &Message{Form: FormBatch}
		for range 2 {
			e := Event{Kind: KindSend}
			for k := range n {
				e.User = append(e.User, KeyValue{"key." + strconv.Itoa(k), StringValue("v")})
			}
			m.Batch.Events = append(m.Batch.Events, e)
		}
		var got Message
		d := Decoder{Limits: Limits{Attributes: 3}}
		require.NoError(t, d.DecodeProto(appendProto(nil, m), &got))
		assert.Len(t, got.Batch.Events, kept)
		assert.Equal(t, 2-kept, got.Batch.Rejected.Count)
		for _, e := range got.Batch.Events {
			assert.Equal(t, m.Batch.Events[0].User, e.User)
		}
		if kept == 0 {
			assert.Equal(t, "events[0]: "+whyManyUsers(3), got.Batch.Rejected.First)
		}
	}
}
