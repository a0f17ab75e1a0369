package kvm

// SetMemory puts size bytes of this process's memory at host into the guest's physical memory at gpa. flags are
// [MemLogDirtyPages] and [MemReadonly]. A slot that exists can move and change its flags, not its size; size 0 deletes
// it. gpa, size and host are multiples of the page size. The memory must stay mapped until the slot is deleted or the
// machine closed; the guest writes to it whenever it runs (KVM_SET_USER_MEMORY_REGION).
func (vm *VM) SetMemory(slot uint32, flags uint32, gpa, size uint64, host uintptr) error {
	// mu keeps the kernel's slots and ours the same: DirtyLog must never believe in a smaller slot than the kernel.
	vm.mu.Lock()
	defer vm.mu.Unlock()
	_, e := ioctl(vm.fd, kvmSetUserMemoryRegion, &memoryRegion{
		Slot: slot, Flags: flags, GuestPhysAddr: gpa, MemorySize: size, UserspaceAddr: uint64(host),
	})
	if e != nil {
		return e.about("slot %d: %#x bytes at %#x from %#x, flags %#x", slot, size, gpa, host, flags)
	}
	if size == 0 {
		delete(vm.slots, slot)
	} else {
		vm.slots[slot] = size
	}
	return nil
}
