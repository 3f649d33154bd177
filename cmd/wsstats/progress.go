package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress is a line that tells how far a run is: once a second, in place on a
// terminal.
type progress struct {
	out      io.Writer
	terminal bool

	mu    sync.Mutex
	drawn bool
	ended bool
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// run shows a line every second until done is closed. The line is given the
// time since the start and since the line before, and keeps a count between.
func (p *progress) run(done <-chan struct{}, line func(elapsed, since time.Duration, before *uint64) string) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	start, last, before := time.Now(), time.Now(), uint64(0)
	for {
		select {
		case now := <-ticker.C:
			p.show(line(now.Sub(start), now.Sub(last), &before))
			last = now
		case <-done:
			return
		}
	}
}

func (p *progress) show(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if !p.terminal {
		fmt.Fprintln(p.out, line)
		return
	}
	p.drawn = true
	fmt.Fprint(p.out, "\r\x1b[K"+line)
}

// end leaves the last line and begins a new one. Nothing is shown afterwards.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn && !p.ended {
		fmt.Fprintln(p.out)
	}
	p.ended = true
}
