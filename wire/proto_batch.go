package wire

import (
	"math"
	"strconv"
)

const (
	helloInstance   = 1
	helloAgent      = 2
	helloResource   = 3
	helloAggregates = 4
)

var helloFields = []protoField{
	helloInstance:   {name: "instance"},
	helloAgent:      {name: "agent"},
	helloResource:   {name: "resource"},
	helloAggregates: {name: "aggregates", typ: fieldVarint},
}

const (
	agentName    = 1
	agentVersion = 2
)

var agentFields = []protoField{agentName: {name: "name"}, agentVersion: {name: "version"}}

const (
	batchSeqField         = 1
	batchResourceField    = 2
	batchConnectionsField = 3
	batchEventsField      = 4
	batchStatsField       = 5
	batchDroppedField     = 6
	batchThresholdField   = 7
	batchAggregatesField  = 8
)

var batchFields = []protoField{
	batchSeqField:         {name: "seq", typ: fieldVarint},
	batchResourceField:    {name: "resource"},
	batchConnectionsField: {name: "connections", repeated: true},
	batchEventsField:      {name: "events"},
	batchStatsField:       {name: "stats", repeated: true},
	batchDroppedField:     {name: "dropped", repeated: true},
	batchThresholdField:   {name: "threshold", typ: fieldVarint},
	batchAggregatesField:  {name: "aggregates", typ: fieldVarint},
}

func (d *Decoder) protoHello(b []byte) *MessageError {
	d.push("hello", -1)
	h, it := &d.m.Hello, fieldIter{rest: b, spec: helloFields}
	for it.next() {
		var err *MessageError
		switch it.num {
		case helloInstance:
			if h.Instance, err = d.text8(&it); err == nil && !isName128(h.Instance) {
				err = d.fail("instance", "expected "+wantName128+", got "+quote(h.Instance))
			}
		case helloAgent:
			err = d.protoAgent(it.b)
		case helloResource:
			h.Resource, err = d.protoResource(it.b)
		case helloAggregates:
			h.Aggregates = it.bool()
		}
		if err != nil {
			return err
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	if h.Instance == "" {
		return d.fail("instance", "is required")
	}
	d.pop()
	return nil
}

func (d *Decoder) protoAgent(b []byte) *MessageError {
	d.push("agent", -1)
	h, it := &d.m.Hello, fieldIter{rest: b, spec: agentFields}
	for it.next() {
		s, err := d.text8(&it)
		if err != nil {
			return err
		}
		if it.num == agentName {
			h.AgentName = d.cut(s)
		} else {
			h.AgentVersion = d.cut(s)
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	d.pop()
	return nil
}

func (d *Decoder) protoBatch(body []byte) *MessageError {
	b, it := &d.m.Batch, fieldIter{rest: body, spec: batchFields}
	var connections, stats int
	reasons := len(d.names)
	for it.next() {
		var err *MessageError
		switch it.num {
		case batchSeqField:
			if b.Seq = it.n; b.Seq > maxSeq {
				err = d.fail("seq", "expected an integer from 1 to 2^53, got "+strconv.FormatUint(it.n, 10))
			}
		case batchResourceField:
			b.HasResource = true
			b.Resource, err = d.protoResource(it.b)
		case batchConnectionsField:
			err = d.protoRow("connections", connections, d.limits.Connections, it.b, (*Decoder).protoConnection)
			connections++
		case batchEventsField:
			err = d.protoEvents("events", it.b)
		case batchStatsField:
			err = d.protoRow("stats", stats, d.limits.Events, it.b, (*Decoder).protoStat)
			stats++
		case batchDroppedField:
			err = d.protoDropped(it.b, reasons)
		case batchThresholdField:
			if b.Threshold, b.HasThreshold = it.n, true; it.n > NeverSampled {
				err = d.fail("threshold", "expected an integer of at most 2^56, got "+strconv.FormatUint(it.n, 10))
			}
		case batchAggregatesField:
			b.Aggregates = it.bool()
		}
		if err != nil {
			return err
		}
	}
	return d.endFields(&it)
}

// protoRow decodes a row that is a message of its own.
func (d *Decoder) protoRow(key string, index, limit int, b []byte, one func(*Decoder, int, []byte) *MessageError) *MessageError {
	d.push(key, index)
	if index >= limit {
		return d.tooLarge("", "more than "+strconv.Itoa(limit))
	}
	d.beginRow()
	if err := one(d, index, b); err != nil {
		return err
	}
	d.pop()
	return nil
}

const (
	droppedReason = 1
	droppedCount  = 2
)

var droppedFields = []protoField{droppedReason: {name: "reason"}, droppedCount: {name: "count", typ: fieldVarint}}

// protoDropped decodes a reason and its count. base is where the reasons begin in d.names.
func (d *Decoder) protoDropped(b []byte, base int) *MessageError {
	d.push("dropped", -1)
	var r Dropped
	it := fieldIter{rest: b, spec: droppedFields}
	for it.next() {
		var err *MessageError
		if it.num == droppedReason {
			r.Reason, err = d.text8(&it)
		} else if r.Count = it.n; r.Count > math.MaxInt64 {
			err = d.fail("count", "expected an integer of at most 2^63 - 1, got "+strconv.FormatUint(it.n, 10))
		}
		if err != nil {
			return err
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	if err := d.userKey(base, r.Reason); err != nil {
		return err
	}
	d.m.Batch.Dropped = append(d.m.Batch.Dropped, r)
	d.pop()
	return nil
}

const (
	connectionAttributesField = 1
	connectionOpenedAtField   = 2
	connectionClosedField     = 3
	connectionTraceIDField    = 4
	connectionSpanIDField     = 5
)

var connectionFields = []protoField{
	connectionAttributesField: {name: "attributes", repeated: true},
	connectionOpenedAtField:   {name: "opened_at", typ: fieldVarint},
	connectionClosedField:     {name: "closed", typ: fieldVarint},
	connectionTraceIDField:    {name: "trace_id"},
	connectionSpanIDField:     {name: "span_id"},
}

func (d *Decoder) protoConnection(index int, body []byte) *MessageError {
	b := &d.m.Batch
	b.Connections = grow(b.Connections)
	c := &b.Connections[len(b.Connections)-1]
	*c = Connection{Index: index}
	attrs := rowAttrs{as: &c.Attrs, base: len(d.names), reserved: isConnectionKey}
	it := fieldIter{rest: body, spec: connectionFields}
	for it.next() {
		var err *MessageError
		switch it.num {
		case connectionAttributesField:
			err = d.protoAttribute(&attrs, it.b)
		case connectionOpenedAtField:
			c.OpenedAt, c.HasOpenedAt, err = d.protoInstant("opened_at", it.int())
		case connectionClosedField:
			c.Closed = it.bool()
		case connectionTraceIDField:
			err = d.protoID("trace_id", it.b, c.TraceID[:])
		case connectionSpanIDField:
			err = d.protoID("span_id", it.b, c.SpanID[:])
		}
		if err != nil {
			return err
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	d.names = d.names[:attrs.base]
	c.User = d.rowUsers()
	if !c.Has(AttrConnectionID) {
		if err := d.reject("ws.connection.id", "is required"); err != nil {
			return err
		}
	}
	if !d.endRow() {
		b.Connections = b.Connections[:len(b.Connections)-1]
	}
	return nil
}

func isConnectionKey(key string) bool { return connectionField(key) != connectionUnknown }

// protoInstant checks a time of a row.
func (d *Decoder) protoInstant(key string, ns int64) (int64, bool, *MessageError) {
	if ns < 0 {
		return 0, false, d.rejectValue(key, wantNanoseconds, IntValue(ns))
	}
	return ns, true, nil
}

// protoID reads an id of a row; an empty one is not stated.
func (d *Decoder) protoID(key string, b, dst []byte) *MessageError {
	if len(b) == 0 {
		return nil
	}
	if copy(dst, b); len(b) != len(dst) || isZero(b) {
		return d.reject(key, "expected "+strconv.Itoa(len(dst))+" bytes, not all zero")
	}
	return nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
