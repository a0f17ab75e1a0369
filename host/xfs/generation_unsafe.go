package xfs

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNone says that no inode has a number.
var ErrNone = errors.New("no inode has this number")

// bulkstat is XFS_IOC_BULKSTAT of xfs_fs.h: _IOR('X', 127, struct xfs_bulkstat_req), which has 64 bytes without what follows.
const bulkstat = 0x8040587f

// request is struct xfs_bulkstat_req with one struct xfs_bulkstat.
type request struct {
	ino      uint64 // the first to be told of
	flags    uint32
	icount   uint32 // for how many there is room
	ocount   uint32 // how many there are
	agno     uint32
	reserved [5]uint64
	told     struct {
		ino        uint64
		_          [7]uint64
		generation uint32
		_          [124]byte
	}
}

// Generation is that of the inode with a number, of the file system that a descriptor is of. The error is [ErrNone] if there is no such inode.
//
// SAFETY: the structure is referred to by a pointer in the expression of the call. The kernel writes its head and, as icount says, one struct xfs_bulkstat of 192 bytes, and keeps no pointer.
func Generation(fd int, ino uint64) (uint32, error) {
	q := request{ino: ino, icount: 1}
	errno := unix.EINTR
	for errno == unix.EINTR {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), bulkstat, uintptr(unsafe.Pointer(&q)))
	}
	switch {
	case errno == unix.EINVAL: // the file system has no place for it
		return 0, ErrNone
	case errno != 0:
		return 0, os.NewSyscallError("XFS_IOC_BULKSTAT", errno)
	case q.ocount != 1 || q.told.ino != ino: // it tells of the next one
		return 0, ErrNone
	}
	return q.told.generation, nil
}
