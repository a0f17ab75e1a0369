package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// account is what was done, and what KVM's statistics say that it was, at one moment.
type account struct {
	operations, loops, batches, userExits float64

	exits    float64 // of the processor's guest mode, less those that interrupts of the host made
	emulated float64 // instructions
	wakeups  float64 // of the other vCPU, if it halts
}

func (a account) minus(b account) account {
	return account{
		a.operations - b.operations, a.loops - b.loops, a.batches - b.batches, a.userExits - b.userExits,
		a.exits - b.exits, a.emulated - b.emulated, a.wakeups - b.wakeups,
	}
}

// account reads KVM's statistics of the first vCPU. What resets did is not in it.
func (r *rig) account() (account, error) {
	exits, err := r.statistic(r.cpu, "exits")
	interrupts, err2 := r.statistic(r.cpu, "irq_exits")
	emulated, err3 := r.statistic(r.cpu, "insn_emulation")
	var wakeups float64
	var err4 error
	if r.halts {
		wakeups, err4 = r.statistic(r.other, "halt_wakeup")
	}
	return account{
		operations: float64(r.operations), loops: float64(r.loops), batches: float64(r.batches), userExits: float64(r.userExits),
		exits: exits - interrupts, emulated: emulated, wakeups: wakeups,
	}.minus(r.apart), cmp.Or(err, err2, err3, err4)
}

// statistic reads one of a vCPU's, and allocates nothing.
func (r *rig) statistic(v *kvm.VCPU, name string) (float64, error) {
	n, err := v.Stat(name)
	if errors.Is(err, errors.ErrUnsupported) {
		return 0, na("this kernel's KVM does not count %s to check it by", name)
	}
	return float64(n), err
}

// doReset does recipe.reset and keeps what it costs apart: that is none of the operation.
func (r *rig) doReset() error {
	if r.reset == nil {
		return nil
	}
	before, err := r.account()
	if err != nil {
		return err
	}
	if err := r.reset(r); err != nil {
		return err
	}
	after, err := r.account()
	r.apart = r.apart.minus(before.minus(after))
	return err
}

// Bounds for what a count may be off: a hundredth for each operation, for what the host does meanwhile, and some for the
// beginning. It is always less than would tell one exit an operation from two.
const (
	countTolerance = 0.01
	countSlack     = 16
	countMost      = 0.4
)

// wakeTolerance is the same for wake-ups: a vCPU that is about to sleep may find the interrupt before.
const wakeTolerance = 0.1

// check compares what a case says of itself with what KVM has counted, and returns both for an operation. A processor's KVM counts
// exits; a software one is in the kernel for every instruction of the guest's kernel, and counts those.
func (r *rig) check(before, after account) (got float64, want span, err error) {
	done := after.minus(before)
	n := done.operations
	tolerance := min(countTolerance+countSlack/n, countMost)

	user := done.userExits / n
	if math.Abs(user-r.user.nearest(user)) > tolerance {
		if r.misfit != "" {
			return 0, span{}, na("%s: %.3f exits to user space an operation", r.misfit, user)
		}
		return 0, span{}, fmt.Errorf("%.3f exits to user space an operation, want %v", user, r.user)
	}
	if woken := done.wakeups / n; r.halts && math.Abs(woken-1) > wakeTolerance+2/n {
		return 0, span{}, fmt.Errorf("%.3f wake-ups an operation, want 1", woken)
	}
	what := "exits"
	got, want = (done.exits-done.batches)/n, r.exits
	if r.machine.software {
		what = "instructions emulated"
		got, want = (done.emulated-done.batches*batchInstructions-done.loops*(loopInstructions+r.aroundCount))/n, r.emulated()
	}
	got = max(got, 0) // the statistics of a guest that runs are not of one moment
	if math.Abs(got-want.nearest(got)) <= tolerance {
		return got, want, nil
	}
	if r.misfit != "" {
		return got, want, na("%s: %.3f %s an operation", r.misfit, got, what)
	}
	return got, want, fmt.Errorf("%.3f %s an operation, want %v", got, what, want)
}

// emulated is what a software KVM may count for an operation. It runs ring 3 by itself.
func (rec recipe) emulated() span {
	switch {
	case rec.mode == tinyguest.User:
		return span{0, math.Inf(1)}
	case rec.spins:
		return span{rec.instructions, math.Inf(1)}
	}
	return exactly(rec.instructions)
}
