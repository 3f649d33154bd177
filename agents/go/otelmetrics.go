package wsstats

import (
	"context"
	"errors"
	"math"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/wsstats/wsstatsreceiver/wire"
	"github.com/wsstats/wsstatsreceiver/wire/conventions"
)

// maxSizes bounds how many sizes of one broadcast or batch are observed, each by
// a call: OpenTelemetry's API has none for several at once.
const maxSizes = 1 << 16

// otelMetrics measures events through the application's meter provider, as the
// receiver's aggregator does.
type otelMetrics struct {
	opened, closed, sent, received, bytes, failed, dropped metric.Int64Counter
	active                                                 metric.Int64UpDownCounter
	lifetime, handshake, size, rtt, processing             metric.Float64Histogram
	queue, recipients                                      metric.Float64Histogram

	sets   map[otelLabels]metric.MeasurementOption
	counts map[wire.Role]int64 // what active says
}

// otelLabels are the attributes of a measurement whose values are bounded. What is
// zero is absent.
type otelLabels struct {
	role       wire.Role
	dir        wire.Direction
	typ        wire.MessageType
	protocol   string
	class      string
	initiator  string
	closeCode  int64
	statusCode int64
}

func newOTelMetrics(mp metric.MeterProvider) (*otelMetrics, error) {
	meter := mp.Meter(scopeName, metric.WithInstrumentationVersion(Version))
	var all error
	counter := func(m conventions.Metric) metric.Int64Counter {
		c, err := meter.Int64Counter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Description))
		all = errors.Join(all, err)
		return c
	}
	histogram := func(m conventions.Metric) metric.Float64Histogram {
		h, err := meter.Float64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Description),
			metric.WithExplicitBucketBoundaries(m.Bounds...))
		all = errors.Join(all, err)
		return h
	}
	of := conventions.ConnectionsActive
	active, err := meter.Int64UpDownCounter(of.Name, metric.WithUnit(of.Unit), metric.WithDescription(of.Description))
	m := &otelMetrics{
		opened: counter(conventions.ConnectionsTotal), closed: counter(conventions.ConnectionsClosed),
		sent: counter(conventions.MessagesSent), received: counter(conventions.MessagesReceived), bytes: counter(conventions.MessagesBytes),
		failed: counter(conventions.Errors), dropped: counter(conventions.AgentDropped), active: active,
		lifetime: histogram(conventions.ConnectionDuration), handshake: histogram(conventions.HandshakeDuration),
		size: histogram(conventions.MessageSize), rtt: histogram(conventions.PingRTT), processing: histogram(conventions.ProcessingTime),
		queue: histogram(conventions.QueueSize), recipients: histogram(conventions.BroadcastRecipients),
		sets: map[otelLabels]metric.MeasurementOption{}, counts: map[wire.Role]int64{},
	}
	return m, errors.Join(all, err)
}

// take measures an event. Its span, if any, is active in ctx, for exemplars.
func (m *otelMetrics) take(ctx context.Context, o *occurrence) {
	role := otelLabels{role: o.role}
	switch o.kind {
	case wire.KindSend, wire.KindReceive, wire.KindMessage:
		m.messages(ctx, o, 1)
	case wire.KindBroadcast:
		if n, ok := o.count(wire.AttrBroadcastRecipients); ok {
			m.messages(ctx, o, n)
			m.recipients.Record(ctx, float64(n))
		}
	case wire.KindBatchSend:
		if n, ok := o.count(wire.AttrBatchSize); ok {
			m.messages(ctx, o, n)
		}
	case wire.KindProcess:
		switch {
		case o.HasDuration:
			m.observe(ctx, m.processing, float64(o.Duration)/1e9, otelLabels{typ: o.typ})
		case o.Has(wire.AttrProcessingTime):
			m.observe(ctx, m.processing, o.Double(wire.AttrProcessingTime)/1e3, otelLabels{typ: o.typ})
		}
	case wire.KindPing:
		if o.HasDuration {
			m.observe(ctx, m.rtt, float64(o.Duration)/1e9, role)
		}
	case wire.KindHandshake:
		m.shook(ctx, o)
	case wire.KindClose:
		m.ended(ctx, o)
	case wire.KindError:
		m.error(ctx, o, "")
	case wire.KindProtocolError:
		m.error(ctx, o, "protocol")
	}
	if n, ok := o.count(wire.AttrQueueSize); ok {
		m.observe(ctx, m.queue, float64(n), role)
	}
}

// count reads an attribute that is a number of things, absent where it is negative.
func (o *occurrence) count(a wire.Attr) (int64, bool) {
	n := o.Int(a)
	return n, o.Has(a) && n >= 0
}

// messages counts n messages of the size that the event states. Where the
// direction is not known only their sizes are observed.
func (m *otelMetrics) messages(ctx context.Context, o *occurrence, n int64) {
	switch o.typ {
	case wire.MessagePing, wire.MessagePong, wire.MessageClose:
		return
	}
	total := m.received
	if o.dir == wire.DirectionSent {
		total = m.sent
	}
	counted := o.dir == wire.DirectionSent || o.dir == wire.DirectionReceived
	if n == 0 {
		return
	}
	if counted {
		total.Add(ctx, n, m.set(otelLabels{role: o.role, typ: o.typ}))
	}
	size, ok := o.count(wire.AttrMessageSize)
	if !ok {
		return
	}
	attributes := m.set(otelLabels{role: o.role, dir: o.dir, typ: o.typ})
	if counted {
		bytes := int64(math.MaxInt64)
		if size == 0 || n <= bytes/size {
			bytes = n * size
		}
		m.bytes.Add(ctx, bytes, attributes)
	}
	for range min(n, maxSizes) {
		m.size.Record(ctx, float64(size), attributes)
	}
}

func (m *otelMetrics) shook(ctx context.Context, o *occurrence) {
	if o.HasDuration {
		labels := otelLabels{role: o.role}
		if code := o.Int(wire.AttrStatusCode); code >= 100 && code <= 599 {
			labels.statusCode = code
		}
		m.observe(ctx, m.handshake, float64(o.Duration)/1e9, labels)
	}
	if o.refused {
		m.error(ctx, o, "handshake")
		return
	}
	m.opened.Add(ctx, 1, m.set(otelLabels{role: o.role, protocol: fold(o.Str(wire.AttrProtocol), "ws", "wss")}))
}

func (m *otelMetrics) ended(ctx context.Context, o *occurrence) {
	labels := otelLabels{class: o.closeClass, initiator: fold(o.Str(wire.AttrCloseInitiator), "local", "remote", "none")}
	if code := o.Int(wire.AttrCloseCode); code >= 1000 && code <= 1015 {
		labels.closeCode = code
	}
	m.closed.Add(ctx, 1, m.set(labels))
	lifetime := otelLabels{class: o.closeClass}
	switch {
	case o.Has(wire.AttrConnectionDuration):
		m.observe(ctx, m.lifetime, o.Double(wire.AttrConnectionDuration)/1e3, lifetime)
	case o.conn != nil && o.conn.openedAt != 0 && o.Time >= o.conn.openedAt:
		m.observe(ctx, m.lifetime, float64(o.Time-o.conn.openedAt)/1e9, lifetime)
	}
}

// error counts an error. The category is what the event states, else the given
// one, absent where it is empty.
func (m *otelMetrics) error(ctx context.Context, o *occurrence, category string) {
	var attributes []attribute.KeyValue
	if o.Has(wire.AttrErrorType) {
		attributes = append(attributes, attribute.String(wire.AttrErrorType.String(), conventions.Token(o.Str(wire.AttrErrorType))))
	}
	if o.Has(wire.AttrErrorCategory) {
		category = conventions.Token(o.Str(wire.AttrErrorCategory))
	}
	if category != "" {
		attributes = append(attributes, attribute.String(wire.AttrErrorCategory.String(), category))
	}
	m.failed.Add(ctx, 1, metric.WithAttributes(attributes...))
}

// lose counts what the agent dropped.
func (m *otelMetrics) lose(dropped dropCounts) {
	for why, count := range dropped {
		if count > 0 {
			m.dropped.Add(context.Background(), int64(count), metric.WithAttributes(attribute.String("reason", reasonNames[why])))
		}
	}
}

// follow brings the number of open connections to what it is by now.
func (m *otelMetrics) follow(role wire.Role, open int64) {
	said, known := m.counts[role]
	if !known || open != said { // a connection that came and went has a series too
		m.active.Add(context.Background(), open-said, m.set(otelLabels{role: role}))
		m.counts[role] = open
	}
}

func (m *otelMetrics) observe(ctx context.Context, h metric.Float64Histogram, v float64, labels otelLabels) {
	if v >= 0 && v <= math.MaxFloat64 {
		h.Record(ctx, v, m.set(labels))
	}
}

// set returns the attributes; they are made once.
func (m *otelMetrics) set(l otelLabels) metric.MeasurementOption {
	if set, ok := m.sets[l]; ok {
		return set
	}
	var attributes []attribute.KeyValue
	text := func(a wire.Attr, value string) {
		if value != "" {
			attributes = append(attributes, attribute.String(a.String(), value))
		}
	}
	text(wire.AttrRole, l.role.String())
	text(wire.AttrDirection, l.dir.String())
	text(wire.AttrMessageType, l.typ.String())
	text(wire.AttrProtocol, l.protocol)
	text(wire.AttrCloseClass, l.class)
	text(wire.AttrCloseInitiator, l.initiator)
	if l.closeCode != 0 {
		attributes = append(attributes, attribute.Int64(wire.AttrCloseCode.String(), l.closeCode))
	}
	if l.statusCode != 0 {
		attributes = append(attributes, attribute.Int64(wire.AttrStatusCode.String(), l.statusCode))
	}
	set := metric.WithAttributeSet(attribute.NewSet(attributes...))
	m.sets[l] = set
	return set
}

// fold returns the value where it is a known one or absent, else _OTHER.
func fold(value string, known ...string) string {
	if value == "" {
		return ""
	}
	for _, k := range known {
		if value == k {
			return value
		}
	}
	return conventions.Other
}
