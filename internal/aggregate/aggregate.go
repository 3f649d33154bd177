// Package aggregate turns events into the metrics of the ws.* conventions.
//
// An Aggregator keeps the series of each resource in memory. In cumulative
// mode Take adds to them and Flush hands all of them on. In delta mode Take
// hands on what one batch adds, and keeps it only until that was taken.
//
// The dimensions that are configured become attributes of every metric that an
// event makes (so not of ws.agent.dropped), where the event, its connection or
// the stat states them. Their values are text, cut to 256 bytes.
package aggregate

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/wsstats/wsstatsreceiver/internal/observed"
)

// Conventions says which names attributes have.
type Conventions string

// The conventions. The empty value is WS.
const (
	WS      Conventions = "ws"      // http.status_code, ws.url, net.peer.ip
	WSDup   Conventions = "ws/dup"  // both
	Semconv Conventions = "semconv" // http.response.status_code, url.full, network.peer.address
)

// Config says what an Aggregator makes and how much it holds.
type Config struct {
	// Delta selects delta temporality, else cumulative. ws.connections.active
	// is cumulative in both.
	Delta bool
	// Exponential selects exponential histograms of at most 160 buckets, else
	// ones with the explicit bounds of the conventions.
	Exponential bool
	// Dimensions are the user attributes that become metric attributes.
	Dimensions []string
	// CardinalityLimit is how many sets of attributes a metric of a resource
	// has beside the overflow one; 0: 2000.
	CardinalityLimit int
	// MaxResources is how many resources are held; those beyond fold into one
	// whose only attribute, but for the receiver's id, is otel.metric.overflow. 0: 1000.
	MaxResources int
	// Expiration is for how long a series may take nothing before it goes; 0: for ever.
	Expiration time.Duration
	// ReceiverID is the attribute wsstats.receiver.id of each resource.
	ReceiverID string
	// Conventions says which names attributes have.
	Conventions Conventions
	// AllowURLQuery keeps the query of URLs, in exemplars.
	AllowURLQuery bool
}

const overflowAttribute = "otel.metric.overflow"

// sweepsPerExpiration says how often delta mode looks for idle series: it has
// no flush to do it at.
const sweepsPerExpiration = 4

// Aggregator holds the series of all resources. It is safe for concurrent use.
type Aggregator struct {
	cfg                     Config
	scopeName, scopeVersion string
	now                     func() time.Time
	errorNames              []string // of the text fields of ws.errors
	exemplarNames           [numExemplarFields][]string

	held   atomic.Int64 // series
	folded atomic.Int64

	losing sync.Mutex // of who locks more than one resource

	mu        sync.Mutex // no resource is waited for while it is held
	resources map[string]*resource
	order     []*resource // in the order in which they were made
	overflow  *resource   // in order too
	floor     int64       // Unix ns: no point of a resource that is not held ends after it
	swept     int64       // Unix ns
}

// New returns an Aggregator that holds nothing. The scope is that of its
// metrics, now its clock.
func New(cfg Config, scopeName, scopeVersion string, now func() time.Time) *Aggregator {
	if cfg.CardinalityLimit <= 0 {
		cfg.CardinalityLimit = 2000
	}
	if cfg.MaxResources <= 0 {
		cfg.MaxResources = 1000
	}
	if cfg.Conventions == "" {
		cfg.Conventions = WS
	}
	t := now().UnixNano()
	return &Aggregator{
		cfg: cfg, scopeName: scopeName, scopeVersion: scopeVersion, now: now,
		errorNames:    append(slices.Clip(errorNames), cfg.Dimensions...),
		exemplarNames: newExemplarNames(cfg.Conventions),
		resources:     make(map[string]*resource),
		floor:         t, swept: t,
	}
}

// Take adds a batch. In cumulative mode it never fails and does not call
// consume. In delta mode it calls consume with the batch's own points, if there
// are any, and holds the resource meanwhile: one batch of a resource at a time.
// Where consume fails its error is returned, and the batch, its connections
// included, was as good as not taken: a repeat counts once.
func (a *Aggregator) Take(b *observed.Batch, consume func(pmetric.Metrics) error) error {
	a.sweep()
	r := a.lock(b.Resource, nil)
	defer r.mu.Unlock()
	r.begin()
	r.take(b)
	return a.handOn(consume, r)
}

// Loss is connections that an agent left open.
type Loss struct {
	Resource *observed.Resource // of the agent
	Conns    []*observed.Conn
	// Leave says that the connections only leave the gauge, as after the
	// receiver's own goaway.
	Leave bool
}

// Lost ends those of the connections that are counted as live: they leave the
// gauge and are closed with the class agent_lost, which a real close that comes
// later does not count again. Consume and the error are those of Take: it is
// called once for all, and all were as good as not lost where it fails.
func (a *Aggregator) Lost(losses []Loss, consume func(pmetric.Metrics) error) error {
	if len(losses) > 1 { // who holds one resource and waits for another must be the only one
		a.losing.Lock()
		defer a.losing.Unlock()
	}
	a.sweep()
	var held []*resource
	defer func() {
		for _, r := range held {
			r.mu.Unlock()
		}
	}()
	for i := range losses {
		l := &losses[i]
		r := a.lock(l.Resource, held)
		if !slices.Contains(held, r) {
			held = append(held, r)
			r.begin()
		}
		r.lost(l.Conns, l.Leave)
	}
	return a.handOn(consume, held...)
}

// handOn hands on what a batch added to resources that are locked.
func (a *Aggregator) handOn(consume func(pmetric.Metrics) error, held ...*resource) error {
	if !a.cfg.Delta {
		return nil
	}
	md := pmetric.NewMetrics()
	for _, r := range held {
		r.appendBatch(md)
	}
	var err error
	if md.ResourceMetrics().Len() > 0 {
		err = consume(md)
	}
	for _, r := range held {
		if err != nil {
			r.rollback()
		} else {
			r.commit()
		}
	}
	return err
}

// Flush lets go of the series that are idle and returns the points of all
// others. The start of a series is when it was made. A series does not go
// before its last change was returned.
//
// Where the clock was set back to before the last flush, the points are the
// last ones of their streams, and later ones are of streams that begin now.
//
// In delta mode it returns nothing; Take then calls it now and then.
func (a *Aggregator) Flush() pmetric.Metrics {
	md := pmetric.NewMetrics()
	now := a.now().UnixNano()
	a.mu.Lock()
	resources := slices.Clone(a.order)
	a.mu.Unlock()
	for _, r := range resources {
		if a.cfg.Delta {
			if !r.mu.TryLock() {
				continue // a batch is in hand: not idle
			}
		} else {
			r.mu.Lock()
		}
		if r.expire(now, int64(a.cfg.Expiration)) {
			r.gone = true
		} else if !a.cfg.Delta {
			r.flush(md, now)
		}
		gone := r.gone
		r.mu.Unlock()
		if gone {
			a.drop(r, now)
		}
	}
	return md
}

// flush adds the cumulative points of all series.
func (r *resource) flush(md pmetric.Metrics, now int64) {
	r.now = max(now, r.now)
	setBack := now < r.flushed
	if setBack {
		// What was taken since must not be lost, nor pass for a repeat of the last
		// points in a backend that counts in milliseconds.
		r.now = max(r.now, r.flushed+int64(time.Millisecond))
	}
	for _, s := range r.lists[connectionsActive] {
		s.gauge.flushed = s.gauge.value.Load()
	}
	r.appendTo(md, &r.lists, r.now)
	for _, list := range r.lists {
		for _, s := range list {
			s.dirty = false
			s.exemplars.reset()
		}
	}
	r.flushed = r.now
	if setBack {
		r.restart(now)
	}
}

// Held returns how many series and resources are in memory now.
func (a *Aggregator) Held() (series, resources int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int(a.held.Load()), len(a.order)
}

// Folded returns how many measurements went into an overflow series so far.
func (a *Aggregator) Folded() int64 { return a.folded.Load() }

// lock returns the resource's state, locked by this call or, if it is one of
// those that are held, before.
func (a *Aggregator) lock(res *observed.Resource, held []*resource) *resource {
	for {
		r := a.resource(res)
		if slices.Contains(held, r) {
			return r
		}
		r.mu.Lock()
		if !r.gone {
			return r
		}
		floor := r.floor
		r.mu.Unlock()
		a.drop(r, floor)
	}
}

func (a *Aggregator) resource(res *observed.Resource) *resource {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.resources[res.Key]; r != nil {
		return r
	}
	if r := a.overflow; r != nil && len(a.resources) >= a.cfg.MaxResources {
		return r
	}
	r := &resource{
		agg: a, observed: res, floor: a.floor,
		series: make(map[seriesID]*series), texts: make(map[string]*labels),
	}
	r.plain.owner = r
	if a.cfg.Delta {
		r.batch = new(batch)
	}
	if len(a.resources) < a.cfg.MaxResources {
		a.resources[res.Key] = r
	} else {
		r.observed = nil
		a.overflow = r
	}
	a.order = append(a.order, r)
	return r
}

// drop lets go of a resource that is gone; its points end at or before now.
func (a *Aggregator) drop(r *resource, now int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.order, r)
	if i < 0 {
		return
	}
	a.order = slices.Delete(a.order, i, i+1)
	if r == a.overflow {
		a.overflow = nil
	} else {
		delete(a.resources, r.observed.Key)
	}
	a.floor = max(a.floor, now)
}

// sweep lets go of what is idle in delta mode, now and then.
func (a *Aggregator) sweep() {
	if !a.cfg.Delta || a.cfg.Expiration == 0 {
		return
	}
	now := a.now().UnixNano()
	a.mu.Lock()
	due := now-a.swept >= int64(a.cfg.Expiration)/sweepsPerExpiration
	if due {
		a.swept = now
	}
	a.mu.Unlock()
	if due {
		a.Flush()
	}
}
