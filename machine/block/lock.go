package block

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// QEMU locks bytes of an image with open-file-description locks (block/file-posix.c: RAW_LOCK_PERM_BASE and
// RAW_LOCK_SHARED_BASE): a shared lock on 100+p says "I use permission p", one on 200+p says "nobody else may". It
// then asks whether others hold the opposite. A writer here takes all these bytes exclusively, which stops QEMU's shared
// locks; a reader takes what a reading QEMU takes, and asks whether a writer is there.
const (
	permUsed   = 100 // the first "I use" byte
	permDenied = 200 // the first "nobody else may" byte
	permRead   = 0   // BLK_PERM_CONSISTENT_READ
	permWrite  = 1   // BLK_PERM_WRITE
	permResize = 3   // BLK_PERM_RESIZE
	permCount  = 64  // as many as QEMU's mask has bits
)

// lock takes the disk, or says who has it.
func (f *File) lock() error {
	var err error
	if f.geometry.ReadOnly {
		err = f.lockShared()
		if noLocks(err) {
			return nil // reading beside a writer hurts nobody but the reader
		}
	} else {
		err = f.setLock(unix.F_WRLCK, permUsed, permDenied-permUsed+permCount)
		if noLocks(err) {
			return fmt.Errorf("%s: lock: %w; its file system has no locks, so two guests could write to it: copy it elsewhere, or attach it read-only", f.path, err)
		}
	}
	if err == unix.EAGAIN || err == unix.EACCES {
		return fmt.Errorf("%s: %w by another process (lock); stop that one first, or attach the disk read-only in both", f.path, ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("%s: lock: %w", f.path, err)
	}
	return nil
}

func noLocks(err error) bool {
	return err == unix.ENOLCK || err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.EINVAL
}

func (f *File) lockShared() error {
	for _, b := range []int64{permUsed + permRead, permDenied + permWrite, permDenied + permResize} {
		if err := f.setLock(unix.F_RDLCK, b, 1); err != nil {
			return err
		}
	}
	for _, b := range []int64{permUsed + permWrite, permUsed + permResize, permDenied + permRead} {
		l := flock(unix.F_WRLCK, b, 1)
		if err := f.fcntl(unix.F_OFD_GETLK, &l); err != nil {
			return err
		}
		if l.Type != unix.F_UNLCK {
			return unix.EAGAIN
		}
	}
	return nil
}

func (f *File) setLock(kind int16, start, n int64) error {
	l := flock(kind, start, n)
	return f.fcntl(unix.F_OFD_SETLK, &l)
}

// unlock gives up all locks. Its error would only say that there were none.
func (f *File) unlock() { _ = f.setLock(unix.F_UNLCK, 0, 0) }

func (f *File) fcntl(cmd int, l *unix.Flock_t) error {
	_, err := retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(f.fd), cmd, l) })
	return err
}

func flock(kind int16, start, n int64) unix.Flock_t {
	return unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: start, Len: n}
}
