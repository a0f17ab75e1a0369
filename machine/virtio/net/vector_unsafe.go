package net

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readv is readv(2) of a non-blocking descriptor. unix.Readv would allocate.
func readv(fd int, v vector) (int, unix.Errno) { return transfer(unix.SYS_READV, fd, v) }

// writev is writev(2) of a non-blocking descriptor.
func writev(fd int, v vector) (int, unix.Errno) { return transfer(unix.SYS_WRITEV, fd, v) }

// transfer makes one of the two calls. The scheduler hears of it: it moves up to 64 KiB, and a write to a tap runs the host's whole network stack.
//
// SAFETY: the pointer is converted inside the call expression, and the vector keeps what its entries point to alive.
func transfer(call uintptr, fd int, v vector) (int, unix.Errno) {
	n, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	runtime.KeepAlive(v)
	return int(n), errno
}

// first copies between b and the first bytes of the vector's buffers, which hold at least as many: out of them, or into them.
//
// SAFETY: entries were made from slices of the same length by add.
func (v vector) first(b []byte, into bool) {
	for i := 0; len(b) > 0; i++ {
		part := unsafe.Slice(v[i].Base, int(v[i].Len))
		n := 0
		if into {
			n = copy(part, b)
		} else {
			n = copy(b, part)
		}
		b = b[n:]
	}
}
