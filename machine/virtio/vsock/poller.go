package vsock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for many descriptors at once, edge-triggered. It is an epoll(7) instance that is itself in Go's poller, so that a goroutine
// that waits holds no thread.
type poller struct {
	fd     int
	file   *os.File
	raw    syscall.RawConn
	look   func(uintptr) bool // made once
	events [64]unix.EpollEvent
	ready  []unix.EpollEvent // of events
	until  time.Time         // the deadline that file has
}

// Slots of descriptors that are no connections.
const (
	slotKick     = -1
	slotListener = -2
)

func newPoller() (_ *poller, err error) {
	p := &poller{}
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(p.fd, true); err != nil { // tells os that the descriptor can be polled
		unix.Close(p.fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p.file = os.NewFile(uintptr(p.fd), "epoll")
	if p.raw, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("wait for an epoll through Go's poller: %w", err)
	}
	p.look = func(uintptr) bool { return p.poll() > 0 }
	return p, nil
}

// add watches fd for edges of the given events. Slot and age come back with each.
func (p *poller) add(fd int, events uint32, slot, age int32) error {
	e := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: slot, Pad: age}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &e))
}

// change watches fd, which was added, for other events; those that hold already are edges.
func (p *poller) change(fd int, events uint32, slot, age int32) error {
	e := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: slot, Pad: age}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &e))
}

// poll looks for events and says how many there are.
func (p *poller) poll() int {
	n, err := unix.EpollWait(p.fd, p.events[:], 0)
	if err != nil {
		n = 0 // EINTR: another look follows
	}
	p.ready = p.events[:n]
	return n
}

// wait waits for events until the deadline, if it is not zero. An error means that there will be none any more.
func (p *poller) wait(until time.Time) error {
	if until != p.until {
		if err := p.file.SetReadDeadline(until); err != nil {
			return err
		}
		p.until = until
	}
	p.ready = p.events[:0]
	if err := p.raw.Read(p.look); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

func (p *poller) close() { p.file.Close() }
