package migration

import (
	"errors"
	"iter"
	"slices"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
)

// Skipped are the things of the source that the destination will not have, by path: an entry that could not be made there, or one of its attributes. A caller asks its user
// before it finishes a migration that has any.
func (m *Migration) Skipped() iter.Seq2[journal.Loss, error] {
	return func(yield func(journal.Loss, error) bool) {
		m.gate.RLock()
		defer m.gate.RUnlock()
		if m.finished {
			return
		}
		for l, err := range m.journal.Losses() {
			if !yield(l, err) {
				return
			}
		}
	}
}

// lose says that the destination will not have something.
func (w *maker) lose(path string, why error) {
	w.lost++
	w.change.AddLoss(journal.Loss{Path: path, What: why.Error()})
	w.m.logger.Warn("left out", "path", path, "err", why)
}

// forgo is lose for an attribute, if it is that alone that cannot be had.
func (w *maker) forgo(path string, err error) error {
	if !w.m.attributeRefused(err) {
		return err
	}
	w.lose(path, err)
	return nil
}

// attributeRefused says whether an error is about an attribute. That there is no room for it can be the inode's business (xattr(7)), or that of a full disk.
func (m *Migration) attributeRefused(err error) bool {
	var fs unix.Statfs_t
	if errors.Is(err, unix.ENOSPC) {
		return unix.Fstatfs(m.dst.Fd(), &fs) == nil && int64(fs.Bavail)*fs.Bsize > 1<<20
	}
	return excused(err)
}

// excused says that an error of a call that makes something is about that alone: its name, its type, its size, or its attribute is one that a file system does not have.
func excused(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) && slices.Contains([]unix.Errno{
		unix.ENAMETOOLONG, unix.EINVAL, unix.EILSEQ, unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.ENOSYS, unix.EOVERFLOW, unix.EFBIG, unix.EMLINK, unix.EEXIST, unix.ENODEV,
		unix.E2BIG, unix.ERANGE,
	}, errno)
}
