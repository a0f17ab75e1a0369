package front

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// GetXAttr implements [fuse.RawFileSystem].
func (s *fileSystem) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, name string, p []byte) (n uint32, status fuse.Status) {
	status = s.at(in.NodeId, func(fd int) error {
		size, err := tree.GetXattr(fd, "", name, p)
		n = uint32(max(size, 0))
		return err
	})
	return n, status
}

// ListXAttr implements [fuse.RawFileSystem]. Attributes that are for administrators are told to root alone: the kernel does not say what else a caller may do.
func (s *fileSystem) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, p []byte) (n uint32, status fuse.Status) {
	status = s.at(in.NodeId, func(fd int) error {
		all, err := tree.XattrNames(fd, "")
		if err != nil {
			return err
		}
		var list []byte
		for _, name := range all {
			if in.Uid == 0 || !strings.HasPrefix(name, "trusted.") {
				list = append(append(list, name...), 0)
			}
		}
		n = uint32(len(list))
		if len(p) > 0 && copy(p, list) < len(list) {
			return unix.ERANGE
		}
		return nil
	})
	return n, status
}

// SetXAttr implements [fuse.RawFileSystem].
func (s *fileSystem) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	if err := s.ownAttribute(cancel, in.NodeId, name); err != nil {
		return s.status(err)
	}
	return s.changeAt(in.NodeId, func(fd int) error {
		err := tree.SetXattr(fd, "", name, value, int(in.Flags))
		if err != nil && done(&in.InHeader, err, unix.EEXIST) && has(fd, name, value) {
			err = nil // the kernel has not looked whether it was there before
		}
		if err == nil && in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
			err = dropGroup(fd)
		}
		return err
	})
}

// has says whether an attribute has a value.
func has(fd int, name string, value []byte) bool {
	p := make([]byte, len(value)+1)
	n, err := tree.GetXattr(fd, "", name, p)
	return err == nil && string(p[:n]) == string(value)
}

// ownAttribute is called before a client changes an attribute.
func (s *fileSystem) ownAttribute(cancel <-chan struct{}, id uint64, name string) error {
	if name != capabilities {
		return nil
	}
	h, err := s.handleOf(id)
	if err != nil {
		return err
	}
	return s.m.OwnCapability(until(cancel), h)
}

// RemoveXAttr implements [fuse.RawFileSystem].
func (s *fileSystem) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if err := s.ownAttribute(cancel, in.NodeId, name); err != nil {
		return s.status(err)
	}
	return s.changeAt(in.NodeId, func(fd int) error {
		if m, err := tree.Stat(fd, ""); err != nil || name == capabilities && in.Uid != 0 && in.Uid != m.UID {
			return err
		}
		if err := tree.RemoveXattr(fd, "", name); err != nil && !done(in, err, unix.ENODATA) {
			return err
		}
		return nil
	})
}
