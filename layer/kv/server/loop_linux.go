package server

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/internal/metrics"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

// loop is a goroutine that waits for some of the clients, reads, executes and writes for them. It has its lock but while it does the first, second and last of these: others may
// do something about its clients then, if they have the locks of all.
type loop struct {
	s      *Server
	mu     *sync.Mutex // guards what follows, and what its clients have
	poll   int
	wake   *eventfd.FD
	events [256]unix.EpollEvent
	input  [64 << 10]byte
	store  *engine.Store
	now    int64     // by which keys expire for the command that is executed, Unix time in milliseconds
	clock  time.Time // when the last command ended, or the first of a buffer began

	clients  int       // how many are its
	unsent   []*client // have output that may be sent
	waiting  []*client // have output that is not durable
	waited   []*client // memory for the next waiting
	released uint64    // what was durable when waiting was last looked through
	woke     []*client // may go on: they were stalled by a pause, or were blocked

	buffers  buffers
	executes call
	queues   []*transaction // empty ones
	unwanted resp.Writer    // for replies that a client does not want
	stats    Stats
	uses     []use             // by known.number
	errors   map[string]uint64 // replies, by their first word
	latency  metrics.Histogram // of commands
	warned   time.Time         // when the log was last told of HTTP

	// May be used at any time.
	waits atomic.Bool // for the poll, and was not told that there is something else
	holds atomic.Bool // replies when it waits
}

func newLoop(s *Server) (l *loop, err error) {
	l = &loop{s: s, mu: new(sync.Mutex), errors: map[string]uint64{}, uses: make([]use, 1+len(s.all()))}
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

// lock takes the loop's lock, after who waits for all: he may find each taken for long, as loops let go for moments only.
func (l *loop) lock() {
	s := l.s
	if s.wanted.Load() > 0 {
		s.door.Lock()
		defer s.door.Unlock()
	}
	if l.mu.Lock(); len(s.locks) == 1 {
		s.owner = l
	}
}

// outside calls f, which makes a system call, without the lock. Who has all locks keeps them.
func (l *loop) outside(f func()) {
	if l.s.owner != nil && len(l.s.locks) > 1 {
		f()
		return
	}
	l.mu.Unlock()
	f()
	l.lock()
}

// alone calls f while no other loop does anything. It lets the lock go to take all: others may have done something before. Should f not come to its end, which takes a
// fault of a device, no other loop writes any more.
func (l *loop) alone(f func()) {
	if l.s.owner != nil {
		f()
		return
	}
	l.mu.Unlock()
	l.s.lockAll(l)
	ended := false
	defer func() {
		if !ended {
			l.store.Seal(errInterrupted)
		}
		l.s.unlockAll(l.mu)
	}()
	f()
	ended = true
}

var errInterrupted = errors.New("a loop was interrupted in the middle of what it did")

// run serves until the server stops, and has the others stop then.
func (l *loop) run() error {
	s := l.s
	l.lock()
	defer l.mu.Unlock()
	defer s.stopAll()
	err := disk.Guard("serve", func() error {
		for !s.stopping.Load() {
			if err := l.turn(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil { // a fault may have come in the middle of a change
		l.store.Seal(err)
	}
	return err
}

// turn waits for something to do and does it.
func (l *loop) turn() (err error) {
	s, first, patience, n := l.s, l == l.s.loops[0], int64(-1), 0
	if first {
		patience = s.patience()
		s.sleeps.Store(until(s.now.Load(), patience))
	}
	l.holds.Store(len(l.waiting) > 0)
	l.waits.Store(true) // from now on it is told
	if len(l.unsent) > 0 || len(l.woke) > 0 || s.store.Due() || s.store.Finished() || len(l.waiting) > 0 && (s.store.Durable() != l.released || s.store.Sealed() != nil) {
		patience = 0
	}
	l.outside(func() { n, err = unix.EpollWait(l.poll, l.events[:], int(patience)) })
	l.waits.Store(false)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("epoll_wait", err)
	}
	l.stats.Calls++
	if s.stopping.Load() {
		return nil
	}
	s.tick()
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
	l.advance(n <= 0)
	l.send()
	if s.bypass != nil && first {
		return s.bypass.send()
	}
	if !first && until(s.now.Load(), s.patience()) < s.sleeps.Load() {
		s.loops[0].tell()
	}
	return nil
}

// event does what an event of the poll asks for.
func (l *loop) event(fd int, events uint32) (err error) {
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
		l.alone(func() { err = s.accept(fd) })
	}
	return err
}

// tell has a loop know that there is something for it to do, if it would not look anyway. Any goroutine may call it.
func (l *loop) tell() {
	if l.waits.CompareAndSwap(true, false) {
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
