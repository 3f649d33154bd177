package delivery

import (
	"container/list"
	"sync"
	"time"
)

// Key names an agent instance: who authenticated, and what it calls itself.
type Key struct {
	Subject  string
	Instance string
}

// Instance is what is remembered of an agent instance across its sessions.
// Sequence and State belong to the session that holds it.
type Instance[S any] struct {
	Key      Key
	Sequence Sequence
	State    S
	// Leave says that the receiver itself sent the agent away.
	Leave bool

	hold   chan struct{} // has a token while a session holds the instance
	claims int           // sessions that hold it or wait for it
	evict  func()        // of the newest claim
	away   time.Time     // when the last session left
	gone   bool          // its connections are given up
	place  *list.Element // in Registry.away or Registry.gone
}

// Hold returns the channel to send a token to: the send succeeds when the
// session before is done.
func (i *Instance[S]) Hold() chan<- struct{} { return i.hold }

// Registry holds the instances of all agents, those of agents that are away up
// to a number and for a time.
type Registry[S any] struct {
	max   int
	grace time.Duration
	ttl   time.Duration
	new   func(Key) S

	mu        sync.Mutex
	instances map[Key]*Instance[S]
	away      list.List // left, may come back: oldest first
	gone      list.List // given up, numbers still remembered: oldest first
}

// NewRegistry returns an empty registry. It remembers at most max instances
// beside those in use, gives their connections up after grace and forgets them
// after ttl.
func NewRegistry[S any](maxAway int, grace, ttl time.Duration, newState func(Key) S) *Registry[S] {
	return &Registry[S]{max: maxAway, grace: grace, ttl: ttl, new: newState, instances: make(map[Key]*Instance[S])}
}

// Claim returns the instance for a new session, which then waits for Hold. The
// session that had claimed it before is evicted. Release ends the claim.
func (r *Registry[S]) Claim(key Key, evict func()) *Instance[S] {
	r.mu.Lock()
	i, ok := r.instances[key]
	if !ok {
		i = &Instance[S]{Key: key, State: r.new(key), hold: make(chan struct{}, 1)}
		r.instances[key] = i
	}
	if i.place != nil {
		r.listOf(i).Remove(i.place)
		i.place = nil
	}
	i.claims++
	before := i.evict
	i.evict = evict
	r.mu.Unlock()
	if before != nil {
		before()
	}
	return i
}

func (r *Registry[S]) listOf(i *Instance[S]) *list.List {
	if i.gone {
		return &r.gone
	}
	return &r.away
}

// Release ends a claim. Held says whether the session held the instance.
func (r *Registry[S]) Release(i *Instance[S], held bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if held {
		<-i.hold
	}
	i.claims--
	if i.claims > 0 {
		return
	}
	i.evict = nil
	i.away = now
	i.gone = false
	i.place = r.away.PushBack(i)
}

// Len is how many instances are remembered.
func (r *Registry[S]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.instances)
}

// Sweep gives up instances that have been away for longer than the grace, and
// forgets those that have been for longer than the ttl or are too many: first
// those that are given up. It calls giveUp with at most together of them at
// once, while nobody else holds them; where that fails the next sweep tries
// again, unless it was told that this is the last time, since memory is
// bounded whatever fails.
func (r *Registry[S]) Sweep(now time.Time, together int, giveUp func(all []*Instance[S], last bool) bool) {
	for due := r.overdue(now); len(due) > 0; {
		n := min(len(due), together)
		r.mu.Lock()
		excess := r.away.Len() - r.max
		r.mu.Unlock()
		last := excess > 0
		if last {
			n = min(n, excess)
		}
		ok := giveUp(due[:n], last)
		r.mu.Lock()
		for _, i := range due[:n] {
			<-i.hold
			if i.place != nil && (ok || last) {
				r.away.Remove(i.place)
				i.gone = true
				i.place = r.gone.PushBack(i)
			}
		}
		r.mu.Unlock()
		due = due[n:]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.gone.Len() > 0 {
		i := r.gone.Front().Value.(*Instance[S])
		if now.Sub(i.away) < r.ttl && r.away.Len()+r.gone.Len() <= r.max {
			return
		}
		r.gone.Remove(i.place)
		delete(r.instances, i.Key)
	}
}

// overdue takes hold of the instances that are to be given up.
func (r *Registry[S]) overdue(now time.Time) []*Instance[S] {
	r.mu.Lock()
	defer r.mu.Unlock()
	var due []*Instance[S]
	excess := r.away.Len() - r.max
	for e := r.away.Front(); e != nil; e = e.Next() {
		i := e.Value.(*Instance[S])
		if now.Sub(i.away) < r.grace && len(due) >= excess {
			break
		}
		select {
		case i.hold <- struct{}{}:
			due = append(due, i)
		default:
		}
	}
	return due
}

// All returns every instance, for a shutdown: no session may be left.
func (r *Registry[S]) All() []*Instance[S] {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Instance[S], 0, len(r.instances))
	for _, i := range r.instances {
		all = append(all, i)
	}
	return all
}
