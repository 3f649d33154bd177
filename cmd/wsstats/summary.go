package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// counts are the sums over all agents.
type counts struct {
	sent, spans  uint64
	acknowledged uint64
	rejected     uint64
	held         uint64
	dropped      map[string]uint64
	sessions     uint64
	connected    int // agents that were welcomed
	nacks        uint64
}

func (l *load) counts() counts {
	c := counts{dropped: map[string]uint64{}}
	for _, w := range l.workers {
		s := w.agent.Stats()
		c.sent += w.sent.Load()
		c.spans += w.spans.Load()
		c.acknowledged += s.Acknowledged
		c.rejected += s.Rejected
		c.held += s.Held
		for why, n := range s.Dropped {
			c.dropped[why] += n
		}
		c.sessions += s.Sessions
		c.nacks += s.Nacks
		if s.Sessions > 0 {
			c.connected++
		}
	}
	return c
}

func (c *counts) lost() (n uint64) {
	for _, count := range c.dropped {
		n += count
	}
	return n
}

func (c *counts) reconnects() uint64 { return c.sessions - uint64(c.connected) }

// line is the progress of a run.
func (l *load) line(elapsed, since time.Duration, before *uint64) string {
	c := l.counts()
	rate := float64(c.sent-*before) / since.Seconds()
	*before = c.sent
	text := fmt.Sprintf("%4.0fs  sent %s (%s/s)  acknowledged %s  held %s  dropped %s  agents connected %d  reconnects %s  p99 %s",
		elapsed.Seconds(), grouped(c.sent), grouped(uint64(rate)), grouped(c.acknowledged), grouped(c.held), grouped(c.lost()),
		c.connected, grouped(c.reconnects()), rounded(l.latencies.quantile(0.99)))
	if last := l.complaints.latest(); last != "" {
		text += "  " + last
	}
	return text
}

// summary is the end of a run, as it is printed.
type summary struct {
	rows   [][2]string
	right  string // what is said where there are no faults
	faults []string
}

func (s *summary) add(name, format string, args ...any) {
	s.rows = append(s.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

func (l *load) summary() *summary {
	o, c, s := l.o, l.counts(), &summary{right: "every event is accounted for"}
	s.add("scenario", "%s: %s events/s, %s connections, %s agents, %s, seed %d", o.scenario.name,
		strconv.FormatFloat(o.rate, 'f', -1, 64), grouped(uint64(o.connections)), grouped(uint64(o.agents)), l.making.Round(time.Millisecond), o.seed)
	s.add("sent", "%s (%s/s)", grouped(c.sent), grouped(uint64(float64(c.sent)/l.making.Seconds())))
	s.add("acknowledged", "%s", grouped(c.acknowledged))
	s.add("rejected", "%s (of acknowledged: refused one by one)", grouped(c.rejected))
	s.add("refused", "%s (in batches that were refused for good)", grouped(c.dropped["refused"]))
	s.add("dropped", "%s%s", grouped(c.lost()), reasons(c.dropped))
	s.add("refused for now", "%s batches, sent again", grouped(c.nacks))
	s.add("reconnects", "%s", grouped(c.reconnects()))
	h := &l.latencies
	s.add("time to ack", "p50 %s  p90 %s  p99 %s  max %s", rounded(h.quantile(0.5)), rounded(h.quantile(0.9)), rounded(h.quantile(0.99)), rounded(h.quantile(1)))
	upTo := ""
	if c.lost()+c.rejected > 0 {
		upTo = "up to "
	}
	s.add("spans to expect", "%s%s (at a sampling ratio of %g)", upTo, grouped(c.spans), o.sampling)
	for _, complaint := range l.complaints.all()[:min(5, len(l.complaints.all()))] {
		s.add("agents said", "%s (%d times)", complaint.text, complaint.count)
	}
	l.judge(&c, s)
	return s
}

// judge looks for what must not be.
func (l *load) judge(c *counts, s *summary) {
	fault := func(format string, args ...any) { s.faults = append(s.faults, fmt.Sprintf(format, args...)) }
	if c.acknowledged+c.lost() != c.sent {
		fault("acknowledged + dropped is %s, and %s were sent", grouped(c.acknowledged+c.lost()), grouped(c.sent))
	}
	for _, w := range l.workers {
		stats := w.agent.Stats()
		acknowledged, dropped := w.book.counts()
		if acknowledged != stats.Acknowledged || !maps.Equal(dropped, stats.Dropped) {
			fault("agent %d counts %d acknowledged, %v dropped, and told of %d, %v", w.index, stats.Acknowledged, stats.Dropped, acknowledged, dropped)
		}
	}
	if c.acknowledged == 0 {
		fault("the receiver has taken nothing")
	}
}

// print writes the summary, and the faults or that there are none.
func (s *summary) print(out io.Writer) {
	for _, row := range s.rows {
		fmt.Fprintf(out, "%-16s %s\n", row[0], row[1])
	}
	for _, fault := range s.faults {
		fmt.Fprintf(out, "%-16s %s\n", "WRONG", fault)
	}
	if len(s.faults) == 0 {
		fmt.Fprintf(out, "%-16s %s\n", "right", s.right)
	}
}

func reasons(dropped map[string]uint64) string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(dropped)) {
		parts = append(parts, why+" "+grouped(dropped[why]))
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// grouped writes a number with commas.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// rounded leaves of a duration what one reads.
func rounded(d time.Duration) time.Duration {
	for unit := time.Second; unit > 1; unit /= 10 {
		if d >= 100*unit {
			return d.Round(unit)
		}
	}
	return d
}
