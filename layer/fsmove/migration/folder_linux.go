package migration

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// batchSize is how many entries of a folder of the source are read in one call to it.
const batchSize = 256

// folder is one of the source that is being listed. During a call to the source it is the call's alone.
type folder struct {
	rec   journal.Folder
	root  *root
	fd    int // -1 before the first call
	meta  tree.Meta
	names []string // that have not been read
	batch []found  // what the last call has read
}

// found is an entry of a folder of the source.
type found struct {
	name, path string // the path is below the source's root
	top        string // as in [journal.Folder]
	ino        uint64 // likewise
	meta       tree.Meta
	err        error // why there is no more of it, or why it has no attributes
}

func (s *folder) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd) // nothing was written
		s.fd = -1
	}
}

// begin opens the folder and reads its names, if it is not open.
func (s *folder) begin(r *root) error {
	if s.fd >= 0 {
		return nil
	}
	if err := s.open(r); err != nil {
		return &SourceError{s.rec.Path, fmt.Errorf("list: %w", err)}
	}
	return nil
}

// next reads entries, none at the end.
func (s *folder) next(r *root) error {
	if err := s.begin(r); err != nil {
		return err
	}
	if s.root != r { // it was opened before the source went away
		return errCalling
	}
	n := min(batchSize, len(s.names))
	batch := make([]found, n)
	// Several at once: a source that is far away answers one in the time of many.
	for i, err := range each(context.Background(), n, func(i int) error {
		batch[i] = found{name: s.names[i], path: below(s.rec.Path, s.names[i])}
		return s.read(&batch[i])
	}) {
		if err != nil {
			return &SourceError{batch[i].path, err}
		}
	}
	s.names, s.batch = s.names[n:], batch
	return nil
}

// below is the path of an entry of a folder.
func below(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

func (s *folder) open(r *root) (err error) {
	if s.fd, err = r.At(s.rec.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME); err != nil {
		return err
	}
	s.root = r
	if s.meta, err = tree.Stat(s.fd, ""); err != nil {
		return err
	}
	if s.rec.Ino != 0 && s.meta.Ino != s.rec.Ino && tree.KeepsNumbers(s.fd) { // such as the place where something is not mounted any more
		return ErrChanged
	}
	s.names, err = names(s.fd)
	return err
}

// errReserved says why an entry of the source's top is left out.
var errReserved = errors.New("its name is the migration's own, or the file system's")

// read reads all that is known of an entry. What is wrong with this one alone is in it; other errors are those of the source.
func (s *folder) read(e *found) (err error) {
	if s.rec.Path == "" && spared(e.name) {
		if empty, err := s.empty(e.name); err != nil || !empty {
			e.err = errReserved
		}
		return nil
	}
	e.meta, err = tree.Read(s.fd, e.name)
	switch {
	case errors.As(err, new(*tree.XattrError)) && !isDead(err):
		e.err = err
	case errors.Is(err, unix.ENOENT):
		e.err = fmt.Errorf("%w: %w", ErrChanged, err)
		return nil
	case errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EOVERFLOW):
		e.err = err
		return nil
	case err != nil:
		return err
	}
	e.top, e.ino = s.rec.Top, e.meta.Ino
	if e.meta.Type() != unix.S_IFDIR && e.meta.Links <= 1 {
		return nil
	}
	begins, may, err := tree.Mounted(s.fd, e.name)
	if begins || may || e.meta.Dev != s.meta.Dev {
		e.top = e.path
	}
	if may { // it will be another
		e.ino = 0
	}
	return err
}

// empty says whether an entry is a directory without any of its own.
func (s *folder) empty(name string) (bool, error) {
	fd, err := unix.Openat(s.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	all, err := names(fd)
	return len(all) == 0, err
}
