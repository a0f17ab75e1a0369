package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

// Defaults of a Config.
const (
	DefaultClients      = 10000
	DefaultClientMemory = 512 << 20
)

// Config is what a server is made of.
type Config struct {
	Listener     int // a socket that listens and does not block; closed with the server
	Open         func(engine.Options) (*engine.Store, error)
	Password     string // that clients have to give; empty for none
	Clients      int    // at most so many connections; 0 is DefaultClients
	ClientMemory int    // bytes for their buffers; 0 is DefaultClientMemory
	Version      string // what INFO says
	Logger       *slog.Logger
}

// Server answers clients. Its methods but Stop belong to one goroutine.
type Server struct {
	cfg   Config
	store *engine.Store
	poll  int
	wake  *eventfd.FD

	clients   map[int]*client // by descriptor
	waiting   []*client       // have output that is not durable
	unsent    []*client       // have output that may be sent
	buffers   buffers
	gathering gathering
	ready     [1]unix.PollFd
	held      int // bytes of clients' buffers
	input     [64 << 10]byte
	events    [256]unix.EpollEvent
	call      call
	deaf      bool // the listener is out of the poll, for want of descriptors
	lastID    uint64
	now       int64 // Unix time in milliseconds at the start of this turn
	started   int64
	swept     int64  // when keys were last swept
	sweeping  uint64 // where to go on
	sealed    bool   // the loop has seen to it that the store is sealed
	stopping  bool
	stop      chan struct{}
	stats     Stats
	commands  map[string]*command
}

// New makes a server with its store.
func New(cfg Config) (_ *Server, err error) {
	s := &Server{cfg: cfg, poll: -1, clients: map[int]*client{}, commands: table(), stop: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.cfg.Clients == 0 {
		s.cfg.Clients = DefaultClients
	}
	if s.cfg.ClientMemory == 0 {
		s.cfg.ClientMemory = DefaultClientMemory
	}
	s.now = time.Now().UnixMilli()
	s.started = s.now
	if s.wake, err = eventfd.New(); err != nil {
		return nil, err
	}
	s.store, err = cfg.Open(engine.Options{
		Notify: func() { _ = s.wake.Signal() }, // fails only once the server is closed
		Now:    func() int64 { return s.now },
	})
	if err != nil {
		return nil, err
	}
	if s.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := s.watch(unix.EPOLL_CTL_ADD, int(s.wake.Fd()), unix.EPOLLIN); err != nil {
		return nil, err
	}
	return s, s.watch(unix.EPOLL_CTL_ADD, cfg.Listener, unix.EPOLLIN)
}

func (s *Server) watch(how, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.poll, how, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// Run serves until ctx ends. What was acknowledged is durable; clients are disconnected.
func (s *Server) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		s.stop <- struct{}{}
		_ = s.wake.Signal() // fails only once the server is closed
	})()
	return disk.Guard("serve", func() error {
		for !s.stopping {
			if err := s.turn(); err != nil {
				return err
			}
		}
		return s.store.Drain()
	})
}

// turn waits for something to do and does it.
func (s *Server) turn() error {
	n, err := s.pollEvents()
	if err != nil {
		return err
	}
	s.now = time.Now().UnixMilli()
	for _, e := range s.events[:n] {
		switch fd := int(e.Fd); fd {
		case int(s.wake.Fd()):
			if err := s.woken(fd); err != nil {
				return err
			}
		case s.cfg.Listener:
			if err := s.accept(); err != nil {
				return err
			}
		default:
			if c := s.clients[fd]; c != nil { // it may have been closed in this turn
				s.serve(c, e.Events)
			}
		}
	}
	s.sweep()
	s.store.Collect()
	s.release()
	s.commit()
	s.send()
	return nil
}

// How often keys are swept, in milliseconds, and how many buckets of the index each time.
const (
	sweepEvery   = 100
	sweepBuckets = 200
)

// patience is how long the loop may sleep, in milliseconds; -1 is for ever.
func (s *Server) patience() int64 {
	switch {
	case s.store.Expiring() > 0:
		return max(0, s.swept+sweepEvery-s.now)
	case s.deaf:
		return sweepEvery
	}
	return -1
}

// sweep removes some expired keys, and listens again if it could not.
func (s *Server) sweep() {
	if s.now < s.swept+sweepEvery {
		return
	}
	s.swept = s.now
	if s.store.Expiring() > 0 {
		s.sweeping = s.store.Sweep(s.sweeping, sweepBuckets)
	}
	if s.deaf && s.watch(unix.EPOLL_CTL_ADD, s.cfg.Listener, unix.EPOLLIN) == nil {
		s.deaf = false
	}
}

// woken takes the news of other goroutines.
func (s *Server) woken(fd int) error {
	var count [8]byte
	if _, err := unix.Read(fd, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("read", err)
	}
	select {
	case <-s.stop:
		s.stopping = true
	default:
	}
	return nil
}

// release lets replies go whose writes are durable by now.
func (s *Server) release() {
	if s.store.Sealed() != nil && !s.sealed {
		s.sealed = true
		s.cfg.Logger.Error("writes are refused from now on", "err", s.store.Sealed())
	}
	durable := s.store.Durable()
	answered := false
	left := s.waiting[:0]
	for _, c := range s.waiting {
		switch {
		case c.fd < 0:
		case c.release(durable):
			c.waits = false
			s.gathering.answer(c, !answered, s.store.Took())
			answered = true
			s.queue(c)
		case s.sealed:
			s.drop(c) // its reply will never be true
		default:
			s.queue(c)
			left = append(left, c)
		}
	}
	clear(s.waiting[len(left):])
	s.waiting = left
}

// Close gives everything back. What could not be made durable is its error.
func (s *Server) Close() error {
	var err error
	for _, c := range s.clients {
		s.drop(c)
	}
	if s.store != nil {
		err = s.store.Close()
	}
	if s.wake != nil {
		err = errors.Join(err, s.wake.Close())
	}
	if s.poll >= 0 {
		err = errors.Join(err, os.NewSyscallError("close", unix.Close(s.poll)))
	}
	return errors.Join(err, os.NewSyscallError("close", unix.Close(s.cfg.Listener)))
}

// accept takes all clients that wait.
func (s *Server) accept() error {
	for {
		fd, peer, err := unix.Accept4(s.cfg.Listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			s.deaf = true // else the loop would spin until a descriptor is free
			return s.watch(unix.EPOLL_CTL_DEL, s.cfg.Listener, 0)
		case err != nil:
			continue // this client is gone again
		}
		if err := s.admit(fd, peer); err != nil {
			s.stats.Rejected++
			_ = unix.Close(fd) // nothing was sent that could be lost
		}
	}
}

var errClients = errors.New("max number of clients reached")

func (s *Server) admit(fd int, peer unix.Sockaddr) error {
	if len(s.clients) >= s.cfg.Clients {
		_, _ = unix.Write(fd, []byte("-ERR max number of clients reached\r\n")) // as far as it goes: the client is sent away
		return errClients
	}
	if _, ok := peer.(*unix.SockaddrUnix); !ok {
		for _, o := range [...][3]int{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300}} {
			if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
				return err
			}
		}
	}
	if err := s.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
		return err
	}
	s.lastID++
	c := &client{fd: fd, id: s.lastID, peer: address(peer), since: s.now, last: s.now, events: unix.EPOLLIN, trusted: s.cfg.Password == ""}
	c.parser.MaxBulk, c.parser.MaxCommand = s.maxBulk(), 2*s.maxBulk()+(1<<20)
	c.parser.Stranger = !c.trusted
	s.clients[fd] = c
	s.stats.Accepted++
	return nil
}

func (s *Server) maxBulk() int { return s.store.MaxValue() }

func address(a unix.Sockaddr) string {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return fmt.Sprintf("%d.%d.%d.%d:%d", a.Addr[0], a.Addr[1], a.Addr[2], a.Addr[3], a.Port)
	case *unix.SockaddrInet6:
		return fmt.Sprintf("[%x]:%d", a.Addr, a.Port)
	}
	return "unix"
}
