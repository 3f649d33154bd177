package e2e

import (
	"cmp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNetworkFaults puts a bad network between agents and the collector: every
// event arrives, and none twice.
func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault      func(*testing.T, *toxiproxy.Proxy)
		changes    []string
		reconnects bool
		encoding   string        // "": proto
		says       string        // what an agent complains of, besides
		slow       time.Duration // some event takes this long at least
	}{
		"latency": {encoding: "json", slow: 250 * time.Millisecond, fault: func(t *testing.T, p *toxiproxy.Proxy) {
			toxic(t, p, time.Second, "latency", "upstream", `"latency": 150, "jitter": 100`)
			toxic(t, p, time.Second, "latency", "downstream", `"latency": 150, "jitter": 100`)
		}},
		"bandwidth": {slow: 350 * time.Millisecond, fault: func(t *testing.T, p *toxiproxy.Proxy) {
			toxic(t, p, 2*time.Second, "bandwidth", "upstream", `"rate": 5`)
		}},
		"cut": {reconnects: true, fault: func(t *testing.T, p *toxiproxy.Proxy) {
			for range 2 {
				p.Stop()
				time.Sleep(300 * time.Millisecond)
				require.NoError(t, p.Start())
				time.Sleep(time.Second)
			}
		}},
		"reset": {encoding: "json", reconnects: true, fault: func(t *testing.T, p *toxiproxy.Proxy) {
			toxic(t, p, time.Second, "reset_peer", "downstream", `"timeout": 300`)
		}},
		"half-open, nothing arrives": {
			reconnects: true, says: "nothing heard from the receiver",
			fault: func(t *testing.T, p *toxiproxy.Proxy) {
				toxic(t, p, 2*time.Second, "timeout", "upstream", `"timeout": 0`)
				restart(t, p) // those who connected meanwhile wait for ten seconds else
			},
		},
		"half-open, no answer arrives": {
			encoding: "json", reconnects: true, says: "nothing heard from the receiver",
			fault: func(t *testing.T, p *toxiproxy.Proxy) {
				toxic(t, p, 2*time.Second, "timeout", "downstream", `"timeout": 0`)
				restart(t, p)
			},
		},
		"slow close": {
			reconnects: true, changes: []string{"receivers::wsstats::keepalive::max_connection_age: 500ms"},
			fault: func(t *testing.T, p *toxiproxy.Proxy) {
				toxic(t, p, 2*time.Second, "slow_close", "downstream", `"delay": 700`)
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCollector(t, append(tt.changes,
				"receivers::wsstats::metrics::temporality: delta",
				"receivers::wsstats::keepalive: {heartbeat: 200ms, ping_interval: 500ms, pong_timeout: 500ms}")...)
			p := startProxy(t, c.endpoint)
			l := startLoad(t, p.Listen, "--duration=4s", "--rate=900", "--connections=20", "--agents=3", "--queue-bytes=16777216",
				"--encoding="+cmp.Or(tt.encoding, "proto"))
			c.awaitAgents(t, 3)
			tt.fault(t, p)
			g := l.wait(t)
			assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
			if tt.reconnects {
				assert.GreaterOrEqual(t, g.row(t, "reconnects"), 3, "each agent")
			} else {
				assert.Zero(t, g.row(t, "reconnects"))
			}
			assert.Contains(t, g.summary, tt.says)
			assert.Greater(t, g.duration(t, "time to ack", "max"), tt.slow)
			c.stop(t)
			spans := c.spans(t)
			assert.Zero(t, g.account(t, spans))
			assertNoSpanTwice(t, spans)
			assert.Equal(t, g.row(t, "sent"), observations(c.metrics(t)))
		})
	}
}

// startProxy puts a proxy in front of host:port, at its Listen.
func startProxy(t *testing.T, upstream string) *toxiproxy.Proxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics log past the server's
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", upstream)
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	return p
}

// toxic disturbs a direction for a while.
func toxic(t *testing.T, p *toxiproxy.Proxy, during time.Duration, kind, stream, attributes string) {
	t.Helper()
	added, err := p.Toxics.AddToxicJson(strings.NewReader(`{"type": "` + kind + `", "stream": "` + stream + `", "attributes": {` + attributes + `}}`))
	require.NoError(t, err)
	time.Sleep(during)
	require.NoError(t, p.Toxics.RemoveToxic(t.Context(), added.Name))
}

// restart cuts all connections; new ones are made at once.
func restart(t *testing.T, p *toxiproxy.Proxy) {
	t.Helper()
	p.Stop()
	require.NoError(t, p.Start())
}

// TestFrozenAgent freezes agents for longer than the receiver waits for a sign
// of life and for their return: their sessions end, their connections count as
// lost, and once they go on, all is taken and nothing twice.
func TestFrozenAgent(t *testing.T) {
	t.Parallel()
	c := startCollector(t,
		"receivers::wsstats::keepalive: {ping_interval: 400ms, pong_timeout: 400ms}",
		"receivers::wsstats::delivery::resume_grace: 500ms")
	const connections = 20
	l := startLoad(t, c.endpoint, "--duration=5s", "--rate=1500", "--connections=20", "--agents=3")
	active := func(n float64) func() bool {
		return func() bool { return c.totals(t)["ws.connections.active"] == n }
	}
	require.Eventually(t, active(connections), waitTimeout, waitTick)
	l.signal(t, syscall.SIGSTOP)
	require.Eventually(t, active(0), waitTimeout, waitTick, "given up")
	l.signal(t, syscall.SIGCONT)
	require.Eventually(t, active(connections), waitTimeout, waitTick, "restated")
	g := l.wait(t)
	assert.Equal(t, g.row(t, "sent"), g.row(t, "acknowledged"), "nothing is dropped")
	assert.Equal(t, 3, g.row(t, "reconnects"), "each agent")
	c.stop(t)
	spans := c.spans(t)
	assert.Zero(t, g.account(t, spans))
	assertNoSpanTwice(t, spans)
	totals := c.totals(t)
	assert.InDelta(t, connections, totals["ws.connections.total"], 0)
	assert.InDelta(t, connections, totals["ws.connections.closed"], 0, "once each: as lost, and not again by their close")
	assert.InDelta(t, 0, totals["ws.connections.active"], 0)
	assert.Equal(t, connections, countNames(spans)["ws.close"])
}
