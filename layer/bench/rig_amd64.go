package bench

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"usui/machine/guestmem"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// rig is one launch of a case: a fresh machine that stands before its first loop. It belongs to one locked thread.
type rig struct {
	recipe
	machine *host
	guest   *tinyguest.Guest
	cpu     *kvm.VCPU
	other   *kvm.VCPU // that runs the label "second", perhaps the same; nil if none does

	emptyAt, loopAt uint64   // where the loops lie
	stampedAt       uint64   // likewise, of the empty one with time stamps; 0 if they are not used
	start           kvm.Regs // what each batch begins with
	regs            kvm.Regs // of this batch, and for calls

	extraSlot   memorySlot         // of recipe.extra
	guestMemory []*guestmem.Memory // what KVM uses until the machine is closed
	dirty       []uint64           // a dirty log of extraSlot
	scratch     scratch
	owned       []func() error // closed in reverse

	operations, loops, batches, userExits uint64  // what was done so far: see account
	apart                                 account // of that, what resets did

	stamping bool    // toDone fills stamps
	stamps   []stamp // of the exits since the batch began

	watchdog *time.Timer           // ends the launch unless it is told that a batch begins: see onTime
	lost     atomic.Pointer[error] // why the runner ended early
	late     atomic.Bool           // the launch shall end, and the guest was kicked
	kicks    atomic.Uint32         // that ended the runner's Run: see recipe.ends
}

// newRig makes the machine of a case. Until ctx ends, nothing stops the guest.
func newRig(ctx context.Context, h *host, rec recipe, watchdog *time.Timer) (_ *rig, err error) {
	r := &rig{recipe: rec, machine: h, watchdog: watchdog}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if (r.second || r.fire != nil) && runtime.NumCPU() < 2 {
		return nil, na("it needs two processors")
	}
	p, err := program(rec, h.amd)
	if err != nil {
		return nil, err
	}
	cpus := 1
	if r.second {
		cpus = 2
	}
	r.guest, err = tinyguest.New(tinyguest.Config{Program: p, System: h.system, CPUs: cpus, Vectors: r.vectors, Prepare: r.prepare})
	if err != nil {
		return nil, refused(err)
	}
	r.own(r.guest.Close)
	r.cpu = r.guest.CPUs[0]
	if khz, err := r.cpu.TSCKHz(); err == nil { // else there is none that does not change
		h.tscKHz = khz
	}
	if err := r.locate(p); err != nil {
		return nil, err
	}
	unwatch := context.AfterFunc(ctx, r.abort)
	r.own(func() error { unwatch(); return nil })
	return r, r.boot()
}

// own makes close call f.
func (r *rig) own(f func() error) { r.owned = append(r.owned, f) }

func (r *rig) close() error {
	var errs []error
	for i := len(r.owned) - 1; i >= 0; i-- {
		errs = append(errs, r.owned[i]())
	}
	for _, m := range r.guestMemory {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// onTime gives the next batch all of the patience, unless one was late or the program shall end.
func (r *rig) onTime() error {
	if r.late.Load() {
		return r.overdue()
	}
	r.watchdog.Reset(r.machine.patience)
	return nil
}

func (r *rig) overdue() error { return na("not done within %v", r.machine.patience) }

// abort ends whatever the guest does. It runs on a goroutine of its own, when the launch's context ends.
func (r *rig) abort() {
	r.late.Store(true)
	for _, v := range r.guest.CPUs {
		v.Kick()
	}
}

func (r *rig) locate(p *tinyguest.Program) (err error) {
	if r.emptyAt, err = p.Addr("empty"); err != nil || r.op == nil {
		return err
	}
	r.loopAt, err = p.Addr("loop")
	return err
}

// boot runs the guest to its first exit.
func (r *rig) boot() error {
	for _, f := range []func(*rig) error{r.extra, r.opened} {
		if f == nil {
			continue
		}
		if err := f(r); err != nil {
			return err
		}
	}
	if r.second || r.fire != nil {
		r.other = r.guest.CPUs[len(r.guest.CPUs)-1]
		if err := r.startRunner(r.other); err != nil {
			return err
		}
	}
	if r.fire != nil {
		return nil // the only vCPU is the runner's
	}
	if err := r.toDone(); err != nil {
		return err
	}
	var err error
	r.start, err = r.cpu.Regs()
	r.start.R13, r.start.R10, r.start.Rbp = deviceAddr, 0, samplesAddr
	if r.registers != nil {
		r.registers(&r.start)
	}
	r.start.Rsi, r.start.Rdi = r.start.Rax, r.start.Rdx
	return err
}

// run lets the guest do a loop of n operations and returns how long that took. It allocates nothing.
func (r *rig) run(loop uint64, n int) (time.Duration, error) {
	r.regs = r.start
	r.regs.Rbx, r.regs.R15 = loop, uint64(n)
	if err := r.cpu.SetRegs(&r.regs); err != nil {
		return 0, err
	}
	r.loops += uint64(n)
	r.batches++
	begin := time.Now()
	err := r.toDone()
	return time.Since(begin), err
}

// toDone runs the guest to the end of its loop and answers the exits on the way.
func (r *rig) toDone() error {
	for {
		if n := len(r.stamps); r.stamping && n > 0 {
			r.stamps[n-1].back = hostCounter()
		}
		reason, err := r.cpu.Run()
		if r.stamping && len(r.stamps) < cap(r.stamps) {
			r.stamps = append(r.stamps, stamp{left: hostCounter()})
		}
		if err != nil {
			return err
		}
		switch reason {
		case kvm.ExitIO:
			io := r.cpu.IO()
			if io.Port == donePort {
				return nil
			}
			if io.Port == tinyguest.ExceptionPort {
				return r.exception(io.Data[0])
			}
			r.drain()
		case kvm.ExitMMIO: // reads give what kvm_run holds
			r.drain()
		case kvm.ExitRDMSR, kvm.ExitWRMSR:
			r.cpu.SetMSRResult(0, false)
		default:
			return r.unexpected(reason)
		}
		r.userExits++
	}
}

// drain empties the ring of coalesced writes, so that it has room.
func (r *rig) drain() {
	for {
		if _, more := r.cpu.NextCoalesced(); !more {
			return
		}
	}
}

// exception says which one a guest had no handler for, as most guests that use what a KVM does not have.
func (r *rig) exception(number byte) error {
	name := map[byte]string{6: " (invalid opcode)", 13: " (general protection)", 14: " (page fault)"}[number]
	return na("this KVM gave the guest exception %d%s", number, name)
}

func (r *rig) unexpected(reason kvm.ExitReason) error {
	switch {
	case reason == kvm.ExitKicked && r.late.Load():
		return na("the guest did not come back within %v", r.machine.patience)
	case reason == kvm.ExitInternalError && r.cpu.InternalError().Suberror == kvm.InternalErrorEmulation:
		return na("this KVM cannot emulate the instruction")
	}
	return na("the guest ended with %v", reason)
}
