package kvm

// NewIRQChip makes the interrupt controllers in the kernel: two PICs, an I/O APIC and, for each vCPU made later, a
// local APIC. HLT then waits in the kernel and is no exit.
func (vm *VM) NewIRQChip() error {
	_, e := ioctlValue(vm.fd, kvmCreateIRQChip, 0)
	return e.about("pic, ioapic and lapic")
}

// EnableSplitIRQChip makes local APICs in the kernel and leaves PIC and I/O APIC, of the given number of pins, to us.
func (vm *VM) EnableSplitIRQChip(pins uint64) error { return vm.EnableCap(CapSplitIRQChip, pins) }

// SetTSSAddr gives the kernel three pages of guest-physical memory below 4 GiB that the guest does not use. Intel
// processors need them to emulate real mode.
func (vm *VM) SetTSSAddr(gpa uint64) error {
	_, e := ioctlValue(vm.fd, kvmSetTSSAddr, uintptr(gpa))
	return e.about("%#x", gpa)
}

// SetIdentityMapAddr gives the kernel one more such page. It must come before the first vCPU.
func (vm *VM) SetIdentityMapAddr(gpa uint64) error {
	_, e := ioctl(vm.fd, kvmSetIdentityMapAddr, &gpa)
	return e.about("%#x", gpa)
}

// NewPIT2 makes the i8254 timer in the kernel; it needs NewIRQChip. flags is 0 or [PITSpeakerDummy].
func (vm *VM) NewPIT2(flags uint32) error {
	_, e := ioctl(vm.fd, kvmCreatePIT2, &pitConfig{Flags: flags})
	return e.about("flags %#x", flags)
}

// Clock returns the paravirtual clock, in nanoseconds since the machine was made, and, where the kernel can say
// so, the host's clocks at the same moment.
func (vm *VM) Clock() (ClockData, error) {
	var x ClockData
	_, e := ioctl(vm.fd, kvmGetClock, &x)
	return x, e.about("vm")
}

// SetClock sets the paravirtual clock.
func (vm *VM) SetClock(x *ClockData) error {
	_, e := ioctl(vm.fd, kvmSetClock, x)
	return e.about("%d ns, flags %#x", x.Clock, x.Flags)
}
