package virtio

import (
	"os"

	"golang.org/x/sys/unix"
)

// Kick is the eventfd behind a queue's notify address: KVM signals it (ioeventfd), or the monitor does when a
// notification reached user space. Whoever waits for it sleeps in the Go network poller and holds no thread.
type Kick struct {
	file *os.File
	fd   int // kept because os.File.Fd may change how the file blocks
}

// one is what a write adds to an eventfd: a 64-bit number in the host's byte order, which is little-endian on amd64 and arm64.
var one = [8]byte{1}

// NewKick makes an eventfd.
func NewKick() (*Kick, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd2", err)
	}
	return &Kick{os.NewFile(uintptr(fd), "virtio-kick"), fd}, nil // non-blocking: NewFile gives it to the poller
}

// FD is the descriptor, valid until Close. It stays owned by k.
func (k *Kick) FD() int { return k.fd }

// Ring wakes the waiter, or the next one when nobody waits. It may be called from any goroutine, does not block
// and does not allocate. After Close it does nothing.
func (k *Kick) Ring() {
	_, _ = k.file.Write(one[:]) // fails only when closed: a counter of 64 bits is never full
}

// wait blocks until the next ring, and says whether there will be more. buf is scratch space that outlives the call.
func (k *Kick) wait(buf *[8]byte) bool {
	_, err := k.file.Read(buf[:])
	return err == nil
}

// Close frees the eventfd and ends a waiter.
func (k *Kick) Close() error { return k.file.Close() }
