package nonblock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read takes what is there, up to len(p) bytes. 0 without an error is the end; [unix.EAGAIN] says that nothing is there yet.
func Read(fd int, p []byte) (int, error) { return call(unix.SYS_READ, fd, p) }

// Write gives as many bytes as there is room for. [unix.EAGAIN] says that there is none.
func Write(fd int, p []byte) (int, error) { return call(unix.SYS_WRITE, fd, p) }

// SAFETY: p is referred to by a pointer in the expression of the call, so that the collector keeps it until that returns; the kernel has no use for it later.
func call(number uintptr, fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno // as it is: EAGAIN is no news, and costs no allocation
	}
	return int(n), nil
}
