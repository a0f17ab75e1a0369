package net

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
)

// waiter waits until a descriptor of the backend is ready, or Stop wants its goroutine to end. It is poll(2) and not Go's poller:
// that one's thread would be woken by each frame that arrives, even while its reader is busy with those before it.
type waiter struct {
	fds  [2]unix.PollFd // the backend; stop
	hung bool           // the last wait ended because there is nothing more to come
}

func newWaiter(fd int, stop *eventfd.FD) waiter {
	return waiter{fds: [2]unix.PollFd{{Fd: int32(fd)}, {Fd: int32(stop.Fd()), Events: unix.POLLIN}}}
}

var (
	errStopped = errors.New("the device stops")
	errHungUp  = errors.New("the descriptor hung up")
)

// pause waits for a time. It ends early with errStopped at Stop, and with errHungUp when the descriptor will do nothing any more.
func (w *waiter) pause(d time.Duration) error {
	for end := time.Now().Add(d); d > 0; d = time.Until(end) {
		t := unix.NsecToTimespec(int64(d))
		w.fds[0].Events = 0
		n, err := unix.Ppoll(w.fds[:], &t, nil)
		switch {
		case err != nil && err != unix.EINTR:
			return err
		case n > 0 && w.fds[1].Revents != 0:
			return errStopped
		case n > 0:
			return errHungUp
		}
	}
	return nil
}

// wait blocks until the descriptor can do one of events (POLLIN, POLLOUT) or will never again. It fails with errStopped at Stop,
// which comes first.
func (w *waiter) wait(events int16) error {
	if w.hung { // and yet there was nothing to read or no room to write: do not spin
		return errHungUp
	}
	w.fds[0].Events = events
	for {
		_, err := unix.Poll(w.fds[:], -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case w.fds[1].Revents != 0:
			return errStopped
		}
		w.hung = w.fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
		return nil
	}
}
