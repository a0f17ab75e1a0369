package uring

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setup is io_uring_setup(2).
func setup(entries int, p *params) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// register makes file number 0 of the ring out of fd.
func register(ring, fd int) error {
	files := [1]int32{int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(ring), registerFiles, uintptr(unsafe.Pointer(&files)), 1, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// unregister gives file number 0 back. It fails only when there is none.
func unregister(ring int) {
	_, _, _ = unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(ring), unregisterFiles, 0, 0, 0, 0)
}

// enter is io_uring_enter(2). It tells the scheduler first, because it may sleep.
func enter(ring int, submit, wait uint32, flags uintptr) (uint32, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(ring), uintptr(submit), uintptr(wait), flags, 0, 0)
	return uint32(n), errno
}

// queues are views of the memory shared with the kernel. It is mapped by mmap and is not Go's, so that ordinary loads and
// stores reach it; the four indices and nothing else are used by both sides at a time.
type queues struct {
	sqHead, sqTail *atomic.Uint32 // the kernel moves head, we move tail
	cqHead, cqTail *atomic.Uint32 // we move head, the kernel moves tail
	sqMask, cqMask uint32
	sqes           []sqe
	cqes           []cqe
	sqArray        []uint32
}

// view lays types over the two mappings.
//
// SAFETY: ring and entries are mappings whose sizes were computed from the same p that the kernel filled in; the offsets
// are the kernel's, page-based and aligned for their types.
func view(ring, entries []byte, p *params) queues {
	u32 := func(off uint32) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&ring[off])) }
	return queues{
		sqHead:  u32(p.sqOff.head),
		sqTail:  u32(p.sqOff.tail),
		cqHead:  u32(p.cqOff.head),
		cqTail:  u32(p.cqOff.tail),
		sqMask:  u32(p.sqOff.ringMask).Load(),
		cqMask:  u32(p.cqOff.ringMask).Load(),
		sqes:    unsafe.Slice((*sqe)(unsafe.Pointer(&entries[0])), p.sqEntries),
		cqes:    unsafe.Slice((*cqe)(unsafe.Pointer(&ring[p.cqOff.cqes])), p.cqEntries),
		sqArray: unsafe.Slice((*uint32)(unsafe.Pointer(&ring[p.sqOff.array])), p.sqEntries),
	}
}

// ringSize returns the length of the mapping that holds both rings.
func ringSize(p *params) int {
	sq := int(p.sqOff.array) + int(p.sqEntries)*int(unsafe.Sizeof(uint32(0)))
	cq := int(p.cqOff.cqes) + int(p.cqEntries)*int(unsafe.Sizeof(cqe{}))
	return max(sq, cq)
}

// entriesSize returns the length of the mapping of submission entries.
func entriesSize(p *params) int { return int(p.sqEntries) * int(unsafe.Sizeof(sqe{})) }

// iovecTable maps n iovecs outside Go's heap.
func iovecTable(n int) ([]byte, []iovec, error) {
	size := n * int(unsafe.Sizeof(iovec{}))
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, err
	}
	// SAFETY: mem is page-aligned and holds n of them.
	return mem, unsafe.Slice((*iovec)(unsafe.Pointer(&mem[0])), n), nil
}

// address returns where b lies. SAFETY: the slot keeps b alive until its request is complete, and neither Go's heap nor a
// mapping moves; being stored in a slot, b is not on a stack.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// tableAddress returns where the first iovec lies.
func tableAddress(v []iovec) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(v))) }
