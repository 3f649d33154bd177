package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// book is what became of the events of one agent, as the agent tells it.
type book struct {
	mu           sync.Mutex
	acknowledged tally
	dropped      map[string]*tally // by reason
	latencies    *histogram        // of all agents; has its own lock
}

// tally counts events, and keeps the numbers of those that have a gen.id.
type tally struct {
	count   uint64
	numbers ranges
}

func newBook(latencies *histogram) *book {
	return &book{dropped: map[string]*tally{}, latencies: latencies}
}

// note takes what became of one event.
func (b *book) note(o wsstats.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &b.acknowledged
	if o.Dropped != "" {
		if t = b.dropped[o.Dropped]; t == nil {
			t = &tally{}
			b.dropped[o.Dropped] = t
		}
	} else {
		b.latencies.add(time.Since(o.Time))
	}
	t.count++
	if n, ok := eventNumber(o.Attributes); ok {
		t.numbers.add(n)
	}
}

func eventNumber(attributes []wsstats.Attribute) (uint64, bool) {
	for i := range attributes {
		if attributes[i].Key == keyID {
			_, number, _ := strings.Cut(attributes[i].Value.Str, "/")
			n, err := strconv.ParseUint(number, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// counts are the sums of the book.
func (b *book) counts() (acknowledged uint64, dropped map[string]uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	dropped = map[string]uint64{}
	for why, t := range b.dropped {
		dropped[why] = t.count
	}
	return b.acknowledged.count, dropped
}

// ledger is the file of --ledger. An event's gen.id is agent/number.
type ledger struct {
	Scenario string        `json:"scenario"`
	Seed     uint64        `json:"seed"`
	Service  string        `json:"service"`
	Agents   []agentLedger `json:"agents"`
}

type agentLedger struct {
	Agent        int               `json:"agent"`
	Sent         ranges            `json:"sent"`
	Acknowledged ranges            `json:"acknowledged"`
	Dropped      map[string]ranges `json:"dropped"`
}

func (b *book) ledger(agent int, sent uint64) agentLedger {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := agentLedger{Agent: agent, Sent: ranges{{1, sent}}, Acknowledged: slices.Clone(b.acknowledged.numbers), Dropped: map[string]ranges{}}
	for why, t := range b.dropped {
		l.Dropped[why] = slices.Clone(t.numbers)
	}
	return l
}

// check tells whether every event that was sent has one fate.
func (l *agentLedger) check() error {
	all := slices.Clone(l.Acknowledged)
	for _, r := range l.Dropped {
		all = append(all, r...)
	}
	slices.SortFunc(all, func(a, b [2]uint64) int {
		if a[0] < b[0] {
			return -1
		}
		return 1
	})
	var last uint64
	for _, r := range all {
		if r[0] != last+1 {
			return fmt.Errorf("agent %d: event %d has %s", l.Agent, min(r[0], last+1), map[bool]string{true: "no fate", false: "two"}[r[0] > last])
		}
		last = r[1]
	}
	if sent := l.Sent[0][1]; last != sent {
		return fmt.Errorf("agent %d: %d events were sent, the last one known is %d", l.Agent, sent, last)
	}
	return nil
}

// write replaces the file at once, so that no reader finds half of it.
func (l *ledger) write(path string) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := os.WriteFile(path+".tmp", append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// ranges is a set of numbers: ascending ranges, both ends included, with gaps between.
type ranges [][2]uint64

// add adds a number that is not in the set. Numbers come nearly in order, so
// that the place is near the end.
func (r *ranges) add(n uint64) {
	s := *r
	i := len(s)
	for i > 0 && s[i-1][0] > n {
		i--
	}
	joinsLeft := i > 0 && s[i-1][1]+1 == n
	joinsRight := i < len(s) && n+1 == s[i][0]
	switch {
	case joinsLeft && joinsRight:
		s[i-1][1] = s[i][1]
		*r = slices.Delete(s, i, i+1)
	case joinsLeft:
		s[i-1][1] = n
	case joinsRight:
		s[i][0] = n
	default:
		*r = slices.Insert(s, i, [2]uint64{n, n})
	}
}
