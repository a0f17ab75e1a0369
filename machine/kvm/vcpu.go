package kvm

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// VCPU is a virtual CPU. All methods but Kick, Stats and ID belong to one goroutine on one locked OS thread.
type VCPU struct {
	fd    int
	id    int
	vm    *VM
	run   *runState // start of mem; nil when closed
	stats *statsFile
	bound bool // Run has told Kick its thread

	kicked atomic.Bool // a Kick that Run has not reported yet

	mu  sync.Mutex // held by Kick, so that Close does not unmap under it
	mem []byte     // what KVM_RUN shares with us; guarded by mu against Close
	tid int        // thread that calls Run, 0 before the first time; guarded by mu
}

// NewVCPU makes the vCPU with the given number, which on amd64 is its APIC ID.
func (vm *VM) NewVCPU(id int) (_ *VCPU, err error) {
	fd, err := vm.CreateVCPU(id)
	if err != nil {
		return nil, err
	}
	v := &VCPU{fd: fd, id: id, vm: vm}
	defer func() {
		if err != nil {
			v.Close()
		}
	}()
	if v.mem, err = unix.Mmap(fd, 0, vm.runSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map vcpu %d: %w", id, err)
	}
	v.run = runStateOf(v.mem)
	// Now, because a running vCPU would not answer.
	if v.stats, err = openStats(fd); err != nil {
		return nil, fmt.Errorf("vcpu %d: %w", id, err)
	}
	vm.own(v)
	return v, nil
}

// CreateVCPU is KVM_CREATE_VCPU and nothing else, for who measures it: the caller closes the descriptor, with which nothing can be
// run. The machine in the kernel stays until that.
func (vm *VM) CreateVCPU(id int) (fd int, err error) {
	fd, e := ioctlValue(vm.fd, kvmCreateVCPU, uintptr(id))
	return fd, e.about("vcpu %d", id)
}

// Close frees the vCPU. It must not be inside Run, and no view of its last exit may be used any more. Closing twice
// is allowed. The kernel keeps the vCPU's number in use until the machine is closed too.
func (v *VCPU) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	if v.mem != nil {
		errs = append(errs, unix.Munmap(v.mem))
		v.mem, v.run = nil, nil
	}
	if v.stats != nil {
		errs = append(errs, v.stats.close())
	}
	return errors.Join(append(errs, closeFD(&v.fd))...)
}

// ID returns the vCPU's number.
func (v *VCPU) ID() int { return v.id }

// Run enters the guest and returns why it left. Signals that are no kick, such as those of Go's scheduler, do not end
// it. It returns [ExitKicked] exactly once for the Kicks since the last [ExitKicked]; when the guest left for a reason
// of its own at the same time, that reason comes first and ExitKicked from the next Run, which then finishes what the
// guest waits for (the data of an IN or an MMIO read) but executes no further instruction.
//
// An error (an [*Error]) means that the kernel could not run the vCPU; with [unix.EFAULT] the reason may be
// [ExitMemoryFault].
//
// The first Run binds the vCPU to its thread: the caller has locked itself to it (runtime.LockOSThread) and calls Run
// from no other.
func (v *VCPU) Run() (ExitReason, error) {
	if !v.bound {
		v.bind()
	}
	for {
		switch errno := v.enter(); errno {
		case 0:
			return v.reason(), nil
		case unix.EINTR, unix.EAGAIN: // EAGAIN: a vCPU that waits for its start was woken
			if v.takeKick() {
				return ExitKicked, nil
			}
		case unix.EFAULT:
			return v.reason(), v.runError(errno)
		default:
			return ExitUnknown, v.runError(errno)
		}
	}
}

// Complete finishes what the guest waits for since its last exit, such as the data of an IN, and executes no instruction:
// it is KVM_RUN that returns before it enters the guest. An access that goes on elsewhere, as one that crosses a page,
// is an error. Kicks wait for the next Run; the rules for threads are those of Run.
func (v *VCPU) Complete() error {
	if !v.bound {
		v.bind()
	}
	if v.run == nil {
		return v.runError(unix.EBADF)
	}
	v.setImmediateExit()
	errno := v.enter()
	v.clearImmediateExit()
	if v.kicked.Load() { // a Kick up to here has set what was cleared; a later one sets it itself
		v.setImmediateExit()
	}
	switch errno {
	case unix.EINTR:
		return nil
	case 0:
		return fmt.Errorf("vcpu %d: the access goes on: %v", v.id, v.reason())
	}
	return v.runError(errno)
}

// reason returns the kernel's exit reason; one that this package has no room for is unknown.
func (v *VCPU) reason() ExitReason {
	if r := ExitReason(v.run.ExitReason); r < ExitKicked {
		return r
	}
	return ExitUnknown
}

func (v *VCPU) runError(errno unix.Errno) error {
	return (&Error{Ioctl: kvmRun.String(), Errno: errno}).about("vcpu %d", v.id)
}

// bind tells Kick which thread to signal. A Kick that came before has set immediate_exit, which this thread then
// sees, because both held mu; a Kick that comes later sends its signal.
func (v *VCPU) bind() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mem == nil {
		return // closed: KVM_RUN says so
	}
	v.tid = unix.Gettid()
	v.bound = true
}

// Kick makes Run return [ExitKicked] as soon as it can, whether the guest computes, sleeps in HLT or waits for its
// start; when Run is not under way, the next one does so at once. It may be called from any goroutine at any time,
// and does nothing after Close. It costs a signal (SIGURG, which Go's runtime takes for one of its own).
func (v *VCPU) Kick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mem == nil {
		return
	}
	// The order matters. Run clears immediate_exit before it takes the word, so whoever clears our immediate_exit
	// finds our word; and a thread that is past the kernel's check of immediate_exit gets the signal.
	v.kicked.Store(true)
	v.setImmediateExit()
	if v.tid != 0 {
		// The thread may be gone already (ESRCH): then nothing runs that would have to stop.
		_ = unix.Tgkill(os.Getpid(), v.tid, unix.SIGURG)
	}
}

// takeKick reports whether Kick was called since it last reported so.
func (v *VCPU) takeKick() bool {
	v.clearImmediateExit()
	return v.kicked.Swap(false)
}

// EnableCap switches a capability of the vCPU on; see [VM.EnableCap].
func (v *VCPU) EnableCap(c Cap, args ...uint64) error { return enable(v.fd, c, args) }

// MPState returns the run state, one of MPStateRunnable and its like.
func (v *VCPU) MPState() (uint32, error) {
	var x mpState
	_, e := ioctl(v.fd, kvmGetMPState, &x)
	return x.MpState, e.about("vcpu %d", v.id)
}

// SetMPState sets the run state.
func (v *VCPU) SetMPState(state uint32) error {
	_, e := ioctl(v.fd, kvmSetMPState, &mpState{state})
	return e.about("vcpu %d: %d", v.id, state)
}

// VCPUEvents returns what exceptions and interrupts the vCPU has in flight.
func (v *VCPU) VCPUEvents() (VCPUEvents, error) { return get[VCPUEvents](v, kvmGetVCPUEvents) }

// SetVCPUEvents sets them; on amd64 the Flags say which fields count.
func (v *VCPU) SetVCPUEvents(x *VCPUEvents) error { return set(v, kvmSetVCPUEvents, x) }

func get[T any](v *VCPU, r request) (x T, err error) {
	_, e := ioctl(v.fd, r, &x)
	return x, e.about("vcpu %d", v.id)
}

func set[T any](v *VCPU, r request, x *T) error {
	_, e := ioctl(v.fd, r, x)
	return e.about("vcpu %d", v.id)
}
