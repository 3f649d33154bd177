package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// process is a child process. What it prints goes to a file.
type process struct {
	name string
	log  string // path
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; err is set before
	err  error
}

// startProcess starts a program with env added to the environment.
func startProcess(name, log string, env []string, program string, args ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer out.Close() // the child has its own

	p := &process{name: name, log: log, done: make(chan struct{})}
	p.cmd = exec.Command(program, args...) //nolint:gosec // it is the user who names the program
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// Ctrl-C in a terminal goes to the whole process group. The children are
	// to end in order, so each gets a group of its own.
	p.cmd.SysProcAttr = ownGroup()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop asks the process to end, waits for it, and kills it after the timeout
// or when hurry is closed.
func (p *process) stop(timeout time.Duration, hurry <-chan struct{}) error {
	select {
	case <-p.done:
		return nil // whoever waited for it knows how it ended
	default:
	}
	if err := terminate(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		if terminated(p.err) {
			return nil
		}
		return p.failure()
	case <-time.After(timeout):
	case <-hurry:
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("%s did not end by itself and was killed, see %s", p.name, p.log)
}

// failure tells how the process ended if it did not end well.
func (p *process) failure() error {
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%s ended: %w\n%s", p.name, p.err, p.lastLines(8))
}

// lastLines returns the last n lines that the process printed.
func (p *process) lastLines(n int) []byte {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return nil
	}
	data = bytes.TrimRight(data, "\n")
	start := len(data)
	for range n {
		if start = bytes.LastIndexByte(data[:max(start, 0)], '\n'); start < 0 {
			break
		}
	}
	return data[start+1:]
}
