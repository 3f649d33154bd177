package wire

import (
	"math"
	"strconv"
)

const (
	statMetricField       = 1
	statStartField        = 2
	statTimeField         = 3
	statAttributesField   = 4
	statCountField        = 5
	statSumField          = 6
	statMinField          = 7
	statMaxField          = 8
	statScaleField        = 9
	statZeroCountField    = 10
	statOffsetField       = 11
	statBucketCountsField = 12
	statUnsizedField      = 13
)

var statFields = []protoField{
	statMetricField:       {name: "metric"},
	statStartField:        {name: "start", typ: fieldVarint},
	statTimeField:         {name: "time", typ: fieldVarint},
	statAttributesField:   {name: "attributes", repeated: true},
	statCountField:        {name: "count", typ: fieldVarint},
	statSumField:          {name: "sum", typ: fieldDouble},
	statMinField:          {name: "min", typ: fieldDouble},
	statMaxField:          {name: "max", typ: fieldDouble},
	statScaleField:        {name: "scale", typ: fieldVarint32},
	statZeroCountField:    {name: "zero_count", typ: fieldVarint},
	statOffsetField:       {name: "offset", typ: fieldVarint32},
	statBucketCountsField: {name: "bucket_counts", typ: fieldPacked},
	statUnsizedField:      {name: "unsized", typ: fieldVarint},
}

func (d *Decoder) protoStat(index int, body []byte) *MessageError {
	b := &d.m.Batch
	b.Stats = grow(b.Stats)
	s := &b.Stats[len(b.Stats)-1]
	*s = Stat{Index: index}
	attrs := rowAttrs{as: &s.Attrs, base: len(d.names)}
	// What protobuf does not write is 0. The metric is required.
	stated := uint32(1<<statStart | 1<<statTime | 1<<statCount | 1<<statSum)
	it := fieldIter{rest: body, spec: statFields}
	for it.next() {
		var err *MessageError
		switch it.num {
		case statMetricField:
			var name string
			if name, err = d.text8(&it); err == nil && name != "" {
				stated |= 1 << statMetric
				s.Metric, err = d.metricNamed(name)
			}
		case statStartField:
			s.Start, _, err = d.protoInstant("start", it.int())
		case statTimeField:
			s.Time, _, err = d.protoInstant("time", it.int())
		case statAttributesField:
			d.push("attributes", -1)
			err = d.protoAttribute(&attrs, it.b)
			if err == nil {
				d.pop()
			}
		case statCountField:
			s.Count, err = d.protoCount("count", it.n)
		case statSumField:
			s.Sum, err = d.protoDouble("sum", it.double())
		case statMinField:
			s.HasMin = true
			s.Min, err = d.protoDouble("min", it.double())
		case statMaxField:
			s.HasMax = true
			s.Max, err = d.protoDouble("max", it.double())
		case statScaleField:
			s.Scale, err = d.within("scale", it.int(), minScale, maxScale)
		case statZeroCountField:
			s.ZeroCount, err = d.protoCount("zero_count", it.n)
		case statOffsetField:
			s.Offset, err = d.within("offset", it.int(), math.MinInt32, math.MaxInt32-maxBuckets)
		case statBucketCountsField:
			s.Buckets, err = d.protoBuckets(it.b)
		case statUnsizedField:
			s.Unsized, err = d.protoCount("unsized", it.n)
		}
		if err != nil {
			return err
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	d.names = d.names[:attrs.base]
	s.User = d.rowUsers()
	if err := d.checkStat(s, stated); err != nil {
		return err
	}
	if !d.endRow() {
		b.Stats = b.Stats[:len(b.Stats)-1]
	}
	return nil
}

func (d *Decoder) protoCount(key string, n uint64) (uint64, *MessageError) {
	if n > math.MaxInt64 {
		return 0, d.reject(key, "expected an integer of at most 2^63 - 1, got "+strconv.FormatUint(n, 10))
	}
	return n, nil
}

func (d *Decoder) protoDouble(key string, f float64) (float64, *MessageError) {
	if why := whyNotFinite(f); why != "" {
		return 0, d.reject(key, why)
	}
	if f < 0 {
		return 0, d.rejectValue(key, "a number of at least 0", DoubleValue(f))
	}
	return f, nil
}

func (d *Decoder) protoBuckets(b []byte) ([]uint64, *MessageError) {
	const key = "bucket_counts"
	start := len(d.m.nums)
	list := packed{b: b}
	for n := 0; list.more(); n++ {
		count := list.next()
		var err *MessageError
		switch {
		case list.i < 0:
			err = d.fail(key, varintError(list.i))
		case n == maxBuckets:
			err = d.reject(key, "more than 320 buckets")
		case n < maxBuckets:
			count, err = d.protoCount(key, count)
			d.m.nums = append(d.m.nums, count)
		}
		if err != nil {
			return nil, err
		}
	}
	return d.m.nums[start:len(d.m.nums):len(d.m.nums)], nil
}
