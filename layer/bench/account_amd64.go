package bench

import (
	"errors"
	"fmt"
	"math"

	"usui/machine/tinyguest"
)

// account is what was done, and what KVM's statistics say that it was, at one moment.
type account struct {
	operations, loops, batches, userExits float64

	exits    float64 // of the processor's guest mode, less those that interrupts of the host made
	emulated float64 // instructions
}

// account reads KVM's statistics of the first vCPU.
func (r *rig) account() (account, error) {
	stats, err := r.cpu.Stats()
	if errors.Is(err, errors.ErrUnsupported) {
		return account{}, na("this kernel's KVM has no statistics to check it by")
	}
	if err != nil {
		return account{}, err
	}
	value := func(name string) float64 {
		if list := stats[name]; len(list) > 0 {
			return float64(list[0])
		}
		return 0
	}
	return account{
		operations: float64(r.operations), loops: float64(r.loops), batches: float64(r.batches), userExits: float64(r.userExits),
		exits:    value("exits") - value("irq_exits"),
		emulated: value("insn_emulation"),
	}, nil
}

// Bounds for what a count may be off: a hundredth for each operation, for what the host does meanwhile, and some for the
// beginning.
const (
	countTolerance = 0.01
	countSlack     = 16
)

// check compares what a case says of itself with what KVM has counted, and returns KVM exits for each operation. A processor's
// KVM counts exits; a software one is in the kernel for every instruction of the guest's kernel, and counts those.
func (r *rig) check(before, after account) (got, want float64, err error) {
	n := after.operations - before.operations
	loops, batches := after.loops-before.loops, after.batches-before.batches
	tolerance := countTolerance + (countSlack+r.perBatch*batches)/n

	user := (after.userExits - before.userExits) / n
	if math.Abs(user-r.user.nearest(user)) > tolerance {
		if r.misfit != "" {
			return user, 0, na("%s: %.3f exits to user space an operation", r.misfit, user)
		}
		return user, r.user.nearest(user), fmt.Errorf("%.3f exits to user space an operation, want %v", user, r.user)
	}
	if r.machine.software {
		got = (after.emulated - before.emulated - batches*batchInstructions - loops*loopInstructions) / n
		want = r.instructions
		if r.mode == tinyguest.User {
			return got, got, nil // it runs ring 3 by itself
		}
		if got < want-tolerance || got > want+tolerance && !r.spins {
			return got, want, fmt.Errorf("%.3f instructions emulated an operation, want %v", got, want)
		}
		return got, want, nil
	}
	got = (after.exits - before.exits - batches) / n
	want = r.exits.nearest(got)
	if math.Abs(got-want) > tolerance {
		if r.misfit != "" {
			return got, want, na("%s: %.3f exits an operation", r.misfit, got)
		}
		return got, want, fmt.Errorf("%.3f exits an operation, want %v", got, r.exits)
	}
	return got, want, nil
}

func (s span) String() string {
	if s.low == s.high {
		return fmt.Sprint(s.low)
	}
	return fmt.Sprintf("%v to %v", s.low, s.high)
}
