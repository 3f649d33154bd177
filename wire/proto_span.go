package wire

import (
	"math"
	"strings"
)

// The columns of events that concern their spans: ids, durations, contexts, links.

// eventSampling reads the bits of the events that are not sampled.
func (d *Decoder) eventSampling() *MessageError {
	x := &d.proto.events
	bits := x.fields[eventsUnsampled]
	if len(bits) == 0 {
		return nil
	}
	if len(bits) != (len(x.rows)+7)/8 {
		return d.fail("unsampled", "expected a bit for each event")
	}
	for i := range x.rows {
		x.rows[i].Unsampled = bits[i/8]>>(i%8)&1 != 0
	}
	return nil
}

// sparse is a sparse column that is a message of its own: rows, and values
// that are bytes, a packed list or strings.
type sparse struct {
	rows   rowIter
	values []byte    // of bytes and packed lists
	texts  fieldIter // of strings
}

const (
	sparseRows   = 1
	sparseValues = 2
)

var (
	idsFields      = []protoField{sparseRows: {name: "rows", typ: fieldPacked}, sparseValues: {name: "ids"}}
	intsFields     = []protoField{sparseRows: {name: "rows", typ: fieldPacked}, sparseValues: {name: "values", typ: fieldPacked}}
	contextsFields = []protoField{sparseRows: {name: "rows", typ: fieldPacked}, sparseValues: {name: "contexts"}}
	textsFields    = []protoField{sparseRows: {name: "rows", typ: fieldPacked}, sparseValues: {name: "values", repeated: true}}
)

// sparse finds the parts of a column, and enters it for errors. False: there is none.
func (d *Decoder) sparse(field int, spec []protoField) (c sparse, ok bool, err *MessageError) {
	x := &d.proto.events
	b := x.fields[field]
	if b == nil {
		return c, false, nil
	}
	d.push(eventsFields[field].name, -1)
	c.texts = fieldIter{rest: b, spec: spec}
	var rows []byte
	for it := c.texts; ; {
		if !it.next() {
			err = d.endFields(&it)
			break
		}
		if it.num == sparseRows {
			rows = it.b
		} else {
			c.values = it.b
		}
	}
	c.rows = newRowIter(rows, len(x.rows))
	return c, true, err
}

// endSparse leaves a column whose rows came to an end; over tells whether there are values left.
func (d *Decoder) endSparse(rows *rowIter, over bool) *MessageError {
	switch {
	case rows.why != "":
		return d.fail("rows", rows.why)
	case over:
		return d.fail("", whyManyValues)
	}
	d.pop()
	return nil
}

const (
	whyFewValues  = "there are fewer values than rows"
	whyManyValues = "there are more values than rows"
)

func (d *Decoder) eventIDs() *MessageError {
	for _, ids := range [...]struct{ field, size int }{{eventsTraceIDs, 16}, {eventsSpanIDs, 8}, {eventsParentSpanIDs, 8}} {
		c, ok, err := d.sparse(ids.field, idsFields)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		x, b := &d.proto.events, c.values
		rows := x.listed(&c.rows)
		if len(b)/ids.size < len(rows) {
			return d.fail("", whyFewValues)
		}
		switch ids.field { // once for all rows
		case eventsTraceIDs:
			for k, i := range rows {
				x.rows[i].TraceID = TraceID(b[k*len(TraceID{}):])
			}
		case eventsSpanIDs:
			for k, i := range rows {
				x.rows[i].SpanID = SpanID(b[k*len(SpanID{}):])
			}
		default:
			for k, i := range rows {
				x.rows[i].ParentSpanID = SpanID(b[k*len(SpanID{}):])
			}
		}
		if err := d.endSparse(&c.rows, len(b) > len(rows)*ids.size); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) eventDurations() *MessageError {
	c, ok, err := d.sparse(eventsDurations, intsFields)
	if !ok || err != nil {
		return err
	}
	x, list := &d.proto.events, packed{b: c.values}
	rows := x.listed(&c.rows)
	durations := list.read(x.nums[:len(rows)])
	for k, n := range durations {
		i, ns := rows[k], zigzag(n)
		e := &x.rows[i]
		e.Duration, e.HasDuration = ns, true
		// An event without a time happens when it arrives: by far before 2116.
		start := int64(1 << 62)
		if e.HasTime {
			start = max(e.Time, 0)
		}
		switch {
		case ns < 0:
			if d.rejectEvent(i) {
				d.firstRejection(i, "duration_ns", unexpectedText("an integer of at least 0", IntValue(ns)))
			}
		case ns > math.MaxInt64-start:
			if d.rejectEvent(i) {
				d.firstRejection(i, "duration_ns", whyEndLate)
			}
		}
	}
	switch {
	case list.i < 0:
		return d.fail("values", varintError(list.i))
	case len(durations) < len(rows):
		return d.fail("", whyFewValues)
	}
	return d.endSparse(&c.rows, list.more())
}

func (d *Decoder) eventTracestates() *MessageError {
	c, ok, err := d.sparse(eventsTracestates, textsFields)
	if !ok || err != nil {
		return err
	}
	more := c.texts.nextOf(sparseValues)
	for c.rows.next() {
		if !more {
			return d.fail("", whyFewValues)
		}
		s, err := d.text8(&c.texts)
		if err != nil {
			return err
		}
		i := c.rows.row
		// One that is too long loses whole members at its end (Trace Context, section 3.3.1.5).
		if cut := d.cutEvent(i, s); len(cut) < len(s) {
			s = cut[:max(0, strings.LastIndexByte(cut, ','))]
		}
		d.proto.events.rows[i].Tracestate = s
		more = c.texts.nextOf(sparseValues)
	}
	return d.endSparse(&c.rows, more)
}

// nextOf goes to the next field of that number. The fields were gone over
// before, and nothing is wrong with them.
func (it *fieldIter) nextOf(num int) bool {
	for it.step() {
		if it.num == num {
			return true
		}
	}
	return false
}

// eventTraceparents reads the parents' contexts. One that W3C calls invalid
// comes from a stranger's header and is not the sender's mistake.
func (d *Decoder) eventTraceparents() *MessageError {
	const size = len(TraceID{}) + len(SpanID{}) + 1
	c, ok, err := d.sparse(eventsTraceparents, contextsFields)
	if !ok || err != nil {
		return err
	}
	x, b := &d.proto.events, c.values
	for c.rows.next() {
		if len(b) < size {
			return d.fail("", whyFewValues)
		}
		i := c.rows.row
		e := &x.rows[i]
		if e.TraceID != (TraceID{}) || e.SpanID != (SpanID{}) || e.ParentSpanID != (SpanID{}) {
			if d.rejectEvent(i) {
				d.firstRejection(i, "traceparent", whyBothForms)
			}
		}
		e.Parent = TraceContext{TraceID(b), SpanID(b[16:]), b[24]}
		if e.Parent.TraceID == (TraceID{}) || e.Parent.SpanID == (SpanID{}) {
			e.Parent, e.Tracestate = TraceContext{}, "" // of no known parent (Trace Context, section 3.3.1.1)
			d.m.Batch.TraceparentsIgnored++
			x.ignored = append(x.ignored, i)
		}
		b = b[size:]
	}
	return d.endSparse(&c.rows, len(b) > 0)
}

const (
	eventLinksRow   = 1
	eventLinksLinks = 2

	linkTraceID    = 1
	linkSpanID     = 2
	linkAttributes = 3
)

var (
	eventLinksFields = []protoField{eventLinksRow: {name: "row", typ: fieldVarint32}, eventLinksLinks: {name: "links", repeated: true}}
	linkFields       = []protoField{linkTraceID: {name: "trace_id"}, linkSpanID: {name: "span_id"}, linkAttributes: {name: "attributes", repeated: true}}
)

func (d *Decoder) eventLinks() *MessageError {
	x := &d.proto.events
	if !x.linked {
		return nil
	}
	all, before := fieldIter{rest: x.lists}, -1
	for all.nextOf(eventsLinks) {
		row, some := 0, fieldIter{rest: all.b, spec: eventLinksFields}
		for some.next() {
			if some.num == eventLinksRow {
				row = int(some.n)
			}
		}
		d.push("links", -1)
		if err := d.endFields(&some); err != nil {
			return err
		}
		switch {
		case row >= len(x.rows):
			return d.fail("row", "expected the index of an event")
		case row <= before:
			return d.fail("row", "expected links in ascending order of rows")
		}
		d.pop()
		before = row
		if err := d.linksOf(row, fieldIter{rest: all.b}); err != nil {
			return err
		}
	}
	return nil
}

// linksOf decodes the links of one event. What is wrong in them is noted as in
// a row that is a message of its own.
func (d *Decoder) linksOf(i int, it fieldIter) *MessageError {
	x, start, cuts := &d.proto.events, len(d.m.links), d.m.Batch.ValuesCut
	d.path = d.path[:0]
	d.push(x.key, i)
	d.beginRow()
	d.row.mute = i >= x.first
	for n := 0; it.nextOf(eventLinksLinks); n++ {
		d.push("links", n)
		if n == maxLinks {
			_ = d.reject("", "more than 128 links") // the row, and not the message
		}
		if err := d.protoLink(it.b, &start); err != nil {
			return err
		}
		d.pop()
	}
	d.row.open = false
	if d.row.bad && d.rejectEvent(i) {
		x.first, x.text = i, d.row.text
	}
	d.noteCuts(i, cuts)
	x.rows[i].Links = d.m.links[start:len(d.m.links):len(d.m.links)]
	d.enterEvents()
	return nil
}

// enterEvents is where the columns of the events are in errors.
func (d *Decoder) enterEvents() {
	d.path = d.path[:0]
	if key := d.proto.events.key; key != "" {
		d.push(key, -1)
	}
}

func (d *Decoder) protoLink(b []byte, start *int) *MessageError {
	var l Link
	it := fieldIter{rest: b, spec: linkFields}
	for it.next() {
		var err *MessageError
		switch it.num {
		case linkTraceID:
			err = d.protoID("trace_id", it.b, l.TraceID[:])
		case linkSpanID:
			err = d.protoID("span_id", it.b, l.SpanID[:])
		}
		if err != nil {
			return err
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	var err *MessageError
	if l.Attributes, err = d.protoKeyValues(fieldIter{rest: b, spec: linkFields}, linkAttributes, &d.m.linkUsers); err != nil {
		return err
	}
	if l.TraceID == (TraceID{}) {
		err = d.reject("trace_id", "is required")
	} else if l.SpanID == (SpanID{}) {
		err = d.reject("span_id", "is required")
	}
	if err == nil && !d.row.bad {
		d.m.links = push(d.m.links, start, l)
	}
	return err
}
