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
		if err := files[i].finish(ctx); err != nil || files[i].settled() {
			return err
		}
		fds[i], err = m.dst.Open(files[i].handle, unix.O_RDONLY) // clients use it meanwhile: this descriptor keeps nobody from executing it
		return err
	})
	for _, do := range steps {
		before := errs
		errs = each(ctx, len(files), func(i int) error {
			if before[i] != nil || fds[i] < 0 {
				return before[i]
			}
			return do(fds[i])
		})
	}
	for i, fd := range fds {
		if fd < 0 {
			continue
		}
		_ = unix.Close(fd) // nothing was written by it
		if errs[i] != nil && !errors.Is(errs[i], context.Cause(ctx)) {
			errs[i] = errors.Join(errs[i], files[i].distrust(errs[i]))
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

// settled says that the journal knows nothing of the file any more.
func (f *File) settled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.recorded
}

// distrust has a file fetched once more that the disk could not write: Linux forgets which pages these were, so that another sync would say that all is well. What clients wrote cannot
// be fetched, and is in the report.
func (f *File) distrust(why error) error {
	if err := f.io.take(context.Background()); err != nil { // it does not end
		return err
	}
	defer f.io.give()
	if !f.recorded {
		return nil
	}
	if f.rec.Written {
		c := f.m.journal.Change()
		c.AddLoss(journal.Loss{Path: f.rec.Path, What: fmt.Sprintf("what clients wrote may be lost: %v", why)})
		f.m.count(func(s *Stats) { s.Lost++ })
		return c.Apply()
	}
	if err := f.open(); err != nil {
		return err
	}
	if f.full {
		f.change(func() { f.full = false })
		f.m.count(func(s *Stats) { s.FilesFilled-- })
	}
	return f.restore(hole{0, f.rec.Limit})
}
