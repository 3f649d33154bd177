package observed

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func limited(connections int) *Options {
	opts := defaults()
	opts.MaxConnections = connections
	return opts
}

// sound checks what always holds: the bound, and that exactly the connections
// that are not live may be forgotten, in the order in which they came there.
func sound(t testing.TB, table *Table) {
	t.Helper()
	require.LessOrEqual(t, table.Len(), table.opts.MaxConnections)
	live := 0
	for id, c := range table.conns {
		require.Equal(t, id, c.ID)
		if c.live() {
			live++
		}
	}
	require.Equal(t, table.Len()-live, table.retired.Len())
	last := int64(0)
	for e := table.retired.Front(); e != nil; e = e.Next() {
		c := e.Value.(*Conn)
		require.Same(t, c, table.conns[c.ID])
		require.Same(t, e, c.place)
		require.GreaterOrEqual(t, c.retired, last)
		last = c.retired
	}
}

// knows tells which of the connections are remembered.
func knows(table *Table, ids ...string) string {
	out := ""
	for _, id := range ids {
		if _, ok := table.conns[id]; ok {
			out += id
		}
	}
	return out
}

func TestTheOldestIsForgotten(t *testing.T) {
	table := NewTable(limited(3), "")
	mention := func(id string) string { return `{'event':'send','ws.connection.id':'` + id + `'}` }
	take(t, table, mention("a"))
	take(t, table, mention("b"))
	take(t, table, `{'event':'close','ws.connection.id':'a'}`)
	take(t, table, mention("c"))
	assert.Equal(t, "abc", knows(table, "a", "b", "c"))
	take(t, table, mention("d"))
	assert.Equal(t, "acd", knows(table, "a", "b", "c", "d"), "a was retired again by its close")
	take(t, table, mention("e"))
	assert.Equal(t, "cde", knows(table, "a", "b", "c", "d", "e"))
	take(t, table, mention("f"))
	assert.Equal(t, "def", knows(table, "a", "b", "c", "d", "e", "f"))
	sound(t, table)
}

func TestLiveConnectionsAreNotForgotten(t *testing.T) {
	table := NewTable(limited(2), "")
	take(t, table, `{'connections':[{'ws.connection.id':'a'}]}`)
	take(t, table, `{'event':'handshake','ws.connection.id':'b'}`)
	got := row(t, table, `{'event':'send','ws.connection.id':'c'}`)
	assert.Nil(t, got.Conn, "no more can be remembered")
	assert.NotNil(t, got.Span, "its span is made all the same")
	out := resolve(t, table, `{'connections':[{'ws.connection.id':'a'},{'ws.connection.id':'c'},{'ws.connection.id':'d'}]}`)
	assert.Equal(t, wire.Rejected{Count: 2, First: "connections[1]: over the limit of 2 remembered connections"}, out.Rejected)
	assert.Len(t, out.Opened, 1)
	take(t, table, `{'event':'close','ws.connection.id':'a'}`)
	take(t, table, `{'connections':[{'ws.connection.id':'c'}]}`)
	assert.Equal(t, "bc", knows(table, "a", "b", "c"))
	sound(t, table)
}

func TestClosedConnectionsExpire(t *testing.T) {
	table := NewTable(defaults(), "")
	at := func(now int64, text string) *Resolved {
		out := new(Resolved)
		table.Resolve(decode(t, text), now, out)
		table.Commit(now)
		return out
	}
	at(0, `{'connections':[{'ws.connection.id':'live'}],'events':[{'event':'handshake','ws.connection.id':'a'},{'event':'send','ws.connection.id':'b'}]}`)
	at(30*second, `[{'event':'close','ws.connection.id':'a'},{'event':'close','ws.connection.id':'b'}]`)
	at(90*second-1, `[{'event':'send','ws.connection.id':'x'}]`)
	assert.Equal(t, "abx", knows(table, "a", "b", "x"), "the ttl counts from the close")
	assert.Equal(t, 1, at(90*second-1, `[{'event':'close','ws.connection.id':'a'}]`).Rejected.Count)
	at(90*second, `[{'event':'send','ws.connection.id':'y'}]`)
	assert.Equal(t, "xylive", knows(table, "a", "b", "x", "y", "live"))
	assert.Empty(t, at(90*second, `[{'event':'close','ws.connection.id':'a'}]`).Rejected, "it is another one now")
	sound(t, table)
}

func TestEntries(t *testing.T) {
	tests := []struct {
		name, before, entry string
		opened              bool
		url                 string
	}{
		{"new", ``, `'ws.url':'ws://h'`, true, "ws://h"},
		{"closed", ``, `'ws.url':'ws://h','open':false`, false, "ws://h"},
		{"mentioned before", `{'event':'send','ws.connection.id':'c'}`, `'ws.url':'ws://h'`, true, "ws://h"},
		{"declared closed before", `{'connections':[{'ws.connection.id':'c','ws.url':'ws://g','open':false}]}`, `'ws.url':'ws://h'`, true, "ws://h"},
		{"restated", `{'connections':[{'ws.connection.id':'c','ws.url':'ws://g'}]}`, `'ws.url':'ws://h'`, true, "ws://g"},
		{"restated as closed, which is no close", `{'connections':[{'ws.connection.id':'c'}]}`, `'open':false`, true, ""},
		{"after its handshake", `{'event':'handshake','ws.connection.id':'c','ws.url':'ws://g'}`, `'ws.url':'ws://h'`, true, "ws://g"},
		{"after its close", `[{'event':'handshake','ws.connection.id':'c','ws.url':'ws://g'},{'event':'close','ws.connection.id':'c'}]`, `'ws.url':'ws://h'`, false, "ws://g"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := NewTable(defaults(), "")
			if tt.before != "" {
				take(t, table, tt.before)
			}
			out := take(t, table, `{'connections':[{'ws.connection.id':'c',`+tt.entry+`}]}`)
			assert.Equal(t, tt.opened, len(out.Opened) == 1)
			assert.Equal(t, tt.url, table.conns["c"].URL)
			assert.Equal(t, tt.opened, len(table.Abandon(arrival)) == 1)
			sound(t, table)
		})
	}
}

func TestAbandonedConnectionsComeBack(t *testing.T) {
	table := NewTable(limited(2), "me")
	const both = `{'connections':[{'ws.connection.id':'a'},{'ws.connection.id':'b'}]}`
	take(t, table, both)
	for range 1000 { // an agent that comes and goes leaves nothing behind
		assert.Len(t, table.Abandon(arrival), 2)
		assert.Empty(t, table.Abandon(arrival), "once")
		assert.Len(t, take(t, table, both).Opened, 2)
		sound(t, table)
	}
	table.Abandon(arrival)
	take(t, table, `{'connections':[{'ws.connection.id':'c'},{'ws.connection.id':'d'}]}`)
	assert.Equal(t, "cd", knows(table, "a", "b", "c", "d"), "they may be forgotten")
	sound(t, table)
}

// Whatever an agent sends, what is remembered is bounded and consistent.
func TestTheTableIsBounded(t *testing.T) {
	t.Run("ever new ids", func(t *testing.T) {
		table := NewTable(limited(64), "")
		m := decode(t, `[{'event':'send','ws.connection.id':'x'}]`)
		out := new(Resolved)
		for i := range 200_000 {
			m.Batch.Events[0].SetStr(wire.AttrConnectionID, fmt.Sprint(i))
			table.Resolve(m, arrival, out)
			table.Commit(arrival)
			if i%4096 == 0 {
				sound(t, table)
			}
		}
		sound(t, table)
		assert.Equal(t, 64, table.Len())
		assert.LessOrEqual(t, cap(table.closing), 64)
	})
	t.Run("at random", func(t *testing.T) {
		for seed := range uint64(8) {
			r := rand.New(rand.NewPCG(seed, 1))
			table := NewTable(limited(8), "me")
			for i := range 2000 {
				id := fmt.Sprint(r.IntN(20))
				text := ""
				switch r.IntN(7) {
				case 0:
					text = `{'connections':[{'ws.connection.id':'` + id + `','opened_at':1}]}`
				case 1:
					text = `{'connections':[{'ws.connection.id':'` + id + `','open':false}]}`
				case 2:
					text = `{'event':'handshake','ws.connection.id':'` + id + `'}`
				case 3, 4:
					text = `{'event':'close','ws.connection.id':'` + id + `'}`
				case 5:
					text = `[{'event':'close','ws.connection.id':'` + id + `'},{'event':'handshake','ws.connection.id':'` + id + `'}]`
				default:
					text = `{'event':'send','ws.connection.id':'` + id + `'}`
				}
				now := arrival + int64(i)*second/4
				out := new(Resolved)
				table.Resolve(decode(t, text), now, out)
				for _, row := range out.Rows {
					require.NotZero(t, row.Span.TraceID)
					require.NotZero(t, row.Span.SpanID)
				}
				if r.IntN(3) > 0 {
					table.Commit(now)
				}
				if r.IntN(100) == 0 {
					table.Abandon(now)
				}
				sound(t, table)
			}
		}
	})
}

// Red when: a handle goes on to stand for a connection that it does not mean
// any more, or that was forgotten.
func TestHandlesOfConnections(t *testing.T) {
	opts := defaults()
	opts.MaxConnections = 2
	table := NewTable(opts, "i1")
	on := func(handle uint32, id string) *Conn {
		m := decode(t, `{"seq":1,"events":[{'event':'send','ws.connection.id':'`+id+`'}]}`)
		m.Batch.Events[0].ConnHandle = handle
		var out Resolved
		table.Resolve(m, arrival, &out)
		require.Len(t, out.Rows, 1)
		return out.Rows[0].Conn
	}
	a := on(7, "a")
	assert.Equal(t, "a", a.ID)
	assert.Same(t, a, on(7, "a"))
	b := on(7, "b")
	assert.Equal(t, "b", b.ID, "the handle was defined anew")
	assert.Same(t, b, on(3, "b"))
	assert.Same(t, a, on(0, "a"))
	assert.Equal(t, "c", on(9, "c").ID, "which takes the place of a")
	assert.Equal(t, "d", on(9, "d").ID, "and this one that of b")
	again := on(3, "b")
	assert.NotSame(t, b, again, "it was forgotten")
	assert.Same(t, again, table.conns["b"])
}
