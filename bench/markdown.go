package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The section of the report that this program writes is between these lines.
const (
	sectionBegin = "<!-- bench-compare: begin -->"
	sectionEnd   = "<!-- bench-compare: end -->"
)

// write puts the report into a document and its plots into a directory, or prints
// it where there is no document.
func (r *report) write(document, plots string) error {
	if plots != "" {
		if err := r.writePlots(plots); err != nil {
			return err
		}
	}
	if document == "" {
		_, err := fmt.Print(r.markdown(""))
		return err
	}
	old, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	link, err := filepath.Rel(filepath.Dir(document), plots)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	updated, err := replaceSection(string(old), r.markdown(filepath.ToSlash(link)))
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	if err := os.WriteFile(document, []byte(updated), 0o644); err != nil { //nolint:gosec // the command line names it
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// replaceSection puts text between the two marks of a document.
func replaceSection(document, text string) (string, error) {
	before, rest, ok := strings.Cut(document, sectionBegin)
	if !ok {
		return "", errors.New("expected a line " + sectionBegin)
	}
	_, after, ok := strings.Cut(rest, sectionEnd)
	if !ok {
		return "", errors.New("expected a line " + sectionEnd)
	}
	return before + sectionBegin + "\n\n" + strings.TrimSpace(text) + "\n\n" + sectionEnd + after, nil
}

// markdown is the report as a section of a document; plots is where they are, as
// seen from there.
func (r *report) markdown(plots string) string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "Measured on %s in %s with `%s`: %s, %d cores, %s; %s, collector %s, wsstats at %s.\n\n",
		r.Date.Format(time.DateOnly), r.Took.Round(time.Second), r.Command, m.CPU, m.Cores, m.Kernel, m.Go, m.Collector, m.Commit)
	r.goalTable(&b)
	if len(r.Compare) > 0 {
		comparisonTable(&b, "Transports", r.Compare)
		fmt.Fprintf(&b, "At \"1 %% of spans\" the receiver made spans of %.2f %% of the events with random ids.\n\n", 100*r.Sampled)
	}
	comparisonTable(&b, "Equal duty", r.Duty)
	r.fleetTable(&b)
	r.slowTable(&b)
	r.growthTables(&b)
	r.profileTable(&b)
	if plots != "" {
		for _, p := range r.plots() {
			fmt.Fprintf(&b, "![%s](%s)\n\n", p.about, path.Join(plots, p.file))
		}
	}
	return b.String()
}

func (r *report) goalTable(b *strings.Builder) {
	rows := [][]string{{"goal", "asked", "measured", "reached", "by"}}
	for _, g := range r.goals() {
		if math.IsNaN(g.got) {
			continue
		}
		sign, reached := "at least ", "yes"
		if g.most {
			sign = "at most "
		}
		if !g.reached() {
			reached = "**no**"
		}
		rows = append(rows, []string{g.what, sign + fmt.Sprintf(g.form, g.want), fmt.Sprintf(g.form, g.got), reached, fmt.Sprintf("%+.0f %%", 100*g.by())})
	}
	if len(rows) > 1 {
		b.WriteString("### Goals\n\n")
		markdownTable(b, rows)
	}
}

func comparisonTable(b *strings.Builder, title string, results []result) {
	if len(results) == 0 {
		return
	}
	base := math.NaN()
	for _, r := range results {
		if r.Baseline {
			base = r.CPU.Median
		}
	}
	fmt.Fprintf(b, "### %s\n\n", title)
	table := [][]string{{
		"peer", "CPU ns an event", "times less", "events/s a core", "busy", "B sent", "B back", "p50 ms", "p99 ms", "allocated B", "peak MiB",
	}}
	for _, r := range results {
		table = append(table, []string{
			r.Peer, withSpread(r.CPU, "%.0f", 1), fmt.Sprintf("%.2f", base/r.CPU.Median), millions(r.Rate.Median), percent(r.Busy.Median),
			fmt.Sprintf("%.1f", r.Sent.Median), fmt.Sprintf("%.2f", r.Received.Median),
			withSpread(r.P50, "%.2f", 1e3), withSpread(r.P99, "%.2f", 1e3), fmt.Sprintf("%.0f", r.Allocated.Median), mebibytes(r.Peak.Median),
		})
	}
	markdownTable(b, table)
}

func (r *report) fleetTable(b *strings.Builder) {
	if len(r.Fleet) == 0 {
		return
	}
	fmt.Fprintf(b, "### Many small agents\n\n%d agents, each with %d events in one batch a second.\n\n", r.Fleet[0].Agents, fleetBatch.events)
	table := [][]string{{"peer", "CPU ns an event", "times less", "of a core", "p50 ms", "p99 ms", "peak MiB", "KB an agent"}}
	for i := range r.Fleet {
		one := &r.Fleet[i]
		table = append(table, []string{
			one.Peer, withSpread(one.CPU, "%.0f", 1), fmt.Sprintf("%.2f", r.Fleet[0].CPU.Median/one.CPU.Median), percent(one.Busy.Median),
			withSpread(one.P50, "%.2f", 1e3), withSpread(one.P99, "%.2f", 1e3), mebibytes(one.Peak.Median), kilobytes(one.perAgent()),
		})
	}
	markdownTable(b, table)
}

func (r *report) slowTable(b *strings.Builder) {
	if len(r.Slow) == 0 {
		return
	}
	fmt.Fprintf(b, "### A slow pipeline\n\nA sink that takes %v, and %d clients with a batch of %d events each %v.\n\n", slowSink, slowClients, usual.events, slowInterval)
	table := [][]string{{"peer", "batches", "held back by clients", "taken", "refused for now", "idle MiB", "peak MiB", "p50 ms", "p99 ms"}}
	for _, one := range r.Slow {
		table = append(table, []string{
			one.Peer, count(one.Offered), count(one.Held), count(one.Taken), count(one.Refused),
			mebibytes(one.Idle), mebibytes(one.Peak), fmt.Sprintf("%.0f", one.P50*1e3), fmt.Sprintf("%.0f", one.P99*1e3),
		})
	}
	markdownTable(b, table)
}

func (r *report) growthTables(b *strings.Builder) {
	if len(r.GrowthAgents) > 0 {
		b.WriteString("### Growth\n\nAs many events as the core takes, 1 % of them spans, in columns with derived ids.\n\n")
		table := [][]string{{"agents", "connections", "CPU ns an event", "MiB", "KB an agent", "B a connection"}}
		for _, steps := range [][]crowdResult{r.GrowthAgents, r.GrowthConnections} {
			for i := range steps {
				one := &steps[i]
				table = append(table, []string{
					count(int64(one.Agents)), count(int64(one.Connections)), withSpread(one.CPU, "%.0f", 1), mebibytes(one.Resident),
					kilobytes(one.perAgent()), fmt.Sprintf("%.0f", (one.Resident-one.Idle)/float64(one.Connections)),
				})
			}
		}
		markdownTable(b, table)
	}
	for _, one := range []*crowdResult{r.IdlePlain, r.IdleTLS} {
		if one != nil {
			fmt.Fprintf(b, "%d agents, %s: %s KB an agent.\n\n", one.Agents, one.Peer, kilobytes(one.perAgent()))
		}
	}
}

func (r *report) profileTable(b *strings.Builder) {
	if len(r.Profiles) == 0 {
		return
	}
	b.WriteString("### Where the time goes\n\nNanoseconds of CPU an event, by a profile of one window. What each part allocates is in *allocation*, what is collected in *garbage*.\n\n")
	head := []string{"peer", "in all"}
	for _, p := range parts {
		head = append(head, p.name)
	}
	table := [][]string{append(head, "the rest")}
	for _, one := range r.Profiles {
		row, rest := []string{one.Peer, fmt.Sprintf("%.0f", one.CPU)}, 1.0
		for _, p := range parts {
			row = append(row, fmt.Sprintf("%.0f", one.CPU*one.Shares[p.name]))
			rest -= one.Shares[p.name]
		}
		table = append(table, append(row, fmt.Sprintf("%.0f", one.CPU*rest)))
	}
	markdownTable(b, table)
}

// withSpread is a median and, in brackets, the least and the most.
func withSpread(s spread, format string, scale float64) string {
	return fmt.Sprintf(format+" ("+format+"..."+format+")", s.Median*scale, s.Min*scale, s.Max*scale)
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func millions(v float64) string { return fmt.Sprintf("%.2f M", v/1e6) }

func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

func mebibytes(v float64) string { return fmt.Sprintf("%.0f", v/(1<<20)) }

func kilobytes(v float64) string { return fmt.Sprintf("%.1f", v/1000) }

// markdownTable writes a table: a header, and rows whose first cell is text and
// whose others are figures.
func markdownTable(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("| ---" + strings.Repeat(" | ---:", len(row)-1) + " |\n")
		}
	}
	b.WriteString("\n")
}
