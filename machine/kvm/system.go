package kvm

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// System is KVM itself: an open /dev/kvm.
type System struct {
	fd int
}

// Open opens KVM's device, "/dev/kvm". The error is an [*fs.PathError] when the device cannot be opened; a kernel
// that speaks another version of the interface than 12, or cannot be kicked (it is older than 4.13), is refused.
func Open(path string) (*System, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	s := &System{fd}
	if err := s.check(); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (s *System) check() error {
	version, e := ioctlValue(s.fd, kvmGetAPIVersion, 0)
	if e != nil {
		return e
	}
	if version != apiVersion {
		return fmt.Errorf("interface version %d, want %d", version, apiVersion)
	}
	switch n, err := s.Extension(CapImmediateExit); {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%s is missing", CapImmediateExit)
	}
	return nil
}

// Close closes the device. Machines made from it stay.
func (s *System) Close() error { return closeFD(&s.fd) }

// Extension returns what the kernel says of a capability: 0 when it is missing, else 1 or a number that depends on
// the capability. [VM.Extension] is more exact where the answer depends on the machine.
func (s *System) Extension(c Cap) (int, error) { return extension(s.fd, c) }

func extension(fd int, c Cap) (int, error) {
	n, e := ioctlValue(fd, kvmCheckExtension, uintptr(c))
	return n, e.about("%v", c)
}

// growing asks for a list with room for n entries, and for twice as many as long as the kernel has more.
func growing[E any](n int, ask func(n int) ([]E, *Error)) ([]E, error) {
	for {
		list, e := ask(n)
		if e == nil {
			return list, nil
		}
		if !errors.Is(e, unix.E2BIG) || n > 1<<16 {
			return nil, e.about("%d entries", n)
		}
		n *= 2
	}
}

// closeFD closes a descriptor once; -1 makes later calls with it fail instead of reaching another file.
func closeFD(fd *int) error {
	if *fd < 0 {
		return nil
	}
	old := *fd
	*fd = -1
	return unix.Close(old)
}
