package main

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
)

// maxComplaints bounds how many different ones are kept.
const maxComplaints = 100

// complaints is the log of all agents: a thousand of them say the same thing a
// thousand times.
type complaints struct {
	mu     sync.Mutex
	counts map[string]int
	last   string
}

// complaint is what agents said, and how many times.
type complaint struct {
	text  string
	count int
}

func newComplaints() *complaints { return &complaints{counts: map[string]int{}} }

// Enabled implements slog.Handler.
func (*complaints) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Level < slog.LevelWarn {
		c.last = "" // all is well again
		return nil
	}
	c.last = text
	if _, known := c.counts[text]; known || len(c.counts) < maxComplaints {
		c.counts[text]++
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (c *complaints) WithAttrs([]slog.Attr) slog.Handler { return c }

// WithGroup implements slog.Handler.
func (c *complaints) WithGroup(string) slog.Handler { return c }

// latest is the last complaint, "" where an agent has said since that all is well.
func (c *complaints) latest() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// all are the complaints, the most frequent first.
func (c *complaints) all() []complaint {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []complaint
	for text, count := range c.counts {
		all = append(all, complaint{text, count})
	}
	slices.SortFunc(all, func(a, b complaint) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.text, b.text))
	})
	return all
}
