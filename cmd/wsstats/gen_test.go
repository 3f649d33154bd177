package main

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// gen runs gen with a ledger, which it returns, and its summary.
func gen(t *testing.T, endpoint string, args ...string) (status int, out string, l ledger) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.json")
	status, out, errs := wsstatsIn(t.Context(), "", append([]string{
		"gen", "--endpoint", endpoint, "--ledger", path, "--duration", "300ms", "--connections", "20", "--agents", "3",
		"--batch-delay", "20ms", "--drain", "10s", "--seed", "7",
	}, args...)...)
	assert.NotContains(t, errs, "wsstats: gen")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &l))
	return status, out, l
}

// row is the number that a row of the summary begins with.
func row(t *testing.T, out, name string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` +([\d,]+)`).FindStringSubmatch(out)
	require.NotNil(t, m, "%s in\n%s", name, out)
	n, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
	require.NoError(t, err)
	return n
}

// In each scenario every event arrives once, and the ledger and the summary say so.
func TestScenarios(t *testing.T) {
	kinds := map[string][]wire.Kind{
		"steady":          {wire.KindSend, wire.KindReceive, wire.KindPing},
		"abnormal-closes": {wire.KindError},
	}
	for _, s := range scenarios() {
		if s.raw {
			continue
		}
		for _, encoding := range []string{"proto", "json"} {
			t.Run(s.name+" in "+encoding, func(t *testing.T) {
				t.Parallel()
				r := newReceiver(t, nil)
				args := []string{"--scenario", s.name, "--rate", "5000", "--encoding", encoding}
				if s.storms { // the first session has to be there before the last storm, on a busy machine too
					args = append(args, "--duration", "3s", "--rate", "500")
				}
				status, out, l := gen(t, r.endpoint(), args...)
				assert.Equal(t, 0, status, out)
				assert.Contains(t, out, "every event is accounted for")

				sent := row(t, out, "sent")
				assert.GreaterOrEqual(t, sent, 1500+2*20)
				assert.Equal(t, sent, row(t, out, "acknowledged"))
				assert.Equal(t, sent, row(t, out, "spans to expect"))
				assert.Zero(t, row(t, out, "dropped"))
				assert.Zero(t, row(t, out, "rejected"))
				assert.Equal(t, s.storms, row(t, out, "reconnects") > 0)

				r.mu.Lock()
				defer r.mu.Unlock()
				assert.Equal(t, []string{"wsstats.v1." + encoding}, slices.Collect(maps.Keys(r.chosen)))
				assert.Len(t, r.ids, sent)
				require.Len(t, l.Agents, 3)
				for _, a := range l.Agents {
					require.NoError(t, a.check())
					assert.Empty(t, a.Dropped)
					assert.Equal(t, a.Sent, a.Acknowledged)
					for _, id := range idsOf(a.Agent, a.Acknowledged) {
						assert.Equal(t, 1, r.ids[id], id)
					}
				}
				assert.Equal(t, r.kinds[wire.KindClose], r.kinds[wire.KindHandshake]-refusals(out, r))
				for _, kind := range kinds[s.name] {
					assert.Positive(t, r.kinds[kind], kind.String())
				}
			})
		}
	}
}

// refusals are the handshakes that opened nothing: what closes do not explain.
func refusals(out string, r *receiver) int {
	if !strings.Contains(out, "abnormal-closes") {
		return 0
	}
	return r.kinds[wire.KindHandshake] - r.kinds[wire.KindClose]
}

// What is refused for good and for now, and what does not fit, is told apart.
func TestLosses(t *testing.T) {
	nacked := false
	r := newReceiver(t, func(seq uint64) *wire.Reply {
		switch {
		case seq == 2 && !nacked:
			nacked = true
			return &wire.Reply{Nack: 2, Retryable: true, Code: wire.CodeUnavailable}
		case seq%2 == 1 && seq < 10: // one of them at least has events
			return &wire.Reply{Nack: seq, Code: wire.CodeRefused}
		}
		return nil
	})
	status, out, l := gen(t, r.endpoint(), "--agents", "1", "--rate", "20000", "--queue-bytes", "20000", "--batch-delay", "5ms")
	assert.Equal(t, 0, status, out)
	assert.Equal(t, 1, row(t, out, "refused for now"))
	assert.Positive(t, row(t, out, "refused"))
	assert.Equal(t, row(t, out, "sent"), row(t, out, "acknowledged")+row(t, out, "dropped"))
	a := l.Agents[0]
	require.NoError(t, a.check())
	assert.Len(t, idsOf(0, a.Dropped["refused"]), row(t, out, "refused"))
	assert.NotEmpty(t, a.Dropped["queue_full"])
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Equal(t, map[string]int{wire.SubprotocolProto: 1}, r.chosen, "where nothing else is asked for")
	assert.Len(t, r.ids, len(idsOf(0, a.Acknowledged)))
	for _, id := range idsOf(0, a.Acknowledged) {
		assert.Equal(t, 1, r.ids[id], id)
	}
}

func TestReceiverAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	status, out, book := gen(t, "ws://"+l.Addr().String(), "--drain", "50ms")
	assert.Equal(t, 1, status)
	assert.Contains(t, out, "WRONG            the receiver has taken nothing")
	assert.Contains(t, out, "agents said      wsstats: receiver not reached")
	assert.Equal(t, row(t, out, "sent"), row(t, out, "dropped"))
	for _, a := range book.Agents {
		assert.Equal(t, a.Sent, a.Dropped["shutdown"])
	}
}

// Books that do not balance are found, whoever is wrong.
func TestJudge(t *testing.T) {
	r := newReceiver(t, nil)
	o, err := parseGen([]string{"--endpoint", r.endpoint(), "--duration", "10ms"}, nil)
	require.NoError(t, err)
	l := &load{o: o, complaints: newComplaints()}
	require.NoError(t, l.prepare())
	l.run(t.Context())
	l.shutdown()
	require.Empty(t, l.summary().faults)
	l.workers[0].sent.Add(1)
	assert.Len(t, l.summary().faults, 1)
	l.workers[0].book.acknowledged.count++
	assert.Len(t, l.summary().faults, 2)
}

// A mistake has to be answered, by something that says that it is one.
func TestMalformed(t *testing.T) {
	malformed := func(endpoint string) string {
		status, out, errs := wsstatsIn(t.Context(), "", "gen", "--scenario", "malformed", "--endpoint", endpoint,
			"--rate", "1000", "--duration", "300ms", "--drain", "100ms")
		assert.Empty(t, errs)
		assert.Equal(t, 1, status, "none of these receivers is right")
		return out
	}
	r := newReceiver(t, nil)
	out := malformed(r.endpoint())
	for _, want := range []string{
		"with error malformed", "with error rejected", "with ack with rejected",
		"messages were taken as if they were right", // a second hello
	} {
		assert.Contains(t, out, want)
	}
	assert.NotContains(t, out, "no answer")

	silent := newReceiver(t, nil)
	silent.silent = true
	assert.Contains(t, malformed(silent.endpoint()), "messages had no answer")
	r.server.Config.Handler = http.NotFoundHandler()
	out = malformed(r.endpoint())
	assert.Contains(t, out, "no session was opened")
	assert.Regexp(t, `not opened +\d+: status 404 Not Found`, out)
}

func TestBursts(t *testing.T) {
	for elapsed, want := range map[time.Duration]float64{
		0: 0, 50 * time.Millisecond: 0.5, 100 * time.Millisecond: 1, time.Second: 1, 2050 * time.Millisecond: 2.5,
	} {
		assert.InDelta(t, want, bursts(elapsed), 1e-6, elapsed)
	}
}
