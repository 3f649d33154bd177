package aggregate

import (
	"slices"
	"sync"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
)

// resource is the state of one resource: its series.
type resource struct {
	agg      *Aggregator
	observed *observed.Resource // nil: the overflow resource

	mu      sync.Mutex
	gone    bool  // not held any more: look again
	now     int64 // Unix ns: of the batch in hand; only goes up, but for a restart
	flushed int64 // Unix ns: of the last points, in cumulative mode
	floor   int64 // Unix ns: no delta point of a stream that is not held ends after it

	series map[seriesID]*series
	lists  [numMetrics][]*series // in the order in which they were made
	plain  labels                // without text
	texts  map[string]*labels    // with text

	dimensions labelled // of the row in hand
	text       labelled // of the error or dropped count in hand

	*batch // in hand; nil in cumulative mode
}

// batch is what a batch has changed, in delta mode.
type batch struct {
	touched [numMetrics][]*series
	foreign []*gauge // of other resources
	undo    []change
}

type seriesID struct {
	key    key
	labels *labels
}

// change is what a batch did to a connection.
type change struct {
	conn             *observed.Conn
	active           observed.Counter
	pingTimed, ended bool
	moved            *gauge // by delta
	delta            int64
}

// begin begins a batch.
func (r *resource) begin() {
	least := r.now
	if r.agg.cfg.Delta {
		least = max(r.now, r.floor) + 1 // no point of a stream is empty in time
	}
	r.now = max(r.agg.now().UnixNano(), least)
}

// restart lets all cumulative streams begin anew: the clock was set back, and
// points that go on from the last ones would all be of the same time until it
// is there again. What they had was handed on.
func (r *resource) restart(now int64) {
	r.now, r.flushed = now, now
	for m := range r.lists {
		r.lists[m] = slices.DeleteFunc(r.lists[m], func(s *series) bool {
			if s.gauge == nil {
				r.forget(s)
				return true
			}
			s.start, s.touched = now, now
			s.gauge.changed.Store(now)
			return false
		})
	}
}

// find returns the series, the overflow series of its metric where the limit
// is reached and it is a new one.
func (r *resource) find(k key, d *labelled) *series {
	l := d.labels
	if l == nil {
		return r.makeSeries(k, d)
	}
	recent := &l.recent[k.hash(4)]
	if *recent != nil && (*recent).key == k {
		return *recent
	}
	s := r.series[seriesID{k, l}]
	if s == nil {
		s = r.makeSeries(k, d)
	}
	if s.key == k {
		*recent = s
	}
	return s
}

func (r *resource) makeSeries(k key, d *labelled) *series {
	m := k.metric()
	held := len(r.lists[m])
	overflow := metricKey(m) | overflowBit
	folded := r.series[seriesID{overflow, &r.plain}]
	if folded != nil {
		held--
	}
	if held >= r.agg.cfg.CardinalityLimit {
		r.agg.folded.Add(1)
		if folded != nil {
			return folded
		}
		return r.newSeries(overflow, &r.plain)
	}
	if d.labels == nil {
		d.labels = &labels{owner: r, text: string(d.text)}
		r.texts[d.labels.text] = d.labels
	}
	return r.newSeries(k, d.labels)
}

func (r *resource) newSeries(k key, l *labels) *series {
	m := k.metric()
	s := newSeries(k, l, r.agg.cfg.Exponential)
	s.start, s.touched = r.now, r.now
	if r.agg.cfg.Delta {
		s.start, s.fresh = r.floor, true
	}
	if m == connectionsActive {
		s.gauge = &gauge{owner: r, series: s}
	}
	l.held++
	r.series[seriesID{k, l}] = s
	r.lists[m] = append(r.lists[m], s)
	r.agg.held.Add(1)
	return s
}

func (r *resource) forget(s *series) {
	l := s.labels
	delete(r.series, seriesID{s.key, l})
	if l.forget(); l.held == 0 && l != &r.plain {
		delete(r.texts, l.text)
	}
	r.agg.held.Add(-1)
}

func (r *resource) touch(s *series) {
	s.touched = r.now
	if !s.dirty {
		s.dirty = true
		if r.agg.cfg.Delta {
			m := s.key.metric()
			r.touched[m] = append(r.touched[m], s)
		}
	}
}

// count adds to a sum. It carries an exemplar of the row, if any.
func (r *resource) count(k key, d *labelled, n uint64, row *observed.Row) {
	r.add(r.find(k, d), n, row)
}

func (r *resource) add(s *series, n uint64, row *observed.Row) {
	r.touch(s)
	s.add(n)
	if row != nil && row.Span != nil {
		s.exemplars.put(0, float64(n), row, r.agg.cfg.AllowURLQuery)
	}
}

// observe adds v to a histogram. A value that no histogram can hold is left out.
func (r *resource) observe(k key, d *labelled, v float64, row *observed.Row) {
	if measurable(v) {
		r.put(r.find(k, d), v, 1, row)
	}
}

// put adds n observations of a value that a histogram can hold.
func (r *resource) put(s *series, v float64, n uint64, row *observed.Row) {
	r.touch(s)
	s.hist.observe(v, n)
	if row != nil && row.Span != nil {
		s.exemplars.put(slot(s.hist, v), v, row, r.agg.cfg.AllowURLQuery)
	}
}

// enter counts a connection as live, leave ends that.
func (r *resource) enter(c *observed.Conn, k key, d *labelled) {
	s := r.find(k, d)
	r.note(change{conn: c, moved: s.gauge, delta: 1})
	r.move(s.gauge, 1)
	c.Active = s.gauge
}

func (r *resource) leave(c *observed.Conn) {
	g, ok := c.Active.(*gauge)
	if !ok {
		return
	}
	r.note(change{conn: c, moved: g, delta: -1})
	r.move(g, -1)
	c.Active = nil
}

func (r *resource) move(g *gauge, delta int64) {
	g.Add(delta)
	g.changed.Store(r.now)
	switch {
	case g.owner == r:
		r.touch(g.series)
	case r.agg.cfg.Delta && !slices.Contains(r.foreign, g):
		r.foreign = append(r.foreign, g)
	}
}

// note remembers a connection as it is before a change.
func (r *resource) note(c change) {
	if r.agg.cfg.Delta {
		c.active, c.pingTimed, c.ended = c.conn.Active, c.conn.PingTimed, c.conn.Ended
		r.undo = append(r.undo, c)
	}
}

// appendBatch adds the points of the batch in hand, if there are any.
func (r *resource) appendBatch(md pmetric.Metrics) {
	changed := len(r.foreign) > 0
	for _, list := range r.touched {
		changed = changed || len(list) > 0
	}
	if !changed {
		return
	}
	// The live connections are restated beside what is new: a value that does
	// not change for long would else go stale in a backend.
	for _, s := range r.lists[connectionsActive] {
		if !s.dirty && s.gauge.value.Load() != 0 {
			r.touched[connectionsActive] = append(r.touched[connectionsActive], s)
		}
	}
	r.appendTo(md, &r.touched, r.now)
	for _, g := range r.foreign {
		var lists [numMetrics][]*series
		lists[connectionsActive] = []*series{g.series}
		g.owner.appendTo(md, &lists, r.now)
	}
}

// commit ends a batch whose points were taken, rollback one whose were not:
// it leaves no trace but the time.
func (r *resource) commit() {
	for m := range r.touched {
		for _, s := range r.touched[m] {
			s.restart()
			s.fresh = false
			if s.gauge == nil {
				s.start = r.now
			}
		}
	}
	r.endBatch()
}

func (r *resource) rollback() {
	for _, c := range slices.Backward(r.undo) {
		c.conn.Active, c.conn.PingTimed, c.conn.Ended = c.active, c.pingTimed, c.ended
		if c.moved != nil {
			c.moved.Add(-c.delta)
		}
	}
	for m, list := range r.touched {
		for _, s := range list {
			s.restart()
		}
		// New series are the last ones.
		kept := r.lists[m]
		for len(kept) > 0 && kept[len(kept)-1].fresh {
			r.forget(kept[len(kept)-1])
			kept = kept[:len(kept)-1]
		}
		clear(r.lists[m][len(kept):])
		r.lists[m] = kept
	}
	r.endBatch()
}

func (r *resource) endBatch() {
	for m := range r.touched {
		clear(r.touched[m])
		r.touched[m] = r.touched[m][:0]
	}
	clear(r.foreign)
	r.foreign = r.foreign[:0]
	clear(r.undo)
	r.undo = r.undo[:0]
}

// expire forgets the series that are idle and tells whether none is left.
func (r *resource) expire(now, after int64) (empty bool) {
	empty = true
	for m := range r.lists {
		before := len(r.lists[m])
		if after > 0 {
			r.lists[m] = slices.DeleteFunc(r.lists[m], func(s *series) bool {
				idle := s.idle(now, after)
				if idle {
					r.forget(s)
				}
				return idle
			})
		}
		if len(r.lists[m]) < before {
			r.floor = max(r.floor, now, r.now)
		}
		empty = empty && len(r.lists[m]) == 0
	}
	return empty
}

// idle tells whether a series took nothing for so long and holds nothing that
// was not handed on.
func (s *series) idle(now, after int64) bool {
	touched := s.touched
	if s.gauge != nil {
		if s.gauge.value.Load() != 0 {
			return false
		}
		if s.gauge.flushed != 0 {
			return false // the zero was not seen yet
		}
		touched = max(touched, s.gauge.changed.Load())
	}
	return !s.dirty && now-touched >= after
}
