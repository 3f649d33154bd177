package wsstats

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// meter measures the messages of an agent that aggregates (docs/protocol.md,
// "Stats"): each one counts in the series of its attributes until the series are
// put into the queue. While the receiver cannot be reached they go on counting,
// so that no outage loses a count. It is not safe for concurrent use.
type meter struct {
	sampling

	known      bool     // the receiver has said by which dimensions
	dimensions []string // attributes of the user that series are kept apart by
	series     map[string]*series
	waiting    []*series // that have counted something, in this order
	left       uint64    // messages that nothing but these tells of
	bytes      int       // memory of the series
	maxBytes   int

	// generation changes when series are let go of or kept apart by others.
	generation uint64

	seen  sight      // of the record at hand
	key   []byte     // scratch
	event wire.Event // scratch
}

// recentSeries is a series that a connection remembers, to look it up once.
type recentSeries struct {
	*series
	code       uint32 // of its labels
	generation uint64
}

// series are the observations of one metric with one set of attributes.
type series struct {
	histogram
	labels
	start int64  // Unix ns: when the first of them began
	left  uint64 // of them: messages that nothing else tells of
}

// labels are the attributes of a series.
type labels struct {
	metric     wire.Metric
	role       wire.Role
	dir        wire.Direction
	typ        wire.MessageType
	dimensions []Attribute
}

// stat is what a series counted until it was put into the queue.
type stat struct {
	histogram
	labels
	start, end int64 // Unix ns
	left       uint64
}

const (
	seriesBytes = int(unsafe.Sizeof(series{})) + 64 // and its place in the map
	statBytes   = int(unsafe.Sizeof(stat{}))
	bucketBytes = int(unsafe.Sizeof(uint64(0)))
	plainKey    = 4 // bytes of a key without dimensions
)

func newMeter(limit, maxBytes int, rules *spanRules) *meter {
	return &meter{sampling: sampling{spanRules: rules, limit: uint64(limit)}, series: map[string]*series{}, maxBytes: maxBytes, generation: 1}
}

// measured tells whether the receiver leaves an event of the kind to stats.
func measured(k wire.Kind) bool {
	switch k {
	case wire.KindSend, wire.KindReceive, wire.KindMessage, wire.KindProcess, wire.KindBroadcast, wire.KindBatchSend:
		return true
	}
	return false
}

// waits tells whether anything was counted that is not in the queue.
func (m *meter) waits() bool { return m != nil && len(m.waiting) > 0 }

// take measures a record, and tells whether it is left out: there is nothing
// more to tell of it. Until the dimensions are known all records are kept, to be
// measured then.
func (m *meter) take(r *record) (left bool) {
	if !m.known || !measured(r.kind) {
		return false
	}
	m.count(r.time + max(r.duration, 0))
	in := m.measure(r)
	if in == nil || !m.leave(r.conn, &m.seen) {
		return false
	}
	in.left++
	m.left++
	return true
}

// measure counts what a record tells, and returns where the message or its
// processing counted, nil where it tells of neither.
func (m *meter) measure(r *record) (in *series) {
	if !measured(r.kind) {
		return nil
	}
	seen := &m.seen
	m.look(r)
	if seen.messages > 0 {
		in = m.observe(r, labels{metric: wire.MetricMessageSize, role: seen.role, dir: seen.dir, typ: seen.typ}, seen.size, seen.messages)
	}
	if seen.seconds >= 0 && seen.seconds <= math.MaxFloat64 {
		in = m.observe(r, labels{metric: wire.MetricProcessingTime, typ: seen.typ}, seen.seconds, 1)
	}
	if seen.recipients >= 0 {
		m.observe(r, labels{metric: wire.MetricBroadcastRecipients}, float64(seen.recipients), 1)
	}
	if seen.queue >= 0 {
		m.observe(r, labels{metric: wire.MetricQueueSize, role: seen.role}, float64(seen.queue), 1)
	}
	return in
}

func (m *meter) observe(r *record, l labels, v float64, n uint64) *series {
	s := m.find(r, l)
	if s.count == 0 {
		s.start = r.time
		m.waiting = append(m.waiting, s)
	}
	held := cap(s.buckets)
	s.observe(v, n)
	m.bytes += (cap(s.buckets) - held) * bucketBytes
	return s
}

// find returns the series of these labels and the record's dimensions. Those of
// messages without attributes of their own are their connection's.
func (m *meter) find(r *record, l labels) *series {
	if l.metric != wire.MetricMessageSize || r.conn == nil || m.seen.user != nil {
		return m.search(r, l)
	}
	place := &r.conn.recent[l.dir&1]
	code := uint32(l.role)<<16 | uint32(l.dir)<<8 | uint32(l.typ)
	if place.code != code || place.generation != m.generation {
		*place = recentSeries{m.search(r, l), code, m.generation}
	}
	return place.series
}

// search finds or makes a series, one without the dimensions where there are too
// many already.
func (m *meter) search(r *record, l labels) *series {
	seen := &m.seen
	m.key = append(m.key[:0], byte(l.metric), byte(l.role), byte(l.dir), byte(l.typ))
	stated := false
	for _, name := range m.dimensions {
		v, ok := lookUp(name, r, seen)
		stated = stated || ok
		m.key = appendKey(m.key, v)
	}
	if !stated {
		m.key = m.key[:plainKey]
	}
	if s := m.series[string(m.key)]; s != nil {
		return s
	}
	size := seriesBytes + 2*len(m.key)
	if stated {
		size += len(m.dimensions) * int(unsafe.Sizeof(Attribute{}))
	}
	if stated && m.bytes+size > m.maxBytes {
		m.key, stated = m.key[:plainKey], false
		if s := m.series[string(m.key)]; s != nil {
			return s
		}
		size = seriesBytes
	}
	s := &series{labels: l}
	for _, name := range m.dimensions {
		if v, ok := lookUp(name, r, seen); stated && ok {
			s.dimensions = append(s.dimensions, Attribute{Key: name, Value: v})
		}
	}
	m.series[string(m.key)] = s
	m.bytes += size
	return s
}

// lookUp returns an attribute of the user: the event's own, else its connection's.
func lookUp(name string, r *record, seen *sight) (wire.Value, bool) {
	for _, attributes := range [...][]Attribute{seen.user, r.inherited()} {
		for i := range attributes {
			if v := &attributes[i].Value; attributes[i].Key == name && v.Type != wire.TypeEmpty {
				return *v, true
			}
		}
	}
	return wire.Value{}, false
}

// appendKey appends a value so that no two lists of values look the same.
func appendKey(dst []byte, v wire.Value) []byte {
	dst = append(dst, byte(v.Type))
	switch v.Type {
	case wire.TypeString:
		dst = binary.AppendUvarint(dst, uint64(len(v.Str)))
		dst = append(dst, v.Str...)
	case wire.TypeInt:
		dst = binary.AppendVarint(dst, v.Int())
	case wire.TypeDouble:
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Double()))
	case wire.TypeBool:
		if v.Bool() {
			return append(dst, 1)
		}
		return append(dst, 0)
	case wire.TypeArray:
		dst = binary.AppendUvarint(dst, uint64(len(v.Array)))
		for i := range v.Array {
			dst = appendKey(dst, v.Array[i])
		}
	}
	return dst
}

// seal puts into the queue what was counted until now (Unix ns), as far as there
// is room, and tells whether that was all. Where the queue is empty there is
// room for one at least.
func (m *meter) seal(g *ring, now int64) bool {
	for i, s := range m.waiting {
		sealed := &stat{histogram: s.histogram, labels: s.labels, start: s.start, end: max(now, s.start), left: s.left}
		r := record{stat: sealed, time: sealed.end, duration: -1, size: -1}
		if size := r.memory(); g.n > 0 && g.bytes+size > g.maxBytes && !g.makeRoom(size) {
			m.waiting = append(m.waiting[:0], m.waiting[i:]...)
			return false
		}
		sealed.buckets = append([]uint64(nil), s.buckets...)
		g.pushStat(&r)
		m.left -= s.left
		s.left = 0
		s.reset()
	}
	clear(m.waiting)
	m.waiting = m.waiting[:0]
	if m.bytes > m.maxBytes/2 {
		m.forget()
	}
	return true
}

// forget lets go of all series; what is counted next makes them anew.
func (m *meter) forget() {
	clear(m.series)
	m.bytes = 0
	m.generation++
}

// discard drops what was counted since the last seal, and returns how many
// messages nothing else told of.
func (m *meter) discard() uint64 {
	left := m.left
	m.left, m.waiting = 0, nil
	m.forget()
	return left
}

// learn takes over the dimensions that a welcome names. The first time, it measures what the
// queue holds: until then nothing was.
func (m *meter) learn(w *wire.Welcome, g *ring) {
	m.dimensions = append([]string(nil), w.Dimensions...)
	m.generation++
	if m.known {
		return
	}
	m.known = true
	for i := range g.n {
		m.measure(g.at(i))
	}
}

// numbered returns the threshold by which messages were left out beside the
// records that a number was just given to; all: the queue held no others.
func (m *meter) numbered(all bool) uint64 {
	if m == nil {
		return 0
	}
	applied := m.applied
	if all {
		m.applied = 0
		if m.leaving {
			m.applied = m.threshold
		}
	}
	return applied
}

// putBack is told that the records of a number with this threshold wait again.
func (m *meter) putBack(threshold uint64) {
	if m != nil {
		m.applied = max(m.applied, threshold)
	}
}

// evicted is told of a record that leaves the queue for want of room. Where the
// dimensions are not known yet, it is measured without.
func (m *meter) evicted(r *record) {
	if m != nil && !m.known {
		m.measure(r)
	}
}
