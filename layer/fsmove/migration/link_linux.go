package migration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// hidden is the name of an inode in the linksFolder.
func hidden(i journal.Inode) string {
	top := sha256.Sum256([]byte(i.Top)) // which may be longer than a name
	return fmt.Sprintf("%x:%d", top[:16], i.Ino)
}

// lock has other listings wait that meet inodes with several names, until this one's change is applied.
func (w *maker) lock(ctx context.Context) error {
	if w.alone {
		return nil
	}
	err := w.m.linking.take(ctx)
	w.alone = err == nil
	return err
}

func (w *maker) unlock() {
	if w.alone {
		w.m.linking.give()
	}
}

// Why an inode has other names at the destination than at the source.
var (
	errOwn  = fmt.Errorf("a file of its own, and no further name of one that was listed before: %w", ErrChanged)
	errMany = errors.New("a file of its own: the destination gives no file so many names")
	errLost = errors.New("a file of its own: a crash came while the last of its names was listed")
)

// link gives an inode that was made before one more name. It says false for linked if the entry is to be a file of its own, and for met if it is the first of its names.
func (w *maker) link(i journal.Inode, e *found) (met, linked bool, err error) {
	l := w.met[i]
	if l == nil {
		rec, ok, err := w.m.journal.Link(i)
		if err != nil || !ok {
			return false, false, err
		}
		l = &rec
		w.met[i] = l
	}
	if l.Left == 0 || l.Size != e.meta.Size || !l.Mtime.Equal(e.meta.Mtime) || !l.Ctime.Equal(e.meta.Ctime) {
		w.lose(e.path, errOwn)
		return true, false, nil
	}
	l.Left--
	err = unix.Linkat(w.m.links, hidden(i), w.dst, e.name, 0)
	if errors.Is(err, unix.EMLINK) && l.Left == 0 { // the hidden name is the one too many
		err = unix.Renameat(w.m.links, hidden(i), w.dst, e.name)
	}
	switch {
	case err == nil:
		w.made++
		return true, true, nil
	case errors.Is(err, unix.EMLINK):
		w.lose(e.path, errMany)
		return true, false, nil
	case errors.Is(err, unix.ENOENT):
		w.lose(e.path, errLost)
		return true, false, nil
	case excused(err):
		w.lose(e.path, err)
		return true, true, nil
	}
	return true, false, &os.LinkError{Op: "link", Old: hidden(i), New: e.name, Err: err}
}

// keep gives an inode a name that stays until all others have been met: clients may remove the first one before.
func (w *maker) keep(i journal.Inode, e *found) error {
	err := unix.Linkat(w.dst, e.name, w.m.links, hidden(i), 0)
	if errors.Is(err, unix.EEXIST) { // of a listing that was cut short
		if err = unix.Unlinkat(w.m.links, hidden(i), 0); err == nil {
			err = unix.Linkat(w.dst, e.name, w.m.links, hidden(i), 0)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: e.name, New: hidden(i), Err: err}
	}
	w.met[i] = &journal.Link{Left: e.meta.Links - 1, Size: e.meta.Size, Mtime: e.meta.Mtime, Ctime: e.meta.Ctime}
	return nil
}

// dropHidden removes the names in the linksFolder that a crash has left: all names of their inodes have been met, or none, for their listings are begun again.
func (m *Migration) dropHidden() error {
	known := map[string]bool{}
	for i, err := range m.journal.Links() {
		if err != nil {
			return err
		}
		known[hidden(i)] = true
	}
	fd, err := unix.Openat(m.links, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // which is moved
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(fd)
	all, err := names(fd)
	for _, name := range all {
		if err == nil && !known[name] {
			err = tree.Remove(m.links, name)
		}
	}
	return err
}

// forgetLinks removes the names that are of no use any more.
func (w *maker) forgetLinks() error {
	for _, i := range w.complete {
		w.m.step("names met")
		if err := unix.Unlinkat(w.m.links, hidden(i), 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "remove", Path: hidden(i), Err: err}
		}
	}
	return nil
}
