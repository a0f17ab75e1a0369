package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
)

// endure finishes files and makes them durable, and returns what was wrong with each. All have been written before the first is synced: then one commit of the file system's log has
// what it says of all of them.
func (m *Migration) endure(ctx context.Context, files []*File) []error {
	steps := []func(fd int) error{startWriting, awaitWriting, fsync}
	if len(files) == 1 { // the last one does it all
		steps = steps[len(steps)-1:]
	}
	fds := slices.Repeat([]int{-1}, len(files))
	errs := each(ctx, len(files), func(i int) (err error) {
		if err := files[i].finish(ctx); err != nil {
			return err
		}
		fds[i], err = files[i].descriptor(ctx)
		return err
	})
	for _, do := range steps {
		before := errs
		errs = each(ctx, len(files), func(i int) error {
			if before[i] != nil || fds[i] < 0 {
				return nil
			}
			return do(fds[i])
		})
		for i, err := range before { // also if ctx has ended meanwhile: an error of the disk is told once
			if err != nil {
				errs[i] = err
			}
		}
	}
	for i, fd := range fds {
		if fd < 0 {
			continue
		}
		_ = unix.Close(fd) // nothing was written by it
		if errs[i] != nil && !errors.Is(errs[i], context.Cause(ctx)) {
			errs[i] = errors.Join(errs[i], files[i].Distrust(ctx, errs[i]))
		}
	}
	return errs
}

func startWriting(fd int) error {
	return os.NewSyscallError("sync_file_range", unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE))
}

func awaitWriting(fd int) error {
	return os.NewSyscallError("sync_file_range", unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WAIT_AFTER))
}

func fsync(fd int) error { return os.NewSyscallError("fsync", unix.Fsync(fd)) }

// descriptor is one of the file, -1 if the journal knows nothing of that any more. It shares with the one by which the file was written what Linux remembers of errors: another that is opened now
// does not hear of those that somebody was told of.
func (f *File) descriptor(ctx context.Context) (int, error) {
	if err := f.io.take(ctx); err != nil {
		return -1, err
	}
	defer f.io.give()
	if !f.recorded {
		return -1, nil
	}
	if err := f.open(); err != nil {
		return -1, err
	}
	fd, err := unix.FcntlInt(uintptr(f.dst), unix.F_DUPFD_CLOEXEC, 0)
	return fd, os.NewSyscallError("fcntl", err)
}

// Distrust is told that the disk could not write something of the file: Linux forgets which pages these were, so that another sync would say that all is well. What is the source's is written once
// more, where it is, for the kernel may be reading it for clients. What clients wrote is in the report.
func (f *File) Distrust(ctx context.Context, why error) error {
	if err := f.io.take(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer f.io.give()
	if !f.recorded {
		return nil
	}
	if f.rec.Written {
		return f.mayLose(why)
	}
	rec := f.rec
	rec.Doubted = true
	f.change(func() { f.doubted = true })
	return f.record(rec)
}

// mayLose says in the report that what clients wrote may be lost.
func (f *File) mayLose(why error) error {
	if f.lost {
		return nil
	}
	f.lost = true
	c := f.m.journal.Change()
	c.AddLoss(journal.Loss{Path: f.rec.Path, What: fmt.Sprintf("what clients wrote may be lost: %v", why)})
	f.m.count(func(s *Stats) { s.Lost++ })
	return c.Apply()
}

// rewrite writes once more what is the source's, if it is doubted that the disk has it. f.io is held.
func (f *File) rewrite(ctx context.Context) error {
	if !f.recorded || !f.doubted {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	if err := f.fill(ctx, 0, f.rec.Limit); err != nil {
		return err
	}
	f.change(func() { f.doubted = false })
	return nil
}
