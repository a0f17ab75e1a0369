package disk

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Medium is what a folder's files are written through.
type Medium string

// The media.
const (
	Auto     Medium = "auto"  // FSDAX where that works, else Ordinary
	Ordinary Medium = "file"  // system calls, on any file system
	FSDAX    Medium = "fsdax" // stores to persistent memory that a DAX file system gives out as files
)

// ParseMedium returns the medium of that name.
func ParseMedium(name string) (Medium, error) {
	switch m := Medium(name); m {
	case Auto, Ordinary, FSDAX:
		return m, nil
	}
	return "", fmt.Errorf("medium %q: choose auto, file or fsdax", name)
}

// persistent says whether files beside f, which may be empty, are to be mapped as persistent memory.
func (m Medium) persistent(f *os.File) (bool, error) {
	if m == Ordinary || m == Auto && !canStream {
		return false, nil
	}
	if !canStream {
		return false, fmt.Errorf("persistent memory is written by amd64 processors only, this is %s; use the medium file", runtime.GOARCH)
	}
	p, err := mapSync(f, os.Getpagesize())
	switch {
	case m == Auto && errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, os.NewSyscallError("munmap", unix.Munmap(p))
}

// mapSync maps a file such that its pages are persistent memory and the file system has them in its books before a store can reach them.
func mapSync(f *os.File, size int) ([]byte, error) {
	p, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED_VALIDATE|unix.MAP_SYNC)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("%s is not in persistent memory (mmap with MAP_SYNC: %w): it takes ext4 or xfs on a pmem device, mounted with dax=always; "+
			"or use the medium file", f.Name(), err)
	case err != nil:
		return nil, &os.PathError{Op: "mmap with MAP_SYNC", Path: f.Name(), Err: err}
	}
	return p, nil
}

// pages implements [Memory] by a mapping with MAP_SYNC.
type pages []byte

// mapPersistent maps a file of a folder. What an earlier process did to it by system calls is made durable first.
func mapPersistent(file *os.File, size int) (_ File, err error) {
	defer func() { err = errors.Join(err, file.Close()) }() // the mapping stays
	if err := file.Sync(); err != nil {
		return nil, err
	}
	if size == 0 {
		return OnMemory(pages(nil)), nil
	}
	p, err := mapSync(file, size)
	if err != nil {
		return nil, err
	}
	return OnMemory(pages(p)), nil
}

// View implements [Memory].
func (m pages) View() []byte { return m }

// Stream implements [Memory].
func (m pages) Stream(p []byte, off int) { stream(m[off:off+len(p)], p) }

// Fence implements [Memory].
func (pages) Fence() { fence() }

// Close implements [Memory].
func (m pages) Close() error {
	if m == nil {
		return nil
	}
	return os.NewSyscallError("munmap", unix.Munmap(m))
}
