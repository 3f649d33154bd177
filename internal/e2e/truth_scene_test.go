package e2e

import (
	"context"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// servers are the libraries that serve; the clients are these and k6.
var servers = []string{"gorilla", "coder", "ws"}

// scene is where TestDifferentialTruth plays.
type scene struct {
	story     *story
	collector *collector
	capture   *capture
	server    map[string]string    // host:port, by library
	proxy     map[string]string    // host:port of the proxy before it
	agents    map[string]observers // of "gorilla client" and such
	stop      []func()             // lets go of the proxies
	talked    []connection
	k6        *k6Counts // nil: there is no k6
}

// connection is one that was made, through the proxy, with a server.
type connection struct {
	server string
	route  route
}

// atProxy and atServer name its two halves: by the listening end, and the path.
func (s *scene) atProxy(c connection) string  { return s.proxy[c.server] + c.route.String() }
func (s *scene) atServer(c connection) string { return s.server[c.server] + c.route.String() }

// witness is one observer, with a service.name of its own.
type witness struct {
	service  string
	role     string // client or server
	observer string // tap, adapter or proxy
	saw      func(connection) bool
	at       func(connection) string // the half that it saw
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{story: readStory(t), server: map[string]string{}, proxy: map[string]string{}, agents: map[string]observers{}}
	listeners := freePorts(t, 2*len(servers))
	for i, address := range listeners {
		of := s.server
		if i%2 == 1 {
			of = s.proxy
		}
		of[servers[i/2]] = address
	}
	node := nodePeer(t, "server", s.server["ws"]) // skips where it cannot
	s.capture = startCapture(t, listeners)
	s.collector = startCollector(t)
	for _, name := range []string{"gorilla client", "gorilla server", "coder client", "coder server"} {
		s.agents[name] = observers{tap: s.agent(t, name+" tap"), adapter: s.agent(t, name+" adapter")}
	}
	goServer(t, s.server["gorilla"], s.agents["gorilla server"], s.story.serveGorilla)
	goServer(t, s.server["coder"], s.agents["coder server"], s.story.serveCoder)
	startProgram(t, "listening", node)
	for _, server := range servers {
		s.stop = append(s.stop, startProgram(t, "msg=listening", exec.Command(tool(t), "proxy", "--listen", s.proxy[server],
			"--target", "http://"+s.server[server], "--collector", "ws://"+s.collector.endpoint, "--service-name", server+" proxy")))
	}
	return s
}

func (s *scene) agent(t *testing.T, service string) *wsstats.Agent {
	t.Helper()
	agent, err := wsstats.NewAgent(wsstats.WithServiceName(service), wsstats.WithEndpoint("ws://"+s.collector.endpoint))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, agent.Shutdown(context.Background())) })
	return agent
}

// dial has a client talk with all servers, on one connection after the other.
func (s *scene) dial(t *testing.T, client string) {
	t.Helper()
	var connections []connection
	var urls []string
	for _, server := range servers {
		for _, r := range routes(client, server) {
			c := connection{server, r}
			connections, urls = append(connections, c), append(urls, "ws://"+s.atProxy(c))
		}
	}
	switch client {
	case "gorilla", "coder":
		dial := s.story.dialGorilla
		if client == "coder" {
			dial = s.story.dialCoder
		}
		for i, c := range connections {
			require.NoError(t, dial(t.Context(), urls[i], c.route, s.agents[client+" client"]))
		}
	case "ws":
		runProgram(t, nodePeer(t, append([]string{"client"}, urls...)...))
	case "k6":
		counts := runK6(t, urls)
		s.k6 = &counts
	}
	s.talked = append(s.talked, connections...)
}

// end ends the scene, so that everything is told, and returns what was on the wire: the
// accounts of tshark by address and path.
func (s *scene) end(t *testing.T) map[string]wireAccount {
	t.Helper()
	wire := map[string]wireAccount{}
	for _, packets := range s.capture.stop(t) {
		name, a, err := accountOf(packets)
		require.NoError(t, err)
		require.NotContains(t, wire, name)
		wire[name] = a
	}
	for _, stop := range s.stop {
		stop()
	}
	for _, of := range s.agents {
		require.NoError(t, of.tap.Shutdown(t.Context()))
		require.NoError(t, of.adapter.Shutdown(t.Context()))
	}
	s.collector.stop(t)
	return wire
}

// witnesses are all observers but tshark.
func (s *scene) witnesses() []witness {
	var all []witness
	for _, server := range servers {
		all = append(all, witness{
			service: server + " proxy", role: "server", observer: "proxy", at: s.atProxy,
			saw: func(c connection) bool { return c.server == server },
		})
	}
	for _, library := range []string{"gorilla", "coder"} {
		for _, observer := range []string{"tap", "adapter"} {
			all = append(all, witness{
				service: library + " client " + observer, role: "client", observer: observer, at: s.atProxy,
				saw: func(c connection) bool { return c.route.client == library && c.route.observer == observer },
			}, witness{
				service: library + " server " + observer, role: "server", observer: observer, at: s.atServer,
				saw: func(c connection) bool { return c.server == library && c.route.observer == observer },
			})
		}
	}
	return all
}
