package front

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// again tells the kernel of a node whose number is all that it has left, of a file handle (open_by_handle_at(2)) that a file server has given away. It compares the generation itself.
func (s *fileSystem) again(id uint64, out *fuse.EntryOut) error {
	if id == fuse.FUSE_ROOT_ID {
		return s.knowTop(out)
	}
	fd, err := s.open(id, unix.O_PATH)
	if errors.Is(err, unix.ESTALE) { // it was forgotten here, too
		fd, err = s.dst.Find(id)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return s.knowAs(fd, out)
}

// above tells the kernel of the folder that a folder is in.
func (s *fileSystem) above(id uint64, out *fuse.EntryOut) error {
	if id == fuse.FUSE_ROOT_ID {
		return unix.ESTALE
	}
	dir, err := s.open(id, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := s.knowAs(fd, out); !errors.Is(err, unix.ELOOP) {
		return err
	}
	return s.knowTop(out)
}

// knowTop tells the kernel of the top, which it never forgets.
func (s *fileSystem) knowTop(out *fuse.EntryOut) error {
	var told fuse.AttrOut
	if err := s.attributes(fuse.FUSE_ROOT_ID, s.dst.Fd(), &told); err != nil {
		return err
	}
	*out = fuse.EntryOut{NodeId: fuse.FUSE_ROOT_ID, Attr: told.Attr} // its generation is 0 (fuse_lookup_name)
	return nil
}
