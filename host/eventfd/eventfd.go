package eventfd

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// FD is an event counter. Its methods may be called from any goroutine, Wait from one at a time.
type FD struct {
	raw   int     // valid until Close
	count [8]byte // what Wait reads; here so that a wait costs no allocation

	mu     sync.RWMutex // held shared while raw is used, so that Close does not give the number away meanwhile
	file   *os.File     // guarded by mu; raw in Go's poller, from the first Wait on
	closed bool         // guarded by mu
}

// New returns a counter at zero, non-blocking and closed on exec.
func New() (*FD, error) {
	raw, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd2", err)
	}
	return &FD{raw: raw}, nil
}

// one is the value 1 as eventfd(2) takes it: 8 bytes in host order, which is little-endian on all machines that usui runs on.
var one = [8]byte{1}

// Fd is the descriptor for ioctl(2). It stays owned by e.
func (e *FD) Fd() uintptr { return uintptr(e.raw) }

// Signal adds one. It would block only on a counter of 2^64-2 untaken signals. After Close it returns an error wrapping
// [os.ErrClosed] and touches no descriptor that took the number over.
func (e *FD) Signal() error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return os.ErrClosed
	}
	_, err := unix.Write(e.raw, one[:])
	return os.NewSyscallError("write", err)
}

// Wait blocks until the counter is above zero and takes it to zero. After Close it returns an error wrapping [os.ErrClosed].
func (e *FD) Wait() error {
	f, err := e.polled()
	if err == nil {
		_, err = f.Read(e.count[:])
	}
	return err
}

// polled is the counter in Go's poller. Only those that are waited for get there: each signal of one wakes a thread of Go's.
func (e *FD) polled() (*os.File, error) {
	e.mu.RLock()
	f := e.file
	e.mu.RUnlock()
	if f != nil {
		return f, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, os.ErrClosed
	}
	e.file = os.NewFile(uintptr(e.raw), "eventfd")
	return e.file, nil
}

// Close ends the counter and wakes its waiter. A second Close returns an error wrapping [os.ErrClosed].
func (e *FD) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	e.closed = true
	if e.file != nil {
		return e.file.Close()
	}
	return os.NewSyscallError("close", unix.Close(e.raw))
}
