package bench

import (
	"fmt"
	"slices"
	"time"

	"usui/machine/guestmem"
)

// batch does n operations and returns how long they took.
type batch func(n int) (time.Duration, error)

// makeBatches returns how the rig does operations, and what to subtract: the same without the operation.
func (r *rig) makeBatches() (work, empty batch, err error) {
	switch {
	case r.fire != nil:
		work, err = r.duel()
		empty = r.emptyClock
	case r.call != nil:
		work, empty, err = r.calls()
	default:
		work, empty = r.loop, func(n int) (time.Duration, error) { return r.run(r.emptyAt, n) }
	}
	return r.watched(work), r.watched(empty), err
}

// watched begins each batch with telling the watchdog.
func (r *rig) watched(f batch) batch {
	return func(n int) (time.Duration, error) {
		if err := r.onTime(); err != nil {
			return 0, err
		}
		return f(n)
	}
}

// loop lets the guest do n operations.
func (r *rig) loop(n int) (time.Duration, error) {
	if err := r.doReset(); err != nil {
		return 0, err
	}
	d, err := r.run(r.loopAt, n)
	if err != nil {
		return 0, err
	}
	r.operations += uint64(n)
	return d, r.verifyLoop(n)
}

func (r *rig) verifyLoop(n int) error {
	if r.handled {
		if err := r.cpu.RegsInto(&r.regs); err != nil {
			return err
		}
		if r.regs.R10 != uint64(n) {
			return fmt.Errorf("%d operations, but %d interrupts were handled", n, r.regs.R10)
		}
	}
	if r.verify != nil {
		return r.verify(r, n)
	}
	return nil
}

// calls returns batches of a host's operation, and of a function that does nothing.
func (r *rig) calls() (work, empty batch, err error) {
	operation, err := r.call(r)
	if err != nil {
		return nil, nil, err
	}
	nothing := func() error { return nil }
	repeat := func(f func() error, n int) (time.Duration, error) {
		begin := time.Now()
		for range n {
			if r.late.Load() {
				return 0, r.overdue()
			}
			if err := f(); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
	work = func(n int) (time.Duration, error) {
		if err := r.doReset(); err != nil {
			return 0, err
		}
		d, err := repeat(operation, n)
		r.operations += uint64(n)
		return d, err
	}
	return work, func(n int) (time.Duration, error) { return repeat(nothing, n) }, nil
}

// emptyClock takes what reading the clock costs.
func (r *rig) emptyClock(n int) (time.Duration, error) {
	var total time.Duration
	for range n {
		total += time.Since(time.Now())
	}
	return total, nil
}

// median returns the middle of some durations, which it sorts.
func median[T time.Duration | float64](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// told returns how often the guest's handlers, or its second vCPU, have stored to sharedAddr, modulo 1<<16.
func (r *rig) told(shared []byte) uint16 { return guestmem.Load16(shared, 0) }
