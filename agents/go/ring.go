package wsstats

import (
	"unsafe"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// ring is the queue of records, bounded in bytes: first those that numbers
// stand for (sent or about to be), then those that wait. Records leave at the
// front when their number is answered. It is not safe for concurrent use.
type ring struct {
	rows     []record // circular
	head     int      // index of the oldest
	n        int      // how many are held
	numbered int      // how many of them, from the oldest on, numbers stand for
	urgent   int      // how many, from the oldest on, are due without waiting for more

	bytes    int // memory of what is held
	maxBytes int
	waiting  int    // estimated JSON bytes of what is not numbered
	left     uint64 // messages that nothing but the stats held tells of

	observed     uint64
	acknowledged uint64
	rejected     uint64
	dropped      dropCounts
	reported     dropCounts // of dropped: told to the receiver, or about to be

	flushes []*flush
	meter   *meter        // nil: the agent does not aggregate
	outcome func(Outcome) // nil: nobody asks
}

// flush waits until the oldest remaining records have left the ring.
type flush struct {
	remaining int
	done      chan struct{}
}

const (
	rowBytes   = int(unsafe.Sizeof(record{}))
	extraBytes = int(unsafe.Sizeof(wire.Event{}))
	sliceBytes = int(unsafe.Sizeof([]Attribute{}))
	minRows    = 64

	spanIDsBytes = int(unsafe.Sizeof(spanIDs{}))
)

// memory is what the record holds in the ring, bytes.
func (r *record) memory() int {
	n := rowBytes
	if s := r.stat; s != nil {
		n += statBytes + len(s.buckets)*bucketBytes + attributeBytes(s.dimensions)
	}
	if r.attributes != nil {
		n += sliceBytes + attributeBytes(*r.attributes)
	}
	if r.active != nil {
		n += spanIDsBytes
	}
	if r.extra != nil {
		n += extraBytes + userBytes(r.extra)
	}
	return n
}

// jsonBytes estimates the record's JSON form, on the high side.
func (r *record) jsonBytes() int {
	n := 224
	if s := r.stat; s != nil {
		n += 256 + 21*len(s.buckets) + attributeBytes(s.dimensions)
	}
	if r.attributes != nil {
		n += attributeBytes(*r.attributes)
	}
	if r.active != nil {
		n += 144
	}
	if r.extra != nil {
		n += 800 + 2*userBytes(r.extra)
	}
	return n
}

func userBytes(e *wire.Event) int {
	return len(e.Tracestate) + len(e.Links)*64 + len(e.Str(wire.AttrErrorMessage)) + len(e.Str(wire.AttrCloseReason)) +
		attributeBytes(e.User)
}

func attributeBytes(attributes []Attribute) (n int) {
	for i := range attributes {
		v := &attributes[i].Value
		n += int(unsafe.Sizeof(attributes[i])) + len(attributes[i].Key) + len(v.Str)
		for j := range v.Array {
			n += int(unsafe.Sizeof(*v)) + len(v.Array[j].Str)
		}
	}
	return n
}

// sample tells whether the record is one of many alike, which is dropped
// before what happens once in a connection's life.
func (r *record) sample() bool {
	if r.stat != nil {
		return false
	}
	switch r.kind {
	case wire.KindHandshake, wire.KindClose, wire.KindError, wire.KindProtocolError:
		return false
	}
	return true
}

func (g *ring) at(i int) *record {
	i += g.head
	if i >= len(g.rows) {
		i -= len(g.rows)
	}
	return &g.rows[i]
}

// push adds a record, or drops it or older ones where there is no room.
func (g *ring) push(r *record) {
	g.observed++
	size := r.memory()
	if g.bytes+size > g.maxBytes && (r.sample() || !g.makeRoom(size)) {
		g.meter.evicted(r)
		g.lose(r, reasonQueueFull)
		return
	}
	g.add(r, size)
}

// pushStat adds a stat, for which there is room, with the messages that it
// alone tells of; they were observed before it.
func (g *ring) pushStat(r *record) {
	g.observed++
	g.left += r.stat.left
	g.add(r, r.memory())
}

func (g *ring) add(r *record, size int) {
	if g.n == len(g.rows) {
		g.grow()
	}
	g.n++
	*g.at(g.n - 1) = *r
	g.bytes += size
	g.waiting += r.jsonBytes()
}

// makeRoom drops the oldest samples that no number stands for, an eighth of
// the ring at once: their places are closed by moving all later records, which
// would cost too much for one at a time.
func (g *ring) makeRoom(size int) bool {
	target := min(g.bytes, g.maxBytes-max(size, g.maxBytes/8))
	kept := g.numbered
	numbered := g.numbered
	for i := numbered; i < g.n; i++ {
		r := g.at(i)
		if g.bytes > target && r.sample() {
			g.bytes -= r.memory()
			g.waiting -= r.jsonBytes()
			g.meter.evicted(r)
			g.lose(r, reasonQueueFull)
			g.passed(kept, 1)
			continue
		}
		if kept != i {
			*g.at(kept) = *r
		}
		kept++
	}
	for i := kept; i < g.n; i++ {
		*g.at(i) = record{}
	}
	g.n = kept
	return g.bytes+size <= g.maxBytes
}

func (g *ring) grow() {
	rows := make([]record, min(max(minRows, 2*len(g.rows)), max(minRows, g.maxBytes/rowBytes)))
	copied := copy(rows, g.rows[g.head:])
	copy(rows[copied:], g.rows[:g.head])
	g.rows, g.head = rows, 0
}

// take lets the next number stand for up to maxRows waiting records of about
// maxBytes of JSON, at least one, and returns how many.
func (g *ring) take(maxRows, maxBytes int) int {
	k, size := 0, 0
	for k < maxRows && g.numbered+k < g.n {
		size += g.at(g.numbered + k).jsonBytes()
		if k > 0 && size > maxBytes {
			break
		}
		k++
	}
	g.setNumbered(g.numbered + k)
	return k
}

// setNumbered moves the border between the numbered and the waiting records.
func (g *ring) setNumbered(numbered int) {
	for ; g.numbered < numbered; g.numbered++ {
		g.waiting -= g.at(g.numbered).jsonBytes()
	}
	for ; g.numbered > numbered; g.numbered-- {
		g.waiting += g.at(g.numbered - 1).jsonBytes()
	}
}

// copyTo appends k records from the i-th on.
func (g *ring) copyTo(dst []record, i, k int) []record {
	for j := range k {
		dst = append(dst, *g.at(i + j))
	}
	return dst
}

// acknowledge takes out the k oldest records, which the receiver took.
func (g *ring) acknowledge(k int) {
	for i := range k {
		r := g.at(i)
		g.acknowledged += r.weight()
		g.tell(r, "")
	}
	g.remove(0, k)
}

// drop takes out k numbered records from the i-th on.
func (g *ring) drop(i, k int, why reason) {
	for j := range k {
		g.lose(g.at(i+j), why)
	}
	g.remove(i, k)
}

// remove takes out k numbered records from the i-th on.
func (g *ring) remove(i, k int) {
	for j := range k {
		r := g.at(i + j)
		g.bytes -= r.memory()
		g.left -= r.weight() - 1
	}
	for j := i - 1; j >= 0; j-- {
		*g.at(j + k) = *g.at(j)
	}
	for range k {
		*g.at(0) = record{} // lets go of its connection
		if g.head++; g.head == len(g.rows) {
			g.head = 0
		}
	}
	g.n -= k
	g.numbered -= k
	g.passed(i, k)
}

// putBack makes k numbered records from the i-th on the first that wait.
func (g *ring) putBack(i, k int) {
	moved := g.copyTo(nil, i, k)
	for j := i + k; j < g.numbered; j++ {
		*g.at(j - k) = *g.at(j)
	}
	for j := range moved {
		*g.at(g.numbered - k + j) = moved[j]
	}
	for _, f := range g.flushes {
		if f.remaining > i { // some that it waits for may have moved behind others
			f.remaining = max(f.remaining, g.numbered)
		}
	}
	if g.urgent > i {
		g.urgent = max(g.urgent, g.numbered)
	}
	g.setNumbered(g.numbered - k)
}

// passed tells the flushes that k records from the i-th on have left.
func (g *ring) passed(i, k int) {
	if g.urgent > i {
		g.urgent = max(i, g.urgent-k)
	}
	if len(g.flushes) == 0 {
		return
	}
	open := g.flushes[:0]
	for _, f := range g.flushes {
		if f.remaining > i {
			f.remaining = max(i, f.remaining-k)
		}
		if f.remaining == 0 {
			close(f.done)
			continue
		}
		open = append(open, f)
	}
	clear(g.flushes[len(open):])
	g.flushes = open
}

// flush makes all that is held urgent and returns what waits for it.
func (g *ring) flush() *flush {
	f := &flush{remaining: g.n, done: make(chan struct{})}
	g.urgent = g.n
	if g.n == 0 {
		close(f.done)
	} else {
		g.flushes = append(g.flushes, f)
	}
	return f
}

// forget removes a flush whose caller does not wait any longer.
func (g *ring) forget(f *flush) {
	for i := range g.flushes {
		if g.flushes[i] == f {
			g.flushes = append(g.flushes[:i], g.flushes[i+1:]...)
			return
		}
	}
}

// unreported tells whether a drop waits to be told to the receiver.
func (g *ring) unreported() bool {
	for why := range numReasons {
		// What Shutdown drops comes too late to be told, and is no reason to go on.
		if why != reasonShutdown && g.dropped[why] != g.reported[why] {
			return true
		}
	}
	return false
}

// report returns what was dropped since the last report.
func (g *ring) report() dropCounts {
	var since dropCounts
	for why := range numReasons {
		since[why] = g.dropped[why] - g.reported[why]
	}
	g.reported = g.dropped
	return since
}

// unreport takes a report back: the number that carried it was not taken.
func (g *ring) unreport(report dropCounts) {
	for why := range numReasons {
		g.reported[why] -= report[why]
	}
}

// waits tells whether a record waits for a number.
func (g *ring) waits() bool { return g.n > g.numbered }

// discard drops all that is held, as Shutdown's, and tells whether that was anything.
func (g *ring) discard() bool {
	left := g.n
	g.setNumbered(g.n)
	g.drop(0, left, reasonShutdown)
	g.rows, g.head = nil, 0
	return left > 0
}
