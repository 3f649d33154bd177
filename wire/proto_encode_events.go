package wire

import (
	"github.com/wsstats/wsstatsreceiver/wire/wsstatspb"
)

// events turns rows into columns.
func (e *ProtoEncoder) events(rows []Event) *wsstatspb.Events {
	pb := &wsstatspb.Events{Kinds: make([]byte, len(rows))}
	e.heads(pb, rows)
	e.spans(pb, rows)
	e.known(pb, rows)
	e.users(pb, rows)
	return pb
}

// gaps makes the rows of a sparse column: an index, then the distances.
type gaps struct {
	rows []uint32
	last int
}

func (g *gaps) add(row int) {
	g.rows = append(g.rows, uint32(row-g.last))
	g.last = row
}

// of returns the rows, none where they are all of n.
func (g *gaps) of(n int) []uint32 {
	if len(g.rows) == n {
		return nil
	}
	return g.rows
}

// heads has what every event has a place for: kind, message type, time,
// connection, and whether it is sampled.
func (e *ProtoEncoder) heads(pb *wsstatspb.Events, rows []Event) {
	var untimed gaps
	var now int64
	connected := false
	for i := range rows {
		row := &rows[i]
		pb.Kinds[i] = byte(row.Kind) | byte(messageTypeNumber(row))<<4
		if !row.HasTime {
			untimed.add(i)
		} else {
			if len(pb.Times) == 0 {
				pb.BaseTime, now = row.Time, row.Time
			}
			pb.Times = append(pb.Times, row.Time-now)
			now = row.Time
		}
		connected = connected || row.Has(AttrConnectionID)
		if row.Unsampled {
			if pb.Unsampled == nil {
				pb.Unsampled = make([]byte, (len(rows)+7)/8)
			}
			pb.Unsampled[i/8] |= 1 << (i % 8)
		}
	}
	if len(pb.Times) > 0 {
		pb.Untimed = untimed.rows
	}
	if !connected {
		return
	}
	pb.Connections = make([]uint32, len(rows))
	for i := range rows {
		if rows[i].Has(AttrConnectionID) {
			pb.Connections[i] = e.handle(utf8Of(rows[i].Str(AttrConnectionID)))
		}
	}
}

// messageTypeNumber is how kinds calls the row's ws.message.type, 0 where it does not.
func messageTypeNumber(row *Event) MessageType {
	if !row.Has(AttrMessageType) {
		return MessageTypeUnknown
	}
	if t := ParseMessageType(row.Str(AttrMessageType)); t != MessageTypeOther {
		return t
	}
	return MessageTypeUnknown
}

// spans has the columns that concern the events' spans.
func (e *ProtoEncoder) spans(pb *wsstatspb.Events, rows []Event) {
	var traces, spans, parents idColumn
	var durations, contexts, states gaps
	var ns []int64
	var contextBytes []byte
	var texts []string
	for i := range rows {
		row := &rows[i]
		if row.TraceID != (TraceID{}) {
			traces.add(i, row.TraceID[:])
		}
		if row.SpanID != (SpanID{}) {
			spans.add(i, row.SpanID[:])
		}
		if row.ParentSpanID != (SpanID{}) {
			parents.add(i, row.ParentSpanID[:])
		}
		if row.HasDuration {
			durations.add(i)
			ns = append(ns, row.Duration)
		}
		if p := &row.Parent; p.TraceID != (TraceID{}) {
			contexts.add(i)
			contextBytes = append(append(append(contextBytes, p.TraceID[:]...), p.SpanID[:]...), p.Flags)
		}
		if row.Tracestate != "" {
			states.add(i)
			texts = append(texts, utf8Of(row.Tracestate))
		}
		if len(row.Links) > 0 {
			pb.Links = append(pb.Links, protoLinks(i, row.Links))
		}
	}
	pb.TraceIds, pb.SpanIds, pb.ParentSpanIds = traces.of(len(rows)), spans.of(len(rows)), parents.of(len(rows))
	if ns != nil {
		pb.Durations = &wsstatspb.Ints{Rows: durations.of(len(rows)), Values: ns}
	}
	if contextBytes != nil {
		pb.Traceparents = &wsstatspb.Contexts{Rows: contexts.of(len(rows)), Contexts: contextBytes}
	}
	if texts != nil {
		pb.Tracestates = &wsstatspb.Texts{Rows: states.of(len(rows)), Values: texts}
	}
}

// idColumn makes a column of ids.
type idColumn struct {
	gaps gaps
	ids  []byte
}

func (c *idColumn) add(row int, id []byte) {
	c.gaps.add(row)
	c.ids = append(c.ids, id...)
}

func (c *idColumn) of(n int) *wsstatspb.IDs {
	if c.ids == nil {
		return nil
	}
	return &wsstatspb.IDs{Rows: c.gaps.of(n), Ids: c.ids}
}

func protoLinks(row int, links []Link) *wsstatspb.EventLinks {
	pb := &wsstatspb.EventLinks{Row: uint32(row)}
	for i := range links {
		l := &links[i]
		pb.Links = append(pb.Links, &wsstatspb.Link{TraceId: l.TraceID[:], SpanId: l.SpanID[:], Attributes: protoKeyValues(l.Attributes)})
	}
	return pb
}

// ordinalOf is what an ordinal is counted by.
type ordinalOf struct {
	connection uint32
	kind       Kind
}

// known has the columns of the conventions' attributes.
func (e *ProtoEncoder) known(pb *wsstatspb.Events, rows []Event) {
	var some uint64
	for i := range rows {
		some |= rows[i].set
	}
	last := make(map[ordinalOf]int64)
	for a := range NumAttrs {
		if some&(1<<a) == 0 || a == AttrConnectionID {
			continue
		}
		c := columnBuilder{attribute: attributeNumber(a), inline: a == AttrMessageID}
		for i := range rows {
			row := &rows[i]
			if !row.Has(a) || a == AttrMessageType && messageTypeNumber(row) != MessageTypeUnknown {
				continue
			}
			v := row.Value(a)
			if a == AttrMessageSeq {
				of := ordinalOf{kind: row.Kind}
				if pb.Connections != nil {
					of.connection = pb.Connections[i]
				}
				v = IntValue(row.Int(a) - last[of])
				last[of] = row.Int(a)
			}
			c.add(e, i, v)
		}
		pb.Columns = c.appendTo(pb.Columns, len(rows))
	}
}

// users has the columns of the user's attributes, in the order of their first
// use: one for each key and type.
func (e *ProtoEncoder) users(pb *wsstatspb.Events, rows []Event) {
	type columnOf struct {
		key string
		typ Type
	}
	type cell struct {
		row   int
		value Value
	}
	index := make(map[columnOf]int)
	var keys []string
	var cells [][]cell
	for i := range rows {
		user := rows[i].User
		for k, kv := range user {
			if !sayable(kv.Value) || !isUserKey(user[:k], kv.Key, func(key string) bool { return eventField(key) != eventUnknown }) {
				continue
			}
			of := columnOf{utf8Of(kv.Key), kv.Value.Type}
			n, ok := index[of]
			if !ok {
				n = len(cells)
				index[of] = n
				keys, cells = append(keys, of.key), append(cells, nil)
			}
			cells[n] = append(cells[n], cell{i, kv.Value})
		}
	}
	for n, list := range cells {
		c := columnBuilder{key: e.handle(keys[n])}
		for _, cell := range list {
			c.add(e, cell.row, cell.value)
		}
		pb.Columns = c.appendTo(pb.Columns, len(rows))
	}
}

// columnBuilder makes the column of values of one type. Strings that do not get
// a handle are a second one.
type columnBuilder struct {
	attribute wsstatspb.AttributeName // or
	key       uint32                  // a handle
	inline    bool                    // no string gets a handle

	values, texts         wsstatspb.Column
	valueRows, stringRows gaps
}

func (c *columnBuilder) add(e *ProtoEncoder, row int, v Value) {
	switch v.Type {
	case TypeString:
		s := utf8Of(v.Str)
		if c.inline || !e.worthHandle(s) {
			c.texts.Texts = append(c.texts.Texts, s)
			c.stringRows.add(row)
			return
		}
		c.values.Handles = append(c.values.Handles, e.handle(s))
	case TypeInt:
		c.values.Ints = append(c.values.Ints, v.Int())
	case TypeDouble:
		c.values.Doubles = append(c.values.Doubles, v.Double())
	case TypeBool:
		c.values.Bools = append(c.values.Bools, v.Bool())
	default:
		c.values.Arrays = append(c.values.Arrays, protoArray(v.Array))
	}
	c.valueRows.add(row)
}

// appendTo appends what was made of the n events of the message.
func (c *columnBuilder) appendTo(columns []*wsstatspb.Column, n int) []*wsstatspb.Column {
	for _, made := range [...]struct {
		column *wsstatspb.Column
		rows   *gaps
	}{{&c.values, &c.valueRows}, {&c.texts, &c.stringRows}} {
		if made.rows.rows != nil {
			made.column.Attribute, made.column.Key, made.column.Rows = c.attribute, c.key, made.rows.of(n)
			columns = append(columns, made.column)
		}
	}
	return columns
}
