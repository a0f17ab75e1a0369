package eventfd

import (
	"os"

	"golang.org/x/sys/unix"
)

// FD is an event counter. Its methods may be called from any goroutine, Wait from one at a time.
type FD struct {
	file  *os.File
	raw   int     // file's descriptor, valid until Close; File.Fd would switch it to blocking mode
	count [8]byte // what Wait reads; here so that a wait costs no allocation
}

// New returns a counter at zero, non-blocking and closed on exec.
func New() (*FD, error) {
	raw, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd2", err)
	}
	return &FD{file: os.NewFile(uintptr(raw), "eventfd"), raw: raw}, nil
}

// one is the value 1 as eventfd(2) takes it: 8 bytes in host order, which is little-endian on all machines that usui runs on.
var one = [8]byte{1}

// Fd is the descriptor for ioctl(2). It stays owned by e.
func (e *FD) Fd() uintptr { return uintptr(e.raw) }

// Signal adds one. It would block only on a counter of 2^64-2 untaken signals. After Close it returns an error wrapping
// [os.ErrClosed] and touches no descriptor that took the number over.
func (e *FD) Signal() error {
	_, err := e.file.Write(one[:])
	return err
}

// Wait blocks until the counter is above zero and takes it to zero. After Close it returns an error wrapping [os.ErrClosed].
func (e *FD) Wait() error {
	_, err := e.file.Read(e.count[:])
	return err
}

// Close ends the counter and wakes its waiter. A second Close returns an error wrapping [os.ErrClosed].
func (e *FD) Close() error { return e.file.Close() }
