package kvm

import (
	"fmt"
	"os"
)

// pageSize is the unit of dirty logs, on arm64 the host kernel's choice.
var pageSize = uint64(os.Getpagesize())

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

// DirtyWords returns how many words a bitmap of the dirty pages of size bytes has.
func DirtyWords(size uint64) int { return words(pages(size)) }

func pages(size uint64) uint64 { return (size + pageSize - 1) / pageSize }

func words(pages uint64) int { return int((pages + 63) / 64) }

// DirtyLog fills bitmap with the pages of a slot (bit 0 of word 0 is its first) that were written since the last call,
// and, unless [CapManualDirtyLogProtect2] is on, starts anew. The slot has [MemLogDirtyPages]; bitmap has at
// least [DirtyWords] of the slot's size. Writes of this process to the guest's memory are not in it.
func (vm *VM) DirtyLog(slot uint32, bitmap []uint64) error {
	vm.mu.Lock() // the slot must not grow while the kernel writes its bitmap
	defer vm.mu.Unlock()
	size, found := vm.slots[slot]
	if !found {
		return fmt.Errorf("%v slot %d: there is no such slot", kvmGetDirtyLog, slot)
	}
	if need := DirtyWords(size); len(bitmap) < need {
		return fmt.Errorf("%v slot %d: bitmap has %d words, want %d", kvmGetDirtyLog, slot, len(bitmap), need)
	}
	_, e := ioctl(vm.fd, kvmGetDirtyLog, &dirtyLog{Slot: slot, Bitmap: bytesOf(bitmap)})
	return e.about("slot %d", slot)
}

// ClearDirtyLog starts the log anew for the pages among first to first+n-1 of a slot whose bit is set: their next write
// is noted again. Bit 0 of bitmap is page first, which is a multiple of 64; so is n unless it reaches the slot's
// end. It needs [CapManualDirtyLogProtect2] switched on.
func (vm *VM) ClearDirtyLog(slot uint32, first uint64, n uint32, bitmap []uint64) error {
	if need := words(uint64(n)); len(bitmap) < need {
		return fmt.Errorf("%v slot %d: bitmap has %d words, want %d", kvmClearDirtyLog, slot, len(bitmap), need)
	}
	_, e := ioctl(vm.fd, kvmClearDirtyLog, &clearDirtyLog{
		Slot: slot, NumPages: n, FirstPage: first, Bitmap: bytesOf(bitmap),
	})
	return e.about("slot %d: %d pages from %d", slot, n, first)
}
