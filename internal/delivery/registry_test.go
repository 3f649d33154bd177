package delivery

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// state is what a session works on while it holds an instance; only one may.
type state struct {
	holders atomic.Int32
	n       int // not atomic: the race detector looks on
	given   int // how often its connections were given up
}

const (
	grace = 10 * time.Second
	ttl   = time.Minute

	together = 4 // are given up at once
)

var start = time.Unix(1_000_000, 0)

func newTestRegistry(maxAway int) *Registry[*state] {
	return NewRegistry(maxAway, grace, ttl, func(Key) *state { return &state{} })
}

func key(i any) Key { return Key{Subject: "alice", Instance: fmt.Sprint(i)} }

// visit is a session that comes and goes.
func visit(r *Registry[*state], k Key, now time.Time) *Instance[*state] {
	i := r.Claim(k, func() {})
	i.Hold() <- struct{}{}
	r.Release(i, true, now)
	return i
}

// sweep returns the instances that were given up.
func sweep(r *Registry[*state], now time.Time, ok bool) []string {
	given := []string{}
	r.Sweep(now, together, func(all []*Instance[*state], _ bool) bool {
		for _, i := range all {
			given = append(given, i.Key.Instance)
			i.State.given++
		}
		return ok
	})
	return given
}

func (r *Registry[S]) holds(k Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.instances[k] != nil
}

func TestInstancesAreRemembered(t *testing.T) {
	r := newTestRegistry(10)
	first := visit(r, key(1), start)
	first.Sequence.Taken(7)
	assert.Same(t, first, visit(r, key(1), start))
	assert.EqualValues(t, 7, r.Claim(key(1), nil).Sequence.Last())
	assert.NotSame(t, first, visit(r, Key{Subject: "bob", Instance: "1"}, start), "of another subject")
	assert.Equal(t, 2, r.Len())
	assert.Len(t, r.All(), 2)
}

func TestANewSessionTakesOver(t *testing.T) {
	r := newTestRegistry(10)
	evicted := []int{}
	evict := func(n int) func() { return func() { evicted = append(evicted, n) } }
	i := r.Claim(key(1), evict(1))
	i.Hold() <- struct{}{}
	assert.Same(t, i, r.Claim(key(1), evict(2)))
	assert.Equal(t, []int{1}, evicted)
	select {
	case i.Hold() <- struct{}{}:
		t.Fatal("the first session is not done")
	default:
	}
	r.Claim(key(1), evict(3))
	assert.Equal(t, []int{1, 2}, evicted)

	r.Release(i, false, start) // the second one, which never held it
	assert.Empty(t, sweep(r, start.Add(time.Hour), true), "two are there")
	r.Release(i, true, start)
	i.Hold() <- struct{}{}
	assert.Empty(t, sweep(r, start.Add(time.Hour), true), "one is there")
	r.Release(i, true, start.Add(time.Hour))
	assert.Equal(t, []int{1, 2}, evicted)
	r.Claim(key(1), evict(4))
	assert.Equal(t, []int{1, 2}, evicted, "nobody was there")
}

func TestAwayGivenUpForgotten(t *testing.T) {
	r := newTestRegistry(10)
	visit(r, key(1), start)
	visit(r, key(2), start.Add(time.Second))
	assert.Empty(t, sweep(r, start.Add(grace-1), true))
	assert.Equal(t, []string{"1"}, sweep(r, start.Add(grace), true))
	assert.Empty(t, sweep(r, start.Add(grace), true), "once")
	assert.Equal(t, []string{"2"}, sweep(r, start.Add(grace+time.Second), true))
	assert.Equal(t, 2, r.Len(), "numbers are remembered")
	sweep(r, start.Add(ttl-1), true)
	assert.Equal(t, 2, r.Len())
	sweep(r, start.Add(ttl), true)
	assert.False(t, r.holds(key(1)))
	assert.True(t, r.holds(key(2)))

	// One that comes back is no longer away, and its time begins anew.
	i := r.Claim(key(2), nil)
	assert.Equal(t, 1, i.State.given)
	sweep(r, start.Add(time.Hour), true)
	assert.True(t, r.holds(key(2)))
	i.Hold() <- struct{}{}
	r.Release(i, true, start.Add(time.Hour))
	assert.Empty(t, sweep(r, start.Add(time.Hour+grace-1), true))
	assert.Equal(t, []string{"2"}, sweep(r, start.Add(time.Hour+grace), true))
	assert.Equal(t, 2, i.State.given)
	sweep(r, start.Add(time.Hour+ttl), true)
	assert.Zero(t, r.Len())
}

func TestBackWithinTheGrace(t *testing.T) {
	r := newTestRegistry(10)
	visit(r, key(1), start)
	visit(r, key(1), start.Add(grace-1))
	assert.Empty(t, sweep(r, start.Add(grace), true))
	assert.Equal(t, []string{"1"}, sweep(r, start.Add(2*grace-1), true))
}

func TestGivingUpIsTriedAgain(t *testing.T) {
	r := newTestRegistry(10)
	i := visit(r, key(1), start)
	for range 3 {
		assert.Equal(t, []string{"1"}, sweep(r, start.Add(ttl), false))
		assert.True(t, r.holds(key(1)), "its connections are not given up yet")
	}
	assert.Same(t, i, visit(r, key(1), start.Add(ttl)), "a session may have it in between")
	assert.Equal(t, []string{"1"}, sweep(r, start.Add(2*ttl), true))
	sweep(r, start.Add(2*ttl), true)
	assert.Zero(t, r.Len())
}

// Many are given up together, up to a number, and those that are too many for
// another try apart from the others.
func TestGivenUpTogether(t *testing.T) {
	r := newTestRegistry(6)
	for n := range 12 {
		visit(r, key(n), start)
	}
	type call struct {
		n    int
		last bool
	}
	sweep := func(ok bool) (calls []call) {
		r.Sweep(start.Add(grace), together, func(all []*Instance[*state], last bool) bool {
			calls = append(calls, call{len(all), last})
			return ok
		})
		return calls
	}
	assert.Equal(t, []call{{4, true}, {2, true}, {4, false}, {2, false}}, sweep(false))
	assert.Equal(t, []call{{4, false}, {2, false}}, sweep(false), "all of a hand-over that failed come again")
	assert.Equal(t, []call{{4, false}, {2, false}}, sweep(true))
	assert.Empty(t, sweep(true))
}

func TestTooManyAreAway(t *testing.T) {
	r := newTestRegistry(3)
	for n := range 5 {
		visit(r, key(n), start)
	}
	assert.Equal(t, 5, r.Len(), "until the next sweep")
	assert.Equal(t, []string{"0", "1"}, sweep(r, start, true), "the oldest, before their grace is over")
	assert.Equal(t, 3, r.Len())

	// Those that are given up go first.
	sweep(r, start.Add(grace), true)
	visit(r, key(5), start.Add(grace))
	visit(r, key(6), start.Add(grace))
	assert.Empty(t, sweep(r, start.Add(grace), true))
	assert.Equal(t, []bool{false, false, true, true, true}, []bool{r.holds(key(2)), r.holds(key(3)), r.holds(key(4)), r.holds(key(5)), r.holds(key(6))})

	// Those in use do not count.
	for n := range 10 {
		r.Claim(key(fmt.Sprint("used", n)), nil)
	}
	assert.Empty(t, sweep(r, start.Add(grace), true))
	assert.Equal(t, 13, r.Len())
}

func TestTheBoundHoldsWhileGivingUpFails(t *testing.T) {
	r := newTestRegistry(3)
	for n := range 1000 {
		visit(r, key(n), start.Add(time.Duration(n)*time.Second))
		sweep(r, start.Add(time.Duration(n)*time.Second), false)
		require.LessOrEqual(t, r.Len(), 3)
	}
	assert.True(t, r.holds(key(999)))
}

// An agent may come back while its connections are being given up.
func TestAClaimDuringASweep(t *testing.T) {
	for _, released := range []bool{false, true} {
		r := newTestRegistry(10)
		i := visit(r, key(1), start)
		holding := make(chan struct{})
		var wg sync.WaitGroup
		r.Sweep(start.Add(grace), together, func(swept []*Instance[*state], _ bool) bool {
			assert.Equal(t, []*Instance[*state]{i}, swept)
			assert.Same(t, i, r.Claim(key(1), func() {}))
			select {
			case i.Hold() <- struct{}{}:
				t.Error("the sweep has it")
			default:
			}
			if released { // it did not wait
				r.Release(i, false, start.Add(grace))
				return true
			}
			wg.Go(func() {
				i.Hold() <- struct{}{}
				close(holding)
			})
			return true
		})
		wg.Wait()
		if released {
			assert.Empty(t, sweep(r, start.Add(2*grace), true), "it is given up")
			sweep(r, start.Add(grace+ttl), true)
			assert.Zero(t, r.Len())
			continue
		}
		<-holding
		assert.Empty(t, sweep(r, start.Add(time.Hour), true))
		assert.Equal(t, 1, r.Len())
		r.Release(i, true, start.Add(time.Hour))
		assert.Equal(t, []string{"1"}, sweep(r, start.Add(time.Hour+grace), true))
	}
}

// Sessions take one instance over from each other while others come, go and
// are swept: nobody shares one, and at the end nothing is left.
func TestRegistryUnderLoad(t *testing.T) {
	const workers, visits, instances = 8, 400, 6
	r := newTestRegistry(3)
	var clock atomic.Int64 // seconds
	now := func() time.Time { return start.Add(time.Duration(clock.Add(1)) * time.Second) }
	var evictions atomic.Int64
	work := func(i *Instance[*state]) {
		assert.EqualValues(t, 1, i.State.holders.Add(1), "held by one alone")
		i.State.n++
		i.Sequence.Taken(uint64(i.State.n))
		assert.EqualValues(t, -1, -i.State.holders.Load())
		i.State.holders.Add(-1)
	}
	stop := make(chan struct{})
	var sweeper, sessions sync.WaitGroup
	sweeper.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
				r.Sweep(now(), together, func(all []*Instance[*state], _ bool) bool {
					for _, i := range all {
						work(i)
					}
					return random.IntN(3) > 0
				})
				_ = r.Len()
			}
		}
	})
	for w := range workers {
		sessions.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 3))
			for range visits {
				evicted := make(chan struct{})
				i := r.Claim(key(random.IntN(instances)), sync.OnceFunc(func() {
					evictions.Add(1)
					close(evicted)
				}))
				if random.IntN(4) == 0 { // one that does not wait
					r.Release(i, false, now())
					continue
				}
				select {
				case i.Hold() <- struct{}{}:
					runtime.Gosched() // others come for it meanwhile, on one core too
					work(i)
					if random.IntN(2) == 0 {
						select {
						case <-evicted:
						default:
						}
						work(i)
					}
					r.Release(i, true, now())
				case <-evicted:
					r.Release(i, false, now())
				}
			}
		})
	}
	sessions.Wait()
	close(stop)
	sweeper.Wait()
	assert.Positive(t, evictions.Load())
	assert.LessOrEqual(t, r.Len(), instances)
	end := now().Add(ttl)
	sweep(r, end, true)
	assert.Zero(t, r.Len())
	assert.Zero(t, r.away.Len()+r.gone.Len())
}
