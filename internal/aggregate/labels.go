package aggregate

import (
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// labels are what series have in common whose attributes of text are equal:
// dimensions for the most part, which an event has to find once and not once a
// metric.
type labels struct {
	owner *resource
	text  string // see text.go
	held  int    // series; labels with a text go with the last one

	// The series that were found last, by hashes of their keys.
	recent   [16]*series
	messages [8]messageSeries // by messagePlace
}

// messageSeries are the series that one message adds to, nil where they were
// not looked for yet.
type messageSeries struct {
	key                key // role, type and direction, and the metric numMetrics
	total, bytes, size *series
}

// labelled is a text whose labels may not be there: they are made with their
// first series, so that texts that fold into the overflow series cost no memory.
type labelled struct {
	text   []byte
	labels *labels
	none   messageSeries // in place of those of the labels
}

// hash spreads keys over 2^bits places.
func (k key) hash(bits int) uint64 { return uint64(k) * 0x9E3779B97F4A7C15 >> (64 - bits) }

// messagePlace tells apart what messages nearly always are: of a client or a
// server, text or binary, sent or received.
func (k key) messagePlace() int {
	return k.field(roleShift)&1 | k.field(typeShift)&1<<1 | k.field(directionShift)&1<<2
}

// messagesOf returns the series of the messages with those attributes.
func (d *labelled) messagesOf(attributes key) *messageSeries {
	k := attributes | metricKey(numMetrics)
	m := &d.none
	if d.labels != nil {
		m = &d.labels.messages[k.messagePlace()]
		if m.key == k {
			return m
		}
	}
	*m = messageSeries{key: k}
	return m
}

// forget lets go of a series.
func (l *labels) forget() {
	l.held--
	clear(l.recent[:])
	clear(l.messages[:])
}

// label finds the labels of a text. A connection remembers the last ones of its
// events, which are nearly always those of the next one: to compare texts is
// cheaper than to look one up.
func (r *resource) label(d *labelled, c *observed.Conn) {
	if len(d.text) == 0 {
		d.labels = &r.plain
		return
	}
	if c != nil {
		if l, ok := c.Labels.(*labels); ok && l.owner == r && l.held > 0 && l.text == string(d.text) {
			d.labels = l
			return
		}
	}
	d.labels = r.texts[string(d.text)]
	if d.labels != nil && c != nil {
		c.Labels = d.labels
	}
}

// dimensioned begins an event, a connection or a stat: its series have the
// dimensions that it states, else those that its connection does.
func (r *resource) dimensioned(own []wire.KeyValue, c *observed.Conn) *labelled {
	d := &r.dimensions
	d.text = d.text[:0]
	if len(r.agg.cfg.Dimensions) > 0 {
		d.text = r.agg.appendDimensions(d.text, own, c)
	}
	r.label(d, c)
	return d
}
