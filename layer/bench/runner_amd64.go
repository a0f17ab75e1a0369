package bench

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// startRunner runs v from the label "second" on a thread of its own, beyond its first exit at donePort, until the rig is
// closed.
func (r *rig) startRunner(v *kvm.VCPU) error {
	at, err := r.guest.Program.Addr("second")
	if err != nil {
		return err
	}
	regs, err := v.Regs()
	if err != nil {
		return err
	}
	regs.Rip = at
	if err := v.SetRegs(&regs); err != nil {
		return err
	}
	if r.second { // a machine with interrupt controllers lets its second vCPU wait for a start
		if err := v.SetMPState(kvm.MPStateRunnable); err != nil {
			return err
		}
	}
	var over atomic.Bool
	ready, ended := make(chan error, 1), make(chan struct{})
	go func() { // ends when close kicks it
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its affinity with it
		r.machine.pin(1)
		ready <- r.toSecond(v)
		r.runOn(v, &over)
	}()
	r.own(func() error {
		over.Store(true)
		v.Kick()
		<-ended
		return nil
	})
	return <-ready
}

// toSecond runs a vCPU to its exit at donePort.
func (r *rig) toSecond(v *kvm.VCPU) error {
	switch reason, err := v.Run(); {
	case err != nil:
		return err
	case reason != kvm.ExitIO:
		return r.unexpected(reason)
	case v.IO().Port == tinyguest.ExceptionPort:
		return r.exception(v.IO().Data[0])
	}
	return nil
}

// runOn runs the vCPU until it is over and counts its kicks. Another exit ends it too: then lost tells the other side, which
// would wait for ever.
func (r *rig) runOn(v *kvm.VCPU, over *atomic.Bool) {
	for !over.Load() {
		reason, err := v.Run()
		if err == nil && reason != kvm.ExitKicked {
			err = r.unexpected(reason)
		}
		if err != nil {
			lost := err // on the heap, as err must not be
			r.lost.Store(&lost)
			return
		}
		r.kicks.Add(1)
	}
}

// settleTime is how long the other vCPU is left alone, so that it is back where it waits.
const settleTime = 50 * time.Microsecond

// settle waits for that. A vCPU in HLT is there when KVM has blocked its thread, which it tells before it does.
func (r *rig) settle() error {
	for r.halts {
		blocking, err := r.statistic(r.other, "blocking")
		if err != nil {
			return err
		}
		if blocking != 0 {
			break
		}
		if err := r.answering(); err != nil {
			return err
		}
	}
	for begin := time.Now(); time.Since(begin) < settleTime; {
	}
	return nil
}

// answering says why there is nothing more to wait for.
func (r *rig) answering() error {
	if err := r.lost.Load(); err != nil {
		return *err
	}
	if r.late.Load() {
		return na("the guest did not answer within %v", r.machine.patience)
	}
	return nil
}

// duel returns batches of recipe.fire: this thread does something to the running guest, and waits until the guest has told.
func (r *rig) duel() (batch, error) {
	fire, err := r.fire(r)
	if err != nil {
		return nil, err
	}
	shared, err := r.guest.Memory.Slice(sharedAddr, 8)
	if err != nil {
		return nil, err
	}
	count := func() uint16 { return r.told(shared) }
	if r.ends {
		count = func() uint16 { return uint16(r.kicks.Load()) }
	}
	return func(n int) (total time.Duration, err error) {
		for range n {
			if err := r.settle(); err != nil {
				return 0, err
			}
			before := count()
			begin := time.Now()
			if err := fire(); err != nil {
				return 0, err
			}
			for count() == before {
				if err := r.answering(); err != nil {
					return 0, err
				}
			}
			total += time.Since(begin)
			r.operations++
			if got := count() - before; got != 1 {
				return 0, fmt.Errorf("one event, but the guest told of %d", got)
			}
		}
		return total, nil
	}, nil
}
