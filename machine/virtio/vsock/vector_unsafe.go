package vsock

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// vector moves bytes between a socket and many buffers in one system call, without a copy and without an allocation.
type vector struct {
	iov [virtio.MaxChain]unix.Iovec // as many as the kernel takes (UIO_MAXIOV)
	msg unix.Msghdr
}

// fill describes parts to the kernel. None of them is empty, and they are no more than MaxChain.
//
// SAFETY: parts are views of mapped memory, which no garbage collector moves, and the iovecs hold them as pointers.
func (v *vector) fill(parts [][]byte) int {
	for i, b := range parts {
		v.iov[i].Base = unsafe.SliceData(b)
		v.iov[i].SetLen(len(b))
	}
	return len(parts)
}

// send writes to a socket that does not block. A peer that is gone is EPIPE and no signal.
func (v *vector) send(fd int, parts [][]byte) (int, unix.Errno) {
	v.msg.Iov = &v.iov[0]
	v.msg.SetIovlen(v.fill(parts))
	// SAFETY: v outlives the call, and so does what its iovecs point to.
	n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// read reads from a socket that does not block. No bytes and no error are its end.
func (v *vector) read(fd int, parts [][]byte) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&v.iov)), uintptr(v.fill(parts))) // SAFETY: as in send
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
