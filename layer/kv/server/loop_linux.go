package server

import (
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/layer/kv/disk"
)

// loop is a goroutine that waits for some of the clients, reads and writes for them. It holds the server's lock but while it does these three: so
// system calls, which are most of the work, are done by several cores, and commands by one at a time. Its clients and unsent belong to who
// holds the lock.
type loop struct {
	s       *Server
	poll    int
	wake    *eventfd.FD
	events  [256]unix.EpollEvent
	input   [64 << 10]byte
	clients int       // how many are its
	unsent  []*client // have output that may be sent
	waits   bool      // for the poll, and was not told that there is something else
}

func newLoop(s *Server) (l *loop, err error) {
	l = &loop{s: s}
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if l.wake, err = eventfd.New(); err != nil {
		return nil, errors.Join(err, os.NewSyscallError("close", unix.Close(l.poll)))
	}
	if err := l.watch(unix.EPOLL_CTL_ADD, int(l.wake.Fd()), unix.EPOLLIN); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *loop) close() error {
	return errors.Join(l.wake.Close(), os.NewSyscallError("close", unix.Close(l.poll)))
}

// signal ends its wait. Any goroutine may call it.
func (l *loop) signal() { _ = l.wake.Signal() } // fails only once the server is closed

// watch has the poll look at a descriptor, or no longer, or for other events.
func (l *loop) watch(how, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.poll, how, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// idlest is the loop with the fewest clients.
func (s *Server) idlest() *loop {
	return slices.MinFunc(s.loops, func(a, b *loop) int { return a.clients - b.clients })
}

// outside calls f, which makes a system call, without the lock.
func (l *loop) outside(f func()) {
	l.s.mu.Unlock()
	f()
	l.s.mu.Lock()
}

// run serves until the server stops, and has the others stop then.
func (l *loop) run() error {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.stopAll()
	err := disk.Guard("serve", func() error {
		for !s.stopping {
			if err := l.turn(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil { // a fault may have come in the middle of a change
		s.store.Seal(err)
	}
	return err
}

// turn waits for something to do and does it.
func (l *loop) turn() (err error) {
	s, first, patience, n := l.s, l == l.s.loops[0], int64(-1), 0
	if first {
		patience = s.patience()
		s.sleeps = until(s.now, patience)
	}
	if len(l.unsent) > 0 || s.store.Due() {
		patience = 0
	}
	l.waits = true
	l.outside(func() { n, err = unix.EpollWait(l.poll, l.events[:], int(patience)) })
	l.waits = false
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("epoll_wait", err)
	}
	s.stats.Calls++
	if s.stopping {
		return nil
	}
	s.now = time.Now().UnixMilli()
	for _, e := range l.events[:max(n, 0)] {
		if err := l.event(int(e.Fd), e.Events); err != nil {
			return err
		}
	}
	if s.bypass != nil && first {
		if err := s.bypass.receive(s); err != nil {
			return err
		}
	}
	s.advance(n <= 0)
	l.send()
	if s.bypass != nil && first {
		return s.bypass.send()
	}
	if !first && until(s.now, s.patience()) < s.sleeps {
		s.loops[0].tell()
	}
	return nil
}

// event does what an event of the poll asks for.
func (l *loop) event(fd int, events uint32) error {
	s := l.s
	switch c := s.clients[fd]; {
	case fd == int(l.wake.Fd()):
		var count [8]byte
		if _, err := unix.Read(fd, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("read", err)
		}
	case c != nil:
		if c.loop == l { // else the one it was for has been closed in this turn
			s.serve(c, events)
		}
	case s.bypass != nil && s.bypass.polled[fd]: // it is looked at in every turn
	case slices.Contains(s.cfg.Listeners, fd):
		return s.accept(fd)
	}
	return nil
}

// tell has a loop know that there is something for it to do, if it would not look anyway.
func (l *loop) tell() {
	if l.waits {
		l.waits = false
		l.signal()
	}
}

// send writes all that may be sent. Clients that can go on executing then do. What is queued meanwhile, by them or by other loops, is left to the next turn.
func (l *loop) send() {
	n := len(l.unsent)
	for i := range n {
		c := l.unsent[i]
		c.queued = false
		if c.fd >= 0 {
			l.s.sendTo(c)
		}
	}
	l.unsent = slices.Delete(l.unsent, 0, n)
}

// until is a time after some patience, both in milliseconds; -1 is for ever.
func until(now, patience int64) int64 {
	if patience < 0 {
		return 1<<63 - 1
	}
	return now + patience
}
