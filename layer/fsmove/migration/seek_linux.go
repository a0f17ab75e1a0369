package migration

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Seek is where the next data is, or the next hole, as lseek(2) has it for whence, in a file of which each part may be at the destination or at the source. A hole is one of both.
func (f *File) Seek(ctx context.Context, off int64, whence int) (at int64, err error) {
	err = f.insist(ctx, func() (err error) {
		at, err = f.seek(ctx, off, whence)
		return err
	})
	return at, err
}

func (f *File) seek(ctx context.Context, off int64, whence int) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	if err := f.open(); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.dst, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	if off < 0 || off >= st.Size {
		return 0, unix.ENXIO
	}
	for {
		here, end, err := dataOf(f.dst, off, st.Size)
		if err != nil {
			return 0, err
		}
		if !f.full && off < f.rec.Limit && here > off {
			from, to, err := f.nextData(ctx, off)
			if err != nil {
				return 0, err
			}
			if from < to && from < here {
				here, end = from, to
			}
		}
		switch {
		case whence == unix.SEEK_DATA && here >= st.Size:
			return 0, unix.ENXIO
		case whence == unix.SEEK_DATA:
			return here, nil
		case here > off:
			return off, nil
		case end >= st.Size:
			return st.Size, nil
		}
		off = end
	}
}

// dataOf is the first data of a file at or behind an offset, at size if there is none.
func dataOf(fd int, off, size int64) (from, to int64, err error) {
	if from, err = unix.Seek(fd, off, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err == nil {
		to, err = unix.Seek(fd, from, unix.SEEK_HOLE)
	}
	return from, to, os.NewSyscallError("lseek", err)
}
