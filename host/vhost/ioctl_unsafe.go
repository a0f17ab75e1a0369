package vhost

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl passes a structure to the kernel, or has it filled in.
func ioctl[T any](d *Device, r request, arg *T) error {
	// SAFETY: the conversion stands in the call itself, so that arg stays alive and in place until the kernel returns. Each structure is
	// generated from the kernel's headers, and r holds its size.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.file.Fd(), uintptr(r), uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(d)
	return result(r, errno)
}

// number is ioctl for a request whose argument is a number.
func (d *Device) number(r request, arg uintptr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.file.Fd(), uintptr(r), arg)
	runtime.KeepAlive(d)
	return result(r, errno)
}

func result(r request, errno unix.Errno) error {
	if errno != 0 {
		return &Error{Request: requestName(r), Errno: errno}
	}
	return nil
}

// memoryTable is a struct vhost_memory, which ends in a flexible array.
type memoryTable struct {
	words []uint64
	n     int
}

func newMemoryTable(n int) memoryTable {
	size := unsafe.Sizeof(memoryHeader{}) + uintptr(n)*unsafe.Sizeof(memoryRegion{})
	t := memoryTable{make([]uint64, size/8), n}
	t.header().Nregions = uint32(n)
	return t
}

func (t memoryTable) header() *memoryHeader {
	// SAFETY: words begins with room for the header.
	return (*memoryHeader)(unsafe.Pointer(&t.words[0]))
}

func (t memoryTable) regions() []memoryRegion {
	// SAFETY: newMemoryTable made room for n regions behind the header, whose size is a multiple of their alignment.
	first := unsafe.Add(unsafe.Pointer(t.header()), unsafe.Sizeof(memoryHeader{}))
	return unsafe.Slice((*memoryRegion)(first), t.n)
}
