// Package wire holds the messages of the wsstats protocol, version 1, as plain
// values, their JSON and binary forms, and the ids that both ends of a
// connection derive.
//
// It is shared by the receiver and by agents, and imports neither.
package wire

// Subprotocol names of the protocol (Sec-WebSocket-Protocol).
const (
	SubprotocolJSON  = "wsstats.v1.json"
	SubprotocolProto = "wsstats.v1.proto"
)

// Form is what a message from an agent is.
type Form uint8

// The forms of a message.
const (
	FormEvents Form = iota // bare events: fire and forget
	FormHello
	FormBatch
)

// Message is one message from an agent to the receiver. It is made to be
// decoded into again and again: rows and their memory are reused.
//
// Strings of a decoded message alias the input and the message's own memory.
// They are valid until either changes; clone what has to live longer. (Those that
// a handle of the binary form stands for in a numbered message are not reused,
// and the events that name them share them.)
type Message struct {
	Form  Form
	Hello Hello // of FormHello
	Batch Batch // of FormBatch and FormEvents

	single    bool       // the message is one bare event: places in it have no prefix
	arena     []byte     // unescaped strings
	users     []KeyValue // attributes of the user
	elems     []Value    // elements of arrays
	links     []Link
	linkUsers []KeyValue // attributes of links
	nums      []uint64   // bucket counts
}

// Hello opens a session that wants acknowledgements.
type Hello struct {
	Instance     string // 1 to 128 printable characters, random
	AgentName    string
	AgentVersion string
	Resource     []KeyValue
	// Aggregates says that metrics of messages come from Stats alone.
	Aggregates bool
}

// Batch is a numbered or unnumbered message of events, connections and stats.
type Batch struct {
	Seq         uint64 // 0: not numbered
	Resource    []KeyValue
	HasResource bool
	Connections []Connection
	Events      []Event
	Stats       []Stat
	Dropped     []Dropped
	// Threshold says how the agent sampled the batch's message events.
	Threshold    uint64
	HasThreshold bool
	// Aggregates is the hello's flag, for a POST that has no hello.
	Aggregates bool

	// What decoding found; the encoder ignores these.

	Rejected            Rejected // rows that are not in Connections, Events or Stats
	ValuesCut           int      // values cut to Limits.ValueBytes
	TraceparentsIgnored int      // traceparents that W3C calls invalid
}

// Rejected counts rows that were refused one by one.
type Rejected struct {
	Count int `json:"count"`
	// First is the place and the reason of the first one:
	// events[3].ws.message.size: expected an integer, got "big".
	First string `json:"first,omitempty"`
}

// Connection declares an observed connection without making a span.
type Connection struct {
	Attrs
	Index       int   // place in the message's connections, from 0, rejected ones counted
	OpenedAt    int64 // Unix ns, with HasOpenedAt
	HasOpenedAt bool  // the opening was observed: a handshake span exists
	Closed      bool  // "open": false
	TraceID     TraceID
	SpanID      SpanID
}

// Event is one thing that happened on an observed connection.
type Event struct {
	Attrs
	Kind  Kind
	Index int // place in the message's events, from 0, rejected ones counted

	Time        int64 // Unix ns, with HasTime
	HasTime     bool  // else the arrival time
	Duration    int64 // ns, not negative, with HasDuration
	HasDuration bool
	Unsampled   bool // "sampled": false

	// This span's own ids and its parent's; zero where not stated.
	TraceID      TraceID
	SpanID       SpanID
	ParentSpanID SpanID

	// Parent is the traceparent: the parent's context. Zero TraceID: none.
	Parent     TraceContext
	Tracestate string
	Links      []Link

	// ConnHandle is what the session calls the event's connection in a numbered
	// message of the binary form, 0 where it has no name. It means the same as long
	// as the string of ws.connection.id is the same: a definition may replace it.
	ConnHandle uint32
}

// reset empties the event for that place. It is about 700 bytes, most of which
// are attributes that it does not have, and what Attrs does not call set may stay:
// to zero all of it costs as much as to decode two attributes.
func (e *Event) reset(index int) {
	e.Attrs.Reset()
	e.Kind, e.Index, e.Unsampled, e.ConnHandle = KindUnknown, index, false, 0
	e.Time, e.HasTime, e.Duration, e.HasDuration = 0, false, 0, false
	e.TraceID, e.SpanID, e.ParentSpanID = TraceID{}, SpanID{}, SpanID{}
	e.Parent, e.Tracestate, e.Links = TraceContext{}, "", nil
}

// TraceContext is a parsed traceparent.
type TraceContext struct {
	TraceID TraceID
	SpanID  SpanID
	Flags   byte
}

// Link is a link of a span to another.
type Link struct {
	TraceID    TraceID
	SpanID     SpanID
	Attributes []KeyValue
}

// Metric is a metric that agents may aggregate themselves.
type Metric uint8

// The metrics of Stats.
const (
	MetricMessageSize         Metric = iota // ws.message.size, By
	MetricProcessingTime                    // ws.processing.time, s
	MetricQueueSize                         // ws.queue.size, {message}
	MetricBroadcastRecipients               // ws.broadcast.recipients, {connection}
	numMetrics
)

var metricNames = [numMetrics]string{"ws.message.size", "ws.processing.time", "ws.queue.size", "ws.broadcast.recipients"}

// String returns the name of the metric.
func (m Metric) String() string { return metricNames[m] }

// Stat is a delta that an agent aggregated itself over [Start, Time]: a
// base-2 exponential histogram with the meaning that OTLP gives its fields.
type Stat struct {
	Attrs     // its "attributes": those of the metric, and dimensions of the user
	Metric    Metric
	Index     int   // place in the message's stats, from 0, rejected ones counted
	Start     int64 // Unix ns
	Time      int64 // Unix ns
	Count     uint64
	Sum       float64
	Min, Max  float64 // with HasMin, HasMax
	HasMin    bool
	HasMax    bool
	Scale     int32
	ZeroCount uint64
	Offset    int32
	Buckets   []uint64 // of positive values; bucket i is (base^(offset+i), base^(offset+i+1)]
	Unsized   uint64   // of MetricMessageSize: how many of ZeroCount are messages whose size is not known
}

// Dropped counts events that an agent dropped since its last message.
type Dropped struct {
	Reason string
	Count  uint64
}

// Reset empties the message and keeps its memory, but for what an unusual
// message made large.
func (m *Message) Reset() {
	m.Form = FormEvents
	m.Hello = Hello{}
	b := &m.Batch
	*b = Batch{Connections: b.Connections[:0], Events: b.Events[:0], Stats: b.Stats[:0], Dropped: b.Dropped[:0]}
	m.single = false
	m.arena = emptied(m.arena, 1<<20)
	m.users = emptied(m.users, 1<<16)
	m.elems = emptied(m.elems, 1<<14)
	m.links = emptied(m.links, 1<<14)
	m.linkUsers = emptied(m.linkUsers, 1<<14)
	m.nums = emptied(m.nums, 1<<17)
}

func emptied[T any](s []T, keep int) []T {
	if cap(s) > keep {
		return nil
	}
	return s[:0]
}
