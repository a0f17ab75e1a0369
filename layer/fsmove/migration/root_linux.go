package migration

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// open opens the source's root and says what it can be known by.
func (s *source) open() (*tree.Root, journal.Root, error) {
	r, err := s.openRoot()
	if err != nil {
		return nil, journal.Root{}, err
	}
	var fs unix.Statfs_t
	m, err := tree.Stat(r.Fd(), "")
	if err == nil {
		err = unix.Fstatfs(r.Fd(), &fs)
	}
	if err != nil {
		return nil, journal.Root{}, errors.Join(err, r.Close())
	}
	return r, journal.Root{FS: uint64(uint32(fs.Fsid.Val[0])) | uint64(uint32(fs.Fsid.Val[1]))<<32, Ino: m.Ino, Mtime: m.Mtime, Ctime: m.Ctime}, nil
}

func (s *source) openRoot() (*tree.Root, error) {
	if s.fd != 0 {
		return tree.From(s.fd, s.path)
	}
	return tree.Open(s.path)
}

// OpenSource opens the source once more, for who compares it. It is an error if what is there is something else now.
func (m *Migration) OpenSource() (*tree.Root, error) {
	r, now, err := m.src.open()
	if err != nil {
		return nil, err
	}
	if err := m.src.isKnown(now); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// isKnown says nil if a root is the source's, and not that of what is there when the source is not mounted. Some file systems have another number after each mount, and some none.
func (s *source) isKnown(now journal.Root) error {
	if now.Ino == s.known.Ino && (now.FS != 0 && now.FS == s.known.FS || now.Mtime.Equal(s.known.Mtime) && now.Ctime.Equal(s.known.Ctime)) {
		return nil
	}
	return fmt.Errorf("%s is not the directory that the migration began with: is it mounted?", s.path)
}

// renew takes the root that is at the path now instead of one of which calls fail, if it is another mount of the source, and says whether it has.
func (s *source) renew(old *root) bool {
	r, now, err := s.open()
	if err != nil {
		return false
	}
	was, err1 := tree.MountOf(old.Fd())
	is, err2 := tree.MountOf(r.Fd())
	if err1 != nil || err2 != nil || was == is || s.isKnown(now) != nil {
		_ = r.Close() // nothing was written
		return false
	}
	s.mu.Lock()
	current := s.root == old
	if current {
		s.root = &root{r, 1}
	}
	s.mu.Unlock()
	if !current { // somebody else was faster
		_ = r.Close() // nothing was written
		return true
	}
	s.put(old)
	s.logger.Info("the source is mounted anew", "path", s.path)
	return true
}

// unsure is an error of one file that may be one of the whole source: a file system whose disk is gone tells of its root from memory.
type unsure struct{ error }

func (e unsure) Unwrap() error { return e.error }

// isDead says that an error may be one of a file system that is away.
func isDead(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) && slices.Contains([]unix.Errno{
		unix.ENOTCONN, unix.ESTALE, unix.EIO, unix.ETIMEDOUT, unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENETUNREACH, unix.ECONNRESET, unix.ECONNABORTED,
		unix.ECONNREFUSED, unix.ENOLINK, unix.ENODEV, unix.ENXIO, unix.ESHUTDOWN, unix.EREMOTEIO,
	}, errno)
}
