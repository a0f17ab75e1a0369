package fusedev

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2), from linux/fuse.h.
const (
	backingOpen  = 0x4010e501 // _IOW(229, 1, struct fuse_backing_map)
	backingClose = 0x4004e502 // _IOW(229, 2, uint32_t)
)

// backingMap is struct fuse_backing_map.
type backingMap struct {
	fd      int32
	flags   uint32
	padding uint64
}

// Open makes a file known to the connection that dev is of, and returns its number.
//
// SAFETY: the structure is referred to by a pointer in the expression of the call; the kernel copies it and keeps no pointer.
func Open(dev, fd int) (id int32, err error) {
	m := backingMap{fd: int32(fd)}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(dev), backingOpen, uintptr(unsafe.Pointer(&m)))
	if errno != 0 {
		return 0, os.NewSyscallError("FUSE_DEV_IOC_BACKING_OPEN", errno)
	}
	return int32(n), nil
}

// Close makes a number unknown. Handles that were opened with it go on.
//
// SAFETY: as Open.
func Close(dev int, id int32) error {
	n := uint32(id)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(dev), backingClose, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return os.NewSyscallError("FUSE_DEV_IOC_BACKING_CLOSE", errno)
	}
	return nil
}
