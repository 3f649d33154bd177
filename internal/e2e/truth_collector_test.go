package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// numbered is a message with its ordinal.
type numbered struct {
	message
	seq int64
}

// told is what spans say of one connection, by one observer.
type told struct {
	account
	messages [2][]numbered
}

// accounts are what the spans say, by service and then by address and path of the
// connection.
func (o output) accounts(t *testing.T) map[string]map[string]account {
	t.Helper()
	all := map[string]map[string]*told{}
	for _, line := range o.lines(t, "traces.json") {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		require.NoError(t, err)
		for _, s := range spansOf(td) {
			service, _ := s.Resource.Get("service.name")
			target, _ := s.Attributes().Get("ws.url")
			u, err := url.Parse(target.AsString())
			require.NoError(t, err)
			if all[service.AsString()] == nil {
				all[service.AsString()] = map[string]*told{}
			}
			of := all[service.AsString()]
			if of[u.Host+u.Path] == nil {
				of[u.Host+u.Path] = &told{}
			}
			require.NoError(t, of[u.Host+u.Path].take(s), "%s of %s", service.AsString(), u.Path)
		}
	}
	accounts := map[string]map[string]account{}
	for service, connections := range all {
		accounts[service] = map[string]account{}
		for name, c := range connections {
			accounts[service][name] = c.ordered()
		}
	}
	return accounts
}

// take takes a span.
func (c *told) take(s span) error {
	attributes := s.Attributes().AsRaw()
	number := func(name string, absent int) int {
		if v, ok := attributes[name].(int64); ok {
			return int(v)
		}
		return absent
	}
	role, _ := attributes["ws.role"].(string)
	sent, received := toClient, toServer
	if role == "client" {
		sent, received = toServer, toClient
	}
	d := received
	if attributes["ws.direction"] == "sent" {
		d = sent
	}
	switch kind, typ, _ := strings.Cut(s.Name(), " "); kind {
	case "ws.send", "ws.receive":
		if d = received; kind == "ws.send" {
			d = sent
		}
		c.messages[d] = append(c.messages[d], numbered{seq: int64(number("ws.message.seq", 0)), message: message{
			typ: typ, size: number("ws.message.size", -1),
			compressed: number("ws.message.compressed_size", -1), frames: number("ws.message.frames", 0),
		}})
	case "ws.ping":
		c.pings[d]++
	case "ws.pong":
		c.pongs[d]++
	case "ws.close":
		reason, _ := attributes["ws.close.reason"].(string)
		clean, _ := attributes["ws.close.clean"].(bool)
		by := map[any]string{"local": role, "remote": other(role)}[attributes["ws.close.initiator"]]
		c.closes = append(c.closes, closing{number("ws.close.code", 0), reason, by, clean})
		c.carried[sent] = traffic{number("ws.connection.messages.sent", -1), number("ws.connection.bytes.sent", -1)}
		c.carried[received] = traffic{number("ws.connection.messages.received", -1), number("ws.connection.bytes.received", -1)}
	case "ws.handshake":
	default:
		return fmt.Errorf("a span %q is not of this story", s.Name())
	}
	return nil
}

func other(role string) string {
	if role == "client" {
		return "server"
	}
	return "client"
}

// ordered puts the messages in their order. A number that is missing or there twice shows
// as a message without a type.
func (c *told) ordered() account {
	a := c.account
	for d, messages := range c.messages {
		slices.SortFunc(messages, func(a, b numbered) int { return int(a.seq - b.seq) })
		for i, m := range messages {
			if m.seq != int64(i+1) {
				m.message = message{}
			}
			a.messages[d] = append(a.messages[d], m.message)
		}
	}
	return a
}

// total is a series as of its last point: a sum, or a histogram.
type total struct {
	count uint64
	sum   float64 // of times: 0
}

// series are the series of a service by metric and attributes.
type series map[string]total

func (s series) add(n uint64, sum float64, metric string, attributes ...any) {
	labels := map[string]any{}
	for i := 0; i < len(attributes); i += 2 {
		labels[attributes[i].(string)] = attributes[i+1]
	}
	name := metric + " " + fmt.Sprint(labels)
	s[name] = total{s[name].count + n, s[name].sum + sum}
}

// seriesByService are the series of each service.
func (o output) seriesByService(t *testing.T) map[string]series {
	t.Helper()
	all := map[string]series{}
	for _, md := range o.metrics(t) {
		for _, rm := range md.ResourceMetrics().All() {
			service, _ := rm.Resource().Attributes().Get("service.name")
			if all[service.AsString()] == nil {
				all[service.AsString()] = series{}
			}
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					all[service.AsString()].take(m)
				}
			}
		}
	}
	return all
}

func (s series) take(m pmetric.Metric) {
	switch m.Type() {
	case pmetric.MetricTypeSum:
		for _, p := range m.Sum().DataPoints().All() {
			s[m.Name()+" "+key(p.Attributes())] = total{sum: float64(p.IntValue()) + p.DoubleValue()}
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			v := total{count: p.Count()}
			if m.Unit() != "s" {
				v.sum = p.Sum()
			}
			s[m.Name()+" "+key(p.Attributes())] = v
		}
	default:
		s[m.Name()+" of type "+m.Type().String()] = total{}
	}
}

var closeClasses = map[int]string{1000: "normal", 1001: "going_away", 4000: "application"}

// count adds what an account comes to, by the conventions, where the observer has this
// role: a compressed message whose size is not known is in the counts alone.
func (s series) count(a account, role string) {
	sent, received := toClient, toServer
	if role == "client" {
		sent, received = toServer, toClient
	}
	s.add(0, 1, "ws.connections.total", "ws.role", role, "ws.protocol", "ws")
	s.add(0, 0, "ws.connections.active", "ws.role", role)
	s.add(1, 0, "ws.handshake.duration", "ws.role", role, "http.status_code", 101)
	for _, end := range a.closes {
		class, initiator := closeClasses[end.code], "remote"
		if end.by == role {
			initiator = "local"
		}
		attributes := []any{"ws.close.class", class, "ws.close.initiator", initiator}
		if end.code <= 1015 {
			attributes = append(attributes, "ws.close.code", end.code)
		}
		s.add(0, 1, "ws.connections.closed", attributes...)
		s.add(1, 0, "ws.connection.duration", "ws.close.class", class)
	}
	for d, name := range map[direction]string{sent: "sent", received: "received"} {
		for _, m := range a.messages[d] {
			s.add(0, 1, "ws.messages."+name, "ws.message.type", m.typ, "ws.role", role)
			if m.size >= 0 {
				s.add(0, float64(m.size), "ws.messages.bytes", "ws.direction", name, "ws.message.type", m.typ, "ws.role", role)
				s.add(1, float64(m.size), "ws.message.size", "ws.direction", name, "ws.message.type", m.typ, "ws.role", role)
			}
		}
	}
	s.add(uint64(a.pongs[received]), 0, "ws.ping.rtt", "ws.role", role)
}
