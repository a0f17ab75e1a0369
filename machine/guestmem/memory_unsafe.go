package guestmem

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a page that one entry of a middle page table maps, on amd64 and on arm64 with 4 KiB pages.
const hugePage = 2 << 20

// mapFile maps size bytes of a file so that addresses and offsets agree modulo the size of a huge page: else the kernel could never
// back the mapping with one.
//
// SAFETY: the pointers are addresses of a range that this function reserved itself; the Go heap never holds them. The slice
// covers exactly the part that is mapped, until unmapFile.
func mapFile(fd int, off int64, size uint64, flags int) ([]byte, error) {
	room, err := unix.MmapPtr(-1, 0, nil, uintptr(size)+hugePage, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	before := (uintptr(off) - uintptr(room)) % hugePage
	start := unsafe.Add(room, before)
	if _, err := unix.MmapPtr(fd, off, start, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED|flags); err != nil {
		unix.MunmapPtr(room, uintptr(size)+hugePage)
		return nil, err
	}
	// What is left of the reservation takes nothing but addresses; a failure to give them back does no harm.
	if before > 0 {
		unix.MunmapPtr(room, before)
	}
	unix.MunmapPtr(unsafe.Add(start, size), hugePage-before)
	return unsafe.Slice((*byte)(start), size), nil
}

// unmapFile ends what mapFile began.
//
// SAFETY: b is a slice that mapFile returned, whole.
func unmapFile(b []byte) error {
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
}

// hostAddr is the address of a mapping, as KVM_SET_USER_MEMORY_REGION wants it.
//
// SAFETY: only the number leaves; it is never turned back into a pointer. b comes from mmap, so no garbage collector
// moves or frees it.
func hostAddr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
