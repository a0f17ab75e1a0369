package kvm

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runStateOf returns the view of a vCPU's mapping.
func runStateOf(mem []byte) *runState {
	// SAFETY: the kernel's mapping is page-aligned and at least as long as struct kvm_run; it lies outside Go's heap.
	return (*runState)(unsafe.Pointer(unsafe.SliceData(mem)))
}

// exit returns the member of kvm_run's union that the exit reason names.
func exit[T any](v *VCPU) *T {
	// SAFETY: every member is at most as large as the union, whose 256 bytes are 8-aligned.
	return (*T)(unsafe.Pointer(&v.run.Union))
}

// enter is KVM_RUN. unix.Syscall, not RawSyscall: the Go scheduler must know that this thread is in the kernel, else
// it would wait for the guest at the next garbage collection.
func (v *VCPU) enter() unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(v.fd), uintptr(kvmRun), 0)
	return errno
}

// immediateExit is the second byte of kvm_run within the word that has it. Go has no atomic bytes; the word's
// other fields are only changed by the vCPU's own thread, and not at all here.
const immediateExit = 1 << 8

func (v *VCPU) setImmediateExit() {
	// SAFETY: kvm_run is page-aligned, so its first word is aligned.
	atomic.OrUint32((*uint32)(unsafe.Pointer(v.run)), immediateExit)
}

func (v *VCPU) clearImmediateExit() {
	// SAFETY: as above.
	atomic.AndUint32((*uint32)(unsafe.Pointer(v.run)), ^uint32(immediateExit))
}

// popCoalesced takes an entry out of the ring of coalesced writes. The kernel fills the entry before it moves Last on,
// and takes an entry for free only after we have moved First on: hence the atomic loads and stores.
func (v *VCPU) popCoalesced() (coalescedEntry, bool) {
	page := v.mem[coalescedPage*pageSize:][:pageSize]
	// SAFETY: the page is aligned, and holds a ring of as many whole entries as fit behind its header
	// (KVM_COALESCED_MMIO_MAX of linux/kvm.h).
	ring := (*coalescedRing)(unsafe.Pointer(&page[0]))
	entries := unsafe.Slice((*coalescedEntry)(unsafe.Add(unsafe.Pointer(ring), unsafe.Sizeof(*ring))),
		(pageSize-uint64(unsafe.Sizeof(*ring)))/uint64(unsafe.Sizeof(coalescedEntry{})))
	first := atomic.LoadUint32(&ring.First)
	if first == atomic.LoadUint32(&ring.Last) || int(first) >= len(entries) {
		return coalescedEntry{}, false
	}
	entry := entries[first]
	atomic.StoreUint32(&ring.First, (first+1)%uint32(len(entries)))
	return entry, true
}
