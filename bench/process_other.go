//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

// serverCPU is the core of the collector.
const serverCPU = 0

var errNotHere = errors.New("this measures on Linux alone")

func pinClients() error { return errNotHere }

func startOn(int, *exec.Cmd) error { return errNotHere }

func cpuTime(int) (time.Duration, error) { return 0, errNotHere }

func memoryOf(int) (memory, error) { return memory{}, errNotHere }

func resetPeak(int) error { return errNotHere }

func kernel() string { return "unknown" }

func cpuModel() string { return "unknown" }
