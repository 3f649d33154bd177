package e2e

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDifferentialTruth has peers of four libraries talk through the proxy, and asks all
// who observe them what went by: the middleware's tap and the adapters at the ends that
// are in Go, the proxy, k6 of its own connections, and tshark, which is none of ours, on
// both sides of the proxy. To the last message, byte, ping and close they tell the same
// story, and so do the collector's metrics.
//
//	client --- tshark --- proxy --- tshark --- server
//	(agent)              (agent)              (agent)
//
// What each knows of a compressed message: tshark, the taps and the proxy how long it was
// on the wire; the adapters how long it was before. Those agree with the wire where it is
// not compressed, and with the story everywhere.
//
// Red when: the tap forgets the bytes of continuation frames, or the frames; a ping counts
// twice; the answer to a close passes for the close; an adapter misses a pong, knows the
// size of a message's last part alone, forgets that a close was answered, or records a close
// before what was sent; compressed bytes count as sizes.
func TestDifferentialTruth(t *testing.T) {
	s := newScene(t)
	for _, client := range append(servers, "k6") {
		t.Run("client "+client, func(t *testing.T) { s.dial(t, client) })
	}
	wire := s.end(t)
	t.Run("wire", func(t *testing.T) { s.checkWire(t, wire) })
	accounts, measured := s.collector.accounts(t), s.collector.seriesByService(t)
	for _, w := range s.witnesses() {
		t.Run(w.service, func(t *testing.T) {
			seen, told, metrics := 0, accounts[w.service], series{}
			for _, c := range s.talked {
				if !w.saw(c) {
					continue
				}
				seen++
				want := wire[w.at(c)].account
				if w.observer == "adapter" {
					want = want.adapted(s.story)
				}
				metrics.count(want, w.role)
				require.Equal(t, want, told[s.atProxy(c)], "%s with %s", c.route, c.server)
			}
			require.NotZero(t, seen)
			assert.Len(t, told, seen)
			assert.Equal(t, metrics, measured[w.service])
		})
	}
}

// checkWire compares what tshark has seen with the story, on both sides of the proxy, and
// with what k6 has counted.
func (s *scene) checkWire(t *testing.T, wire map[string]wireAccount) {
	t.Helper()
	assert.Len(t, wire, 2*len(s.talked))
	k6 := k6Counts{}
	interleaved := map[string]int{} // control frames within messages, by the library that sent both
	var messages, frames, compressed int
	for _, c := range s.talked {
		a := wire[s.atServer(c)]
		require.Equal(t, a, wire[s.atProxy(c)], "both sides of the proxy, %s", c.route)
		require.Equal(t, []closing{{c.route.code, closeReason, c.route.closer, true}}, a.closes, c.route)
		for d := range a.messages {
			require.Equal(t, s.story.pings, a.pings[d], c.route)
			require.Equal(t, s.story.pings, a.pongs[d], c.route)
			heard, before := slices.Clone(a.messages[d]), compressed
			for i, m := range heard {
				messages, frames = messages+1, frames+m.frames
				if m.compressed >= 0 && i < len(s.story.messages) {
					compressed++
					m.size = s.story.messages[i].size // none of the wire's
				}
				heard[i] = message{typ: m.typ, size: m.size, compressed: -1}
			}
			require.Equal(t, s.story.messages, heard, c.route)
			require.Equal(t, c.route.compression != "plain", compressed > before, c.route)
		}
		interleaved[c.route.client] += a.interleaved[toServer]
		interleaved[c.server] += a.interleaved[toClient]
		if c.route.client == "k6" {
			k6.Sessions++
			k6.Sent += float64(len(a.messages[toServer]) + a.pings[toServer])
			if c.route.closer == "client" {
				k6.Sent++ // it counts a close frame of its own, too
			}
			k6.Received += float64(len(a.messages[toClient]))
			k6.Pings += float64(a.pongs[toClient])
		}
	}
	t.Logf("%d connections, %d messages (%d of them compressed) in %d frames", len(s.talked), messages, compressed, frames)
	for _, library := range servers {
		assert.NotZero(t, interleaved[library], "pings of %s between fragments", library)
	}
	if s.k6 != nil {
		assert.Equal(t, k6, *s.k6)
	}
}
