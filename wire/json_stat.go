package wire

import (
	"math"
	"strconv"
	"strings"
)

const (
	// What a histogram may have: the scales of OTLP exporters, and twice as
	// many buckets as the SDKs make.
	minScale   = -10
	maxScale   = 20
	maxBuckets = 320
)

type statKey uint8

const (
	statUnknown statKey = iota
	statMetric
	statStart
	statTime
	statAttributes
	statCount
	statSum
	statMin
	statMax
	statScale
	statZeroCount
	statOffset
	statBucketCounts
	statUnsized
)

func statField(key string) statKey {
	switch key {
	case "metric":
		return statMetric
	case "start":
		return statStart
	case "time":
		return statTime
	case "attributes":
		return statAttributes
	case "count":
		return statCount
	case "sum":
		return statSum
	case "min":
		return statMin
	case "max":
		return statMax
	case "scale":
		return statScale
	case "zero_count":
		return statZeroCount
	case "offset":
		return statOffset
	case "bucket_counts":
		return statBucketCounts
	case "unsized":
		return statUnsized
	}
	return statUnknown
}

func (d *Decoder) stat(index int) *MessageError {
	d.beginRow()
	b := &d.m.Batch
	b.Stats = grow(b.Stats)
	s := &b.Stats[len(b.Stats)-1]
	*s = Stat{Index: index}
	if err := d.statObject(s); err != nil {
		return err
	}
	if !d.endRow() {
		b.Stats = b.Stats[:len(b.Stats)-1]
	}
	return nil
}

func (d *Decoder) statObject(s *Stat) *MessageError {
	stated, err := fields(d, statField, d.unknown, func(field statKey, key string) *MessageError { return d.statValue(s, field, key) })
	if err != nil {
		return err
	}
	return d.checkStat(s, stated)
}

func (d *Decoder) statValue(s *Stat, field statKey, key string) (err *MessageError) {
	switch field {
	case statMetric:
		s.Metric, err = d.metric()
	case statStart:
		s.Start, _, err = d.instant(key)
	case statTime:
		s.Time, _, err = d.instant(key)
	case statAttributes:
		err = d.statAttributes(&s.Attrs)
	case statCount:
		s.Count, err = d.count(key)
	case statSum:
		s.Sum, _, err = d.double(key, 0)
	case statMin:
		s.Min, s.HasMin, err = d.double(key, 0)
	case statMax:
		s.Max, s.HasMax, err = d.double(key, 0)
	case statScale:
		s.Scale, err = d.int32(key, minScale, maxScale)
	case statZeroCount:
		s.ZeroCount, err = d.count(key)
	case statOffset:
		s.Offset, err = d.int32(key, math.MinInt32, math.MaxInt32-maxBuckets)
	case statBucketCounts:
		s.Buckets, err = d.buckets()
	case statUnsized:
		s.Unsized, err = d.count(key)
	}
	return err
}

func (d *Decoder) metric() (Metric, *MessageError) {
	if d.typ != jsonString {
		return 0, d.unexpectedNext("metric", "a string")
	}
	_, name, err := d.str()
	if err != nil {
		return 0, err
	}
	return d.metricNamed(name)
}

// metricNamed returns the metric of that name, or rejects the row.
func (d *Decoder) metricNamed(name string) (Metric, *MessageError) {
	for m := range numMetrics {
		if metricNames[m] == name {
			return m, nil
		}
	}
	switch name {
	case "ws.messages.sent", "ws.messages.received", "ws.messages.bytes":
		return 0, d.reject("metric", quote(name)+" follows from ws.message.size: send that")
	}
	return 0, d.reject("metric", "unknown metric "+quote(name)+", expected one of "+strings.Join(metricNames[:], ", "))
}

func (d *Decoder) statAttributes(as *Attrs) *MessageError {
	if d.typ != jsonObject {
		return d.unexpectedNext("attributes", "an object")
	}
	d.push("attributes", -1)
	if err := d.enter(); err != nil {
		return err
	}
	var it list
	var seen uint64
	base := len(d.names)
	for d.nextKey(&it) {
		if err := d.attribute(as, &seen, base, it.key); err != nil {
			return err
		}
	}
	d.names = d.names[:base]
	as.User = d.rowUsers()
	d.pop()
	return d.endList()
}

func (d *Decoder) count(key string) (uint64, *MessageError) {
	n, _, err := d.integer(key, 0)
	return uint64(n), err
}

func (d *Decoder) int32(key string, least, most int64) (int32, *MessageError) {
	n, _, err := d.integer(key, math.Inf(-1))
	if err != nil {
		return 0, err
	}
	return d.within(key, n, least, most)
}

// within rejects the row where a number is not in a range.
func (d *Decoder) within(key string, n, least, most int64) (int32, *MessageError) {
	if n < least || n > most {
		return 0, d.reject(key, "expected an integer from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
	}
	return int32(n), nil
}

func (d *Decoder) buckets() ([]uint64, *MessageError) {
	const key = "bucket_counts"
	if d.typ != jsonArray {
		return nil, d.unexpectedNext(key, "an array")
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	var it list
	start := len(d.m.nums)
	for i := 0; d.nextElem(&it); i++ {
		var err *MessageError
		switch {
		case i >= maxBuckets:
			err = d.reject(key, "more than 320 buckets")
			if err == nil {
				err = d.skip()
			}
		case d.typ != jsonNumber: // a null is no count
			err = d.unexpectedNext(key, "integers")
		default:
			var n uint64
			n, err = d.count(key)
			d.m.nums = append(d.m.nums, n)
		}
		if err != nil {
			return nil, err
		}
	}
	return d.m.nums[start:len(d.m.nums):len(d.m.nums)], d.endList()
}

// checkStat checks what concerns more than one key.
func (d *Decoder) checkStat(s *Stat, stated uint32) *MessageError {
	for _, required := range [...]struct {
		field statKey
		key   string
	}{{statMetric, "metric"}, {statStart, "start"}, {statTime, "time"}, {statCount, "count"}, {statSum, "sum"}} {
		if stated&(1<<required.field) == 0 {
			return d.reject(required.key, "is required")
		}
	}
	if s.Start > s.Time {
		return d.reject("start", "is after time")
	}
	if s.HasMin && s.HasMax && s.Min > s.Max {
		return d.reject("min", "is greater than max")
	}
	total := s.ZeroCount
	for _, n := range s.Buckets {
		total += n
		if total > s.Count {
			break // counts are below 2^63, so the sum of two does not wrap around
		}
	}
	if total != s.Count {
		return d.reject("bucket_counts", "with zero_count they do not add up to count")
	}
	if s.Unsized > 0 && s.Metric != MetricMessageSize {
		return d.reject("unsized", "is of ws.message.size alone")
	}
	if s.Unsized > s.ZeroCount {
		return d.reject("unsized", "is greater than zero_count")
	}
	return nil
}
