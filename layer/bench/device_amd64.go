package bench

import (
	"usui/host/eventfd"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// Devices that KVM has in the kernel.
const (
	elcrPort   = 0x4d0      // PIC: which lines are level-triggered (82371AB data sheet, section 4.2.5)
	ioapicAddr = 0xfec00000 // I/O APIC: its index register
)

// portCases are accesses to I/O ports.
func portCases() []Case {
	const group = "ports"
	out := func(c code) { c.Out(userPort, 1) }
	return []Case{
		{"port-out-user", group, "OUT to a port that this program serves", recipe{
			op: out, instructions: 1, exits: exactly(1), user: exactly(1),
		}},
		{"port-in-user", group, "IN from a port that this program serves", recipe{
			op:           func(c code) { c.In(userPort, 1) },
			instructions: 1, exits: exactly(1), user: exactly(1),
		}},
		{"port-out-kernel", group, "OUT to the PIC in the kernel", recipe{
			prepare:      (*kvm.VM).NewIRQChip,
			registers:    func(r *kvm.Regs) { r.Rax, r.Rdx = 0, elcrPort },
			op:           func(c code) { c.Raw(0xee) }, // out dx, al
			instructions: 1, exits: exactly(1),
		}},
		{"port-in-kernel", group, "IN from the PIC in the kernel", recipe{
			prepare:      (*kvm.VM).NewIRQChip,
			registers:    func(r *kvm.Regs) { r.Rdx = elcrPort },
			op:           func(c code) { c.Raw(0xec) }, // in al, dx
			instructions: 1, exits: exactly(1),
		}},
		{"port-ioeventfd", group, "OUT to a port that signals an eventfd", recipe{
			opened: func(r *rig) error { return r.ioeventfd(kvm.IOEvent{Addr: userPort, Len: 1, PIO: true}) },
			op:     out, instructions: 1, exits: exactly(1),
		}},
		{"port-coalesced", group, "OUT to a port whose writes the kernel gathers", recipe{
			opened: func(r *rig) error { return r.coalesce(kvm.CoalescedZone{Addr: userPort, Size: 1, PIO: true}) },
			op:     out, instructions: 1, exits: exactly(1), user: fullRing,
		}},
	}
}

// fullRing is how often a gathered write finds the ring full: it has room for about 170.
var fullRing = span{0, 1. / 128}

// memoryCases are accesses to memory that is a device.
func memoryCases() []Case {
	const group = "memory I/O"
	store := func(c code) { c.Store(4, deviceReg, 0, tinyguest.RAX) }
	return []Case{
		{"mmio-write-user", group, "store to memory that this program serves", recipe{
			op: store, instructions: 1, exits: exactly(1), user: exactly(1),
		}},
		{"mmio-read-user", group, "load from memory that this program serves", recipe{
			op:           func(c code) { c.Load(4, tinyguest.RAX, deviceReg, 0) },
			instructions: 1, exits: exactly(1), user: exactly(1),
		}},
		{"mmio-write-kernel", group, "store to the I/O APIC in the kernel", recipe{
			prepare:      (*kvm.VM).NewIRQChip,
			registers:    func(r *kvm.Regs) { r.R13, r.Rax = ioapicAddr, 0 },
			op:           store,
			instructions: 1, exits: exactly(1),
		}},
		{"mmio-read-kernel", group, "load from the I/O APIC in the kernel", recipe{
			prepare:      (*kvm.VM).NewIRQChip,
			registers:    func(r *kvm.Regs) { r.R13 = ioapicAddr },
			op:           func(c code) { c.Load(4, tinyguest.RAX, deviceReg, 0) },
			instructions: 1, exits: exactly(1),
		}},
		{"mmio-ioeventfd", group, "store that signals an eventfd, of any length", recipe{
			opened: func(r *rig) error { return r.ioeventfd(kvm.IOEvent{Addr: deviceAddr}) },
			op:     store, instructions: 1, exits: exactly(1),
		}},
		{"mmio-coalesced", group, "store that the kernel gathers", recipe{
			opened: func(r *rig) error { return r.coalesce(kvm.CoalescedZone{Addr: deviceAddr, Size: 4}) },
			op:     store, instructions: 1, exits: exactly(1), user: fullRing,
		}},
		{"mmio-read-only-slot", group, "store to a slot that is read-only", recipe{
			extra:        func(r *rig) error { return r.addMemory(pageBytes, kvm.MemReadonly) },
			registers:    func(r *kvm.Regs) { r.R13 = extraAddr },
			op:           store,
			instructions: 1, exits: exactly(1), user: exactly(1),
		}},
	}
}

// ioeventfd makes writes of the guest signal an eventfd, whose count nobody takes.
func (r *rig) ioeventfd(e kvm.IOEvent) error {
	fd, err := eventfd.New()
	if err != nil {
		return err
	}
	r.own(fd.Close)
	e.FD = int(fd.Fd())
	if err := r.guest.VM.IOEventFD(e); err != nil {
		return refused(err)
	}
	return nil
}

func (r *rig) coalesce(z kvm.CoalescedZone) error {
	if err := r.guest.VM.RegisterCoalesced(z); err != nil {
		return refused(err)
	}
	return nil
}
