package kvm

// IRQFD injects an interrupt into line gsi whenever something writes to the eventfd fd, without coming through this
// process. An edge: the line goes up and down. The kernel keeps its own reference to the eventfd.
func (vm *VM) IRQFD(fd int, gsi uint32) error {
	return vm.irqfd(&irqfd{Fd: uint32(fd), Gsi: gsi})
}

// IRQFDResample is IRQFD for a level-triggered line: a write to fd raises it, and when the guest has acknowledged the
// interrupt the kernel lowers it and writes to the eventfd resample, whose reader looks whether to raise it
// again. The line must belong to an interrupt controller in the kernel.
func (vm *VM) IRQFDResample(fd, resample int, gsi uint32) error {
	return vm.irqfd(&irqfd{Fd: uint32(fd), Gsi: gsi, Flags: irqfdResample, Resamplefd: uint32(resample)})
}

// RemoveIRQFD ends what IRQFD or IRQFDResample began. When it has returned, no write to fd injects any more. It is no
// error when there was nothing to end.
func (vm *VM) RemoveIRQFD(fd int, gsi uint32) error {
	return vm.irqfd(&irqfd{Fd: uint32(fd), Gsi: gsi, Flags: irqfdDeassign})
}

func (vm *VM) irqfd(x *irqfd) error {
	_, e := ioctl(vm.fd, kvmIRQFD, x)
	return e.about("gsi %d: fd %d, flags %#x", x.Gsi, int32(x.Fd), x.Flags)
}

// IOEvent is an access of the guest that becomes a write to an eventfd instead of an exit.
type IOEvent struct {
	Addr      uint64 // guest-physical, or an I/O port when PIO is set
	Len       uint32 // bytes of the write: 1, 2, 4 or 8; 0 for any length, which is faster
	PIO       bool
	Match     bool   // only writes of the value Datamatch; needs Len
	Datamatch uint64 // compared in the width of Len
	FD        int    // the eventfd
}

// IOEventFD makes the kernel answer the guest's writes that e describes by adding 1 to the eventfd. Reads still exit.
// The kernel keeps its own reference to the eventfd.
func (vm *VM) IOEventFD(e IOEvent) error { return vm.ioeventfd(e, 0) }

// RemoveIOEventFD ends what IOEventFD began with the same e.
func (vm *VM) RemoveIOEventFD(e IOEvent) error { return vm.ioeventfd(e, ioeventDeassign) }

func (vm *VM) ioeventfd(ev IOEvent, flags uint32) error {
	if ev.PIO {
		flags |= ioeventPIO
	}
	if ev.Match {
		flags |= ioeventDatamatch
	}
	_, e := ioctl(vm.fd, kvmIOEventFD, &ioeventfd{
		Datamatch: ev.Datamatch, Addr: ev.Addr, Len: ev.Len, Fd: int32(ev.FD), Flags: flags,
	})
	return e.about("%d bytes at %#x: fd %d, flags %#x", ev.Len, ev.Addr, ev.FD, flags)
}

// MSI is a message-signalled interrupt: the write of Data to Addr, as a device does it.
type MSI struct {
	Addr     uint64
	Data     uint32
	DevID    uint32 // of the device, for arm64's ITS; taken only when HasDevID is set
	HasDevID bool
}

// SignalMSI injects a message now, through a system call; see IRQFD for the way without. delivered is false when the
// guest masks it or has no such CPU.
func (vm *VM) SignalMSI(m MSI) (delivered bool, err error) {
	x := msi{AddressLo: uint32(m.Addr), AddressHi: uint32(m.Addr >> 32), Data: m.Data}
	if m.HasDevID {
		x.Flags, x.Devid = msiValidDevID, m.DevID
	}
	n, e := ioctl(vm.fd, kvmSignalMSI, &x)
	if e != nil {
		return false, e.about("%#x at %#x", m.Data, m.Addr)
	}
	return n > 0, nil
}

// IRQLine raises or lowers a line of an interrupt controller in the kernel. On arm64 gsi holds type, vCPU and
// number, see IRQTypeShift.
func (vm *VM) IRQLine(gsi uint32, up bool) error {
	x := irqLevel{Irq: gsi}
	if up {
		x.Level = 1
	}
	if _, e := ioctl(vm.fd, kvmIRQLine, &x); e != nil {
		return e.about("gsi %d, level %d", gsi, x.Level)
	}
	return nil
}

// IRQRoute says where interrupts of line GSI go: to a pin of a controller in the kernel, or out as a message. Several
// routes may have the same GSI, as long as the controllers differ.
type IRQRoute struct {
	GSI   uint32
	Chip  uint32 // IRQChipIOAPIC and its like; 0 on arm64
	Pin   uint32
	IsMSI bool // then MSI counts, and not Chip and Pin
	MSI   MSI
}

// ChipRoute returns the route of a line to a pin.
func ChipRoute(gsi, chip, pin uint32) IRQRoute { return IRQRoute{GSI: gsi, Chip: chip, Pin: pin} }

// MSIRoute returns the route of a line that becomes a message.
func MSIRoute(gsi uint32, addr uint64, data uint32) IRQRoute {
	return IRQRoute{GSI: gsi, IsMSI: true, MSI: MSI{Addr: addr, Data: data}}
}

// SetGSIRouting replaces all routes of the machine. Interrupts that come meanwhile take the old routes or the new ones,
// each as a whole. Lines are below what [CapIRQRouting] says, usually 4096.
func (vm *VM) SetGSIRouting(routes []IRQRoute) error {
	table := newFlexible[routingHeader, routingEntry](len(routes))
	table.header().Nr = uint32(len(routes))
	for i, r := range routes {
		table.entries()[i] = r.entry()
	}
	_, e := ioctl(vm.fd, kvmSetGSIRouting, table.header())
	return e.about("%d routes", len(routes))
}

// entry fills the union of kvm_irq_routing_entry by hand: little-endian pairs of 32-bit fields.
func (r IRQRoute) entry() routingEntry {
	if !r.IsMSI {
		pin := uint64(r.Chip) | uint64(r.Pin)<<32 // irqchip, pin
		return routingEntry{Gsi: r.GSI, Type: routeIRQChip, U: [4]uint64{pin}}
	}
	e := routingEntry{Gsi: r.GSI, Type: routeMSI, U: [4]uint64{r.MSI.Addr, uint64(r.MSI.Data)}} // address_lo, _hi, data
	if r.MSI.HasDevID {
		e.Flags = msiValidDevID
		e.U[1] |= uint64(r.MSI.DevID) << 32 // devid
	}
	return e
}
