package wire

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

// Messages that a fuzzer would take long to find: well formed ones with every
// column, in some of which something is wrong.
func TestDecodeProtoAgainstOracle(t *testing.T) {
	d, m := Decoder{Limits: small}, new(Message)
	taken, rejected := 0, 0
	for seed := range uint64(4000) {
		r := randomProto{rand.New(rand.NewPCG(seed, 1))}
		data, err := proto.Marshal(r.message())
		require.NoError(t, err)
		want, ok := oracleDecodeProto(data, small)
		d.Definitions = nil
		err = d.DecodeProto(data, m)
		require.Equal(t, ok, err == nil, "%d: the decoder says %v", seed, err)
		if !ok {
			continue
		}
		checkProtoRows(t, want, m)
		taken++
		rejected += m.Batch.Rejected.Count
	}
	t.Logf("%d messages taken, %d rows rejected", taken, rejected)
	require.Greater(t, taken, 1000)
	require.Greater(t, rejected, 1000)
}

type randomProto struct{ *rand.Rand }

// rarely is true once in n times.
func (r randomProto) rarely(n int) bool { return r.IntN(n) == 0 }

func (r randomProto) message() *wsstatspb.Message {
	pb := &wsstatspb.Message{StringHandles: []uint32{1, 2, 3, 4, 5, 6, 7}, Strings: []string{"a", "b", "room.id", "ws.queue.size", "time", "ws.message.seq", strings.Repeat("long ", 14)}}
	if r.rarely(20) {
		pb.Strings[r.IntN(7)] = []string{"", "\x01", "a", "ws.role"}[r.IntN(4)]
	}
	events := r.events()
	if r.rarely(3) {
		pb.Form = &wsstatspb.Message_Events{Events: events}
		return pb
	}
	b := &wsstatspb.Batch{Seq: uint64(r.IntN(2)), Events: events}
	for range r.IntN(3) {
		c := &wsstatspb.Connection{Attributes: []*wsstatspb.Attribute{{Key: "ws.connection.id", Value: r.value()}, {Key: []string{"k", "net.peer.port"}[r.IntN(2)], Value: r.value()}}}
		if r.rarely(2) {
			c.Attributes[0].Value = &wsstatspb.Value{Kind: &wsstatspb.Value_StringValue{StringValue: "c"}}
		}
		b.Connections = append(b.Connections, c)
	}
	pb.Form = &wsstatspb.Message_Batch{Batch: b}
	return pb
}

func (r randomProto) value() *wsstatspb.Value {
	switch r.IntN(6) {
	case 0:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_StringValue{StringValue: "x"}}
	case 1:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_BoolValue{BoolValue: true}}
	case 2:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_IntValue{IntValue: r.int()}}
	case 3:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_DoubleValue{DoubleValue: r.double()}}
	case 4:
		return &wsstatspb.Value{Kind: &wsstatspb.Value_ArrayValue{ArrayValue: r.array()}}
	}
	return nil
}

func (r randomProto) int() int64 {
	if r.rarely(100) {
		return []int64{-1, math.MaxInt64, math.MinInt64, 0}[r.IntN(4)]
	}
	return r.Int64N(1000)
}

func (r randomProto) double() float64 {
	if r.rarely(40) {
		return []float64{math.NaN(), math.Inf(1), -1, 1e300, math.Copysign(0, -1)}[r.IntN(5)]
	}
	return float64(r.IntN(20)) / 2
}

func (r randomProto) array() *wsstatspb.Array {
	pb := new(wsstatspb.Array)
	for range r.IntN(11) {
		pb.Ints = append(pb.Ints, r.int())
	}
	switch r.IntN(4) {
	case 0:
		return &wsstatspb.Array{Doubles: []float64{1, r.double()}}
	case 1:
		return &wsstatspb.Array{Strings: []string{"x", strings.Repeat("long ", 14)}}
	case 2:
		pb.Bools = make([]bool, r.IntN(2))
	}
	return pb
}

// rows are some of n, as a sparse column has them, and how many.
func (r randomProto) rows(n int) (rows []uint32, some int) {
	if n == 0 || r.rarely(2) {
		return nil, n
	}
	last := -1
	for i := range n {
		if r.rarely(2) {
			rows, last = append(rows, uint32(i-max(last, 0))), i
		}
	}
	if r.rarely(60) && len(rows) > 0 {
		rows[r.IntN(len(rows))] = []uint32{0, 100, math.MaxUint32}[r.IntN(3)]
	}
	if len(rows) == 0 {
		return nil, n
	}
	return rows, len(rows)
}

// off is how many values there are of so many.
func (r randomProto) off(n int) int {
	if r.rarely(150) {
		return max(0, n+r.IntN(3)-1)
	}
	return n
}

func (r randomProto) bytes(n int) []byte {
	b := make([]byte, r.off(n))
	for i := range b {
		b[i] = byte(r.IntN(4) / 3)
	}
	return b
}

func (r randomProto) events() *wsstatspb.Events {
	n := r.IntN(12)
	pb := &wsstatspb.Events{Kinds: make([]byte, n)}
	for i := range pb.Kinds {
		pb.Kinds[i] = byte(1+r.IntN(12)) | byte(r.IntN(6))<<4
		if r.rarely(40) {
			pb.Kinds[i] = byte(r.IntN(256))
		}
	}
	if r.rarely(2) {
		pb.BaseTime = r.int()
		rows, some := r.rows(n)
		if rows != nil {
			pb.Untimed, some = rows, n-some
		}
		for range r.off(some) {
			pb.Times = append(pb.Times, r.int())
		}
	}
	if r.rarely(2) {
		for range r.off(n) {
			pb.Connections = append(pb.Connections, uint32(r.IntN(3)))
		}
	}
	if r.rarely(4) {
		pb.Unsampled = r.bytes((n + 7) / 8)
	}
	for _, ids := range []struct {
		column **wsstatspb.IDs
		size   int
	}{{&pb.TraceIds, 16}, {&pb.SpanIds, 8}, {&pb.ParentSpanIds, 8}} {
		if r.rarely(4) {
			rows, some := r.rows(n)
			*ids.column = &wsstatspb.IDs{Rows: rows, Ids: r.bytes(some * ids.size)}
		}
	}
	if r.rarely(3) {
		rows, some := r.rows(n)
		pb.Durations = &wsstatspb.Ints{Rows: rows}
		for range r.off(some) {
			pb.Durations.Values = append(pb.Durations.Values, r.int())
		}
	}
	if r.rarely(4) {
		rows, some := r.rows(n)
		pb.Traceparents = &wsstatspb.Contexts{Rows: rows, Contexts: r.bytes(some * 25)}
	}
	if r.rarely(4) {
		rows, some := r.rows(n)
		pb.Tracestates = &wsstatspb.Texts{Rows: rows}
		for range r.off(some) {
			pb.Tracestates.Values = append(pb.Tracestates.Values, []string{"", "a=b", "a=b," + strings.Repeat("c", 70)}[r.IntN(3)])
		}
	}
	for row := range n {
		if r.rarely(20) {
			l := &wsstatspb.Link{TraceId: r.bytes(16), SpanId: r.bytes(8), Attributes: []*wsstatspb.Attribute{{Key: "k", Value: r.value()}}}
			pb.Links = append(pb.Links, &wsstatspb.EventLinks{Row: uint32(row), Links: []*wsstatspb.Link{l, l}[:r.IntN(3)]})
		}
	}
	for range r.IntN(5) {
		pb.Columns = append(pb.Columns, r.column(n))
	}
	return pb
}

func (r randomProto) column(n int) *wsstatspb.Column {
	rows, some := r.rows(n)
	some = r.off(some)
	c := &wsstatspb.Column{Rows: rows}
	if r.rarely(2) {
		c.Attribute = wsstatspb.AttributeName(1 + r.IntN(len(attrNames)))
	} else {
		c.Key = []uint32{3, 3, 1, 2, 4, 5, 6, 8}[r.IntN(7+r.IntN(20)/19)]
	}
	kind := r.IntN(6)
	if c.Attribute != 0 && !r.rarely(5) { // of its own type
		kind = map[Type]int{TypeInt: 0, TypeDouble: 1, TypeString: 2, TypeBool: 4}[attributesByNumber[c.Attribute].Info().Type]
	}
	for range some {
		switch kind {
		case 0:
			c.Ints = append(c.Ints, r.int())
		case 1:
			c.Doubles = append(c.Doubles, r.double())
		case 2:
			c.Handles = append(c.Handles, uint32(1+r.IntN(7)))
		case 3:
			c.Texts = append(c.Texts, []string{"x", "", strings.Repeat("é", 40)}[r.IntN(3)])
		case 4:
			c.Bools = append(c.Bools, r.rarely(2))
		default:
			c.Arrays = append(c.Arrays, r.array())
		}
	}
	return c
}
