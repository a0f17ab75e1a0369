package block

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// preadv is preadv2(2), or preadv(2) without flags. x/sys has both, but it makes its iovecs anew for each call.
//
// SAFETY: v is in Go's heap and its bases are pointers, so the collector keeps table and buffers until the call returns.
func preadv(fd int, v []unix.Iovec, off int64, flags int) (int, error) {
	trap := uintptr(unix.SYS_PREADV)
	if flags != 0 {
		trap = unix.SYS_PREADV2
	}
	// The kernel takes the offset as two halves of a long; on 64-bit machines the first holds all of it.
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)), uintptr(off), 0, uintptr(flags))
	runtime.KeepAlive(v)
	return result(n, errno)
}

// pwritev is pwritev(2). SAFETY: as preadv.
func pwritev(fd int, v []unix.Iovec, off int64) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_PWRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)), uintptr(off), 0, 0)
	runtime.KeepAlive(v)
	return result(n, errno)
}

func result(n uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
