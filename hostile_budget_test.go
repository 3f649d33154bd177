package wsstatsreceiver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// pressed is a receiver whose pipeline blocks and whose byte budget is small.
type pressed struct {
	*hostile
	gate *gatedConsumer
}

const smallBudget = 64 << 10

// hold greets and sends a first message of so many bytes, which stays in the
// pipeline until release.
func (p *pressed) hold(size int) *rawClient {
	p.Helper()
	c := p.greet("holder")
	require.Eventually(p, func() bool { return p.r.budget.Used() == 0 }, waitFor, pollEvery)
	c.write(p.frame(sized(1, size)))
	<-p.gate.entered
	return c
}

// release lets everything through the pipeline from now on.
func (p *pressed) release() { close(p.gate.release) }

// reads waits until a session has read so many messages, and returns how many
// of them are in its queue.
func (p *pressed) reads(n uint64) (queued int) {
	p.Helper()
	require.Eventually(p, func() bool {
		for _, s := range p.r.sessions.all() {
			s.mu.Lock()
			received := s.received
			queued = len(s.queue)
			s.mu.Unlock()
			if received == n {
				return true
			}
		}
		return false
	}, waitFor, pollEvery)
	return queued
}

func (p *pressed) numbered(from, to int) []byte {
	var b []byte
	for seq := from; seq <= to; seq++ {
		b = append(b, p.frame(fmt.Sprintf(`{"seq":%d}`, seq))...)
	}
	return b
}

func TestHostileBudget(t *testing.T) { eachEncoding(t, testHostileBudget) }

func testHostileBudget(t *testing.T, e encoding) {
	declare := `{"connections":[{"ws.connection.id":"c","ws.role":"client"}]}`
	var rows []hostileRow
	for _, tt := range []struct {
		name  string
		do    func(p *pressed)
		heard []string
		ends  string
		shows map[string]int64
		json  bool // it cannot happen in another encoding
	}{
		{
			name: "over the window", heard: []string{"close 1008"}, shows: closes("1008"),
			do: func(p *pressed) {
				p.hold(60 << 10).write(p.frame(sized(2, 8<<10)))
				require.Eventually(p, func() bool { s := p.r.sessions.all(); return len(s) == 1 && s[0].isStopped() }, waitFor, pollEvery)
				p.release()
			},
		},
		{
			name: "numbered, over the budget", heard: []string{"close 1000"},
			do: func(p *pressed) {
				p.hold(60 << 10)
				p.greet("i2").write(p.frame(sized(1, 8<<10)))
				assert.Equal(p, "later 1", p.client.next())
				p.release()
				require.Eventually(p, func() bool { return p.r.budget.Used() == 0 }, waitFor, pollEvery)
				p.client.write(p.frame(sized(1, 8<<10)))
				assert.Equal(p, "ack 1", p.client.next())
				p.leave()
			},
		},
		{
			// What is refused is not kept, and all of it is asked for again.
			name: "many numbered ones over the budget", heard: []string{"close 1000"},
			do: func(p *pressed) {
				c := p.hold(400)
				c.write(p.numbered(2, 301))
				assert.Equal(p, 128, p.reads(302), "the budget of messages, and the refusal")
				p.release()
				assert.Equal(p, "ack 128", c.next())
				assert.Equal(p, "later 129", c.next())
				c.write(p.numbered(129, 129))
				assert.Equal(p, "ack 129", c.next())
				p.leave()
			},
		},
		{
			name: "a number that comes again, over the budget", heard: []string{"close 1000"},
			do: func(p *pressed) {
				c := p.hold(1 << 10)
				require.True(p, p.r.budget.Acquire(smallBudget-1<<10))
				c.write(p.numbered(1, 3))
				p.reads(5)
				p.release()
				heard := []string{c.next(), c.next(), c.next()}
				p.r.budget.Release(smallBudget - 1<<10)
				p.leave()
				assert.Equal(p, []string{"ack 1", "duplicate 1", "later 2"}, heard)
			},
		},
		{
			// Red when: what follows such a number is ignored and never asked for.
			name: "a number that comes again, over the budget, and nothing behind it yet", heard: []string{"close 1000"},
			do: func(p *pressed) {
				c := p.hold(1 << 10)
				p.release()
				require.Equal(p, "ack 1", c.next())
				require.Eventually(p, func() bool { return p.r.budget.Used() == 0 }, waitFor, pollEvery)
				require.True(p, p.r.budget.Acquire(smallBudget))
				c.write(p.numbered(1, 1))
				assert.Equal(p, "duplicate 1", c.next())
				p.r.budget.Release(smallBudget)
				c.write(p.numbered(2, 2))
				assert.Equal(p, "ack 2", c.next())
				p.leave()
			},
		},
		{
			name: "many unnumbered ones over the budget", ends: "close 1000", shows: map[string]int64{`dropped{reason="budget"}`: 2048 - 127},
			do: func(p *pressed) {
				c := p.hold(400)
				p.flood(p.frame(`[]`), 2048)
				for range 2048 - 127 {
					require.Equal(p, "error unavailable", c.next())
				}
				p.release()
				assert.Equal(p, "ack 1", c.next())
				p.leave()
			},
		},
		{
			name: "connections over the budget", heard: []string{"close 1000"}, shows: map[string]int64{"connections": 2, `dropped{reason="budget"}`: 1},
			do: func(p *pressed) {
				p.hold(smallBudget)
				p.greet("i2")
				p.say(declare)
				assert.Equal(p, "error unavailable", p.client.next(), "taken all the same")
				p.leave()
				p.release()
			},
		},
		{
			name: "many connections over the budget", ends: "close 1008", shows: closes("1008"),
			do: func(p *pressed) {
				p.hold(smallBudget)
				p.flood(p.frame(declare), 1024)
				s := p.r.sessions.all()[0]
				require.Eventually(p, s.isStopped, waitFor, pollEvery)
				s.mu.Lock()
				assert.EqualValues(p, 2+maxRefusals+1, s.received, "more are not kept waiting, though the reserve would do")
				s.mu.Unlock()
				p.release()
			},
		},
		{
			name: "a hello when even the reserve is used up", heard: []string{"close 1008"}, shows: closes("1008"),
			do: func(p *pressed) {
				require.True(p, p.r.budget.AcquireReserve(2*smallBudget))
				p.join()
				p.say(`{"hello":{"instance":"i1"}}`)
				require.Eventually(p, func() bool { s := p.r.sessions.all(); return len(s) == 1 && s[0].isStopped() }, waitFor, pollEvery)
				p.r.budget.Release(2 * smallBudget)
			},
		},
		{
			name: "what may have had a number", json: true, heard: []string{"close 1008"}, shows: closes("1008"),
			do: func(p *pressed) {
				p.greet("i1")
				p.say(`{"seq":1}`)
				require.Equal(p, "ack 1", p.client.next())
				require.True(p, p.r.budget.AcquireReserve(2*smallBudget-4<<10))
				p.client.write(text(`{"events":[{"event":"send","x":"` + strings.Repeat("x", 8<<10) + `"}],"seq":2}`))
				require.Eventually(p, func() bool { s := p.r.sessions.all(); return len(s) == 1 && s[0].isStopped() }, waitFor, pollEvery)
				p.r.budget.Release(2*smallBudget - 4<<10)
			},
		},
	} {
		if tt.json && e.subprotocol != wire.SubprotocolJSON {
			continue
		}
		gate := newGatedConsumer()
		rows = append(rows, hostileRow{
			row: 21, name: tt.name, heard: tt.heard, ends: tt.ends, shows: tt.shows,
			options: testOptions{traces: gate, config: func(cfg *Config) {
				cfg.Limits.MessageBytes, cfg.Delivery.WindowBytes, cfg.Delivery.BudgetBytes = smallBudget, smallBudget, smallBudget
				cfg.Delivery.AckDelay = time.Second
			}},
			do: func(h *hostile) { tt.do(&pressed{h, gate}) },
		})
	}
	runHostileIn(t, e, rows)
}

// A message that is still coming in is in the budget too, and one that is over
// it is thrown away as it comes.
func TestHostileHalfMessages(t *testing.T) {
	eachEncoding(t, func(t *testing.T, e encoding) {
		const sessions, size = 64, 512 << 10
		r := startReceiver(t, testOptions{config: func(cfg *Config) { cfg.Delivery.BudgetBytes = 4 << 20 }})
		h := &hostile{T: t, r: r, encoding: e}
		message := h.frame(sized(1, size))
		before := heldBytes()
		var clients []*rawClient
		for i := range sessions {
			c := h.greet(fmt.Sprintf("i%d", i))
			clients = append(clients, c)
			c.write(message[:len(message)-1])
		}
		require.Eventually(t, func() bool { return r.budget.Used() > 3<<20 }, waitFor, pollEvery)
		taken := 0
		for _, c := range clients {
			assert.LessOrEqual(t, r.budget.Used(), int64(4<<20+512<<10), "the budget, and its reserve for hellos")
			c.write(message[len(message)-1:])
			switch word := c.next(); word {
			case "ack 1":
				taken++
			default:
				require.Equal(t, "later 1", word)
			}
		}
		assert.NotZero(t, taken)
		assert.Less(t, taken, sessions)
		assert.Less(t, heldBytes()-before, int64(16<<20), "not the 32 MiB that were sent")
		assert.Zero(t, r.budget.Used())
	})
}

// Red when: a small message gets what a large one has left in the pool.
func TestBuffersAreOfTheirSize(t *testing.T) {
	var p bufferPool
	for _, tt := range []struct{ size, capacity int }{
		{1, 4 << 10}, {4 << 10, 4 << 10}, {4<<10 + 1, 8 << 10}, {1 << 20, 1 << 20}, {1<<20 + 1, 1<<20 + 1},
	} {
		b := p.get(tt.size)
		assert.Empty(t, *b)
		assert.Equal(t, tt.capacity, cap(*b))
		p.put(b)
	}
	assert.Equal(t, 4<<10, cap(*p.get(100)))
}
