package tree

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Name is an entry of a directory.
type Name struct {
	Name string
	Ino  uint64
	Type uint32 // as unix.S_IFREG; 0 if the file system does not say
	Next uint64 // where the entry behind it is
}

// Dots says that it is "." or "..", which a file system tells or not.
func (n Name) Dots() bool { return n.Name == "." || n.Name == ".." }

// List calls f with the entries of a directory from a place that a [Name] told, 0 for the first, until f says false. The
// descriptor must be its caller's alone: it is moved.
func List(dir int, from uint64, f func(Name) bool) error {
	if _, err := unix.Seek(dir, int64(from), unix.SEEK_SET); err != nil {
		return os.NewSyscallError("lseek", err)
	}
	p := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(dir, p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("getdents64", err)
		}
		if n == 0 {
			return nil
		}
		for rest := p[:n]; len(rest) > 0; {
			var e Name
			if e, rest, err = entry(rest); err != nil {
				return err
			}
			if !f(e) {
				return nil
			}
		}
	}
}

// entry reads a struct linux_dirent64 (getdents64(2)): inode, offset of the next, 16 bits of length, 8 of type, a name that ends with 0.
func entry(p []byte) (e Name, rest []byte, err error) {
	const head = 19
	if len(p) < head {
		return e, nil, errors.New("getdents64: an entry is cut off")
	}
	size := int(native.Uint16(p[16:]))
	if size < head || size > len(p) {
		return e, nil, errors.New("getdents64: an entry has no length")
	}
	e = Name{Ino: native.Uint64(p), Next: native.Uint64(p[8:]), Type: uint32(p[18]) << 12}
	name := p[head:size]
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	e.Name = string(name)
	return e, p[size:], nil
}
