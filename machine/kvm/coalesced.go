package kvm

// CoalescedZone is a range whose writes the kernel gathers in the machine's ring instead of leaving the guest; they
// are worth gathering when their effect can wait until the next exit. Reads still exit.
type CoalescedZone struct {
	Addr uint64 // guest-physical, or an I/O port when PIO is set
	Size uint32 // bytes
	PIO  bool
}

func (z CoalescedZone) kernel() *coalescedZone {
	k := &coalescedZone{Addr: z.Addr, Size: z.Size}
	if z.PIO {
		k.Pio = 1
	}
	return k
}

// RegisterCoalesced begins to gather writes to z.
func (vm *VM) RegisterCoalesced(z CoalescedZone) error {
	_, e := ioctl(vm.fd, kvmRegisterCoalescedMMIO, z.kernel())
	return e.about("%d bytes at %#x, pio %t", z.Size, z.Addr, z.PIO)
}

// UnregisterCoalesced ends it. What is in the ring stays there. It is no error when z was not registered.
func (vm *VM) UnregisterCoalesced(z CoalescedZone) error {
	_, e := ioctl(vm.fd, kvmUnregisterCoalescedMMIO, z.kernel())
	return e.about("%d bytes at %#x, pio %t", z.Size, z.Addr, z.PIO)
}

// CoalescedWrite is a write of the guest that was gathered.
type CoalescedWrite struct {
	Addr uint64
	PIO  bool
	Len  int // bytes of Data
	Data [8]byte
}

// NextCoalesced takes the oldest write out of the machine's ring; false when it is empty. The ring is the same for all
// vCPUs of a machine: the caller sees to it that one of them at a time takes from it. When it is full (about 170
// writes), writes exit as others do, so order is kept by emptying it at every exit, before that exit is served.
func (v *VCPU) NextCoalesced() (CoalescedWrite, bool) {
	x, ok := v.popCoalesced()
	if !ok {
		return CoalescedWrite{}, false
	}
	return CoalescedWrite{Addr: x.PhysAddr, PIO: x.Pio != 0, Len: int(min(x.Len, uint32(len(x.Data)))), Data: x.Data}, true
}
