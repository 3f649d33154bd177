package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// usage is what a life of the collector uses.
type usage struct {
	rss, heap   int // bytes; the heap: of what is still in use after a collection, 0: not looked up
	goroutines  int
	descriptors int
	sessions    int
}

// sample is how a soak stands at one time.
type sample struct {
	at   time.Duration
	life int // 0: the collector was not running
	usage
	sent, acknowledged, held, dropped int // as the load said last
	arrived, repeated, twice          int
	faults                            []string // since the sample before
}

// lost is how many events were acknowledged beyond those that have arrived.
func (s *sample) lost() int { return max(0, s.acknowledged-s.arrived) }

func (s *soak) sample(t *testing.T) sample {
	t.Helper()
	now := sample{at: time.Since(s.start), faults: s.weather.report()}
	// In this order: what the load says is older than what has arrived.
	now.sent, now.acknowledged, now.held, now.dropped = s.load.progress()
	now.arrived, now.repeated, now.twice = s.arrivals.counts()
	if l := s.current.Load(); l != nil {
		// It may end just now.
		if u, err := s.look(t.Context(), l, false); err == nil {
			now.life, now.usage = l.number, u
		}
	}
	return now
}

// usage is that of the life that runs now.
func (s *soak) usage(t *testing.T) usage {
	t.Helper()
	u, err := s.look(t.Context(), s.current.Load(), true)
	require.NoError(t, err)
	return u
}

var (
	rssLine        = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
	heapLine       = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
	goroutinesLine = regexp.MustCompile(`^goroutine profile: total (\d+)`)
	sessionsLine   = regexp.MustCompile(`(?m)^otelcol_receiver_wsstats_sessions\S* (\d+)`)
	progressLine   = regexp.MustCompile(`sent ([\d,]+) .*acknowledged ([\d,]+)  held ([\d,]+)  dropped ([\d,]+) `)
)

// look looks up what a life uses, with its heap where that is asked for.
func (s *soak) look(ctx context.Context, l *life, heap bool) (u usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	process := "/proc/" + strconv.Itoa(l.pid)
	status, err := os.ReadFile(process + "/status")
	if err != nil {
		return u, err
	}
	descriptors, err := os.ReadDir(process + "/fd")
	if err != nil {
		return u, err
	}
	u.descriptors = len(descriptors)
	metrics, err := fetch(ctx, "http://"+s.collector.telemetry+"/metrics")
	if err != nil {
		return u, err
	}
	profile, err := fetch(ctx, "http://"+s.pprof+"/debug/pprof/goroutine?debug=1")
	if err != nil {
		return u, err
	}
	u.rss = 1024 * number(rssLine, string(status))
	u.sessions = number(sessionsLine, metrics)
	u.goroutines = number(goroutinesLine, profile)
	if heap {
		if profile, err = fetch(ctx, "http://"+s.pprof+"/debug/pprof/heap?gc=1&debug=1"); err != nil {
			return u, err
		}
		u.heap = number(heapLine, profile)
	}
	return u, nil
}

func fetch(ctx context.Context, url string) (string, error) {
	resp, err := get(ctx, url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// number is the number that the expression finds, 0: it is not there.
func number(expression *regexp.Regexp, text string) (n int) {
	if m := expression.FindStringSubmatch(text); m != nil {
		n, _ = strconv.Atoi(m[1])
	}
	return n
}

// progress is what the load has said last: it does every second.
func (l *load) progress() (sent, acknowledged, held, dropped int) {
	all := progressLine.FindAllStringSubmatch(l.log.String(), -1)
	if len(all) == 0 {
		return 0, 0, 0, 0
	}
	var n [4]int
	for i := range n {
		n[i], _ = strconv.Atoi(strings.ReplaceAll(all[len(all)-1][i+1], ",", ""))
	}
	return n[0], n[1], n[2], n[3]
}

// What a life may use more when its agents have gone than one did that never had
// any. Goroutines and descriptors: what the process starts once it is at work;
// fewer than one for each time that the agents came back. The heap: connections
// that were closed, which are remembered for the dedupe_ttl, and pooled buffers.
const (
	slackGoroutines  = 10
	slackDescriptors = 10
	slackHeap        = 16 << 20
)

// await looks at what the last life uses until that is as little as it has to be,
// for a while.
func (s *soak) await(t *testing.T, fresh usage) (rested usage) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(10 * waitTick) {
		rested = s.usage(t)
		small := rested.goroutines <= fresh.goroutines+slackGoroutines &&
			rested.descriptors <= fresh.descriptors+slackDescriptors && rested.heap <= fresh.heap+slackHeap
		if small || time.Now().After(deadline) {
			if !small {
				stacks, _ := fetch(t.Context(), "http://"+s.pprof+"/debug/pprof/goroutine?debug=1")
				t.Logf("goroutines:\n%s", stacks)
			}
			return rested
		}
	}
}

func checkRested(t *testing.T, fresh, rested usage) {
	t.Helper()
	assert.Positive(t, fresh.goroutines)
	assert.Positive(t, fresh.heap)
	assert.LessOrEqual(t, rested.goroutines, fresh.goroutines+slackGoroutines, "goroutines without agents")
	assert.LessOrEqual(t, rested.descriptors, fresh.descriptors+slackDescriptors, "descriptors without agents")
	assert.LessOrEqual(t, rested.heap, fresh.heap+slackHeap, "heap without agents")
}

// checkSteady holds the last third of a life against its first, by their medians:
// under the same load it may use half as much again. Below thirty samples the two
// say more of the faults than of the life.
func checkSteady(t *testing.T, samples []sample, life int) {
	t.Helper()
	lived := slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.life != life || s.sessions == 0 })
	if len(lived) < 30 {
		return
	}
	first, last := lived[:len(lived)/3], lived[2*len(lived)/3:]
	for name, of := range map[string]func(sample) int{
		"goroutines":  func(s sample) int { return s.goroutines },
		"descriptors": func(s sample) int { return s.descriptors },
		"RSS":         func(s sample) int { return s.rss },
	} {
		assert.LessOrEqual(t, median(last, of), median(first, of)*3/2, "%s of the life's last third", name)
	}
}

func median(samples []sample, of func(sample) int) int {
	values := make([]int, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// report is what a soak has shown.
type report struct {
	*soak
	machine       string
	samples       []sample
	generated     *generated
	lost          []string // acknowledged events
	fresh, rested usage
}

func (r *report) markdown(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	g := r.generated
	fmt.Fprintf(&b, `# Soak test

<!-- make soak writes this file: changes are lost. -->

Agents send for a set time while links, agents, the collector and the backend fail, at random and at once. What it
checks is in [soak_test.go](../internal/e2e/soak_test.go).

| | |
| --- | --- |
| command | %s |
| date | %s |
%s| load | %d events a second, which open and close connections all the time; %d agents, %d connections at once |

## Events

An acknowledgement means that the backend has the event: the collector has no queue between the two.

| | events |
| --- | ---: |
`, "`make soak SOAK="+r.duration.String()+" SEED="+strconv.FormatUint(r.seed, 10)+"`", time.Now().UTC().Format(time.DateOnly),
		r.machine, soakRate, soakAgents, soakConnections)
	_, repeated, twice := r.arrivals.counts()
	for _, row := range []struct {
		name string
		n    int
	}{
		{"sent", g.row(t, "sent")},
		{"acknowledged", g.row(t, "acknowledged")},
		{"dropped by agents, and counted" + dropReasons(g), g.row(t, "dropped")},
		{"**acknowledged and lost**", len(r.lost)},
		{"**twice from one life of the collector**", twice},
		{"again from a later life, with the same span id", repeated},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", row.name, grouped(row.n))
	}
	fmt.Fprintf(&b, "\nThe agents connected again %d times and waited %s for an acknowledgement at most (p50 %s, p99 %s).\n",
		g.row(t, "reconnects"), g.duration(t, "time to ack", "max"), g.duration(t, "time to ack", "p50"), g.duration(t, "time to ack", "p99"))
	r.lifeTable(&b)
	r.faultTable(&b)
	r.timeTable(&b)
	return b.String()
}

// dropReasons are the reasons in the summary, in brackets.
func dropReasons(g *generated) string {
	m := regexp.MustCompile(`(?m)^dropped .*( \(.*\))$`).FindStringSubmatch(g.summary)
	if m == nil {
		return ""
	}
	return m[1]
}

func (r *report) lifeTable(b *strings.Builder) {
	fmt.Fprintf(b, `
## Lives of the collector

The most that each was seen to use, every %s. It is not restarted in the second half, so that a leak has time to add up.

| life | from | to | end | RSS | goroutines | descriptors | repeated spans |
| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |
`, r.rhythm.samples)
	for _, l := range r.lives {
		var most usage
		for _, s := range r.samples {
			if s.life == l.number {
				most.rss, most.goroutines = max(most.rss, s.rss), max(most.goroutines, s.goroutines)
				most.descriptors = max(most.descriptors, s.descriptors)
			}
		}
		used := "– | – | –" // it was over before it was looked at
		if most.rss > 0 {
			used = fmt.Sprintf("%s | %d | %d", mebibytes(most.rss), most.goroutines, most.descriptors)
		}
		fmt.Fprintf(b, "| %d | %s | %s | %s | %s | %s |\n", l.number, seconds(l.started), seconds(l.ended), l.end, used,
			grouped(r.arrivals.repeated[lifeName(l.number)]))
	}
	fmt.Fprintf(b, `
| without agents | heap in use | RSS | goroutines | descriptors |
| --- | ---: | ---: | ---: | ---: |
`)
	for _, row := range []struct {
		name string
		usage
	}{
		{"the first life, before any came", r.fresh},
		{"the last life, when all had left", r.rested},
	} {
		fmt.Fprintf(b, "| %s | %s | %s | %d | %d |\n", row.name, mebibytes(row.heap), mebibytes(row.rss), row.goroutines, row.descriptors)
	}
}

func (r *report) faultTable(b *strings.Builder) {
	b.WriteString("\n## Faults\n\n| fault | times |\n| --- | ---: |\n")
	for _, faults := range r.lanes() {
		for _, f := range faults {
			fmt.Fprintf(b, "| %s | %d |\n", f.name, r.weather.count[f.name])
		}
	}
}

func (r *report) timeTable(b *strings.Builder) {
	b.WriteString(`
## Over time

"Lost" is what was acknowledged beyond what had arrived; "repeated" are spans that came again, from a later life. A life
"–" is none: the collector was down, or too busy to say.

| time | sent | acknowledged | held | dropped | lost | repeated | life | agents | RSS | goroutines | descriptors | faults |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
`)
	for _, s := range r.samples {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %d | %s | ", seconds(s.at), grouped(s.sent), grouped(s.acknowledged),
			grouped(s.held), grouped(s.dropped), s.lost(), grouped(s.repeated+s.twice))
		if s.life == 0 {
			b.WriteString("– | – | – | – | – | ")
		} else {
			fmt.Fprintf(b, "%d | %d | %s | %d | %d | ", s.life, s.sessions, mebibytes(s.rss), s.goroutines, s.descriptors)
		}
		b.WriteString(strings.Join(s.faults, "; ") + " |\n")
	}
}

// machineRow is a row of the report: the machine, and whether it had other work.
func machineRow(t *testing.T) string {
	t.Helper()
	model := runtime.GOARCH
	if info, err := os.Open("/proc/cpuinfo"); err == nil {
		defer info.Close()
		for lines := bufio.NewScanner(info); lines.Scan(); {
			if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	row := fmt.Sprintf("| machine | %s, %d processors of %s", runtime.GOOS, runtime.NumCPU(), model)
	load, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	before, _, _ := strings.Cut(string(load), " ")
	average, err := strconv.ParseFloat(before, 64)
	require.NoError(t, err)
	if average >= 0.3 {
		row += fmt.Sprintf("; **other work was running** (a load of %s before the start)", before)
	}
	return row + " |\n"
}

func oneLine(text []byte) string { return strings.Join(strings.Fields(string(text)), " ") }

func seconds(d time.Duration) string { return strconv.Itoa(int(d.Round(time.Second).Seconds())) + " s" }

func mebibytes(bytes int) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// grouped writes a number with commas.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
