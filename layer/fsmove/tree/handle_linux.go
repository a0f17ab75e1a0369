package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Handle names an inode of one file system for as long as it lives: what name_to_handle_at(2) gives, the type first. It is not a name: an inode with
// the same number that is made later has another.
type Handle string

// ErrGone says that the inode of a handle is no more.
var ErrGone = errors.New("the file is gone")

// Root is the directory that a tree begins with.
type Root struct {
	fd   int // not an os.File: Go would ask whether it can be polled, and keep a processor until a file server answers
	path string
}

// Open opens a tree.
func Open(path string) (*Root, error) {
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOATIME
	for {
		fd, err := unix.Open(path, flags, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EPERM) && flags&unix.O_NOATIME != 0: // it is for the owner, and for root
			flags &^= unix.O_NOATIME
		case err != nil:
			return nil, named("open", path, err)
		default:
			return &Root{fd, path}, nil
		}
	}
}

// From opens the directory that a descriptor is of, which may be an O_PATH one and stays its caller's. path is for messages.
func From(fd int, path string) (*Root, error) {
	f, err := openAt(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Root{f, path}, nil
}

// Close closes the directory.
func (r *Root) Close() error {
	fd := r.fd
	r.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// Fd is the descriptor of the directory. It stays the tree's.
func (r *Root) Fd() int { return r.fd }

// Path is what the tree was opened by, for messages.
func (r *Root) Path() string { return r.path }

// HandleOf is the handle of an entry of a directory, or of the directory itself if name is empty.
func HandleOf(dir int, name string) (Handle, error) {
	h, _, err := unix.NameToHandleAt(dir, name, unix.AT_EMPTY_PATH)
	if err != nil {
		return "", named("name_to_handle_at", name, err)
	}
	return Handle(binary.LittleEndian.AppendUint32(nil, uint32(h.Type()))) + Handle(h.Bytes()), nil
}

// Open opens the inode of a handle, as open_by_handle_at(2) does. The error is [ErrGone] if it is no more.
func (r *Root) Open(h Handle, flags int) (int, error) {
	if len(h) < 4 {
		return -1, fmt.Errorf("a handle of %d bytes", len(h))
	}
	fh := unix.NewFileHandle(int32(binary.LittleEndian.Uint32([]byte(h[:4]))), []byte(h[4:]))
	for {
		fd, err := unix.OpenByHandleAt(r.Fd(), fh, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ESTALE):
			return -1, ErrGone
		case err != nil:
			return -1, os.NewSyscallError("open_by_handle_at", err)
		}
		return fd, nil
	}
}

// At opens what is at a path below the root, step by step, without following symbolic links. An empty path is the root.
func (r *Root) At(path string, flags int) (int, error) {
	at, rest := r.Fd(), path
	for {
		name, next, more := cut(rest)
		how := flags
		if more {
			how = unix.O_PATH | unix.O_DIRECTORY
		}
		if name == "" {
			name = "."
		}
		fd, err := openAt(at, name, how)
		if at != r.Fd() {
			unix.Close(at)
		}
		if err != nil || !more {
			return fd, err
		}
		at, rest = fd, next
	}
}

// again calls f until no signal has interrupted it, as Go's own do, which file servers may notice.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// cut takes the first name off a path.
func cut(path string) (name, rest string, more bool) {
	for i := range len(path) {
		if path[i] == '/' {
			return path[:i], path[i+1:], true
		}
	}
	return path, "", false
}

// openAt opens an entry of a directory, and no symbolic link unless flags has O_PATH. Where there may be no O_NOATIME, it does without.
func openAt(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EPERM) && flags&unix.O_NOATIME != 0:
			flags &^= unix.O_NOATIME
		case err != nil:
			return -1, named("openat", name, err)
		default:
			return fd, nil
		}
	}
}

// named is an error of a call for a name, nil for nil.
func named(call, name string, err error) error {
	if err == nil || name == "" {
		return os.NewSyscallError(call, err)
	}
	return &os.PathError{Op: call, Path: name, Err: err}
}
