package tinyguest

import (
	"fmt"
	"runtime"
	"time"

	"usui/machine/kvm"
)

// SoftwareThreshold tells a software KVM from a hardware one: one that needs longer for an instruction of ring 0
// interprets it. A processor needs about 1 ns, a processor under hardware virtualization that is itself emulated about 30 ns, and
// an interpreter 600 ns and more.
const SoftwareThreshold = 200 * time.Nanosecond

// Loops of the measurement. What entering and leaving the guest costs (up to 200 µs in nested virtualization) is in
// both, and falls out of their difference; the long one takes 40 ms at 5 µs an instruction.
const (
	shortLoop = 16
	longLoop  = 4096
	rounds    = 5 // of which the fastest counts: others may have been disturbed
)

// speedLimit ends a measurement that gets nowhere.
const speedLimit = time.Second

// Ring0Speed returns how long KVM behind the device at path needs for one instruction of a guest's kernel: compare it
// with [SoftwareThreshold]. It takes a few milliseconds on a hardware KVM, about 0.2 s on a software one and a second at
// most. The error is the one of [kvm.Open] when there is no KVM.
func Ring0Speed(path string) (perInstruction time.Duration, err error) {
	sys, err := kvm.Open(path)
	if err != nil {
		return 0, err
	}
	defer sys.Close()
	program, err := countdown()
	if err != nil {
		return 0, err
	}
	g, err := New(Config{System: sys, Program: program})
	if err != nil {
		return 0, err
	}
	defer g.Close()

	runtime.LockOSThread() // KVM ties a vCPU to its thread
	defer runtime.UnlockOSThread()
	cpu := g.CPUs[0]
	deadline := time.AfterFunc(speedLimit, cpu.Kick)
	defer deadline.Stop()
	if err := runLoop(cpu); err != nil { // to the place before the loop
		return 0, err
	}
	short, err := fastest(cpu, shortLoop)
	if err != nil {
		return 0, err
	}
	long, err := fastest(cpu, longLoop)
	return max(long-short, 0) / ((longLoop - shortLoop) * loopInstructions), err
}

// fastest runs the loop some times.
func fastest(cpu *kvm.VCPU, iterations uint64) (time.Duration, error) {
	best := speedLimit
	for range rounds {
		if err := setIterations(cpu, iterations); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := runLoop(cpu); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start))
	}
	return best, nil
}

// runLoop runs the guest to the end of its loop.
func runLoop(cpu *kvm.VCPU) error {
	reason, err := cpu.Run()
	if err == nil && reason != speedExit {
		err = fmt.Errorf("guest's loop ended with %v, want %v", reason, speedExit)
	}
	return err
}
