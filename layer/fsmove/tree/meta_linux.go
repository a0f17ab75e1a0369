package tree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Meta is what a file system says of an inode.
type Meta struct {
	Mode     uint32 // type and permissions, as in stat(2)
	UID, GID uint32
	Links    uint32
	Ino      uint64
	Dev      Device // that it is on
	Rdev     Device // that it is
	Size     int64
	Blocks   int64 // of 512 bytes
	Atime    time.Time
	Mtime    time.Time
	Ctime    time.Time
	Target   string  // of a symbolic link
	Xattrs   []Xattr // sorted by name; ACLs and file capabilities are among them
}

// Device is the number of a device.
type Device struct{ Major, Minor uint32 }

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Type is the type of the file, as unix.S_IFREG.
func (m *Meta) Type() uint32 { return m.Mode & unix.S_IFMT }

// Stat says what is known of an entry of a directory, or of the directory itself if name is empty, without its target and its attributes.
func Stat(dir int, name string) (m Meta, err error) {
	var st unix.Statx_t
	err = again(func() error {
		return unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st)
	})
	if err != nil {
		return m, named("statx", name, err)
	}
	return Meta{
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, Links: st.Nlink, Ino: st.Ino, Size: int64(st.Size), Blocks: int64(st.Blocks),
		Dev: Device{st.Dev_major, st.Dev_minor}, Rdev: Device{st.Rdev_major, st.Rdev_minor},
		Atime: stamp(st.Atime), Mtime: stamp(st.Mtime), Ctime: stamp(st.Ctime),
	}, nil
}

// Mounted says whether an entry of a directory is where a mount begins, or may become that by being used.
func Mounted(dir int, name string) (begins, may bool, err error) {
	var st unix.Statx_t
	err = again(func() error {
		return unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st)
	})
	if err != nil {
		return false, false, named("statx", name, err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, st.Attributes&unix.STATX_ATTR_AUTOMOUNT != 0, nil
}

// MountOf is the number of the mount that a directory is on, which no other has while somebody has that open.
func MountOf(dir int) (uint64, error) {
	var st unix.Statx_t
	err := again(func() error { return unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) })
	return st.Mnt_id, os.NewSyscallError("statx", err)
}

// Alive has a file system say something of a directory that it has not kept in memory.
func Alive(dir int) error {
	var st unix.Statx_t
	return os.NewSyscallError("statx", again(func() error {
		return unix.Statx(dir, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
	}))
}

func stamp(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// Read says all that is known of an entry of a directory, or of the directory itself if name is empty. If its attributes cannot be read, an [XattrError] comes with all else.
func Read(dir int, name string) (Meta, error) {
	m, err := Stat(dir, name)
	if err != nil {
		return m, err
	}
	if m.Type() == unix.S_IFLNK {
		if m.Target, err = ReadLink(dir, name); err != nil {
			return m, err
		}
	}
	if m.Xattrs, err = readXattrs(dir, name); err != nil {
		return m, &XattrError{err}
	}
	return m, nil
}

// XattrError is that an inode's extended attributes cannot be read.
type XattrError struct{ Err error }

func (e *XattrError) Error() string { return e.Err.Error() }

func (e *XattrError) Unwrap() error { return e.Err }

// MaxTarget is how long a symbolic link may be.
const MaxTarget = unix.PathMax

// ReadLink is where a symbolic link leads, which is an entry of a directory, or what dir is of if name is empty.
func ReadLink(dir int, name string) (string, error) {
	p := make([]byte, MaxTarget)
	n := 0
	err := again(func() (err error) {
		n, err = unix.Readlinkat(dir, name, p)
		return err
	})
	if err != nil {
		return "", named("readlinkat", name, err)
	}
	return string(p[:n]), nil
}

// through is a path to an entry of a directory, or to what a descriptor is of if name is empty, for calls that take no descriptor. Only its last name can be a
// link: these calls do not follow one, but in the second case have to.
func through(dir int, name string) string {
	if name == "" {
		return fmt.Sprintf("/proc/self/fd/%d", dir)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
}

// Through is a path to what a descriptor is of, which may be an O_PATH one.
func Through(fd int) string { return through(fd, "") }

// ListXattrs is llistxattr(2) of an entry of a directory, or of what dir is of if name is empty.
func ListXattrs(dir int, name string, p []byte) (int, error) {
	f := unix.Llistxattr
	if name == "" {
		if n, err := unix.Flistxattr(dir, p); !errors.Is(err, unix.EBADF) { // which O_PATH ones say
			return n, named("flistxattr", "", err)
		}
		f = unix.Listxattr
	}
	n, err := f(through(dir, name), p)
	return n, named("llistxattr", name, err)
}

// GetXattr is lgetxattr(2), as [ListXattrs].
func GetXattr(dir int, name, attribute string, p []byte) (int, error) {
	f := unix.Lgetxattr
	if name == "" {
		f = unix.Getxattr
	}
	n, err := f(through(dir, name), attribute, p)
	return n, named("lgetxattr "+attribute, name, err)
}

// SetXattr is lsetxattr(2), as [ListXattrs].
func SetXattr(dir int, name, attribute string, value []byte, flags int) error {
	f := unix.Lsetxattr
	if name == "" {
		f = unix.Setxattr
	}
	return named("lsetxattr "+attribute, name, f(through(dir, name), attribute, value, flags))
}

// RemoveXattr is lremovexattr(2), as [ListXattrs].
func RemoveXattr(dir int, name, attribute string) error {
	f := unix.Lremovexattr
	if name == "" {
		f = unix.Removexattr
	}
	return named("lremovexattr "+attribute, name, f(through(dir, name), attribute))
}

// XattrNames are the names of all attributes, as [ListXattrs].
func XattrNames(dir int, name string) (all []string, err error) {
	p, err := grow(func(p []byte) (int, error) { return ListXattrs(dir, name, p) })
	if err != nil || len(p) == 0 {
		return nil, err
	}
	return strings.Split(string(bytes.TrimSuffix(p, []byte{0})), "\x00"), nil
}

// readXattrs reads all attributes that may be read and are portable. A file system without any has none.
func readXattrs(dir int, name string) (all []Xattr, err error) {
	names, err := XattrNames(dir, name)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		x := Xattr{Name: n}
		if !portable(x.Name) {
			continue
		}
		x.Value, err = grow(func(p []byte) (int, error) { return GetXattr(dir, name, x.Name, p) })
		if errors.Is(err, unix.ENODATA) {
			continue // it has just gone
		}
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// portable says whether an attribute is one that another file system can have. Others tell of the file system itself, as system.nfs4_acl and btrfs.compression do.
func portable(name string) bool {
	for _, prefix := range []string{"user.", "trusted.", "security.", "system.posix_acl_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// grow calls f with room for what it has, which may grow meanwhile.
func grow(f func([]byte) (int, error)) ([]byte, error) {
	p := make([]byte, 256)
	for {
		n, err := f(p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil:
			return p[:n], nil
		case !errors.Is(err, unix.ERANGE):
			return nil, err
		}
		if n, err = f(nil); err != nil {
			return nil, err
		}
		p = make([]byte, max(n, 2*len(p)))
	}
}
