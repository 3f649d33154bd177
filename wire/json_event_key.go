package wire

// eventKey is a key of an event: an Attr, a key of the protocol, or from
// eventUser on one of the user's that the message has had before.
type eventKey uint8

const (
	eventKind = eventKey(NumAttrs) + iota
	eventTime
	eventDuration
	eventTraceID
	eventSpanID
	eventParentSpanID
	eventTraceparent
	eventTracestate
	eventLinks
	eventSampled

	eventUser                               // the first of the user's
	eventUnknown = eventUser + guessedUsers // one of the user's that is not remembered
	eventStart   = eventUnknown + 1         // no key: the beginning of an event
)

// guessedUsers is how many keys of the user are remembered.
const guessedUsers = 8

var eventFields = [...]string{
	"event", "time", "duration_ns", "trace_id", "span_id", "parent_span_id", "traceparent", "tracestate", "links", "sampled",
}

// eventField returns the protocol's key of that name, eventUnknown where it is an attribute.
func eventField(key string) eventKey {
	switch key {
	case "event":
		return eventKind
	case "time":
		return eventTime
	case "duration_ns":
		return eventDuration
	case "trace_id":
		return eventTraceID
	case "span_id":
		return eventSpanID
	case "parent_span_id":
		return eventParentSpanID
	case "traceparent":
		return eventTraceparent
	case "tracestate":
		return eventTracestate
	case "links":
		return eventLinks
	case "sampled":
		return eventSampled
	}
	return eventUnknown
}

// eventKeys guesses the next key of an event. What writes events writes their
// keys in the same order, so behind a key comes the one that came there the last
// time. To see that it is there again is one comparison, which takes a quarter
// of the time of reading a key and looking it up.
type eventKeys struct {
	next  [eventStart + 1]eventKey // what came behind a key
	users [guessedUsers]string     // keys of the user in this message, in quotes: they alias it
	count int                      // how many of users there are
}

// quotedKeys are the keys that are not the user's.
var quotedKeys = func() (quoted [eventUser]string) {
	for a := range NumAttrs {
		quoted[a] = `"` + a.String() + `"`
	}
	for i, name := range eventFields {
		quoted[int(eventKind)+i] = `"` + name + `"`
	}
	return quoted
}()

// text is a key in its quotes, "" where it is not known.
func (k *eventKeys) text(key eventKey) string {
	switch {
	case key < eventUser:
		return quotedKeys[key]
	case key < eventUnknown:
		return k.users[key-eventUser]
	}
	return ""
}

// name is a key as nextEventKey has read it.
func (k *eventKeys) name(key eventKey, l *list) string {
	if key == eventUnknown {
		return l.key
	}
	text := k.text(key)
	return text[1 : len(text)-1]
}

// forget lets go of the keys of a message.
func (k *eventKeys) forget() {
	clear(k.users[:k.count])
	k.count = 0
}

// nextEventKey goes to the next value of an event, behind the key that was last.
func (d *Decoder) nextEventKey(l *list, last eventKey) (key eventKey, ok bool) {
	s := &d.json
	before := s.pos
	if l.some {
		if !s.at(',') {
			return d.readEventKey(l, last)
		}
		s.pos++
	}
	s.byte()
	key = d.keys.next[last]
	text := d.keys.text(key)
	end := s.pos + len(text)
	if text == "" || end >= len(s.data) || s.data[end] != ':' || string(s.data[s.pos:end]) != text {
		s.pos = before
		return d.readEventKey(l, last)
	}
	l.some = true
	s.pos = end + 1
	d.typ = s.next()
	return key, s.pos < len(s.data) || s.fail(s.pos)
}

// readEventKey does that where the guess was wrong, and remembers what is there.
func (d *Decoder) readEventKey(l *list, last eventKey) (key eventKey, ok bool) {
	if !d.nextKey(l) {
		return 0, false
	}
	if key = eventField(l.key); key == eventUnknown {
		if a, isAttr := ParseAttr(l.key); isAttr {
			key = eventKey(a)
		} else {
			key = d.keys.user(l)
		}
	}
	d.keys.next[last] = key
	return key, true
}

// user is the place of a key of the user.
func (k *eventKeys) user(l *list) eventKey {
	if l.escaped {
		return eventUnknown
	}
	for i, text := range k.users[:k.count] {
		if text == string(l.raw) {
			return eventUser + eventKey(i)
		}
	}
	if k.count == len(k.users) {
		return eventUnknown
	}
	k.users[k.count] = view(l.raw)
	k.count++
	return eventUser + eventKey(k.count-1)
}
