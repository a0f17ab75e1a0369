package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// MakeMost makes an entry of a directory that is as m says, but for extended attributes that cannot be set, if lost says nil to that. A regular file has its size, and is a hole. An ACL
// that is lost lets nobody in whom it kept out. The process's umask must be 0.
func MakeMost(dir int, name string, m *Meta, lost func(attribute string, err error) error) (err error) {
	fd, err := create(dir, name, m)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Remove(dir, name))
		}
	}()
	if fd < 0 {
		return SetMost(dir, name, m, lost)
	}
	defer unix.Close(fd) // nothing was written
	return SetMost(fd, "", m, lost)
}

// Remove removes an entry of a directory, which is empty if it is one itself.
func Remove(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	return named("unlinkat", name, err)
}

// create makes an entry of the type and the size of m. Nobody may use it before Set, for which a regular file is open: calls by a descriptor take half the time of those by a path.
func create(dir int, name string, m *Meta) (fd int, err error) {
	switch m.Type() {
	case unix.S_IFREG:
		fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return -1, named("create", name, err)
		}
		if m.Size > 0 {
			if err := unix.Ftruncate(fd, m.Size); err != nil {
				unix.Close(fd)
				return -1, errors.Join(named("ftruncate", name, err), named("unlinkat", name, unix.Unlinkat(dir, name, 0)))
			}
		}
		return fd, nil
	case unix.S_IFDIR:
		return -1, named("mkdirat", name, unix.Mkdirat(dir, name, 0o700))
	case unix.S_IFLNK:
		return -1, named("symlinkat", name, unix.Symlinkat(m.Target, dir, name))
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		return -1, named("mknodat", name, unix.Mknodat(dir, name, m.Type()|0o600, int(unix.Mkdev(m.Rdev.Major, m.Rdev.Minor))))
	}
	return -1, fmt.Errorf("%s: a file of unknown type %#o: %w", name, m.Type(), unix.EOPNOTSUPP)
}

// Set gives an entry the owner, the attributes, the permissions and the times of m, in this order: a change of the owner takes away capabilities and
// set-user-ID, and an ACL changes permissions.
func Set(dir int, name string, m *Meta) error {
	return SetMost(dir, name, m, func(_ string, err error) error { return err })
}

// SetMost is Set but for extended attributes, as [MakeMost] has them.
func SetMost(dir int, name string, m *Meta, lost func(attribute string, err error) error) error {
	if err := unix.Fchownat(dir, name, int(m.UID), int(m.GID), unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH); err != nil {
		return named("fchownat", name, err)
	}
	mode := m.Mode &^ unix.S_IFMT
	err := setXattrs(dir, name, m.Xattrs, func(x Xattr, err error) error {
		if err = lost(x.Name, err); err == nil && x.Name == accessACL {
			mode = withoutACL(mode, x.Value)
		}
		return err
	})
	if err != nil {
		return err
	}
	if m.Type() != unix.S_IFLNK {
		if err := chmod(dir, name, mode); err != nil {
			return named("chmod", name, err)
		}
	}
	return SetTimes(dir, name, m.Atime, m.Mtime)
}

func chmod(dir int, name string, mode uint32) error {
	if name == "" {
		if err := unix.Fchmod(dir, mode); !errors.Is(err, unix.EBADF) {
			return err
		}
	}
	return unix.Chmod(through(dir, name), mode)
}

// accessACL is the attribute that has an ACL.
const accessACL = "system.posix_acl_access"

// withoutACL are the permissions of what loses its ACL: beside one, those of the group are the most that anybody in the ACL has, and may be more than its own
// (ACL_GROUP_OBJ in linux/posix_acl_xattr.h: 4 bytes of version, then tag, permissions and number in 2, 2 and 4).
func withoutACL(mode uint32, acl []byte) uint32 {
	const groupObj = 4
	group := uint32(0)
	for p := acl[min(4, len(acl)):]; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint16(p) == groupObj {
			group = uint32(binary.LittleEndian.Uint16(p[2:])) & 7
		}
	}
	return mode&^0o070 | mode&(group<<3)
}

// setXattrs makes an entry's attributes those of want. It may have others, such as an ACL that it inherited.
func setXattrs(dir int, name string, want []Xattr, lost func(Xattr, error) error) error {
	have, err := readXattrs(dir, name)
	if err != nil {
		return err
	}
	for _, x := range have {
		if !slices.ContainsFunc(want, func(w Xattr) bool { return w.Name == x.Name }) {
			if err := RemoveXattr(dir, name, x.Name); err != nil && !errors.Is(err, unix.ENODATA) {
				return err
			}
		}
	}
	for _, x := range want {
		if err := SetXattr(dir, name, x.Name, x.Value, 0); err != nil {
			if err = lost(x, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetTimes sets when an entry of a directory was read and changed, or what dir is of if name is empty.
func SetTimes(dir int, name string, atime, mtime time.Time) error {
	var times [2]unix.Timespec
	for i, t := range []time.Time{atime, mtime} {
		var err error
		if times[i], err = unix.TimeToTimespec(t); err != nil {
			return named("utimensat", name, err)
		}
	}
	return named("utimensat", name, unix.UtimesNanoAt(dir, name, times[:], unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH))
}
