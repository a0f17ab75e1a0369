package bench

import (
	"cmp"
	"errors"
	"syscall"

	"usui/machine/kvm"
)

// hostCases are what a virtual machine monitor asks of KVM.
func hostCases() []Case {
	const group = "calls"
	return []Case{
		{"run-immediate-exit", group, "KVM_RUN that returns before it enters the guest", recipe{
			call: func(r *rig) (func() error, error) { return r.cpu.Complete, nil },
		}},
		{"sync-regs", group, "the same, with the general registers both ways through shared memory", recipe{call: syncRegs}},
		{"get-set-regs", group, "KVM_GET_REGS and KVM_SET_REGS", recipe{call: getSetRegs}},
		{"save-restore-vcpu", group, "read and write all state of a vCPU", recipe{
			prepare: (*kvm.VM).NewIRQChip, call: saveRestore,
		}},
		{"vcpu-create", group, "KVM_CREATE_VCPU", recipe{
			reset: func(r *rig) error { return r.scratch.renew(r, 0) },
			call:  func(r *rig) (func() error, error) { return r.scratch.add, nil }, limit: manyCPUs,
		}},
		{"vm-create", group, "make and close a virtual machine", recipe{call: createVM}},
		{"vm-close-8", group, "close a virtual machine with 8 vCPUs, which destroys them", recipe{
			reset: func(r *rig) error { return r.scratch.renew(r, 8) },
			call:  func(r *rig) (func() error, error) { return r.scratch.close, nil }, limit: 1, whole: true,
		}},
		{"slot-add-remove", group, "add a memory slot of 2 MiB and remove it", recipe{
			extra: func(r *rig) error { return r.addTouched(hugeBytes) }, call: addRemoveSlot,
		}},
		{"dirty-log-read-1g", group, "read the dirty log of 1 GiB of which nothing was written", recipe{
			extra: func(r *rig) error { return r.addMemory(1<<30, kvm.MemLogDirtyPages) }, call: readDirtyLog,
		}},
	}
}

func syncRegs(r *rig) (func() error, error) {
	if _, err := r.cpu.ShareRegs(); errors.Is(err, errors.ErrUnsupported) {
		return nil, na("this KVM shares no registers")
	} else if err != nil {
		return nil, err
	}
	return func() error {
		r.cpu.RegsChanged()
		return r.cpu.Complete()
	}, nil
}

func getSetRegs(r *rig) (func() error, error) {
	return func() error {
		if err := r.cpu.RegsInto(&r.regs); err != nil {
			return err
		}
		return r.cpu.SetRegs(&r.regs)
	}, nil
}

// manyCPUs is how many vCPUs a batch makes.
const manyCPUs = 64

// scratch is a machine that never runs. KVM keeps a vCPU until its machine is closed, and its number in use.
type scratch struct {
	vm   *kvm.VM // nil when closed
	cpus []int   // descriptors
}

// renew makes another machine, with some vCPUs.
func (s *scratch) renew(r *rig, cpus int) (err error) {
	if s.cpus == nil {
		s.cpus = make([]int, 0, manyCPUs)
		r.own(s.close)
	}
	if err := s.close(); err != nil {
		return err
	}
	if s.vm, err = r.machine.system.NewVM(); err != nil {
		return err
	}
	for range cpus {
		if err := s.add(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scratch) add() error {
	fd, err := s.vm.CreateVCPU(len(s.cpus))
	if err == nil {
		s.cpus = append(s.cpus, fd)
	}
	return err
}

// close closes all descriptors; with the last one the machine goes.
func (s *scratch) close() error {
	if s.vm == nil {
		return nil
	}
	var err error
	for _, fd := range s.cpus {
		err = cmp.Or(err, syscall.Close(fd))
	}
	err = cmp.Or(err, s.vm.Close())
	s.vm, s.cpus = nil, s.cpus[:0]
	return err
}

func createVM(r *rig) (func() error, error) {
	return func() error {
		vm, err := r.machine.system.NewVM()
		if err != nil {
			return err
		}
		return vm.Close()
	}, nil
}

func addRemoveSlot(r *rig) (func() error, error) {
	const slot, at = extraSlot + 1, extraAddr + 1<<30
	s := r.extraSlot
	return func() error {
		if err := r.guest.VM.SetMemory(slot, 0, at, s.size, s.host); err != nil {
			return err
		}
		return r.guest.VM.SetMemory(slot, 0, at, 0, s.host)
	}, nil
}

func readDirtyLog(r *rig) (func() error, error) {
	bitmap := make([]uint64, kvm.DirtyWords(r.extraSlot.size))
	return func() error { return r.guest.VM.DirtyLog(extraSlot, bitmap) }, nil
}

// saved is the state of a vCPU, as a snapshot has it.
type saved struct {
	regs   kvm.Regs
	sregs  kvm.Sregs
	xsave  []byte
	xcrs   kvm.XCRs
	debug  kvm.DebugRegs
	lapic  kvm.LAPICState
	events kvm.VCPUEvents
	state  uint32
	msrs   []kvm.MSREntry
}

func saveRestore(r *rig) (func() error, error) {
	indices, err := r.machine.system.MSRIndexList()
	if err != nil {
		return nil, err
	}
	var s saved
	for _, index := range indices { // those that the guest has
		one := []kvm.MSREntry{{Index: index}}
		if _, err := r.cpu.MSRs(one); err != nil {
			continue
		}
		if _, err := r.cpu.SetMSRs(one); err == nil {
			s.msrs = append(s.msrs, one[0])
		}
	}
	return func() error {
		if err := s.save(r.cpu); err != nil {
			return err
		}
		return s.restore(r.cpu)
	}, nil
}

func (s *saved) save(v *kvm.VCPU) (err error) {
	step := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	step(func() (err error) { s.regs, err = v.Regs(); return })
	step(func() (err error) { s.sregs, err = v.Sregs(); return })
	step(func() (err error) { s.xsave, err = v.XSave(); return })
	step(func() (err error) { s.xcrs, err = v.XCRs(); return })
	step(func() (err error) { s.debug, err = v.DebugRegs(); return })
	step(func() (err error) { s.lapic, err = v.LAPIC(); return })
	step(func() (err error) { s.events, err = v.VCPUEvents(); return })
	step(func() (err error) { s.state, err = v.MPState(); return })
	step(func() (err error) { _, err = v.MSRs(s.msrs); return })
	return err
}

// restore puts the state back. The system registers come first: they say what others mean.
func (s *saved) restore(v *kvm.VCPU) (err error) {
	step := func(e error) {
		if err == nil {
			err = e
		}
	}
	step(v.SetSregs(&s.sregs))
	step(v.SetXCRs(&s.xcrs))
	step(v.SetXSave(s.xsave))
	step(v.SetRegs(&s.regs))
	step(v.SetDebugRegs(&s.debug))
	step(v.SetLAPIC(&s.lapic))
	if err == nil {
		_, err = v.SetMSRs(s.msrs)
	}
	step(v.SetVCPUEvents(&s.events))
	step(v.SetMPState(s.state))
	return err
}
