package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// serverCPU is the core of the collector. The clients have the others.
const serverCPU = 0

// pinClients moves this process off the collector's core. Threads that begin
// later inherit that from those that are there.
func pinClients() error {
	if runtime.NumCPU() < 2 {
		return errors.New("this needs two cores: one for the collector, one for the clients")
	}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("pinning the clients: %w", err)
	}
	cpus.Clear(serverCPU)
	if cpus.Count() == 0 {
		return errors.New("pinning the clients: they may not run but on the collector's core")
	}
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return fmt.Errorf("pinning the clients: %w", err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return fmt.Errorf("pinning the clients: %w", err)
		}
		if err := unix.SchedSetaffinity(tid, &cpus); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pinning the clients: %w", err)
		}
	}
	runtime.GOMAXPROCS(cpus.Count())
	return nil
}

// startOn starts a command that runs on one core alone: a child inherits the
// affinity of the thread that starts it.
func startOn(cpu int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(cpu)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not to outlive this process
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}

// cpuTime is the time that a process has run, user and system, in nanoseconds:
// the clock of clock_getcpuclockid(3), that counts the scheduler's exact times of
// all threads, those that ended included. /proc/PID/stat has only hundredths of a
// second.
func cpuTime(pid int) (time.Duration, error) {
	const cpuClockSched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuClockSched, &t); err != nil {
		return 0, fmt.Errorf("the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

func memoryOf(pid int) (memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("the memory of process %d: %w", pid, err)
	}
	var m memory
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		switch string(fields[0]) {
		case "VmRSS:":
			m.now = kilobytes << 10
		case "VmHWM:":
			m.peak = kilobytes << 10
		}
	}
	if m.now == 0 {
		return memory{}, fmt.Errorf("the memory of process %d: no VmRSS", pid)
	}
	return m, nil
}

// resetPeak makes the peak of a process's memory what it has now.
func resetPeak(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o600); err != nil {
		return fmt.Errorf("resetting the peak of process %d: %w", pid, err)
	}
	return nil
}

// kernel names the system.
func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
}

func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
