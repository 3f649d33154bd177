package wire

import (
	"math"
	"strconv"
)

const (
	eventsKinds         = 1
	eventsBaseTime      = 2
	eventsTimes         = 3
	eventsUntimed       = 4
	eventsConnections   = 5
	eventsUnsampled     = 6
	eventsTraceIDs      = 7
	eventsSpanIDs       = 8
	eventsParentSpanIDs = 9
	eventsDurations     = 10
	eventsTraceparents  = 11
	eventsTracestates   = 12
	eventsLinks         = 13
	eventsColumns       = 14
)

var eventsFields = []protoField{
	eventsKinds:         {name: "kinds"},
	eventsBaseTime:      {name: "base_time", typ: fieldVarint},
	eventsTimes:         {name: "times", typ: fieldPacked},
	eventsUntimed:       {name: "untimed", typ: fieldPacked},
	eventsConnections:   {name: "connections", typ: fieldPacked},
	eventsUnsampled:     {name: "unsampled"},
	eventsTraceIDs:      {name: "trace_ids"},
	eventsSpanIDs:       {name: "span_ids"},
	eventsParentSpanIDs: {name: "parent_span_ids"},
	eventsDurations:     {name: "durations"},
	eventsTraceparents:  {name: "traceparents"},
	eventsTracestates:   {name: "tracestates"},
	eventsLinks:         {name: "links", repeated: true},
	eventsColumns:       {name: "columns", repeated: true},
}

// protoEvents is the state of the events that are being decoded, column by column.
type protoEvents struct {
	key  string  // of the events in the message
	rows []Event // all of them; a rejected one has KindUnknown until it is left out

	fields [eventsColumns][]byte // the message's fields that come once, by number
	base   int64                 // base_time
	lists  []byte                // the whole message, for links and columns
	linked bool                  // there are links

	// For each row: the place in ordinals of the last ordinal of its connection and kind.
	places   []uint32
	ordinals []int64

	// What the columns say in all, before they are decoded.
	every  uint64   // the attributes of the conventions that every row has
	stride int      // how many attributes of the user every row has
	filled int      // how many of them have their values
	uneven bool     // some row has more of them: users and begin are used
	users  []uint32 // for each row: how many attributes of the user it has, then where the next one goes
	begin  []uint32 // for each row: where its attributes of the user begin
	space  int      // how many attributes of the user there are, at the end of Message.users

	// Numbers of the columns in hand, and the rows that they belong to.
	nums    []uint64
	at, all []int   // all: every row
	times   []int64 // of all rows, 0 where there is none

	bad     bool // some row is rejected
	first   int  // the first one that is: what is wrong with later ones is not written down
	text    string
	cuts    []int // the row of each value that was cut
	ignored []int // the rows of traceparents that were ignored
}

// protoEvents decodes the events of the message, which stand under that key.
// It goes over them once to find where its fields are, as they come in any
// order, and then column by column.
func (d *Decoder) protoEvents(key string, body []byte) *MessageError {
	x := &d.proto.events
	x.key, x.lists, x.linked, x.base = key, body, false, 0
	x.bad, x.first, x.text, x.cuts, x.ignored = false, math.MaxInt, "", x.cuts[:0], x.ignored[:0]
	clear(x.fields[:])
	if d.m.Batch.Rejected.Count > 0 {
		x.first = -1
	}
	d.enterEvents()
	it := fieldIter{rest: body, spec: eventsFields}
	for it.next() {
		switch it.num {
		case eventsLinks:
			x.linked = true
		case eventsColumns:
		case eventsBaseTime:
			x.base = it.int()
		default:
			x.fields[it.num] = it.b
		}
	}
	if err := d.endFields(&it); err != nil {
		return err
	}
	n := len(x.fields[eventsKinds])
	if n > d.limits.Events {
		return d.tooLarge("kinds", "more than "+strconv.Itoa(d.limits.Events))
	}
	// A byte of each is there.
	d.m.Batch.Events = resized(d.m.Batch.Events, n)
	x.rows = d.m.Batch.Events
	for _, columns := range [...]func(*Decoder) *MessageError{
		(*Decoder).eventColumnIndex,
		(*Decoder).eventTimes,
		(*Decoder).eventHeads,
		(*Decoder).eventSampling,
		(*Decoder).eventIDs,
		(*Decoder).eventDurations,
		(*Decoder).eventTracestates,
		(*Decoder).eventTraceparents,
		(*Decoder).eventLinks,
		(*Decoder).eventColumns,
	} {
		if err := columns(d); err != nil {
			return err
		}
	}
	d.keepEvents()
	d.path = d.path[:0]
	return nil
}

// noSpace is where the attributes of a row with too many of them go.
const noSpace = math.MaxUint32

// messageTypes are the values of ws.message.type by their numbers.
var messageTypes = [...]string{1: "text", 2: "binary", 3: "ping", 4: "pong", 5: "close"}

// eventTimes finds the time of each row: x.times, which is empty where none has one.
func (d *Decoder) eventTimes() *MessageError {
	x := &d.proto.events
	list, untimed := packed{b: x.fields[eventsTimes]}, newRowIter(x.fields[eventsUntimed], len(x.rows))
	if x.times = x.times[:0]; len(list.b) == 0 {
		if !untimed.all {
			return d.fail("untimed", "there are no times")
		}
		return nil
	}
	x.times, x.nums = resized(x.times, len(x.rows)), resized(x.nums, len(x.rows))
	distances := list.read(x.nums)
	now, without := x.base, -1 // without: the next row that has no time
	if !untimed.all && untimed.next() {
		without = untimed.row
	}
	for i := range x.times {
		if i == without {
			x.times[i], without = 0, -1
			if untimed.next() {
				without = untimed.row
			}
			continue
		}
		if len(distances) == 0 {
			return d.fail("times", list.why(whyFew))
		}
		var ok bool
		if now, ok = addInt(now, zigzag(distances[0])); !ok {
			return d.fail("times", whyOverflow)
		}
		x.times[i], distances = now, distances[1:]
	}
	switch {
	case len(distances) > 0 || list.more():
		return d.fail("times", whyMany)
	case untimed.why != "":
		return d.fail("untimed", untimed.why)
	}
	return nil
}

// eventHeads begins each row: kind and message type, attributes of the user, time, connection.
func (d *Decoder) eventHeads() *MessageError {
	x := &d.proto.events
	kinds := x.fields[eventsKinds]
	list := packed{b: x.fields[eventsConnections]}
	connected := len(list.b) > 0
	x.nums = resized(x.nums, len(kinds))
	handles := list.read(x.nums)
	switch {
	case connected && len(handles) < len(kinds):
		return d.fail("connections", list.why(whyFew))
	case list.more():
		return d.fail("connections", whyMany)
	}
	x.ordinals = zeroed(x.ordinals, kindsOfConnection) // of events without a connection
	x.places, x.all = resized(x.places, len(kinds)), resized(x.all, len(kinds))
	rows, places, all := x.rows[:len(kinds)], x.places[:len(kinds)], x.all[:len(kinds)]
	nextUser, space := 0, d.eventUsers()
	table, named := *d.proto.table, d.proto.table == &d.Definitions.table
	for i, kind := range kinds {
		e := &rows[i]
		// A row is about 700 bytes, and most of that is attributes that it does not
		// have. To zero all of it costs more than everything else here: what Attrs does
		// not call set may stay, the rest is set or zeroed field by field, one statement
		// each: an assignment to several makes copies first.
		set := x.every
		e.Kind = Kind(kind & 15)
		e.Index = i
		e.Duration = 0
		e.HasDuration = false
		e.Unsampled = false
		e.TraceID = TraceID{}
		e.SpanID = SpanID{}
		e.ParentSpanID = SpanID{}
		e.Parent = TraceContext{}
		e.Tracestate = ""
		e.Links = nil
		e.ConnHandle = 0
		all[i] = i

		n := x.stride
		if x.uneven {
			if n = int(x.users[i]); n > d.limits.Attributes {
				n = 0
				x.users[i] = noSpace
				if d.rejectEvent(i) {
					d.firstRejection(i, "", whyManyUsers(d.limits.Attributes))
				}
			} else {
				x.begin[i], x.users[i] = uint32(nextUser), uint32(nextUser)
			}
		}
		if n == 0 {
			e.User = nil
		} else {
			e.User = space[nextUser : nextUser+n : nextUser+n]
			nextUser += n
		}
		if typ := kind >> 4; typ != 0 {
			if set&(1<<AttrMessageType) != 0 {
				return d.duplicateInEvent(i, AttrMessageType.String())
			}
			set |= 1 << AttrMessageType
			if int(typ) < len(messageTypes) {
				e.strs[AttrMessageType] = messageTypes[typ]
			} else if d.rejectEvent(i) {
				d.firstRejection(i, "event", "unknown message type "+strconv.Itoa(int(typ)))
			}
		}
		if e.Time, e.HasTime = 0, len(x.times) > 0; e.HasTime {
			now := x.times[i]
			e.Time = now
			if now < 0 && d.rejectEvent(i) {
				d.firstRejection(i, "time", unexpectedText(wantNanoseconds, IntValue(now)))
			}
		}
		place := uint32(0) // of events without a connection
		if i < len(handles) && handles[i] != 0 {
			def := table.get(handles[i])
			if def == nil {
				return d.undefined("connections", handles[i])
			}
			if def.message != d.Definitions.message {
				d.meetConnection(def)
			}
			if set&(1<<AttrConnectionID) != 0 {
				return d.duplicateInEvent(i, AttrConnectionID.String())
			}
			set |= 1 << AttrConnectionID
			e.strs[AttrConnectionID] = def.text
			if named {
				e.ConnHandle = uint32(handles[i])
			}
			if place = def.slot; def.id == idBad && d.rejectEvent(i) {
				d.firstRejection(i, "ws.connection.id", unexpectedText(wantName128, StringValue(def.text)))
			}
		}
		e.set = set
		places[i] = place + uint32(kind&15)
		if k := Kind(kind & 15); k == KindUnknown || k >= numKinds {
			if d.rejectEvent(i) {
				d.firstRejection(i, "event", kindError(k))
			}
		}
	}
	if len(x.times) > 0 {
		untimed := newRowIter(x.fields[eventsUntimed], len(kinds))
		for !untimed.all && untimed.next() {
			rows[untimed.row].HasTime = false
		}
	}
	return nil
}

const (
	whyFew      = "there are fewer of them than events"
	whyMany     = "there are more of them than events"
	whyOverflow = "the distances add up to more than 64 bits"

	// kindsOfConnection is how many ordinals are kept of a connection: one for each
	// value of the low four bits of kinds.
	kindsOfConnection = 16
)

// noOrdinals are the last ordinals of a connection at the beginning of a message.
var noOrdinals [kindsOfConnection]int64

// meetConnection does once a message what every event of a connection needs.
func (d *Decoder) meetConnection(def *definition) {
	x := &d.proto.events
	if def.id == idUnknown {
		if def.id = idGood; !isName128(def.text) {
			def.id = idBad
		}
	}
	def.message, def.slot = d.Definitions.message, uint32(len(x.ordinals))
	x.ordinals = append(x.ordinals, noOrdinals[:]...)
}

func kindError(k Kind) string {
	if k == KindUnknown {
		return "is required"
	}
	return "unknown kind " + strconv.Itoa(int(k))
}

// addInt adds, and tells whether the sum has 64 bits.
func addInt(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (a^sum)&(b^sum) >= 0
}

// rejectEvent rejects a row, and tells whether it is the first one: only what is
// wrong with that one is written down, as their number is the sender's choice.
func (d *Decoder) rejectEvent(i int) bool {
	x := &d.proto.events
	x.bad = true
	x.rows[i].Kind = KindUnknown
	return i < x.first
}

// firstRejection notes what is wrong with the first row that is rejected.
func (d *Decoder) firstRejection(i int, key, text string) {
	x := &d.proto.events
	x.first = i
	place := []byte(d.m.EventPlace(i))
	if key != "" {
		place = appendStep(place, step{key, -1})
	}
	x.text = string(place) + ": " + text
}

// rejectedOf counts the rejected rows in a list.
func (x *protoEvents) rejectedOf(rows []int) (n int) {
	for _, i := range rows {
		if x.rows[i].Kind == KindUnknown {
			n++
		}
	}
	return n
}

// noteCuts remembers the row of the values that were cut since there were so many.
func (d *Decoder) noteCuts(i, before int) {
	for range d.m.Batch.ValuesCut - before {
		d.proto.events.cuts = append(d.proto.events.cuts, i)
	}
}

// cutEvent shortens a value of a row, and remembers that it did.
func (d *Decoder) cutEvent(i int, s string) string {
	if len(s) <= d.limits.ValueBytes {
		return s
	}
	d.proto.events.cuts = append(d.proto.events.cuts, i)
	return d.cut(s)
}

// keepEvents leaves out the rows that are rejected, and what was counted of them.
func (d *Decoder) keepEvents() {
	x, b := &d.proto.events, &d.m.Batch
	if x.bad {
		b.ValuesCut -= x.rejectedOf(x.cuts)
		b.TraceparentsIgnored -= x.rejectedOf(x.ignored)
		kept := 0
		for i := range x.rows {
			if x.rows[i].Kind == KindUnknown {
				continue
			}
			if kept < i {
				x.rows[kept] = x.rows[i]
			}
			kept++
		}
		if b.Rejected.Count == 0 {
			b.Rejected.First = x.text
		}
		b.Rejected.Count += len(x.rows) - kept
		b.Events = x.rows[:kept]
	}
	x.rows, x.lists = nil, nil
	clear(x.fields[:])
	x.places, x.users, x.begin = emptied(x.places, 1<<14), emptied(x.users, 1<<14), emptied(x.begin, 1<<14)
	x.cuts = emptied(x.cuts, 1<<14)
	x.times, x.nums, x.at, x.all = emptied(x.times, 1<<14), emptied(x.nums, 1<<14), emptied(x.at, 1<<14), emptied(x.all, 1<<14)
	x.ordinals, x.ignored = emptied(x.ordinals, 1<<16), emptied(x.ignored, 1<<14)
}

// resized is a slice of that length in the same memory, if that is enough. What is in it is not defined.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func zeroed[T any](s []T, n int) []T {
	s = resized(s, n)
	clear(s)
	return s
}
