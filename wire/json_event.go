package wire

import (
	"math"
	"strings"
)

// maxLinks is how many links an event may have, the default of the SDKs.
const maxLinks = 128

// events decodes an array of events under that key, "" in a message of bare events.
func (d *Decoder) events(key string) *MessageError {
	return d.rows(key, d.limits.Events, (*Decoder).event)
}

func (d *Decoder) event(index int) *MessageError {
	d.beginRow()
	b := &d.m.Batch
	b.Events = grow(b.Events)
	e := &b.Events[len(b.Events)-1]
	e.reset(index)
	if err := d.eventObject(e); err != nil {
		return err
	}
	if !d.endRow() {
		b.Events = b.Events[:len(b.Events)-1]
	}
	return nil
}

func (d *Decoder) eventObject(e *Event) *MessageError {
	if d.typ != jsonObject {
		return d.unexpectedNext("", "an object")
	}
	if err := d.enter(); err != nil {
		return err
	}
	var it list
	var seen, stated uint64 // by key
	base := len(d.names)
	for key, ok := d.nextEventKey(&it, eventStart); ok; key, ok = d.nextEventKey(&it, key) {
		if key >= eventUser {
			if err := d.userAttribute(&d.m.users, &d.row.users, base, d.keys.name(key, &it)); err != nil {
				return err
			}
			continue
		}
		if seen&(1<<key) != 0 {
			return d.duplicate(d.keys.name(key, &it))
		}
		seen |= 1 << key
		if d.typ == jsonNull {
			if _, err := d.null(); err != nil {
				return err
			}
			continue
		}
		stated |= 1 << key
		var err *MessageError
		if key < eventKey(NumAttrs) {
			err = d.knownAttribute(&e.Attrs, Attr(key))
		} else {
			err = d.eventValue(e, key)
		}
		if err != nil {
			return err
		}
	}
	d.names = d.names[:base]
	if err := d.endList(); err != nil {
		return err
	}
	e.User = d.rowUsers()
	return d.checkEvent(e, stated)
}

// rowUsers are the user's attributes of the row.
func (d *Decoder) rowUsers() []KeyValue {
	u := d.m.users
	if len(u) == d.row.users {
		return nil
	}
	return u[d.row.users:len(u):len(u)]
}

// checkEvent checks what concerns more than one key.
func (d *Decoder) checkEvent(e *Event, stated uint64) *MessageError {
	const ids = 1<<eventTraceID | 1<<eventSpanID | 1<<eventParentSpanID
	if stated&(1<<eventKind) == 0 {
		return d.reject("event", "is required")
	}
	if stated&(1<<eventTraceparent) != 0 && stated&ids != 0 {
		return d.reject("traceparent", whyBothForms)
	}
	if stated&(1<<eventTraceparent) != 0 && e.Parent.TraceID == (TraceID{}) {
		e.Tracestate = "" // of no known parent (Trace Context, section 3.3.1.1)
	}
	// An event without a time happens when it arrives: by far before 2116.
	start := int64(1 << 62)
	if e.HasTime {
		start = e.Time
	}
	if e.Duration > math.MaxInt64-start {
		return d.reject("duration_ns", whyEndLate)
	}
	return nil
}

const (
	whyBothForms = "stands beside trace_id, span_id or parent_span_id: state one form"
	whyEndLate   = "the end is after the year 2262"
)

func (d *Decoder) eventValue(e *Event, field eventKey) (err *MessageError) {
	key := eventFields[field-eventKind]
	switch field {
	case eventKind:
		e.Kind, err = d.kind()
	case eventTime:
		e.Time, e.HasTime, err = d.instant(key)
	case eventDuration:
		e.Duration, e.HasDuration, err = d.integer(key, 0)
	case eventTraceID:
		err = d.id(key, e.TraceID[:])
	case eventSpanID:
		err = d.id(key, e.SpanID[:])
	case eventParentSpanID:
		err = d.id(key, e.ParentSpanID[:])
	case eventTraceparent:
		e.Parent, err = d.traceparent()
	case eventTracestate:
		e.Tracestate, err = d.tracestate()
	case eventLinks:
		e.Links, err = d.linkList()
	case eventSampled:
		var sampled, ok bool
		sampled, ok, err = d.boolean(key)
		e.Unsampled = ok && !sampled
	}
	return err
}

func (d *Decoder) kind() (Kind, *MessageError) {
	if d.typ != jsonString {
		return KindUnknown, d.unexpectedNext("event", "a string")
	}
	_, s, err := d.str()
	if err != nil {
		return KindUnknown, err
	}
	kind, ok := ParseKind(s)
	if ok || d.mute() {
		if !ok {
			err = d.reject("", "")
		}
		return kind, err
	}
	text := "unknown kind " + quote(s)
	if near := nearKind(s); near != "" {
		text += ", did you mean " + quote(near) + "?"
	}
	return KindUnknown, d.reject("event", text)
}

// nearKind returns the kind that is at most two edits from name, "" if none is.
func nearKind(name string) string {
	const farthest = 2
	near, least := "", farthest+1
	name = strings.ToLower(cutRunes(name))
	for k := KindUnknown + 1; k < numKinds; k++ {
		if n := edits(name, k.String()); n < least && n < len(k.String())/2 {
			near, least = k.String(), n
		}
	}
	return near
}

// edits counts the insertions, deletions and replacements of bytes between two
// short words (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// id reads a trace or span id into dst.
func (d *Decoder) id(key string, dst []byte) *MessageError {
	want := "16 hex digits, not all zero"
	if len(dst) == len(TraceID{}) {
		want = "32 hex digits, not all zero"
	}
	if d.typ != jsonString {
		return d.unexpectedNext(key, want)
	}
	// Hex digits up to a quote need no look for what else may be in a string.
	s, end := &d.json, d.json.pos+1+2*len(dst)
	if end < len(s.data) && s.data[end] == '"' && parseID(dst, view(s.data[s.pos+1:end])) {
		s.pos = end + 1
		return nil
	}
	raw, text, err := d.str()
	if err != nil {
		return err
	}
	if !parseID(dst, text) {
		return d.unexpected(key, want, raw)
	}
	return nil
}

// traceparent reads the parent's context. One that W3C calls invalid comes
// from a stranger's header and is not the sender's mistake.
func (d *Decoder) traceparent() (TraceContext, *MessageError) {
	if d.typ != jsonString {
		return TraceContext{}, d.unexpectedNext("traceparent", "a string")
	}
	_, s, err := d.str()
	if err != nil {
		return TraceContext{}, err
	}
	tc, ok := ParseTraceparent(s)
	if !ok {
		d.m.Batch.TraceparentsIgnored++
	}
	return tc, nil
}

// tracestate reads a tracestate; one that is too long loses whole members at
// its end, as Trace Context, section 3.3.1.5 has it.
func (d *Decoder) tracestate() (string, *MessageError) {
	cuts := d.m.Batch.ValuesCut
	s, err := d.optionalText("tracestate")
	if d.m.Batch.ValuesCut > cuts {
		s = s[:max(0, strings.LastIndexByte(s, ','))]
	}
	return s, err
}

func (d *Decoder) linkList() ([]Link, *MessageError) {
	if d.typ != jsonArray {
		return nil, d.unexpectedNext("links", "an array")
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	var it list
	start := len(d.m.links)
	for n := 0; d.nextElem(&it); n++ {
		d.push("links", n)
		var err *MessageError
		if n == maxLinks {
			err = d.reject("", "more than 128 links")
		}
		if err == nil && n < maxLinks {
			err = d.link(&start)
		} else if err == nil {
			err = d.skip()
		}
		if err != nil {
			return nil, err
		}
		d.pop()
	}
	return d.m.links[start:len(d.m.links):len(d.m.links)], d.endList()
}

var linkKeys = oneOf("trace_id", "span_id", "attributes")

// link decodes a link of those of an event, which are from start on.
func (d *Decoder) link(start *int) *MessageError {
	var l Link
	_, err := fields(d, linkKeys, d.unknown, func(_ uint8, key string) (err *MessageError) {
		switch key {
		case "trace_id":
			err = d.id(key, l.TraceID[:])
		case "span_id":
			err = d.id(key, l.SpanID[:])
		case "attributes":
			l.Attributes, err = d.keyValues(key, &d.m.linkUsers)
		}
		return err
	})
	switch {
	case err != nil:
	case l.TraceID == (TraceID{}):
		err = d.reject("trace_id", "is required")
	case l.SpanID == (SpanID{}):
		err = d.reject("span_id", "is required")
	}
	if err == nil {
		d.m.links = push(d.m.links, start, l)
	}
	return err
}
