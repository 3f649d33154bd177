package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
)

// The section of the report that this program writes is between these lines.
const (
	sectionBegin = "<!-- bench-compare: begin -->"
	sectionEnd   = "<!-- bench-compare: end -->"
)

// write puts the report into a document, or prints it where there is none.
func (r *report) write(document, _ string) error {
	text := r.markdown()
	if document == "" {
		_, err := fmt.Print(text)
		return err
	}
	old, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	updated, err := replaceSection(string(old), text)
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

// markdown is the report as a section of a document.
func (r *report) markdown() string {
	var b strings.Builder
	comparisonTable(&b, "Every span, or 1 % of them", r.Compare)
	comparisonTable(&b, "Equal duty", r.Duty)
	return b.String()
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
		"peer", "CPU ns an event", "times cheaper", "events/s a core", "busy", "bytes out", "bytes back", "p50 ms", "p99 ms", "allocated B", "peak MiB",
	}}
	for _, r := range results {
		table = append(table, []string{
			r.Peer, withSpread(r.CPU, "%.0f", 1), fmt.Sprintf("%.1f", base/r.CPU.Median), millions(r.Rate.Median), fmt.Sprintf("%.0f %%", 100*r.Busy.Median),
			fmt.Sprintf("%.1f", r.Sent.Median), fmt.Sprintf("%.2f", r.Received.Median),
			withSpread(r.P50, "%.2f", 1e3), withSpread(r.P99, "%.2f", 1e3), fmt.Sprintf("%.0f", r.Allocated.Median), fmt.Sprintf("%.0f", r.Peak.Median/(1<<20)),
		})
	}
	markdownTable(b, table)
}

// withSpread is a median and, in brackets, the least and the most.
func withSpread(s spread, format string, scale float64) string {
	return fmt.Sprintf(format+" ("+format+"..."+format+")", s.Median*scale, s.Min*scale, s.Max*scale)
}

func millions(v float64) string { return fmt.Sprintf("%.2f M", v/1e6) }

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
